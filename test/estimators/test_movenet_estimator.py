"""The plain 2D estimator, and all stages behind it with people who have no metric 3D."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from doubles import (
    CAMERA,
    STANDING,
    STEP_NS,
    FakeBoxes,
    FakeEstimator,
    FakeLifter,
    blank,
    make_people,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from movenet_stand_in import small_movenet
from typer.testing import CliRunner

import trpose_ros
from trpose_ros import weights
from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.commands.main import app
from trpose_ros.data.rendering.sample_recording import SHIPPED
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.evaluation.cases import Case, CaseRunner, EvaluationConfig
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.people import Frame, JointState, RootSource, TrackState
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.pipeline.pipeline import Pipeline, PoseStage
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.metrabs.batches import half_precision


def save(path, **meta):
    """Write a network with random weights that is sure of something."""
    model = small_movenet()
    return weights.save(
        path,
        half_precision(model),
        {
            'architecture': 'movenet',
            'config': json.dumps(model.config.to_dict()),
            'skeleton': 'coco_17',
            'licence': 'none',
            'training_data': 'none',
            'measured_error': 'none',
        }
        | meta,
    )


@pytest.fixture(scope='module')
def estimator(tmp_path_factory):
    file = save(tmp_path_factory.mktemp('weights') / 'plain.safetensors')
    made = create_estimator(
        'movenet',
        EstimatorConfig(model=str(file.path), skeleton='coco_17', suppress_implausible=False),
    )
    yield made
    made.close()


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-900, 900), st.floats(-900, 900), st.floats(-1, 2000), st.floats(-1, 2000)
        ),
        max_size=4,
    )
)
def test_joints_never_leave_the_image_whatever_the_box(estimator, rows):
    boxes = np.array(rows).reshape(-1, 4)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    people = estimator.estimate(dataclasses.replace(blank(5), image=image), boxes)
    assert len(people) <= len(boxes)
    assert people.stamp_ns == 5
    assert np.isnan(people.joints_m).all()
    assert (people.root_sources == RootSource.NONE).all()
    assert (people.joints_px >= 0).all()
    assert (people.joints_px <= [639, 479]).all()
    assert ((people.joint_scores >= 0) & (people.joint_scores <= 1)).all()
    assert not (people.joint_states == JointState.TRUNCATED).any()


def test_bad_boxes_are_counted_and_uncertain_people_left_out(tmp_path, estimator):
    boxes = np.array([[np.nan, 0, 10, 10], [0, 0, 0, 5], [900, 0, 50, 50], [100, 100, 200, 200]])
    before = dict(estimator.skipped)
    assert len(estimator.estimate(blank(0), boxes)) == 1
    for reason in ('box_not_finite', 'box_empty', 'box_outside_image'):
        assert estimator.skipped[reason] == before.get(reason, 0) + 1
    model = small_movenet()
    torch.nn.init.constant_(model.heatmaps[-1].bias, -9.0)  # nobody anywhere
    torch.nn.init.zeros_(model.heatmaps[-1].weight)
    file = save(tmp_path / 'plain.safetensors')
    even = weights.save(tmp_path / 'even.safetensors', half_precision(model), file.meta)
    strict = create_estimator('movenet', EstimatorConfig(model=str(even.path)))
    assert len(strict.estimate(blank(0), boxes)) == 0
    assert strict.skipped['low_score'] == 1


def test_a_crop_in_the_image_maps_back_exactly(estimator):
    """What the network says about a crop is where that place is in the image."""
    side = 64.0
    joints, _ = estimator._run(np.full((1, 64, 64, 3), 100, np.uint8))
    middle = np.array([[(640 - side) / 2, (480 - side) / 2, side, side]])
    people = estimator.estimate(blank(0), middle)
    assert np.abs(people.joints_px[0] - (joints[0] + middle[0, :2])).max() < 1.5


def test_no_boxes_and_a_closed_estimator(tmp_path):
    file = save(tmp_path / 'plain.safetensors')
    made = create_estimator('movenet', EstimatorConfig(model=str(file.path)))
    assert made.skeleton == 'h36m_17'
    assert len(made.estimate(blank(0), np.zeros((0, 4)))) == 0
    made.close()
    with pytest.raises(RuntimeError, match='close'):
        made.estimate(blank(0), np.zeros((0, 4)))


def test_wrong_weights_are_named(tmp_path):
    with pytest.raises(weights.WeightsError, match='movenet'):
        create_estimator('movenet', EstimatorConfig(model='videopose3d-clean'))
    with pytest.raises(weights.WeightsError, match='movenet-thunder'):
        create_estimator('movenet', EstimatorConfig(model='movenet-multipose'))
    file = save(tmp_path / 'a.safetensors', config='{"widt": 3}')
    with pytest.raises(weights.WeightsError, match='widt'):
        create_estimator('movenet', EstimatorConfig(model=str(file.path)))
    file = save(tmp_path / 'c.safetensors')
    with pytest.raises(ValueError, match='smpl_24'):
        create_estimator('movenet', EstimatorConfig(model=str(file.path), skeleton='smpl_24'))


@pytest.fixture(scope='module')
def astronaut() -> Frame:
    path = Path(trpose_ros.__file__).parent / 'samples' / 'astronaut.jpg'
    image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    return Frame(image, 0, camera_from_fov(512, 512))


def test_the_shipped_network_finds_a_real_person(astronaut):
    box = np.array([[60.0, 10, 330, 500]])
    coco = create_estimator('movenet', EstimatorConfig(skeleton='coco_17'))
    (people,) = [coco.estimate(astronaut, box)]
    at = dict(zip(get_skeleton('coco_17').joint_names, people.joints_px[0], strict=True))
    assert np.linalg.norm(at['nose'] - [224, 122]) < 16  # px of 512, by eye
    assert at['lsho'][0] > 270 > 130 > at['rsho'][0]
    converted = create_estimator('movenet', EstimatorConfig()).estimate(astronaut, box)
    names = get_skeleton('h36m_17').joint_names
    assert np.allclose(converted.joints_px[0, names.index('lsho')], at['lsho'])
    assert np.isfinite(converted.joints_px).all()
    assert ((converted.joint_scores >= 0) & (converted.joint_scores <= 1)).all()


class Flat(FakeEstimator):
    """Sees the standing person in 2D only, joints outside the image pushed to its border."""

    metric_3d = False

    def estimate(self, frame, boxes_px):
        people = super().estimate(frame, boxes_px)
        px = np.clip(people.joints_px, 0, [frame.camera.width - 1, frame.camera.height - 1])
        return people.replace(joints_px=px, joints_m=np.full_like(people.joints_m, np.nan))


def pipeline(estimator, boxes) -> Pipeline:
    pose = PoseStage(estimator=estimator, box_source=boxes, tracker=Tracker())
    return Pipeline(pose=pose, lift=LiftStage(lifter=FakeLifter(look_ahead=0)))


def test_people_without_metric_3d_are_tracked_in_the_image_and_placed_by_the_fit():
    estimator = Flat([(-0.4, 0.2, 4.0)])
    boxes = FakeBoxes([[200, 100, 150, 300, 0.9]])
    stages = pipeline(estimator, boxes)
    for t in range(40):  # walks to the right, 2 m/s at 30 Hz
        root = np.array([-0.4 + 0.066 * t * 0.5, 0.2, 4.0])
        estimator.roots_m = root[None]
        outcome = stages.process(blank(t * STEP_NS))
        (people,) = outcome.lifted
        assert people.track_ids.tolist() == [0], t
        assert people.track_states[0] == (TrackState.TRACKED if t > 3 else TrackState.NEW)
        assert people.root_sources.tolist() == [RootSource.FIT]
        assert np.allclose(people.joints_m[0], STANDING + root, atol=0.02)
        assert people.reprojection_errors_px[0] < 0.5
        assert np.isnan(outcome.people.joints_m).all()
    true_px = project((STANDING + root)[None], CAMERA)[0]
    x, y, w, h = estimator.calls[-1][0]
    low, high = true_px.min(axis=0), true_px.max(axis=0)
    assert x < low[0]
    assert y < low[1]
    assert x + w > high[0]
    assert y + h > high[1]
    assert len(boxes.asked) < 6


def test_a_lost_person_without_metric_3d_is_searched_then_given_up():
    estimator = Flat([(0.0, 0.2, 4.0)])
    stages = pipeline(estimator, FakeBoxes([[250, 100, 150, 300, 0.9]]))
    for t in range(10):
        stages.process(blank(t * STEP_NS))
    estimator.roots_m = np.zeros((0, 3))
    states = []
    for t in range(10, 70):
        for people in stages.process(blank(t * STEP_NS)).lifted:
            states += people.track_states.tolist()
            assert np.isnan(people.joints_m[people.track_states == TrackState.LOST]).all()
    assert states.count(TrackState.LOST) == 1
    assert TrackState.SEARCHING in states
    assert states.index(TrackState.LOST) == len(states) - 1


def test_two_people_in_the_image_keep_their_ids():
    roots = np.array([(-0.8, 0.2, 4.0), (0.8, 0.2, 4.0)])
    estimator = Flat(roots)
    stages = pipeline(estimator, FakeBoxes([[100, 100, 150, 300, 0.9], [400, 100, 150, 300, 0.8]]))
    for t in range(20):
        estimator.roots_m = roots + np.array([[0.02 * t, 0, 0], [-0.02 * t, 0, 0]])
        (people,) = stages.process(blank(t * STEP_NS)).lifted
        assert sorted(people.track_ids.tolist()) == [0, 1]
        order = np.argsort(people.track_ids)
        assert np.allclose(people.joints_m[order][:, 0], estimator.roots_m, atol=0.03)


def clip(frames: int = 12) -> EvaluationClip:
    stamps = [t * STEP_NS for t in range(frames)]
    truth = {s: make_people(s, track_ids=np.zeros(1, np.int32)) for s in stamps}
    box = np.array([240.0, 90, 160, 330])
    return EvaluationClip(
        identity='made|a|b|0',
        fps=30.0,
        truth=truth,
        boxes_px=dict.fromkeys(stamps, box),
        open_frames=lambda: (blank(s) for s in stamps),
        describe=lambda: b'made',
        camera=CAMERA,
    )


@pytest.mark.parametrize('track', ['GT', 'DET'])
def test_evaluation_measures_the_lifter_behind_a_2d_estimator(track):
    config = EvaluationConfig(
        estimators=('flat',),
        lifters=('none', 'fake'),
        track=track,
        boxes='image',
        factories={'flat': Flat},
        stages={'fake': lambda: LiftStage(lifter=FakeLifter(look_ahead=0))},
    )
    runner = CaseRunner(config)
    rows = runner.run(Case(clip(), Condition('none'), 'flat')).rows
    (row,) = rows  # 2D alone is no skeleton: no row without a lifter
    assert row['lifter'] == 'fake'
    assert row['coverage_percent'] == 100
    assert row['mpjpe_mm'] < 1
    assert row['mrpe_mm'] < 30


def test_a_replay_writes_everything_and_measures_the_lifted_skeletons(tmp_path):
    file = save(tmp_path / 'plain.safetensors')
    options = ['--estimator', f'movenet:{file.path}', '--max-frames', '8', '--boxes', 'image']
    out = tmp_path / 'out'
    done = CliRunner().invoke(app, ['replay', str(SHIPPED), '--out', str(out), *options])
    assert done.exit_code == 0, done.output
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['estimator'] == 'movenet'
    assert set(metrics['errors']) == {'lifted'}  # 2D alone is no skeleton
    assert (out / 'result.mcap').stat().st_size > 1000

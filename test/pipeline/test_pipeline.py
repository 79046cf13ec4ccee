"""The order of the stages, with stand-ins for the networks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
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

from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder
from trpose_ros.people import Camera, JointState, People, RootSource, TrackState
from trpose_ros.pipeline.fusion import FusionConfig
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig, screen_joints, to_skeleton
from trpose_ros.pipeline.pipeline import Pipeline, PoseStage, PoseStageConfig
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.skeletons import get_skeleton

PERSON_BOX = [250.0, 120.0, 140.0, 320.0, 0.9]
WHOLE_BOX = [0.0, 0.0, 640.0, 480.0, np.nan]


def pose_stage(boxes=(PERSON_BOX,), estimator=None, **config):
    return PoseStage(
        estimator=estimator or FakeEstimator(),
        box_source=boxes if isinstance(boxes, FakeBoxes) else FakeBoxes(boxes),
        tracker=Tracker(),
        config=PoseStageConfig(**config),
        clock=None,
    )


def stamp(k):
    return 10**9 + k * STEP_NS


def tracked_people(k, ids=(0,), **kwargs):
    roots = [(0.5 * i, 0.2, 4.0) for i in range(len(ids))]
    states = np.full(len(ids), TrackState.TRACKED)
    return make_people(
        stamp(k), np.array(roots).reshape(-1, 3), track_ids=ids, track_states=states, **kwargs
    )


# -- pose stage -------------------------------------------------------------------------------


def test_nobody_in_view():
    stage = pose_stage(boxes=np.zeros((0, 5)))
    for k in range(3):
        people = stage.process(blank(stamp(k)))
        assert len(people) == 0
        assert people.stamp_ns == stamp(k)
    assert all(len(boxes) == 0 for boxes in stage.estimator.calls)


def test_tracker_gives_the_boxes_and_the_source_is_asked_now_and_then():
    source = FakeBoxes([PERSON_BOX])
    stage = pose_stage(source, detect_every_s=0.5)
    ids = {int(stage.process(blank(stamp(k))).track_ids[0]) for k in range(49)}
    assert ids == {0}
    assert len(source.asked) == 4  # at once and every 16 frames
    assert all(len(boxes) == 1 for boxes in stage.estimator.calls)


def test_provenance():
    people = pose_stage().process(blank(stamp(0)))
    assert people.provenance.estimator == 'fake'
    assert people.provenance.weights_id == 'fake-weights'
    assert not people.provenance.intrinsics_assumed
    assert np.isnan(people.provenance.inference_ms)
    assumed = dataclasses.replace(CAMERA, assumed=True)
    people = pose_stage().process(blank(stamp(0), assumed))
    assert people.provenance.intrinsics_assumed


def test_clock_measures_inference():
    times = iter([1.0, 1.002, 1.012])
    stage = PoseStage(
        estimator=FakeEstimator(),
        box_source=FakeBoxes([PERSON_BOX]),
        tracker=Tracker(),
        clock=lambda: next(times),
    )
    provenance = stage.process(blank(stamp(0))).provenance
    assert provenance.preprocess_ms == pytest.approx(2.0)
    assert provenance.inference_ms == pytest.approx(10.0)


def test_whole_image_box_is_refined_by_a_second_run():
    stage = pose_stage(boxes=[WHOLE_BOX])
    stage.process(blank(stamp(0)))
    first, second = stage.estimator.calls
    np.testing.assert_allclose(first, [WHOLE_BOX[:4]])
    x, _y, w, h = second[0]
    assert 200 < x < 320 < x + w < 440
    assert h < 400
    stage.process(blank(stamp(1)))
    assert len(stage.estimator.calls) == 3  # tracked now: one run


def test_found_boxes_of_tracked_people_are_not_estimated_twice():
    stage = pose_stage(
        estimator=FakeEstimator([(0.0, 0.2, 4.0), (1.0, 0.2, 4.0)]),
        boxes=[PERSON_BOX, [404.0, 120.0, 140.0, 320.0, 0.8]],
        detect_every_s=0.0,
    )
    for k in range(5):
        people = stage.process(blank(stamp(k)))
        assert sorted(people.track_ids) == [0, 1]
        assert len(stage.estimator.calls[-1]) == 2


@pytest.mark.parametrize(
    ('score', 'estimated'), [(0.8, [True, False, True]), (0.3, [True, True, True])]
)
def test_parts_of_a_found_person_are_not_estimated(score, estimated):
    whole = [250.0, 100.0, 140.0, 320.0, score]
    legs = [260.0, 290.0, 120.0, 125.0, 0.9]
    beside = [340.0, 150.0, 100.0, 260.0, 0.7]  # half behind the first
    stage = pose_stage(boxes=[whole, legs, beside])
    stage.process(blank(stamp(0)))
    got = stage.estimator.calls[0].tolist()
    assert [box[:4] in got for box in (whole, legs, beside)] == estimated


def test_max_people_keeps_the_best_boxes():
    stage = pose_stage(boxes=[[i * 90.0, 0, 80, 300, i / 10] for i in range(7)], max_people=3)
    stage.process(blank(stamp(0)))
    np.testing.assert_allclose(stage.estimator.calls[0][:, 0], [540, 450, 360])


def test_exception_reaches_the_caller_and_the_track_goes_on():
    stage = pose_stage()
    first = stage.process(blank(stamp(0))).track_ids[0]
    stage.estimator.fail = True
    with pytest.raises(RuntimeError, match='memory'):
        stage.process(blank(stamp(1)))
    stage.estimator.fail = False
    assert stage.process(blank(stamp(2))).track_ids[0] == first


def test_backward_time_starts_new_tracks_and_repeated_stamps_do_not():
    stage = pose_stage()
    ids = [int(stage.process(blank(stamp(k))).track_ids[0]) for k in (5, 6, 6, 7, 0, 1)]
    assert ids[0] == ids[1] == ids[2] == ids[3] != ids[4] == ids[5]


def test_truncated_joints_are_marked():
    stage = pose_stage(estimator=FakeEstimator([(0.0, 0.2, 1.5)]))
    people = stage.process(blank(stamp(0)))
    assert people.joint_states[0, 3] == JointState.TRUNCATED
    assert people.cut_edges[0] != 0


def test_close_closes_the_estimator():
    stage = pose_stage()
    stage.close()
    assert stage.estimator.closed


# -- lift stage -------------------------------------------------------------------------------


def test_without_lifter_people_pass_through():
    stage = LiftStage(lifter=None)
    people = tracked_people(0)
    assert stage.push(people, CAMERA) == [people]
    assert stage.flush() == []


@pytest.mark.parametrize('look_ahead', [0, 1, 4])
def test_every_frame_comes_once_in_order(look_ahead):
    stage = LiftStage(lifter=FakeLifter(look_ahead))
    out = []
    for k in range(10):
        released = stage.push(tracked_people(k), CAMERA)
        assert len(released) == (1 if k >= look_ahead else 0)
        out += released
    out += stage.flush()
    assert [p.stamp_ns for p in out] == [stamp(k) for k in range(10)]
    for people in out:
        assert people.provenance.lifter == 'fake_lifter'
        assert people.provenance.weights_id == 'lifter-weights'
        assert people.provenance.lookahead == look_ahead
        np.testing.assert_allclose(
            people.joints_m[0], STANDING + np.array([0, 0.2, 4.0]), atol=1e-5
        )
        assert np.isfinite(people.covariances_m2).all()


def test_frames_without_people_keep_their_place():
    stage = LiftStage(lifter=FakeLifter(2))
    out = []
    for k in range(8):
        ids = () if k in (3, 4) else (0,)
        out += stage.push(tracked_people(k, ids), CAMERA)
    out += stage.flush()
    assert [p.stamp_ns for p in out] == [stamp(k) for k in range(8)]
    assert [len(p) for p in out] == [1, 1, 1, 0, 0, 1, 1, 1]


def test_a_person_the_lifter_is_silent_about_does_not_stop_the_others():
    lifter = FakeLifter(1)
    lifter.skip = {1}
    stage = LiftStage(lifter=lifter, config=LiftStageConfig(max_wait_s=0.1))
    out = []
    for k in range(12):
        out += stage.push(tracked_people(k, (0, 1)), CAMERA)
    assert [p.stamp_ns for p in out] == [stamp(k) for k in range(len(out))]
    assert len(out) == 7  # 33 ms delay and 100 ms patience: five frames wait
    assert np.isfinite(out[0].covariances_m2[0]).all()
    assert np.isnan(out[0].covariances_m2[1]).all()  # passed through as it was


def test_people_not_seen_are_not_given_to_the_lifter_and_do_not_wait():
    lifter = FakeLifter(0)
    stage = LiftStage(lifter=lifter)
    states = np.full((1, 17), JointState.UNOBSERVED)
    people = tracked_people(0, joint_states=states)
    (out,) = stage.push(people, CAMERA)
    assert lifter.seen == [(stamp(0), [])]
    np.testing.assert_array_equal(out.joints_m, people.joints_m)


def test_lost_tracks_are_forgotten_and_passed_on_once():
    lifter = FakeLifter(1)
    stage = LiftStage(lifter=lifter)
    stage.push(tracked_people(0), CAMERA)
    lost = tracked_people(1).replace(track_states=np.array([TrackState.LOST], np.uint8))
    out = stage.push(lost, CAMERA)
    assert [p.stamp_ns for p in out] == [stamp(0), stamp(1)]
    assert out[1].track_states[0] == TrackState.LOST
    assert lifter.resets == [0]


def test_backward_time_releases_what_waits_and_starts_afresh():
    lifter = FakeLifter(3)
    stage = LiftStage(lifter=lifter)
    for k in range(5):
        stage.push(tracked_people(10 + k), CAMERA)
    out = stage.push(tracked_people(0), CAMERA)
    assert [p.stamp_ns for p in out] == [stamp(12), stamp(13), stamp(14)]
    assert lifter.resets == [None]
    for k in range(1, 4):
        out = stage.push(tracked_people(k), CAMERA)
    assert [p.stamp_ns for p in out] == [stamp(0)]


def test_repeated_stamp_is_ignored():
    lifter = FakeLifter(0)
    stage = LiftStage(lifter=lifter)
    assert len(stage.push(tracked_people(0), CAMERA)) == 1
    assert stage.push(tracked_people(0), CAMERA) == []
    assert len(lifter.seen) == 1


def test_missing_camera_is_assumed_and_said():
    stage = LiftStage(lifter=FakeLifter(0))
    (out,) = stage.push(tracked_people(0))
    assert out.provenance.intrinsics_assumed


def test_lifter_sees_undistorted_screen_coordinates():
    bent = Camera(
        width=640,
        height=480,
        matrix=CAMERA.matrix,
        distortion=np.array([-0.3, 0.1, 0.001, -0.002, 0.0]),
    )
    straight = make_people(0, camera=CAMERA)
    people = make_people(0, camera=bent)
    assert np.abs(people.joints_px - straight.joints_px).max() > 2
    expected = screen_joints(straight, CAMERA)
    np.testing.assert_allclose(screen_joints(people, bent), expected, atol=1e-4)
    assert np.abs(expected).max() < 1.0


def test_to_skeleton_keeps_states_and_leaves_unknown_joints_nan():
    people = tracked_people(0)
    states = np.zeros((1, 17), np.uint8)
    states[0, 3] = JointState.TRUNCATED
    joints_px = people.joints_px.copy()
    joints_px[0, 3] = 300, 500
    coco = to_skeleton(people.replace(joint_states=states, joints_px=joints_px), 'coco_17')
    assert coco.joints_px.shape == (1, 17, 2)
    ankle = 16  # right ankle of COCO is Human3.6M's right foot
    assert coco.joint_states[0, ankle] == JointState.TRUNCATED
    np.testing.assert_allclose(coco.joints_m[0, ankle], people.joints_m[0, 3])
    back = to_skeleton(coco, 'h36m_17')
    np.testing.assert_allclose(back.joints_m[0, 3], people.joints_m[0, 3], atol=1e-6)


def coco_person(states, joints_px, scores):
    return People.build(
        stamp_ns=0,
        frame_id='camera',
        skeleton='coco_17',
        width=640,
        height=480,
        joints_px=joints_px[None],
        joint_states=np.array(states)[None],
        joint_scores=scores[None],
        track_ids=np.array([0]),
    )


def test_derived_joints_are_as_sure_as_the_worst_joint_they_come_from():
    coco, human = get_skeleton('coco_17'), get_skeleton('h36m_17')
    joints_px = np.random.default_rng(0).uniform(100, 300, (17, 2))
    states = np.full(17, JointState.VISIBLE)
    scores = np.linspace(0.99, 0.83, 17)
    for joint, state in (('lhip', 'OCCLUDED'), ('leye', 'UNKNOWN'), ('rsho', 'UNOBSERVED')):
        states[coco.index(joint)] = JointState[state]
    people = to_skeleton(coco_person(states, joints_px, scores), 'h36m_17')
    found = {
        name: JointState(people.joint_states[0, human.index(name)]).name
        for name in ('pelv', 'htop', 'neck', 'spin', 'rhip', 'lhip', 'rwri')
    }
    assert found == {
        'pelv': 'OCCLUDED',
        'htop': 'UNKNOWN',
        'neck': 'UNOBSERVED',  # a prediction among what it is made of makes it one
        'spin': 'UNOBSERVED',
        'rhip': 'VISIBLE',
        'lhip': 'OCCLUDED',
        'rwri': 'VISIBLE',
    }
    assert np.isfinite(people.joints_px).all()
    np.testing.assert_allclose(people.joint_scores[0, human.index('pelv')], scores[12], rtol=1e-6)
    np.testing.assert_allclose(people.joint_scores[0, human.index('htop')], scores[4], rtol=1e-6)
    assert np.isfinite(people.joint_scores).all()


def test_a_derived_joint_outside_the_image_is_truncated():
    coco, human = get_skeleton('coco_17'), get_skeleton('h36m_17')
    joints_px = np.full((17, 2), 200.0)
    joints_px[coco.index('lhip')], joints_px[coco.index('rhip')] = (300, 474), (300, 486)
    states = np.full(17, JointState.VISIBLE)
    states[coco.index('rhip')] = JointState.TRUNCATED
    inside = to_skeleton(coco_person(states, joints_px - [0, 1], np.ones(17)), 'h36m_17')
    assert inside.joint_states[0, 0] == JointState.UNKNOWN  # inside, made of what is not
    joints_px[coco.index('lhip')] = 900, 474
    joints_px[coco.index('rhip')] = 479, 474
    outside = to_skeleton(
        coco_person(np.full(17, JointState.VISIBLE), joints_px, np.ones(17)), 'h36m_17'
    )
    assert outside.joint_states[0, 0] == JointState.TRUNCATED
    assert outside.visible_fractions[0] < 1
    assert outside.joint_states[0, human.index('neck')] == JointState.VISIBLE


def test_predictions_beyond_the_image_stay_predictions():
    states = np.full(17, JointState.UNOBSERVED)
    people = to_skeleton(coco_person(states, np.full((17, 2), -50.0), np.ones(17)), 'h36m_17')
    assert (people.joint_states == JointState.UNOBSERVED).all()


def test_joints_that_cannot_be_derived_are_unknown():
    people = to_skeleton(
        tracked_people(0).replace(joint_states=np.ones((1, 17), np.uint8)), 'coco_17'
    )
    ear = get_skeleton('coco_17').index('lear')
    assert people.joint_states[0, ear] == JointState.UNKNOWN
    assert np.isnan(people.joint_scores[0, ear])


def test_people_without_a_root_are_nowhere_in_the_image():
    class Rootless(FakeEstimator):
        def estimate(self, frame, boxes_px):
            people = super().estimate(frame, boxes_px)
            return people.replace(
                joints_m=np.full_like(people.joints_m, np.nan),
                root_sources=np.zeros(len(people), np.uint8),
                joint_states=np.full(people.joint_states.shape, JointState.OCCLUDED, np.uint8),
            )

    people = pose_stage(estimator=Rootless()).process(blank(stamp(0)))
    stage = LiftStage(lifter=FakeLifter(0))
    (out,) = stage.push(people, CAMERA)
    assert np.isfinite(out.joints_m).all()  # relative to the root
    assert out.root_sources[0] == RootSource.NONE
    assert np.isnan(out.reprojection_errors_px[0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(-3, 4),
            st.lists(st.integers(0, 3), max_size=4, unique=True),
            st.sets(st.integers(0, 3), max_size=2),
        ),
        max_size=25,
    ),
    st.integers(0, 4),
)
def test_no_frame_is_lost_or_doubled(steps, look_ahead):
    """Whatever comes and goes and however time jumps, every new stamp comes out once."""
    lifter = FakeLifter(look_ahead)
    stage = LiftStage(lifter=lifter)
    k, expected, out = 100, [], []
    for move, ids, silent in steps:
        k += move
        lifter.skip = silent
        if not expected or stamp(k) != expected[-1]:
            expected.append(stamp(k))
        out += [p.stamp_ns for p in stage.push(tracked_people(k, tuple(ids)), CAMERA)]
    out += [p.stamp_ns for p in stage.flush()]
    assert out == expected


# -- the whole --------------------------------------------------------------------------------


def make_pipeline(profile='none', look_ahead=2):
    occluder = None
    if profile != 'none':
        occluder = make_occluder(OcclusionConfig(profile=profile), 'a|b|c|d')
    return Pipeline(
        pose=pose_stage(), lift=LiftStage(lifter=FakeLifter(look_ahead)), occluder=occluder
    )


def test_pipeline_occludes_what_the_estimator_sees():
    pipeline = make_pipeline('fixed_lower')
    reference = np.array([250.0, 100.0, 140.0, 340.0])
    outcome = pipeline.process(blank(stamp(0)), reference)
    assert outcome.occlusion is not None
    assert outcome.people.provenance.occlusion == 'fixed_lower'
    assert (outcome.frame.image[400] == 0).all()
    assert (outcome.frame.image[200] == 100).all()


def test_tracked_box_is_the_reference_where_nothing_else_is_known():
    pipeline = make_pipeline('fixed_lower')
    first = pipeline.process(blank(stamp(0))).occlusion
    second = pipeline.process(blank(stamp(1))).occlusion
    assert first.rectangles_px[0, 1] == pytest.approx(480 * 2 / 3, abs=1)
    assert second.rectangles_px[0, 1] != first.rectangles_px[0, 1]


def test_same_frames_same_numbers():
    def run():
        pipeline = make_pipeline('random_box')
        out = []
        for k in range(12):
            out += pipeline.process(blank(stamp(k))).lifted
        return out + pipeline.flush()

    for a, b in zip(run(), run(), strict=True):
        np.testing.assert_array_equal(a.joints_m, b.joints_m)
        np.testing.assert_array_equal(a.covariances_m2, b.covariances_m2)


def test_pipeline_starts_afresh_when_time_jumps_back():
    pipeline = make_pipeline()
    first = [pipeline.process(blank(stamp(k))) for k in range(6)]
    again = [pipeline.process(blank(stamp(k))) for k in range(6)]
    for a, b in zip(first[3:], again[3:], strict=True):
        assert [p.stamp_ns for p in a.lifted] == [p.stamp_ns for p in b.lifted]
        np.testing.assert_array_equal(a.lifted[0].joints_m, b.lifted[0].joints_m)


@pytest.mark.parametrize(
    ('config', 'field', 'value'),
    [
        (PoseStageConfig, 'max_people', 0),
        (PoseStageConfig, 'detect_every_s', -1.0),
        (FusionConfig, 'estimator_share', 1.5),
        (FusionConfig, 'root_smoothing_s', float('nan')),
        (LiftStageConfig, 'max_wait_s', -0.1),
    ],
)
def test_configuration_names_the_wrong_value(config, field, value):
    with pytest.raises(ValueError, match=field):
        config(**{field: value})


def test_a_fitted_root_is_unsure_along_its_ray():
    states = np.full((1, 17), JointState.VISIBLE)
    people = tracked_people(0, joint_states=states)
    people = people.replace(joints_m=np.full_like(people.joints_m, np.nan))
    (out,) = LiftStage(lifter=FakeLifter(0)).push(people, CAMERA)
    assert out.root_sources[0] == RootSource.FIT
    root = out.joints_m[0, 0]
    expected = 0.06**2 * np.eye(3) + 0.1**2 * np.outer(root, root)
    np.testing.assert_allclose(out.covariances_m2[0], np.tile(expected, (17, 1, 1)), rtol=1e-4)

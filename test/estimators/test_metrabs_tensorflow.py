"""The TensorFlow estimator on SavedModels with the published interface: one made up, one real."""

import dataclasses
import importlib.util
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_stand_in
from metrabs_stand_in import PERSON_MM

from trpose_ros import cameras
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.people import Camera, Frame
from trpose_ros.weights import WeightsError

CAMERA = cameras.camera_from_fov(640, 480, 60.0)
BOX = np.array([250.0, 100.0, 120.0, 260.0])


@pytest.fixture(
    scope='module',
    params=['stand-in', pytest.param('tensorflow', marks=pytest.mark.slow)],  # half a minute
)
def saved_model(request, tmp_path_factory):
    """A SavedModel; a real one is written by another process, as published ones are."""
    folder = tmp_path_factory.mktemp('tensorflow') / 'metrabs_stand_in'
    with pytest.MonkeyPatch.context() as patch:
        if request.param == 'stand-in':
            patch.setitem(sys.modules, 'tensorflow', tensorflow_stand_in.module())
            yield tensorflow_stand_in.write(folder)
        elif importlib.util.find_spec('tensorflow') is None:
            pytest.skip("TensorFlow is not installed: pip install '.[tensorflow]'")
        else:
            script = Path(__file__).parents[1] / 'metrabs_saved_model.py'
            subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
            yield folder


@pytest.fixture(scope='module')
def estimator(saved_model):
    return make(saved_model)


def make(folder, **settings):
    return create_estimator('metrabs_tensorflow', EstimatorConfig(model=str(folder), **settings))


def frame_of(camera=CAMERA, value=100):
    return Frame(np.full((camera.height, camera.width, 3), value, np.uint8), 77, camera, 'optical')


def expected_m(boxes, camera):
    """The stand-in's person in boxes (N, 4): as tall as the box, at its middle."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    depth = camera.matrix[1, 1] * 1.56 / boxes[:, 3]
    middle = (boxes[:, :2] + boxes[:, 2:] / 2 - camera.matrix[:2, 2]) / np.diag(camera.matrix)[:2]
    middle = np.column_stack([middle * depth[:, None], depth]) - [0, 0.08, 0]
    return PERSON_MM / 1000 + middle[:, None]


def counted(estimator, frame, boxes):
    before = dict(estimator.skipped)
    people = estimator.estimate(frame, np.asarray(boxes, float))
    after = {k: v - before.get(k, 0) for k, v in estimator.skipped.items()}
    return people, {k: v for k, v in after.items() if v}


def test_people_come_out_in_metres_in_the_camera_frame(estimator):
    boxes = np.array([BOX, [20, 50, 100, 200]])
    people, skipped = counted(estimator, frame_of(), boxes)
    assert not skipped
    assert (people.stamp_ns, people.frame_id, people.skeleton) == (77, 'optical', 'h36m_17')
    np.testing.assert_allclose(people.joints_m, expected_m(boxes, CAMERA), atol=1e-4)
    np.testing.assert_allclose(
        people.joints_px, cameras.project(people.joints_m, CAMERA), atol=0.01
    )
    np.testing.assert_allclose(people.boxes_px, boxes)


def test_nobody_and_bad_boxes(estimator):
    people, skipped = counted(estimator, frame_of(), np.zeros((0, 4)))
    assert people.joints_m.shape == (0, 17, 3)
    assert not skipped
    bad = [[np.nan, 0, 1, 1], [10, 10, -5, 20], [900, 10, 50, 50], BOX]
    people, skipped = counted(estimator, frame_of(), bad)
    assert len(people) == 1
    assert skipped == {'box_not_finite': 1, 'box_empty': 1, 'box_outside_image': 1}


def test_two_boxes_on_one_person_give_one_person(estimator):
    people, skipped = counted(estimator, frame_of(), [BOX, BOX + np.array([2, 1, 0, 0])])
    np.testing.assert_allclose(people.boxes_px, BOX[None])
    assert skipped == {'duplicate': 1}


def test_the_models_own_detector_is_a_box_source(estimator):
    boxes = estimator.boxes(frame_of())
    np.testing.assert_allclose(boxes, [[256, 96, 128, 288, 0.9]], rtol=1e-5)
    assert estimator.boxes(frame_of(value=0)).shape == (0, 5)


def test_distortion_reaches_the_model_and_other_lenses_are_rectified(estimator):
    """The stand-in undistorts nothing, so its person is where the rectified box is."""
    plain = dataclasses.replace(CAMERA, distortion=np.array([-0.2, 0.05, 0, 0, 0]))
    people, _ = counted(estimator, frame_of(plain), BOX[None])
    np.testing.assert_allclose(people.joints_m, expected_m(BOX, CAMERA), atol=1e-4)
    fisheye = Camera(640, 480, [[300, 0, 320], [0, 300, 240], [0, 0, 1]], np.zeros(4), 'fisheye')
    people, skipped = counted(estimator, frame_of(fisheye), BOX[None])
    assert not skipped
    middle = BOX[:2] + BOX[2:] / 2
    ends = np.array([[middle[0], BOX[1]], [middle[0], BOX[1] + BOX[3]]])
    y = cameras.undistort_points(ends, fisheye)[:, 1]
    depth = 1.56 / np.ptp(y)
    assert people.joints_m[0, 0, 2] == pytest.approx(depth, rel=1e-3)
    np.testing.assert_allclose(
        people.joints_px, cameras.project(people.joints_m, fisheye), atol=0.01
    )


def test_variants_are_averaged(saved_model, estimator):
    one, _ = counted(estimator, frame_of(), BOX[None])
    five = make(saved_model, num_aug=5).estimate(frame_of(), BOX[None])
    np.testing.assert_allclose(five.joints_m, one.joints_m, atol=1e-4)


def test_skeletons_are_checked_because_the_model_does_not(saved_model):
    # The poses that it returns are no bodies of that skeleton.
    estimator = make(saved_model, skeleton='smpl_24', suppress_implausible=False)
    people = estimator.estimate(frame_of(), BOX[None])
    assert people.joints_m.shape == (1, 24, 3)
    with pytest.raises(ValueError, match=r"no skeleton 'smpl_42'.*h36m_17"):
        make(saved_model, skeleton='smpl_42')
    with pytest.raises(ValueError, match=r"'toy_2'.*not known here"):
        make(saved_model, skeleton='toy_2')


def test_phases_and_licence_are_logged(saved_model, caplog):
    with caplog.at_level(logging.INFO, logger='trpose_ros'):
        estimator = make(saved_model)
    text = caplog.text
    assert 'loading SavedModel' in text
    assert 'for the first time' in text
    assert text.count('licence of the weights: non-commercial') == 1
    assert estimator.weights_id.startswith('metrabs_stand_in@')


def test_something_else_is_refused_by_name(tmp_path):
    with pytest.raises(WeightsError, match=r'not a SavedModel.*saved_model\.pb'):
        make(tmp_path)
    with pytest.raises(WeightsError, match='nowhere'):
        make(tmp_path / 'nowhere')


def test_a_damaged_saved_model_is_refused(saved_model, tmp_path):
    folder = tmp_path / 'damaged'
    shutil.copytree(saved_model, folder)
    whole = (folder / 'saved_model.pb').read_bytes()
    (folder / 'saved_model.pb').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match='not a readable SavedModel'):
        make(folder)


def test_a_saved_model_of_something_else_says_what_it_lacks(saved_model, tmp_path):
    import tensorflow as tf

    if tf.__version__ == 'stand-in':
        tensorflow_stand_in.write(tmp_path / 'other', tensorflow_stand_in.OTHER)
    else:
        other = tf.Module()
        other.answer = tf.Variable(42.0)
        tf.saved_model.save(other, str(tmp_path / 'other'))
    with pytest.raises(WeightsError, match=r'lacks detect_poses, estimate_poses, per_skeleton'):
        make(tmp_path / 'other')


def test_after_close_an_error_says_so(saved_model):
    estimator = make(saved_model)
    estimator.close()
    with pytest.raises(RuntimeError, match='after close'):
        estimator.estimate(frame_of(), BOX[None])
    with pytest.raises(RuntimeError, match='after close'):
        estimator.boxes(frame_of())

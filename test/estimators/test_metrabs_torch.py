"""The PyTorch MeTRAbs estimator from boxes to people, with networks whose answers are known."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from metrabs_stand_in import PERSON_MM, save_network, stand_in_network

from trpose_ros import cameras
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.people import Camera, Edge, Frame, JointState, RootSource
from trpose_ros.weights import WeightsError

CAMERA = cameras.camera_from_fov(640, 480)
BOX = np.array([250.0, 100.0, 120.0, 260.0])


def frame_of(camera=CAMERA, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    return Frame(image, 123, camera, 'optical')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two weights files: one whose answer is set by hand, one that sees its crop, too."""
    path = tmp_path_factory.mktemp('weights')
    save_network(path / 'known.safetensors', stand_in_network())
    save_network(path / 'seeing.safetensors', stand_in_network(image_gain=2.0))
    return path


@pytest.fixture(scope='module')
def known(folder):
    return make(folder / 'known.safetensors')


@pytest.fixture(scope='module')
def seeing(folder):
    return make(folder / 'seeing.safetensors')


def make(path, **settings):
    # A network that answers from noise gives no human bones.
    values = {'precision': 'float32', 'device': 'cpu', 'suppress_implausible': False} | settings
    return create_estimator('metrabs_torch', EstimatorConfig(model=str(path), **values))


def counted(estimator, frame, boxes):
    """Estimate, and return what was left out in this call alone."""
    before = dict(estimator.skipped)
    people = estimator.estimate(frame, np.asarray(boxes, np.float64))
    after = {k: v - before.get(k, 0) for k, v in estimator.skipped.items()}
    return people, {k: v for k, v in after.items() if v}


def test_the_known_person_comes_out_in_metres_and_pixels(known):
    people, skipped = counted(known, frame_of(), BOX[None])
    assert not skipped
    assert (people.stamp_ns, people.frame_id, people.skeleton) == (123, 'optical', 'h36m_17')
    pose = people.joints_m[0].astype(float)
    # The view is turned towards the box, so compare shape: all distances between joints.
    expected = np.linalg.norm(PERSON_MM[:, None] - PERSON_MM[None], axis=-1) / 1000
    actual = np.linalg.norm(pose[:, None] - pose[None], axis=-1)
    np.testing.assert_allclose(actual, expected, atol=0.06)
    # The person fills 0.8 of the crop (set in the stand-in), i.e. 208 px of the image's height.
    height = np.ptp(people.joints_px[0, :, 1])
    assert height == pytest.approx(0.8 * 260, rel=0.03)
    depth = 1.56 * CAMERA.matrix[0, 0] / 208
    assert pose[:, 2].mean() == pytest.approx(depth, rel=0.05)
    np.testing.assert_allclose(
        people.joints_px[0], cameras.project(people.joints_m[0], CAMERA), atol=1e-3
    )
    assert people.root_sources[0] == RootSource.ESTIMATOR
    assert people.reprojection_errors_px[0] < 3.0
    assert people.provenance.weights_id == ''  # the pose stage fills it in
    np.testing.assert_allclose(people.boxes_px[0], BOX)


def test_nobody(known):
    people, skipped = counted(known, frame_of(), np.zeros((0, 4)))
    assert len(people) == 0
    assert not skipped
    assert people.joints_m.shape == (0, 17, 3)
    assert people.covariances_m2.shape == (0, 17, 3, 3)


@pytest.mark.parametrize(
    ('box', 'reason'),
    [
        ([np.nan, 0, 50, 50], 'box_not_finite'),
        ([0, 0, np.inf, 50], 'box_not_finite'),
        ([100, 100, 0, 50], 'box_empty'),
        ([100, 100, 50, -3], 'box_empty'),
        ([700, 100, 50, 50], 'box_outside_image'),
        ([100, -400, 50, 200], 'box_outside_image'),
        ([-1e12, 0, 1.0, 50], 'box_outside_image'),
    ],
)
def test_a_bad_box_is_counted_and_its_neighbours_are_not_touched(seeing, box, reason):
    frame = frame_of()
    alone, _ = counted(seeing, frame, BOX[None])
    people, skipped = counted(seeing, frame, [box, BOX, box])
    assert skipped == {reason: 2}
    np.testing.assert_array_equal(people.joints_m, alone.joints_m)
    np.testing.assert_allclose(people.boxes_px, BOX[None])


def test_a_box_behind_a_fisheye_camera_has_no_view(known):
    camera = Camera(640, 480, [[100, 0, 320], [0, 100, 240], [0, 0, 1]], np.zeros(4), 'fisheye')
    people, skipped = counted(known, frame_of(camera), [[0, 0, 20, 480], [300, 200, 60, 100]])
    assert skipped == {'box_without_view': 1}
    assert len(people) == 1
    assert np.isfinite(people.joints_m).all()


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((480, 640), np.uint8), r'\(480, 640\)'),
        (np.zeros((480, 640, 1), np.uint8), r'\(480, 640, 1\)'),
        (np.zeros((480, 640, 3), np.float32), 'float32'),
        (np.zeros((479, 640, 3), np.uint8), '640x479'),
    ],
)
def test_an_image_that_is_not_rgb8_is_refused_by_name(image, message):
    with pytest.raises(ValueError, match=message):
        Frame(image, 0, CAMERA)


def test_no_focal_length_is_refused_by_name():
    with pytest.raises(ValueError, match='positive focal lengths'):
        Camera(640, 480, [[0, 0, 320], [0, 500, 240], [0, 0, 1]])


def test_permuting_people_permutes_results_and_changes_nothing_else(seeing):
    frame = frame_of()
    rng = np.random.default_rng(1)
    boxes = np.column_stack([rng.uniform(0, 500, (9, 2)), rng.uniform(40, 300, (9, 2))])
    people, _ = counted(seeing, frame, boxes)
    assert len(people) >= 5
    order = rng.permutation(9)
    shuffled, _ = counted(seeing, frame, boxes[order])
    inverse = [np.flatnonzero((shuffled.boxes_px == b).all(1))[0] for b in people.boxes_px]
    np.testing.assert_allclose(shuffled.joints_m[inverse], people.joints_m, atol=2e-5, rtol=1e-4)


def test_everybody_is_independent_of_who_else_is_there(seeing):
    frame = frame_of()
    boxes = np.array([[20, 40, 120, 300], [300, 60, 90, 200], [450, 100, 150, 340]], float)
    together, _ = counted(seeing, frame, boxes)
    one_by_one = [counted(seeing, frame, box[None])[0].joints_m for box in boxes]
    np.testing.assert_allclose(together.joints_m, np.concatenate(one_by_one), atol=2e-5, rtol=1e-4)


def test_impossible_bones_are_dropped_and_counted(folder):
    estimator = make(folder / 'seeing.safetensors', suppress_implausible=True)
    people, skipped = counted(estimator, frame_of(), BOX[None])
    assert len(people) == 0
    assert skipped == {'implausible_bones': 1}


def test_many_people_in_small_batches(folder):
    frame = frame_of()
    boxes = np.array([[x, y, 70, 120] for x in range(0, 560, 80) for y in (0, 120, 240, 360)])
    whole = make(folder / 'seeing.safetensors').estimate(frame, boxes)
    parts = make(folder / 'seeing.safetensors', batch_size=5).estimate(frame, boxes)
    assert len(whole) >= 20
    np.testing.assert_allclose(parts.joints_m, whole.joints_m, atol=2e-5, rtol=1e-4)


def test_mirrored_image_gives_the_mirrored_pose(folder):
    camera = Camera(640, 480, [[600, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])
    frame = frame_of(camera)
    mirrored = dataclasses.replace(frame, image=np.ascontiguousarray(frame.image[:, ::-1]))
    estimator = make(folder / 'seeing.safetensors', num_aug=1)
    box = np.array([[400.0, 100.0, 140.0, 280.0]])
    other = box.copy()
    other[:, 0] = 639 - box[:, 0] - box[:, 2]
    plain = estimator.estimate(frame, box)
    estimator._table = dataclasses.replace(estimator._table, flip=np.array([True]))
    flipped = estimator.estimate(mirrored, other)
    twin = estimator._mirror
    expected = plain.joints_m[:, twin] * [-1, 1, 1]
    np.testing.assert_allclose(flipped.joints_m, expected, atol=2e-3)
    assert np.ptp(plain.joints_m[0, :, 0]) > 0.3  # a person, not a point


def test_all_joints_outside_of_the_view_drop_the_person(folder, tmp_path):
    network = stand_in_network()
    conv = network.heatmap_heads.conv_final
    conv.weight.data[:17] = torch.tensor([400.0, 0, 0, 0, 0, 0])[
        None, :, None, None
    ]  # all at the edge
    conv.weight.data[:17, 1] = torch.linspace(-2, 2, 17)[:, None, None]
    save_network(tmp_path / 'edge.safetensors', network)
    estimator = make(tmp_path / 'edge.safetensors')
    people, skipped = counted(estimator, frame_of(), [BOX, BOX])
    assert len(people) == 0
    assert skipped == {'too_few_joints_in_view': 2}


def test_coincident_joints_drop_the_person(tmp_path):
    network = stand_in_network()
    network.heatmap_heads.conv_final.weight.data[:17] = 0  # everything at the crop's centre
    save_network(tmp_path / 'point.safetensors', network)
    people, skipped = counted(make(tmp_path / 'point.safetensors'), frame_of(), BOX[None])
    assert len(people) == 0
    assert skipped == {'too_few_joints_in_view': 1}


def test_a_network_that_answers_nan_drops_the_person(tmp_path):
    network = stand_in_network()
    save_network(tmp_path / 'nan.safetensors', network)
    estimator = make(tmp_path / 'nan.safetensors')
    estimator._runner._head.conv_final.bias.data[3] = float('nan')
    people, skipped = counted(estimator, frame_of(), BOX[None])
    assert len(people) == 0
    assert skipped == {'not_finite': 1}


def test_a_box_cut_by_the_image_gives_truncated_joints(known):
    people, _ = counted(known, frame_of(), [[-60.0, 250.0, 120.0, 300.0]])
    states = people.joint_states[0]
    outside = (people.joints_px[0] < -0.5) | (people.joints_px[0] > np.array([639.5, 479.5]))
    np.testing.assert_array_equal(states == JointState.TRUNCATED, outside.any(axis=-1))
    assert people.cut_edges[0] == Edge.LEFT | Edge.BOTTOM
    assert 0 < people.visible_fractions[0] < 1


def test_more_variants_average_to_a_pose_nearby(folder):
    frame = frame_of()
    one = make(folder / 'seeing.safetensors').estimate(frame, BOX[None])
    five = make(folder / 'seeing.safetensors', num_aug=5).estimate(frame, BOX[None])
    assert five.joints_m.shape == one.joints_m.shape
    assert np.isfinite(five.joints_m).all()
    assert not np.array_equal(five.joints_m, one.joints_m)


@settings(max_examples=60)
@given(
    box=st.tuples(
        st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-10, 2e4), st.floats(-10, 2e4)
    ),
    k1=st.sampled_from([0.0, -0.3, 0.1]),
)
def test_any_box_gives_a_believable_person_or_a_reason(known, box, k1):
    camera = dataclasses.replace(CAMERA, distortion=np.array([k1, 0, 0, 0, 0]))
    people, skipped = counted(known, frame_of(camera), [box])
    assert len(people) + sum(skipped.values()) == 1
    assert np.isfinite(people.joints_m).all()
    assert (people.joints_m[..., 2].mean(axis=1) > 0).all()


def test_a_ceiling_camera_looking_straight_down(known):
    """The up direction along the optical axis: any roll is as good, but there must be one."""
    from trpose_ros.metrabs.crops import box_views

    centre = [CAMERA.matrix[0, 2] - 50, CAMERA.matrix[1, 2] - 50, 100, 100]
    for up in ((0, 0, -1), (0, 0, 1)):
        view = box_views(np.array([centre]), CAMERA, 128, up=np.array(up, float))
        assert view.problem == ('',)
        np.testing.assert_allclose(view.rotation[0] @ view.rotation[0].T, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(view.rotation[0][2], [0, 0, 1], atol=1e-12)


def test_the_same_input_gives_the_same_bits(seeing):
    frame = frame_of()
    first, _ = counted(seeing, frame, BOX[None])
    second, _ = counted(seeing, frame, BOX[None])
    np.testing.assert_array_equal(first.joints_m, second.joints_m)


def test_bfloat16_stays_near_float32(folder):
    frame = frame_of()
    exact = make(folder / 'known.safetensors').estimate(frame, BOX[None])
    rounded = make(folder / 'known.safetensors', precision='bfloat16').estimate(frame, BOX[None])
    np.testing.assert_allclose(rounded.joints_m, exact.joints_m, atol=0.1)


def test_weights_in_half_precision_run_in_single(tmp_path):
    network = stand_in_network(image_gain=1.0)
    save_network(tmp_path / 'half.safetensors', network.half())
    save_network(tmp_path / 'single.safetensors', network.float())
    half, single = make(tmp_path / 'half.safetensors'), make(tmp_path / 'single.safetensors')
    assert half._network.model.heatmap_heads.conv_final.weight.dtype == torch.float32
    np.testing.assert_array_equal(
        half.estimate(frame_of(), BOX[None]).joints_m,
        single.estimate(frame_of(), BOX[None]).joints_m,
    )


def test_after_close_an_error_says_so(folder):
    estimator = make(folder / 'known.safetensors')
    estimator.close()
    with pytest.raises(RuntimeError, match='after close'):
        estimator.estimate(frame_of(), BOX[None])


def test_wrong_settings_are_refused_by_name(folder):
    with pytest.raises(ValueError, match='coco_19'):
        make(folder / 'known.safetensors', skeleton='coco_19')
    with pytest.raises(ValueError, match='tpu'):
        make(folder / 'known.safetensors', device='tpu')
    with pytest.raises(WeightsError, match='nowhere'):
        make(folder / 'nowhere.safetensors')
    with pytest.raises(ValueError, match='metrabs_torch'):
        create_estimator('metrabs_onnx')


def test_licence_and_the_time_of_each_phase_are_logged_once(folder, caplog):
    with caplog.at_level(logging.INFO, logger='trpose_ros'):
        make(folder / 'known.safetensors')
    lines = [r.getMessage() for r in caplog.records if 'licence' in r.getMessage()]
    assert len(lines) == 1
    for word in ('Apache-2.0', 'read', 'prepared', 'warmed up', 'known@'):
        assert word in lines[0]

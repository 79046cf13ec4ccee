"""Messages and values: everything that goes out comes back."""

import array
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from visualization_msgs.msg import Marker

from trpose_ros.cameras import crop_camera
from trpose_ros.drawing.markers import MarkersConfig, MarkerStream
from trpose_ros.msg import Joint2D, OcclusionReport, Person, PersonArray, SkeletonInfo
from trpose_ros.nodes.base import conversions
from trpose_ros.people import (
    PER_PERSON,
    Camera,
    Edge,
    JointState,
    People,
    Provenance,
    RootSource,
    TrackState,
)
from trpose_ros.recordings import messages
from trpose_ros.recordings.image_codec import ImageError, encode_compressed
from trpose_ros.skeletons import SKELETONS, get_skeleton

STAMP_NS = 1_700_000_123_987_654_321


def random_people(seed, count, skeleton='h36m_17'):
    """People with every field filled, a fifth of all floating point values NaN."""
    rng = np.random.default_rng(seed)
    joints = get_skeleton(skeleton).num_joints

    def values(*shape):
        drawn = rng.normal(0, 100, shape).astype(np.float32)
        drawn[rng.random(shape) < 0.2] = np.nan
        return drawn

    roots = rng.normal(0, 0.1, (count, joints, 3, 3))
    covariances = roots @ roots.transpose(0, 1, 3, 2)
    covariances[rng.random((count, joints)) < 0.3] = np.nan
    return People.build(
        stamp_ns=STAMP_NS + seed,
        frame_id='camera_optical',
        skeleton=skeleton,
        width=640,
        height=480,
        joints_px=values(count, joints, 2),
        joints_m=values(count, joints, 3),
        boxes_px=values(count, 4),
        scores=values(count),
        covariances_m2=covariances,
        joint_scores=values(count, joints),
        joint_states=rng.integers(0, 5, (count, joints)),
        track_ids=rng.integers(-1, 2**31 - 1, count),
        track_states=rng.integers(0, 5, count),
        visible_fractions=values(count),
        cut_edges=rng.integers(0, 16, count),
        root_sources=rng.integers(0, 5, count),
        reprojection_errors_px=values(count),
        provenance=Provenance(
            estimator='metrabs',
            lifter='videopose3d',
            weights_id='a+b',
            occlusion='moving_box',
            window_length=27,
            lookahead=13,
            intrinsics_assumed=True,
            received_ns=STAMP_NS + 5,
            published_ns=STAMP_NS + 7,
            preprocess_ms=0.123456789,
            inference_ms=float('nan'),
            dropped_frames=2**40,
        ),
    )


def assert_same_people(got, expected):
    for entry in dataclasses.fields(People):
        a, b = getattr(got, entry.name), getattr(expected, entry.name)
        if entry.name in PER_PERSON:
            assert a.dtype == b.dtype, entry.name
            np.testing.assert_array_equal(a, b, err_msg=entry.name)
        elif entry.name == 'provenance':
            np.testing.assert_equal(dataclasses.asdict(a), dataclasses.asdict(b))
        else:
            assert a == b, entry.name


@given(st.integers(0, 2**31), st.integers(0, 3), st.sampled_from(sorted(SKELETONS)))
def test_people_come_back_without_loss_through_the_wire(seed, count, skeleton):
    people = random_people(seed, count, skeleton)
    data = serialize_message(conversions.make.people(people))
    message = deserialize_message(data, PersonArray)
    assert_same_people(messages.read_people(message), people)


def test_unknown_covariance_is_minus_one_as_the_message_says():
    people = random_people(0, 1)
    people.covariances_m2[0, 3] = np.nan
    people.covariances_m2[0, 4] = np.eye(3)
    joints = conversions.make.people(people).persons[0].joints_3d
    assert joints[3].covariance[0] == -1.0
    np.testing.assert_array_equal(joints[4].covariance, np.eye(3).ravel())


def test_numbers_of_the_states_are_those_of_the_messages():
    for state in JointState:
        assert getattr(Joint2D, state.name) == state
    for track in TrackState:
        assert getattr(Person, track.name) == track
    for root in RootSource:
        assert getattr(Person, f'ROOT_{root.name}') == root
    for edge in (Edge.LEFT, Edge.TOP, Edge.RIGHT, Edge.BOTTOM):
        assert getattr(Person, f'EDGE_{edge.name}') == edge


def test_contradicting_people_are_refused_by_name():
    message = conversions.make.people(random_people(0, 2))
    message.persons[1].joints_2d.pop()
    with pytest.raises(messages.MessageError, match='16 2D and 17 3D joints'):
        messages.read_people(message)
    message.skeleton = 'octopus_8'
    with pytest.raises(messages.MessageError, match='octopus_8'):
        messages.read_people(message)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_stamps_are_exact(sec, nanosec):
    ns = sec * 10**9 + nanosec
    stamp = conversions.make.time(ns)
    assert (stamp.sec, stamp.nanosec) == (sec, nanosec)
    assert messages.time_ns(stamp) == ns


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_images_go_out_and_come_back(width, height, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    message = conversions.make.image(image, STAMP_NS, 'cam')
    message = deserialize_message(serialize_message(message), Image)
    assert messages.time_ns(message.header.stamp) == STAMP_NS
    assert message.header.frame_id == 'cam'
    np.testing.assert_array_equal(conversions.read_image(message), image)
    flipped = conversions.make.image(image[:, ::-1], STAMP_NS, 'cam')
    np.testing.assert_array_equal(conversions.read_image(flipped), image[:, ::-1])


def test_image_of_a_message_is_not_copied():
    message = conversions.make.image(np.zeros((4, 4, 3), np.uint8), 0, '')
    assert isinstance(message.data, array.array)
    image = conversions.read_image(message)
    message.data[0] = 77
    assert image[0, 0, 0] == 77


def test_compressed_images_decode_and_broken_ones_are_refused():
    image = np.full((16, 24, 3), 90, np.uint8)
    data = array.array('B', encode_compressed(image, 'png'))
    np.testing.assert_array_equal(
        conversions.read_image(CompressedImage(format='png', data=data)), image
    )
    with pytest.raises(ImageError, match='cut off'):
        conversions.read_image(CompressedImage(format='png', data=data[:-20]))


def test_an_encoding_without_codec_goes_through_cv_bridge_or_is_named(monkeypatch):
    message = Image(width=2, height=1, step=8, encoding='32FC1', data=array.array('B', bytes(8)))

    class Bridge:
        def imgmsg_to_cv2(self, got, desired_encoding):
            assert got is message
            assert desired_encoding == 'rgb8'
            return np.full((1, 2, 3), 5, np.uint8)

    monkeypatch.setattr(conversions, '_cv_bridge', lambda: None)
    with pytest.raises(ImageError, match=r"'32FC1'.*install cv_bridge"):
        conversions.read_image(message)
    monkeypatch.setattr(conversions, '_cv_bridge', lambda: Bridge())
    assert conversions.read_image(message).tolist() == [[[5, 5, 5]] * 2]
    monkeypatch.setattr(conversions, '_cv_bridge', lambda: object())
    with pytest.raises(ImageError, match="'32FC1' cannot be converted by cv_bridge"):
        conversions.read_image(message)


@given(
    st.sampled_from([('pinhole', 0), ('pinhole', 5), ('pinhole', 8), ('pinhole', 14)])
    | st.just(('fisheye', 4)),
    st.integers(0, 2**31),
)
def test_cameras_go_out_and_come_back(kind, seed):
    rng = np.random.default_rng(seed)
    matrix = np.array([[500 + rng.random(), 0, 320], [0, 510 + rng.random(), 240], [0, 0, 1]])
    camera = Camera(640, 480, matrix, rng.normal(0, 0.1, kind[1]), kind[0])
    message = conversions.make.camera_info(camera, STAMP_NS, 'cam')
    got = messages.read_camera(deserialize_message(serialize_message(message), CameraInfo))
    assert (got.width, got.height, got.model) == (640, 480, kind[0])
    assert not got.assumed
    np.testing.assert_array_equal(got.matrix, matrix)
    padded = np.zeros(max(len(got.distortion), kind[1]))
    padded[: kind[1]] = camera.distortion
    np.testing.assert_array_equal(got.distortion, padded)


def test_rectified_binned_and_cropped_cameras():
    camera = Camera(640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), [0.1] * 5)
    message = conversions.make.camera_info(camera, 0, 'cam')
    message.p[0] = 450.0
    rectified = messages.read_camera(message, rectified=True)
    assert rectified.matrix[0, 0] == 450.0
    assert rectified.distortion.size == 0
    message.roi.x_offset, message.roi.y_offset = 100, 50
    message.roi.width, message.roi.height = 320, 240
    message.binning_x = message.binning_y = 2
    got = messages.read_camera(message)
    np.testing.assert_allclose(got.matrix, crop_camera(camera, 100, 50, 320, 240, 0.5).matrix)
    assert (got.width, got.height) == (160, 120)
    message.binning_y = 4
    wide = crop_camera(camera, 100, 50, 320, 240, (0.5, 0.25))
    got = messages.read_camera(message)
    np.testing.assert_array_equal(got.matrix, wide.matrix)
    assert (got.width, got.height) == (160, 60)


@pytest.mark.parametrize('value', [0.0, float('nan')])
def test_an_uncalibrated_camera_is_refused(value):
    message = CameraInfo(width=640, height=480, distortion_model='plumb_bob')
    message.k = np.full(9, value)
    with pytest.raises(ValueError, match='not calibrated'):
        messages.read_camera(message)


@pytest.mark.parametrize('name', sorted(SKELETONS))
def test_skeletons_state_their_topology(name):
    skeleton = get_skeleton(name)
    message = conversions.make.skeleton_info(name, STAMP_NS, 'cam')
    message = deserialize_message(serialize_message(message), SkeletonInfo)
    assert message.name == name
    assert message.joint_names == list(skeleton.joint_names)
    assert list(message.parents) == list(skeleton.parents)
    assert message.sides == list(skeleton.sides)
    assert message.root_index == skeleton.root_index


@pytest.mark.parametrize('profile', ['random_box', 'moving_box', 'fixed_middle', 'near_crop'])
def test_occlusion_reports_give_the_hidden_rectangles_back_exactly(profile):
    from doubles import blank

    from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder

    occluder = make_occluder(OcclusionConfig(profile))
    for k in range(20):
        occlusion = occluder.apply(blank(k * 33_333_333), np.array([249.3 + k, 101.7, 140.2, 261]))
        message = conversions.make.occlusion_report(occlusion, 640, 480)
        message = deserialize_message(serialize_message(message), OcclusionReport)
        name, rectangles, hidden = messages.read_occlusion(message)
        assert (name, hidden) == (profile, pytest.approx(occlusion.hidden_fraction))
        np.testing.assert_array_equal(rectangles, occlusion.rectangles_px)


def test_occlusion_reports_stay_inside_the_image():
    from trpose_ros.cameras import camera_from_fov
    from trpose_ros.occlusion.occluder import Occlusion
    from trpose_ros.people import Frame

    frame = Frame(np.zeros((48, 64, 3), np.uint8), STAMP_NS, camera_from_fov(64, 48), 'cam')
    rectangles = np.array([[-5.0, 10.4, 20.0, 10.0], [60.0, 40.0, 100.0, 100.0], [70, 0, 5, 5]])
    occlusion = Occlusion(frame, rectangles, 0.25, 'moving_box', 2**63 + 5)
    message = conversions.make.occlusion_report(occlusion, 64, 48)
    message = deserialize_message(serialize_message(message), OcclusionReport)
    regions = [(r.x_offset, r.y_offset, r.width, r.height) for r in message.hidden_regions]
    assert regions == [(0, 11, 15, 10), (60, 40, 4, 8)]  # pixels have their centres inside
    assert (message.profile, message.seed, message.hidden_fraction) == (
        'moving_box',
        2**63 + 5,
        0.25,
    )
    assert messages.time_ns(message.header.stamp) == STAMP_NS


def markers(stream, people):
    shapes, gone, lifetime = stream.update(people)
    return conversions.make.markers(
        shapes, gone, people.stamp_ns, people.frame_id, lifetime
    ).markers


def visible_people(track_ids, stamp_ns=STAMP_NS):
    people = random_people(1, len(track_ids))
    return people.replace(
        stamp_ns=stamp_ns,
        joints_m=np.ones_like(people.joints_m),
        track_ids=np.array(track_ids, np.int32),
        track_states=np.full(len(track_ids), TrackState.TRACKED, np.uint8),
    )


def test_markers_are_one_list_of_bones_and_one_of_joints_per_person():
    people = visible_people([4, 9])
    result = markers(MarkerStream(), people)
    assert [(m.ns, m.id, m.type) for m in result] == [
        ('bones', 4, Marker.LINE_LIST),
        ('joints', 4, Marker.SPHERE_LIST),
        ('bones', 9, Marker.LINE_LIST),
        ('joints', 9, Marker.SPHERE_LIST),
    ]
    for marker in result:
        assert len(marker.points) == len(marker.colors) == (32 if marker.ns == 'bones' else 17)
        assert marker.header.frame_id == 'camera_optical'
        assert messages.time_ns(marker.header.stamp) == STAMP_NS


def test_markers_of_a_track_that_is_gone_are_deleted_once():
    stream = MarkerStream()
    markers(stream, visible_people([4, 9]))
    result = markers(stream, visible_people([9], STAMP_NS + 40_000_000))
    deleted = [(m.ns, m.id) for m in result if m.action == Marker.DELETE]
    assert deleted == [('bones', 4), ('joints', 4)]
    again = markers(stream, visible_people([9], STAMP_NS + 80_000_000))
    assert all(m.action == Marker.ADD for m in again)
    lost = visible_people([9], STAMP_NS + 120_000_000)
    lost.track_states[:] = TrackState.LOST
    assert [m.action for m in markers(stream, lost)] == [Marker.DELETE, Marker.DELETE]


def test_markers_live_about_three_frame_periods():
    stream = MarkerStream()
    for i in range(60):
        result = markers(stream, visible_people([1], STAMP_NS + i * 100_000_000))
    lifetime = result[0].lifetime
    assert lifetime.sec + lifetime.nanosec * 1e-9 == pytest.approx(0.3, abs=0.01)


def test_truncated_joints_have_their_own_colour_and_unknown_ones_are_left_out():
    people = visible_people([1])
    people.joint_states[0] = JointState.VISIBLE
    people.joint_states[0, 3] = JointState.TRUNCATED
    people.joint_scores[0] = np.linspace(0, 1, 17)
    people.joints_m[0, 16] = np.nan
    bones, joints = markers(MarkerStream(), people)
    assert len(joints.points) == 16
    assert len(bones.points) == 30
    colours = [(c.r, c.g, c.b) for c in joints.colors]
    assert colours.count(colours[3]) == 1
    alphas = [c.a for c in joints.colors]
    assert alphas == sorted(alphas)
    assert alphas[0] > 0
    people.joints_m[:] = np.nan
    assert markers(MarkerStream(), people) == []


def test_sigma_spheres_show_the_covariance():
    people = visible_people([2])
    people.covariances_m2[:] = np.nan
    rng = np.random.default_rng(3)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    covariance = axes @ np.diag([0.01, 0.04, 0.09]) @ axes.T
    people.covariances_m2[0, 5] = covariance
    stream = MarkerStream(MarkersConfig(sigma_spheres=True))
    (marker,) = (m for m in markers(stream, people) if m.ns == 'sigma')
    q = marker.pose.orientation
    x, y, z, w = q.x, q.y, q.z, q.w
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    radii = np.array([marker.scale.x, marker.scale.y, marker.scale.z]) / 2
    np.testing.assert_allclose(rotation @ np.diag(radii**2) @ rotation.T, covariance, atol=1e-6)
    assert marker.id == 2005

"""Messages out of rclpy's classes and those of recordings: the same bytes on the wire."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import CAMERA, blank, make_people
from rclpy.serialization import serialize_message

from trpose_ros.drawing.markers import MarkersConfig, people_shapes
from trpose_ros.nodes.base.conversions import make as make_ros
from trpose_ros.nodes.playback import connections
from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import make_typestore

STAMP_NS = 1_700_000_123_987_654_321
STORE = make_typestore()


def people():
    one = make_people(STAMP_NS, (0.1, 0.2, 4.0), CAMERA)
    covariances = np.broadcast_to(np.diag([0.01, 0.04, 0.09]), (1, one.joints_m.shape[1], 3, 3))
    return one.replace(covariances_m2=covariances.astype(np.float32))


def occlusion():
    occluder = make_occluder(OcclusionConfig('fixed_middle'))
    return occluder.apply(blank(STAMP_NS), np.array([249.3, 101.7, 140.2, 261]))


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [
        ('clock', (STAMP_NS,)),
        ('image', (np.arange(60, dtype=np.uint8).reshape(4, 5, 3)[::-1], STAMP_NS, 'optical')),
        ('image', (np.zeros((0, 0, 3), np.uint8), 0, '')),
        ('compressed_image', (np.zeros((8, 8, 3), np.uint8), STAMP_NS, 'optical')),
        ('camera_info', (CAMERA, STAMP_NS, 'optical')),
        ('people', (people(),)),
        ('people', (people().select([]),)),
        ('skeleton_info', ('h36m_17', STAMP_NS, 'optical')),
        ('occlusion_report', (occlusion(), 640, 480)),
        ('markers', (people_shapes(people(), MarkersConfig(sigma_spheres=True)), [], 1, 'o', 0.1)),
        ('markers', ([], [('bones', 4)], STAMP_NS, 'optical', 0.0)),
    ],
)
def test_both_makers_write_the_same_bytes(name, arguments):
    message = getattr(MessageMaker(STORE), name)(*arguments)
    kind = message.__msgtype__
    got = bytes(serialize_message(getattr(make_ros, name)(*arguments)))
    # Decoded and written again, because rclpy leaves what it likes between the fields.
    again = STORE.serialize_cdr(STORE.deserialize_cdr(got, kind), kind)
    assert bytes(again) == bytes(STORE.serialize_cdr(message, kind))


def test_a_recorded_message_without_values_is_zero_and_not_turned():
    marker = MessageMaker(STORE).new('visualization_msgs/msg/Marker')
    turned = marker.pose.orientation
    assert (turned.x, turned.y, turned.z, turned.w) == (0, 0, 0, 1)
    assert (marker.ns, marker.points, marker.frame_locked) == ('', [], False)
    camera = MessageMaker(STORE).new('sensor_msgs/msg/CameraInfo')
    assert (camera.k.tolist(), camera.d.size, camera.roi.width) == ([0.0] * 9, 0, 0)


def test_both_ends_of_a_connection_are_waited_for():
    wanted = connections('/a', {'pose_node/people': 2, 'ground_truth': 1})
    assert wanted['/a/pose_node'] == {
        'publishers of /a/occlusion_node/image': 1,
        'publishers of /a/occlusion_node/camera_info': 1,
        'publishers of /a/occlusion_node/report': 1,
        'subscribers of /a/pose_node/people': 3,
    }
    assert wanted['/a/player']['subscribers of /a/ground_truth'] == 1
    assert wanted['/a/occlusion_node']['subscribers of /a/occlusion_node/camera_info'] == 2
    assert set(wanted) == {
        f'/a/{n}' for n in ('player', 'occlusion_node', 'pose_node', 'lifter_node')
    }

"""The lifter node with a depth camera: pairing by stamp, and each kind of bad depth by name."""

import array

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from depth_bodies import bodies_depth
from doubles import CAMERA, STANDING, make_people
from live import START_NS, STEP_NS, live, values_of
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.people import JointState, Provenance, RootSource, TrackState
from trpose_ros.recordings import messages

TRUE = STANDING + np.array([0.1, 0.0, 3.0])
DEPTH_M = bodies_depth(TRUE)


def seen(stamp_ns, **provenance):
    people = make_people(
        stamp_ns,
        track_ids=np.array([4]),
        track_states=np.array([TrackState.TRACKED]),
        root_sources=np.array([RootSource.FUSED]),
        joint_states=np.full((1, 17), JointState.VISIBLE),
        provenance=Provenance(estimator='fake', received_ns=START_NS, **provenance),
    )
    right = make_people(stamp_ns, (0.1, 0.0, 3.0))
    return people.replace(joints_m=1.15 * right.joints_m, joints_px=right.joints_px)


def depth_image(stamp_ns, encoding='16UC1', frame_id='optical', depth_m=DEPTH_M):
    height, width = depth_m.shape
    message = Image(encoding=encoding, width=width, height=height)
    message.header = conversions.make.header(stamp_ns, frame_id)
    if encoding == '32FC1':
        values = depth_m.astype('<f4')
    else:
        values = np.nan_to_num(1000 * depth_m).astype('<u2')
    message.step = values.nbytes // height
    message.data = array.array('B', values.tobytes())
    return message


class DepthCamera:
    def __init__(self, world, **parameters):
        self.world = world
        self.out = world.listen('lifter_node/people', PersonArray)
        self.people = world.tester.create_publisher(PersonArray, 'people', 10)
        self.depth = world.tester.create_publisher(Image, 'depth', qos_profile_sensor_data)
        given = {'lifter': 'none', 'depth': True, 'camera_info_wait_s': 0.0, **parameters}
        self.node = world.start(LifterNode, **given)
        topics = ['people', 'lifter_node/people'] + ['depth'] * given['depth']
        world.connected(self.node, *topics)

    def result(self, stamp_ns, **provenance):
        self.world.settle()
        self.people.publish(conversions.make.people(seen(stamp_ns, **provenance)))
        self.world.wait(lambda: self.out and messages.origin_of(self.out[-1])[0] == stamp_ns)
        return messages.read_people(self.out[-1])

    def values(self, condition):
        return values_of(self.world.status(self.node, lambda s: condition(values_of(s))))


@pytest.fixture
def world():
    with live() as world:
        yield world


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_depth_of_the_same_moment_puts_a_person_in_its_place(world, encoding):
    camera = DepthCamera(world)
    for i in range(3):  # nearer and nearer in time
        wrong = np.full_like(DEPTH_M, 9.0) if i != 1 else DEPTH_M
        camera.depth.publish(depth_image(START_NS + i * STEP_NS, encoding, depth_m=wrong))
    got = camera.result(START_NS + STEP_NS + 5_000_000)
    assert got.root_sources.tolist() == [RootSource.DEPTH]
    assert np.linalg.norm(got.joints_m[0, 0] - TRUE[0]) < 0.09
    assert camera.values(lambda v: v.get('depth_used') == '1')['errors'] == '0'


@pytest.mark.parametrize(
    ('fault', 'words'),
    [
        ('missing', 'nothing has come'),
        ('late', '0.100 s away'),
        ('frame', "frame 'infrared'"),
        ('size', 'aligned to the colour image'),
        ('unusable', 'encoding'),
        ('unit', 'taken for metres'),
        ('occluded', 'hidden by occlusion_node'),
    ],
)
def test_depth_that_cannot_be_used_is_named_and_people_go_on(world, fault, words):
    camera, told = DepthCamera(world), {}
    message = depth_image(START_NS)
    if fault == 'late':
        message = depth_image(START_NS - 100_000_000)
    elif fault == 'frame':
        message = depth_image(START_NS, frame_id='infrared')
    elif fault == 'size':
        message = depth_image(START_NS, depth_m=DEPTH_M[:50])
    elif fault == 'unusable':
        message.encoding = 'rgb8'
    elif fault == 'unit':
        message = depth_image(START_NS, '32FC1', depth_m=1000 * DEPTH_M)
    elif fault == 'occluded':
        told = {'occlusion': 'moving_box'}
    if fault != 'missing':
        camera.depth.publish(message)
    got = camera.result(START_NS, **told)
    np.testing.assert_array_equal(got.joints_m, seen(START_NS).joints_m)
    assert got.root_sources.tolist() == [RootSource.FUSED]
    said = camera.values(lambda v: 'depth' in v)
    assert words in said['depth']
    name = {'late': 'missing', 'unit': 'unusable'}.get(fault, fault)
    assert said[f'depth_{name}'] == '1'
    if fault != 'occluded':  # the next frame with depth goes on
        camera.depth.publish(depth_image(START_NS + STEP_NS))
        assert camera.result(START_NS + STEP_NS).root_sources.tolist() == [RootSource.DEPTH]
        assert 'depth' not in camera.values(lambda v: v.get('depth_used') == '1')


def test_people_whom_depth_contradicts_stay_and_are_counted(world):
    camera = DepthCamera(world)
    camera.depth.publish(depth_image(START_NS, depth_m=np.full_like(DEPTH_M, 1.0)))
    got = camera.result(START_NS)
    np.testing.assert_array_equal(got.joints_m, seen(START_NS).joints_m)
    camera.depth.publish(depth_image(START_NS + STEP_NS))
    camera.result(START_NS + STEP_NS)
    said = camera.values(lambda v: v.get('people_with_depth') == '1')
    assert said['people_without_depth'] == '1'
    assert said['depth_used'] == '2'


def test_without_the_parameter_nobody_listens_to_depth(world):
    camera = DepthCamera(world, depth=False)
    assert not [s for s in camera.node.subscriptions if s.topic_name == '/depth']
    got = camera.result(START_NS)
    np.testing.assert_array_equal(got.joints_m, seen(START_NS).joints_m)


def test_depth_follows_the_size_of_the_camera_of_the_people(world):
    assert DEPTH_M.shape == (CAMERA.height // 4, CAMERA.width // 4)
    camera = DepthCamera(world, any_frame=True)
    camera.depth.publish(depth_image(START_NS, frame_id='infrared'))
    assert camera.result(START_NS).root_sources.tolist() == [RootSource.DEPTH]

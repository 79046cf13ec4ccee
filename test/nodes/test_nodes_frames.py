"""The lifter node in the robot's frames: a real publisher of /tf and /tf_static on loopback."""

import math
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
pytest.importorskip('tf2_msgs', reason='needs tf2_msgs: make messages')

import launch_standin
from doubles import STANDING, make_people
from geometry_msgs.msg import PoseArray
from live import START_NS, STEP_NS, live, values_of
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from tf2_msgs.msg import TFMessage
from visualization_msgs.msg import MarkerArray

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.people import JointState, Provenance, RootSource, TrackState
from trpose_ros.recordings import messages
from trpose_ros.recordings.transform_messages import make_transforms, read_cloud, read_transforms
from trpose_ros.skeletons import get_skeleton
from trpose_ros.transforms import Transform, quaternion_of

ROOT = Path(__file__).resolve().parents[2]
# A camera 1.4 m above the floor that looks along x of the robot, 12 degrees down.
PITCH = math.radians(12)
LEVEL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # base from optical
NOD = np.array(
    [[1, 0, 0], [0, math.cos(PITCH), -math.sin(PITCH)], [0, math.sin(PITCH), math.cos(PITCH)]]
)
CAMERA = Transform(quaternion_of(LEVEL @ NOD.T), np.array([0.2, 0.0, 1.4]))
MAP = [Transform(np.array([0, 0, math.sin(a), math.cos(a)]), np.array([7.0 + a, 2, 0]))
       for a in (0.2, 0.3)]  # fmt: skip


def tracked(stamp_ns, track_id=4, source=RootSource.FUSED, **changes):
    given = {
        'track_ids': np.array([track_id]),
        'track_states': np.array([TrackState.TRACKED]),
        'root_sources': np.array([source]),
        'covariances_m2': np.tile(np.diag([0.01, 0.01, 0.09]), (1, 17, 1, 1)),
        'joint_states': np.full((1, 17), JointState.VISIBLE),
        'provenance': Provenance(estimator='fake', received_ns=START_NS),
    }
    return make_people(stamp_ns, **{**given, **changes})


class Robot:
    """A lifter node that lifts nothing, people for it, and a publisher of tf."""

    def __init__(self, world, **parameters):
        self.world = world
        self.out = world.listen('lifter_node/people', PersonArray)
        self.people = world.tester.create_publisher(PersonArray, 'people', 10)
        kept = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf = world.tester.create_publisher(TFMessage, '/tf', 100)
        self.static = world.tester.create_publisher(TFMessage, '/tf_static', kept)
        # Static transforms come once, before the node is there.
        self.static.publish(make_transforms(conversions.make, [('optical', CAMERA)], 'base', 0))
        parameters = {'lifter': 'none', 'camera_info_wait_s': 0.0, **parameters}
        self.node = world.start(LifterNode, **parameters)
        world.connected(self.node, 'people', 'lifter_node/people')
        if parameters.get('target_frame') or parameters.get('floor_frame'):
            world.connected(self.node, '/tf', '/tf_static')

    def move(self, stamp_ns, transform=MAP[0], parent='map'):
        made = make_transforms(conversions.make, [('base', transform)], parent, stamp_ns)
        self.tf.publish(made)

    def send(self, stamp_ns, **changes):
        people = tracked(stamp_ns, **changes)
        self.people.publish(conversions.make.people(people))
        return people

    def values(self, condition):
        return values_of(self.world.status(self.node, lambda s: condition(values_of(s))))

    def knows(self, frame, stamp_ns):
        """Wait until the node has what was published."""
        transforms = self.node._frames._transforms
        transforms.wait(frame, 'optical', stamp_ns, float('inf'))


@pytest.fixture
def world():
    with live() as world:
        yield world


def seen_from_base(people):
    joints = people.joints_m[0].astype(np.float64)
    return joints @ CAMERA.rotation.T + CAMERA.translation_m


def test_results_are_in_the_target_frame_at_the_time_of_the_image(world):
    robot = Robot(world, target_frame='map', tf_timeout_s=10.0)
    shown = world.listen('lifter_node/markers', MarkerArray)
    world.connected(robot.node, 'lifter_node/markers')
    robot.move(START_NS)
    sent = robot.send(START_NS + STEP_NS)
    world.settle()
    assert robot.out == []  # held: nothing is guessed beyond the last transform
    robot.move(START_NS + 2 * STEP_NS, MAP[1])
    world.wait(lambda: robot.out)
    got = messages.read_people(robot.out[0])
    assert (got.frame_id, got.stamp_ns) == ('map', START_NS + STEP_NS)
    half = Transform(np.array([0, 0, math.sin(0.25), math.cos(0.25)]), np.array([7.25, 2, 0]))
    expected = seen_from_base(sent) @ half.rotation.T + half.translation_m
    np.testing.assert_allclose(got.joints_m[0], expected, atol=1e-5)
    turn = half.rotation @ CAMERA.rotation
    covariance = turn @ np.diag([0.01, 0.01, 0.09]) @ turn.T
    np.testing.assert_allclose(got.covariances_m2[0, 3], covariance, atol=1e-6)
    np.testing.assert_array_equal(got.joints_px, sent.joints_px)
    world.wait(lambda: shown)
    assert {m.header.frame_id for m in shown[0].markers} == {'map'}


def test_a_result_without_a_transform_is_left_out_and_named(world):
    robot = Robot(world, target_frame='map', tf_timeout_s=0.02)
    for stamp, word in ((START_NS, "no frame 'map'"), (START_NS + STEP_NS, 'before the time')):
        robot.send(stamp)
        robot.values(lambda v, word=word: word in v['last_error'])
        robot.move(START_NS)
        robot.knows('map', START_NS)
    robot.move(START_NS, parent='odom')
    robot.send(START_NS + 2 * STEP_NS)
    robot.values(lambda v: "no frame 'map'" in v['last_error'])
    robot.move(START_NS + 9 * STEP_NS)
    robot.knows('map', START_NS + 9 * STEP_NS)
    robot.send(START_NS + 3 * STEP_NS)
    said = robot.values(lambda v: 'after the time' in v['last_error'])
    counted = {k: v for k, v in said.items() if k.startswith('target_')}
    assert counted == {'target_missing_frame': '2', 'target_future': '1', 'target_past': '1'}
    assert said['errors'] == '4'
    assert robot.out == []
    robot.send(START_NS + 9 * STEP_NS)
    world.wait(lambda: robot.out)
    assert [m.header.frame_id for m in robot.out] == ['map']


def test_the_frame_of_the_camera_needs_no_tf_and_an_empty_frame_id_is_named(world):
    robot = Robot(world, target_frame='optical')
    robot.send(START_NS)
    world.wait(lambda: robot.out)
    message = conversions.make.people(tracked(START_NS + STEP_NS))
    message.header.frame_id = ''
    robot.people.publish(message)
    said = robot.values(lambda v: v.get('target_empty_frame_id') == '1')
    assert 'no frame_id' in said['last_error']


def test_the_floor_comes_from_tf_and_corrects_distances(world):
    """Somebody 1.2 times as far away as he stands is drawn towards the place where he stands."""
    robot = Robot(world, floor_frame='base', **{'standing.memory_s': 0.0})
    down = -CAMERA.rotation[2]
    feet = STANDING[[3, 6]]
    root = np.array([0.1, 0.0, 3.0])
    root += down * (1.4 - 0.09 - ((feet + root) @ down).max())  # ankles 9 cm above the floor
    robot.knows('base', START_NS)
    robot.send(START_NS, root_m=root)
    joints = 1.2 * (STANDING + root)
    far = tracked(START_NS + STEP_NS, track_id=5, root_m=root)
    robot.people.publish(conversions.make.people(far.replace(joints_m=joints[None])))
    world.wait(lambda: len(robot.out) == 2)
    right, corrected = (messages.read_people(m) for m in robot.out)
    np.testing.assert_allclose(right.joints_m[0], STANDING + root, rtol=1e-4, atol=1e-4)
    factor = np.linalg.norm(corrected.joints_m[0, 0]) / np.linalg.norm(root)
    assert 1.0 < factor < 1.1
    assert corrected.frame_id == 'optical'


def test_without_the_floor_distances_stay_and_the_reason_is_said(world):
    robot = Robot(world, floor_frame='floor', tf_timeout_s=0.02)
    sent = robot.send(START_NS)
    world.wait(lambda: robot.out)
    got = messages.read_people(robot.out[0])
    np.testing.assert_array_equal(got.joints_m, sent.joints_m)
    said = robot.values(lambda v: 'floor_frame' in v)
    assert "no frame 'floor'" in said['floor_frame']
    assert said['floor_missing_frame'] == '1'
    under = Transform(np.array([0.0, 0, 0, 1]), np.array([0, 0, -3.0]))
    robot.static.publish(make_transforms(conversions.make, [('base', under)], 'floor', 0))
    robot.knows('floor', START_NS)
    robot.send(START_NS + STEP_NS)
    said = robot.values(lambda v: 'below its plane' in v.get('floor_frame', ''))
    assert '1.600 m' in said['floor_frame']


def test_joints_are_frames_of_tf_with_names_that_stay(world):
    heard = world.listen('/tf', TFMessage)
    robot = Robot(world, target_frame='base', publish_tf=True)
    world.wait(lambda: robot.node.publisher('/tf').get_subscription_count())
    people = robot.send(START_NS)
    people.joints_m[0, 3] = np.nan
    robot.people.publish(conversions.make.people(people.replace(stamp_ns=START_NS + STEP_NS)))
    untracked = tracked(START_NS + 2 * STEP_NS, track_id=-1)
    robot.people.publish(conversions.make.people(untracked))
    relative = tracked(START_NS + 3 * STEP_NS, source=RootSource.NONE)
    robot.people.publish(conversions.make.people(relative))
    world.wait(lambda: len(robot.out) == 4)
    world.settle()
    assert len(heard) == 2  # nobody else has both an id and a place
    frames = {child: (parent, t) for parent, child, _, t in read_transforms(heard[0])}
    names = get_skeleton('h36m_17').joint_names
    assert set(frames) == {'person_4', *(f'person_4/{name}' for name in names)}
    parent, wrist = frames['person_4/lwri']
    assert parent == 'base'
    joints = seen_from_base(tracked(START_NS))
    np.testing.assert_allclose(wrist.translation_m, joints[names.index('lwri')], atol=1e-6)
    assert len(heard[1].transforms) == 17  # the joint without a value has no frame
    _, torso = frames['person_4']
    facing = torso.rotation[:, 0]  # towards the camera: -x of the robot
    assert facing[0] < -0.9
    # What the node publishes itself is not kept.
    assert set(robot.node._frames._transforms._buffer._frames) == {'optical'}


def test_poses_and_points_are_for_those_who_do_not_know_our_messages(world):
    robot = Robot(world, target_frame='base')
    poses = world.listen('lifter_node/poses', PoseArray)
    torsos = world.listen('lifter_node/torsos', PointCloud2)
    joints = world.listen('lifter_node/joints', PointCloud2)
    world.connected(robot.node, *(f'lifter_node/{n}' for n in ('poses', 'torsos', 'joints')))
    for i in range(10):  # 1.5 m/s to the right of the camera: -y of the robot
        robot.send(START_NS + i * STEP_NS, root_m=(0.05 * i, 0.2, 4.0))
    world.wait(lambda: len(joints) == 10)
    assert poses[9].header.frame_id == torsos[9].header.frame_id == 'base'
    assert messages.origin_of(joints[9])[0] == START_NS + 9 * STEP_NS
    (torso,) = read_cloud(torsos[9])
    pose = poses[9].poses[0]
    corners = [1, 4, 11, 14]
    middle = seen_from_base(tracked(0, root_m=(0.45, 0.2, 4.0)))[corners].mean(axis=0)
    np.testing.assert_allclose([torso['x'], torso['y'], torso['z']], middle, atol=1e-5)
    np.testing.assert_allclose(
        [pose.position.x, pose.position.y, pose.position.z], middle, atol=1e-5
    )
    np.testing.assert_allclose([torso['vx'], torso['vy'], torso['vz']], [0, -1.5, 0], atol=1e-3)
    assert (torso['track_id'], torso['track_state']) == (4, TrackState.TRACKED)
    assert torso['sigma'] == pytest.approx(0.3, abs=1e-4)
    q = pose.orientation
    np.testing.assert_allclose(
        [q.x, q.y, q.z, q.w], [torso[n] for n in ('qx', 'qy', 'qz', 'qw')], atol=1e-6
    )
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y**2 + q.z**2))
    assert abs(abs(yaw) - math.pi) < 0.1
    points = read_cloud(joints[9])
    assert len(points) == 17
    assert points['joint'].tolist() == list(range(17))
    np.testing.assert_allclose(points['vy'], -1.5, atol=1e-3)
    assert set(points['state'].tolist()) == {JointState.VISIBLE}
    assert joints[9].is_dense
    assert np.isnan(read_cloud(torsos[0])['vx']).all()


def test_transforms_that_can_be_none_are_refused_and_counted(world):
    robot = Robot(world, target_frame='map')
    robot.move(START_NS, Transform(np.zeros(4), np.zeros(3)))
    said = robot.values(lambda v: v.get('transforms_refused') == '1')
    assert 'must have length 1' in said['last_error']


def test_without_frames_there_is_no_tf(world):
    robot = Robot(world)
    names = {topic for topic, _ in world.tester.get_topic_names_and_types()}
    assert '/tf' in names  # the tester's own
    assert not [s for s in robot.node.subscriptions if s.topic_name.startswith('/tf')]
    assert not [p for p in robot.node.publishers if p.topic_name == '/tf']


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('target_frame', '/map', 'begin with no /'),
        ('floor_frame', 'map ', 'no spaces'),
        ('tf_prefix', '', 'tf_prefix is empty'),
    ],
)
def test_names_that_tf_cannot_have_are_refused(world, name, value, words):
    node = world.add(LifterNode, lifter='none', publish_tf=True)
    (answer,) = world.ask(node.set_parameters, [Parameter(name, value=value)])
    assert not answer.successful
    assert words in answer.reason


def test_without_the_message_of_tf_configure_fails_with_the_remedy(world, monkeypatch):
    class_of = conversions.make.class_of

    def missing(msgtype):
        if msgtype.startswith('tf2_msgs'):
            raise ImportError(msgtype)
        return class_of(msgtype)

    node = world.add(LifterNode, lifter='none', target_frame='map')
    monkeypatch.setattr(conversions.make, 'class_of', missing)
    assert world.ask(node.trigger_configure) == TransitionCallbackReturn.FAILURE
    assert 'tf2-ros' in node.statistics.last_error


def test_settings_of_the_floor_may_change_while_running(world):
    robot = Robot(world)
    (answer,) = world.ask(
        robot.node.set_parameters, [Parameter('standing.person_height_m', value=1.9)]
    )
    assert answer.successful
    sent = robot.send(START_NS)
    world.wait(lambda: robot.out)
    assert messages.read_people(robot.out[0]).joints_m[0, 0, 2] > sent.joints_m[0, 0, 2]


def launched(heading, folder):
    """Run the launch command of a section of the documentation; its arguments and the lifter."""
    text = (ROOT / 'docs' / 'ros.md').read_text(encoding='utf-8')
    section = text.split(f'## {heading}')[1].split('\n## ')[0]
    command = re.search(r'ros2 launch trpose_ros pose.launch.py ((?:.*\\\n)*.*)', section)[1]
    arguments = dict(word.split(':=') for word in shlex.split(command.replace('\\\n', ' ')))
    file = ROOT / 'launch' / 'pose.launch.py'
    context = launch_standin.launch(file, folder, **arguments)
    lifter = context.processes[1]
    assert lifter.executable == 'lifter_node'
    files = [Path(p).read_text() for p in lifter.command if p.startswith(str(folder))]
    return arguments, lifter.command, '\n'.join(files)


def test_the_commands_of_the_documentation_start_what_they_say(tmp_path):
    arguments, _, given = launched("In the robot's frames", tmp_path)
    assert arguments['target_frame'] == 'base_link'
    for words in ('target_frame: base_link', 'floor_frame: base_footprint', 'publish_tf: true'):
        assert words in given
    arguments, command, given = launched('With a depth camera', tmp_path)
    assert f'depth:={arguments["depth_topic"]}' in command
    assert 'depth: true' in given

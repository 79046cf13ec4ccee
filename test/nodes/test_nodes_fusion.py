"""fusion_node against real rclpy: people of several cameras, time, health, what is refused."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import several_recordings as made
from live import FAILURE, live, values_of
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import MarkerArray

from trpose_ros.msg import PersonArray, SkeletonInfo
from trpose_ros.multiview.multiview import Multiview
from trpose_ros.multiview.rig_file import read_rig
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.fusion_node import FusionNode, topics_of
from trpose_ros.recordings import messages
from trpose_ros.recordings.transform_messages import make_transforms
from trpose_ros.transforms import Transform, quaternion_of

NAMES = made.RIG.names


class Rig:
    """A fusion node, and somebody who publishes what the cameras see."""

    def __init__(self, world, calibration, names=NAMES, cameras='', **parameters):
        self.world = world
        self.out = world.listen('fusion_node/people', PersonArray)
        self.people = {
            name: world.tester.create_publisher(PersonArray, f'{name}/lifter_node/people', 100)
            for name in names
        }
        self.node = world.start(
            FusionNode, calibration=str(calibration), cameras=cameras, **parameters
        )
        topics = [f'{name}/lifter_node/people' for name in names]
        world.connected(self.node, *topics, 'fusion_node/people')

    def send(self, seen):
        for name, people in seen:
            if name in self.people:
                self.people[name].publish(conversions.make.people(people))
                self.world.settle()

    def received(self):
        return [messages.read_people(message) for message in self.out]


def in_order(names=NAMES):
    seen = [(stamp, name) for name in names for stamp in made.seen()[name]]
    return [(name, made.seen()[name][stamp]) for stamp, name in sorted(seen)]


@pytest.fixture
def world():
    with live() as world:
        yield world


@pytest.fixture
def calibration(tmp_path):
    return made.calibration(tmp_path / 'rig.yaml')


def test_people_of_all_cameras_come_out_once_as_offline(world, calibration):
    markers = world.listen('fusion_node/markers', MarkerArray)
    names = world.listen('fusion_node/skeleton', SkeletonInfo)
    rig = Rig(world, calibration)
    world.connected(rig.node, 'fusion_node/markers')
    rig.send(in_order())
    stamps = list(made.seen()['front'])
    world.wait(lambda: len(rig.out) == len(stamps))  # the last one when nothing comes any more
    together = Multiview(read_rig(calibration))
    offline = [f for name, people in in_order() for f in together.push(name, people)]
    offline += together.flush()
    received = rig.received()
    assert [p.stamp_ns for p in received] == stamps
    for live_one, one in zip(received, offline, strict=True):
        np.testing.assert_allclose(live_one.joints_m, one.people.joints_m, atol=1e-6)
        np.testing.assert_array_equal(live_one.track_ids, one.people.track_ids)
    assert received[-1].frame_id == 'world'
    assert received[-1].track_ids.tolist() == [0, 1]
    world.wait(lambda: len(markers) >= len(stamps) and names)
    assert markers[-1].markers[0].header.frame_id == 'world'
    status = world.status(rig.node, lambda s: values_of(s).get('people') == '2')
    values = values_of(status)
    assert all(values[f'camera {name}'].startswith('ok') for name in NAMES)


def test_a_camera_that_is_silent_is_named_and_the_others_go_on(world, calibration):
    three = ('front', 'rear', 'left')
    rig = Rig(world, calibration, three, ','.join(three), silent_s=0.3)
    rig.send([(n, p) for n, p in in_order() if n in ('front', 'left')])
    status = world.status(rig.node, lambda s: 'rear: nothing has come yet' in s.message)
    assert 'front' not in status.message
    world.wait(lambda: len(rig.out) == len(made.seen()['front']))
    assert rig.received()[-1].track_ids.tolist() == [0, 1]


def test_frames_of_another_frame_id_or_skeleton_are_counted_and_named(world, calibration):
    rig = Rig(world, calibration)
    first, second, *rest = in_order()
    assert second[0] != first[0]
    odd = second[1].replace(frame_id='elsewhere')
    rig.send([first, (second[0], odd)])
    name = second[0]
    status = world.status(rig.node, lambda s: "frame_id 'elsewhere'" in s.message)
    assert values_of(status)[f'frames_refused {name}'] == '1'
    broken = conversions.make.people(second[1])
    broken.skeleton = 'no such skeleton'
    rig.people[name].publish(broken)
    world.status(rig.node, lambda s: 'no such skeleton' in values_of(s)['last_error'])
    rig.send([second, *rest])  # the next ones go on
    world.status(rig.node, lambda s: 'elsewhere' not in values_of(s).get(f'camera {name}', ''))
    world.wait(lambda: len(rig.out) == len(made.seen()['front']))


def test_intrinsics_may_come_as_camera_info(world, tmp_path):
    path = made.calibration(tmp_path / 'rig.yaml', ('front', 'rear'))
    text = '\n'.join(line for line in path.read_text().splitlines() if 'intrinsics' not in line)
    path.write_text(text)
    rig = Rig(world, path, ('front', 'rear'))
    seen = in_order(('front', 'rear'))
    rig.send(seen[:2])
    world.status(rig.node, lambda s: 'nobody knows its intrinsics' in s.message)
    for name in ('front', 'rear'):
        qos = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)
        publisher = world.tester.create_publisher(CameraInfo, f'{name}/camera_info', qos)
        world.connected(rig.node, f'{name}/camera_info')
        camera = made.RIG[name].intrinsics
        publisher.publish(conversions.make.camera_info(camera, made.START_NS, f'{name}_optical'))
        world.settle()
    rig.send(seen[2:])
    world.wait(lambda: len(rig.out) >= len(made.seen()['front']) - 1)
    assert len(rig.received()[-1]) == 2


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({}, 'calibration names no file'),
        ({'calibration': '/no/such/file.yaml'}, 'No such file'),
        ({'cameras': 'front,roof'}, "no camera 'roof'"),
        ({'cameras': '5,front'}, 'cannot be a namespace'),
        ({'world_frame': '/map'}, 'begin with no /'),
        ({'world_frame': 'map'}, 'cameras names none'),
    ],
)
def test_a_calibration_that_cannot_be_used_fails_to_configure(
    world, calibration, parameters, words
):
    given = {'calibration': str(calibration)} if 'cameras' in parameters else {}
    node = world.add(FusionNode, **given, **parameters)
    assert world.ask(node.trigger_configure) == FAILURE
    assert words in node.statistics.last_error


def test_cameras_may_be_a_list(world, calibration):
    node = world.add(FusionNode, calibration=str(calibration), cameras=['front', 'rear'])
    world.ask(node.trigger_configure)
    assert node._rig.names == ('front', 'rear')
    result = node.set_parameters([Parameter('cameras', value='left,rear')])[0]
    assert 'before configure' in result.reason


def test_topics_of_a_camera():
    camera = made.RIG['front']
    assert topics_of(camera) == ('front/lifter_node/people', 'front/camera_info')
    other = dataclasses.replace(camera, topic='/a/b/pose_node/people')
    assert topics_of(other) == ('/a/b/pose_node/people', '/a/b/camera_info')
    assert topics_of(dataclasses.replace(other, topic='/people'))[1] == 'front/camera_info'
    assert topics_of(dataclasses.replace(other, info_topic='/i'))[1] == '/i'


def test_places_may_come_from_tf_and_change(world):
    tf_messages = pytest.importorskip('tf2_msgs.msg', reason='needs tf2_msgs: make messages')
    publisher = world.tester.create_publisher(tf_messages.TFMessage, '/tf', 100)
    rig = Rig(world, '', ('front', 'rear'), '[front, rear]', world_frame='map', tf_timeout_s=0.0)
    world.connected(rig.node, '/tf')
    qos = QoSProfile(depth=1, reliability=qos_profile_sensor_data.reliability)
    for name in ('front', 'rear'):
        infos = world.tester.create_publisher(CameraInfo, f'{name}/camera_info', qos)
        world.connected(rig.node, f'{name}/camera_info')
        camera = made.RIG[name].intrinsics
        infos.publish(conversions.make.camera_info(camera, made.START_NS, f'{name}_optical'))
    world.settle()
    seen = in_order(('front', 'rear'))
    rig.send(seen[:1])
    world.status(rig.node, lambda s: "front: tf knows no frame 'map'" in s.message)
    # the world slides by a metre a second under cameras that stand still in it
    for stamp_ns in range(made.START_NS, made.START_NS + 1_100_000_000, 100_000_000):
        shift = np.array([(stamp_ns - made.START_NS) * 1e-9, 0.0, 0.0])
        places = [
            (
                f'{name}_optical',
                Transform(
                    quaternion_of(made.RIG[name].placement.rotation),
                    made.RIG[name].placement.position_m + shift,
                ),
            )
            for name in ('front', 'rear')
        ]
        publisher.publish(make_transforms(conversions.make, places, 'map', stamp_ns))
    world.settle()
    rig.send(seen[1:])
    world.wait(lambda: len(rig.out) >= len(made.seen()['front']) - 1)
    last = rig.received()[-1]
    stamps = [p.stamp_ns for p in rig.received()]
    together = Multiview(made.RIG.only(('front', 'rear')))
    offline = [f.people for name, people in seen[1:] for f in together.push(name, people)]
    still = next(p for p in [*offline, *(f.people for f in together.flush())]
                 if p.stamp_ns == last.stamp_ns)  # fmt: skip
    moved = (last.stamp_ns - made.START_NS) * 1e-9
    assert last.frame_id == 'map'
    assert stamps == sorted(stamps)
    np.testing.assert_allclose(
        np.nanmedian(last.joints_m - still.joints_m, axis=(0, 1)), [moved, 0, 0], atol=0.02
    )

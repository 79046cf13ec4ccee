"""lifter_node against real rclpy: order, time, markers, messages that contradict themselves."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import CAMERA, FakeLifter, make_people
from live import START_NS, STEP_NS, live
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import Marker, MarkerArray

from trpose_ros.msg import PersonArray
from trpose_ros.nodes import lifter_node
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.people import Provenance, TrackState
from trpose_ros.pipeline.fusion import Fusion
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.recordings import messages


def tracked(stamp_ns, track_id=0):
    return make_people(
        stamp_ns,
        track_ids=np.array([track_id]),
        track_states=np.array([TrackState.TRACKED]),
        provenance=Provenance(estimator='fake', received_ns=START_NS, dropped_frames=3),
    )


class Stream:
    def __init__(self, world, monkeypatch, look_ahead=2, **parameters):
        self.lifter = FakeLifter(look_ahead)
        self.lifter.rate_hz, self.lifter.licence = 30.0, 'none'
        monkeypatch.setattr(lifter_node, 'build_lift_stage', self.build)
        self.world = world
        self.out = world.listen('lifter_node/people', PersonArray)
        self.people = world.tester.create_publisher(PersonArray, 'people', 10)
        self.infos = world.tester.create_publisher(
            CameraInfo, 'camera_info', qos_profile_sensor_data
        )
        self.node = world.start(LifterNode, camera_info_wait_s=0.0, **parameters)
        world.connected(self.node, 'people', 'camera_info', 'lifter_node/people')

    def build(self, config):
        fusion = Fusion(config.fusion)
        return LiftStage(lifter=self.lifter, fusion=fusion, config=config.lift)

    def send(self, *stamps, track_id=0):
        for stamp_ns in stamps:
            message = conversions.make.people(tracked(stamp_ns, track_id))
            seen = len(self.lifter.seen)
            self.people.publish(message)
            self.world.wait(lambda seen=seen: len(self.lifter.seen) != seen)

    def stamps(self):
        return [messages.origin_of(message)[0] for message in self.out]


@pytest.fixture
def world():
    with live() as world:
        yield world


def steps(count, start_ns=START_NS):
    return [start_ns + i * STEP_NS for i in range(count)]


def test_skeletons_come_out_in_order_with_their_own_stamps(world, monkeypatch):
    stream = Stream(world, monkeypatch)
    stream.send(*steps(6))
    world.wait(lambda: len(stream.out) >= 4)
    assert stream.stamps()[:4] == steps(4)
    people = messages.read_people(stream.out[0])
    assert people.provenance.lifter == 'fake_lifter'
    assert people.provenance.lookahead == 2
    assert people.provenance.received_ns == START_NS
    assert people.provenance.dropped_frames == 3
    assert people.provenance.intrinsics_assumed


def test_what_waits_goes_out_when_nothing_comes_any_more(world, monkeypatch):
    stream = Stream(world, monkeypatch)
    stream.send(*steps(4))
    world.wait(lambda: len(stream.out) == 4)
    assert stream.stamps() == steps(4)


def test_a_recording_that_starts_again_restarts_the_windows(world, monkeypatch):
    stream = Stream(world, monkeypatch)
    stream.send(*steps(4))
    again = steps(4, START_NS - 10**10)
    stream.people.publish(conversions.make.people(tracked(again[0])))
    world.wait(lambda: None in stream.lifter.resets[1:])
    world.wait(lambda: len(stream.lifter.seen) == 1)
    stream.send(*again[1:])
    world.wait(lambda: len(stream.out) >= 6)
    assert stream.stamps()[:6] == steps(4) + again[:2]
    assert stream.node.statistics.values()['time_jumps'] == '1'


def test_a_repeated_stamp_is_lifted_once_and_counted(world, monkeypatch):
    stream = Stream(world, monkeypatch, look_ahead=0)
    stream.send(START_NS)
    stream.people.publish(conversions.make.people(tracked(START_NS)))
    world.wait(lambda: stream.node.statistics.values().get('repeated_stamps') == '1')
    stream.send(START_NS + STEP_NS)
    world.wait(lambda: len(stream.out) >= 2)
    assert stream.stamps() == [START_NS, START_NS + STEP_NS]


def test_stamps_of_zero_are_counted_and_the_next_frame_goes_on(world, monkeypatch):
    stream = Stream(world, monkeypatch, look_ahead=0)
    for count in ('1', '2'):
        stream.people.publish(conversions.make.people(tracked(0)))
        world.wait(lambda count=count: stream.node.statistics.values().get('zero_stamps') == count)
    stream.send(START_NS)
    world.wait(lambda: START_NS in stream.stamps())
    assert stream.node.statistics.errors == 0


def test_nobody_is_an_empty_message_and_a_person_comes_back(world, monkeypatch):
    stream = Stream(world, monkeypatch, look_ahead=0)
    stamps = steps(4)
    stream.send(*stamps[:2])
    nobody = make_people(stamps[2], np.zeros((0, 3)))
    stream.people.publish(conversions.make.people(nobody))
    world.wait(lambda: len(stream.out) == 3)
    stream.send(stamps[3])
    world.wait(lambda: len(stream.out) == 4)
    assert stream.stamps() == stamps
    assert [len(message.persons) for message in stream.out] == [1, 1, 0, 1]


def test_intrinsics_are_taken_from_camera_info(world, monkeypatch):
    stream = Stream(world, monkeypatch, look_ahead=0)
    stream.infos.publish(conversions.make.camera_info(CAMERA, START_NS, 'optical'))
    world.settle()
    stream.send(START_NS)
    world.wait(lambda: stream.out)
    assert not messages.read_people(stream.out[0]).provenance.intrinsics_assumed


@pytest.mark.parametrize('fault', ['skeleton', 'joints', 'size'])
def test_a_message_that_contradicts_itself_is_named(world, monkeypatch, fault):
    stream = Stream(world, monkeypatch, look_ahead=0)
    message = conversions.make.people(tracked(START_NS))
    if fault == 'skeleton':
        message.skeleton, words = 'octopus_8', 'octopus_8'
    elif fault == 'joints':
        message.persons[0].joints_2d.pop()
        words = '16 2D'
    else:
        message.image_width = message.image_height = 0
        words = '0'
    stream.people.publish(message)
    world.wait(lambda: stream.node.statistics.errors == 1)
    assert words in stream.node.statistics.last_error
    stream.send(START_NS + STEP_NS)
    world.wait(lambda: stream.out)


def test_an_exception_of_the_lifter_is_counted_and_the_next_frame_goes_on(world, monkeypatch):
    stream = Stream(world, monkeypatch, look_ahead=0)
    push = stream.lifter.push

    def fail(*args):
        stream.lifter.push = push
        raise RuntimeError('singular')

    stream.lifter.push = fail
    stream.people.publish(conversions.make.people(tracked(START_NS)))
    world.wait(lambda: stream.node.statistics.errors == 1)
    assert 'singular' in stream.node.statistics.last_error
    stream.send(START_NS + STEP_NS)
    world.wait(lambda: START_NS + STEP_NS in stream.stamps())


def test_markers_are_added_and_deleted_by_name(world, monkeypatch):
    stream = Stream(world, monkeypatch, look_ahead=0)
    shown = world.listen('lifter_node/markers', MarkerArray)
    world.connected(stream.node, 'lifter_node/markers')
    stream.send(START_NS)
    world.wait(lambda: len(shown) == 1)
    added = {(m.ns, m.id): m for m in shown[0].markers}
    assert set(added) == {('bones', 0), ('joints', 0)}
    assert all(m.action == Marker.ADD for m in added.values())
    assert 0 < messages.time_ns(added['bones', 0].lifetime) < 10**9
    assert added['bones', 0].header.frame_id == 'optical'
    stream.send(START_NS + STEP_NS, track_id=7)
    world.wait(lambda: len(shown) == 2)
    gone = {(m.ns, m.id) for m in shown[1].markers if m.action == Marker.DELETE}
    assert gone == {('bones', 0), ('joints', 0)}
    world.ask(stream.node.trigger_deactivate)
    world.wait(lambda: len(shown) == 3)
    assert {m.action for m in shown[2].markers} == {Marker.DELETE}


def test_lifter_none_passes_people_through(world, monkeypatch):
    out = world.listen('lifter_node/people', PersonArray)
    publisher = world.tester.create_publisher(PersonArray, 'people', 10)
    node = world.start(LifterNode, lifter='none', camera_info_wait_s=0.0)
    world.connected(node, 'people', 'lifter_node/people')
    publisher.publish(conversions.make.people(tracked(START_NS)))
    world.wait(lambda: out)
    people = messages.read_people(out[0])
    np.testing.assert_array_equal(people.joints_m, tracked(START_NS).joints_m)
    assert people.provenance.lifter == ''

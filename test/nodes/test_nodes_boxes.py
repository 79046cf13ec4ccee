"""pose_node with boxes from a topic, against real rclpy."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import FakeEstimator, make_people
from live import FAILURE, START_NS, STEP_NS, collect_people, image, live

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.people import TrackState
from trpose_ros.recordings import messages

BOX = np.array([[250.0, 100.0, 140.0, 300.0]])


@pytest.fixture
def estimator(monkeypatch):
    fake = FakeEstimator()
    monkeypatch.setattr('trpose_ros.pipeline.pipeline.create_estimator', lambda name, config: fake)
    return fake


@pytest.fixture
def world():
    with live() as world:
        yield world


class Stream:
    """A camera, a detector, and what the pose node makes of both."""

    def __init__(self, world, kind=PersonArray, **parameters):
        self.world = world
        self.people = collect_people(world)
        self.images, self.infos = world.camera_publishers()
        self.detector = world.tester.create_publisher(kind, 'boxes', 10)
        self.node = world.start(PoseNode, boxes='topic', camera_info_wait_s=0.0, **parameters)
        world.connected(self.node, 'image', 'camera_info', 'boxes', 'pose_node/people')

    def send(self, stamp_ns):
        before = len(self.people)
        self.images.publish(image(stamp_ns))
        self.world.wait(lambda: len(self.people) > before)
        return messages.read_people(self.people[-1])

    def detect(self, message):
        """Publish boxes and wait until the node has them."""
        before = int(self.node.facts()['boxes received'])
        self.detector.publish(message)
        self.world.wait(lambda: int(self.node.facts()['boxes received']) > before)


def person_array(stamp_ns, **arrays):
    people = make_people(stamp_ns, boxes_px=BOX, scores=[0.9], **arrays)
    return conversions.make.people(people)


def test_people_of_another_node_are_tracked_from_then_on(world, estimator):
    stream = Stream(world)
    assert len(stream.send(START_NS)) == 0  # nobody has said where people are
    stream.detect(person_array(START_NS))  # late: of the image before
    people = stream.send(START_NS + STEP_NS)
    assert people.track_ids.tolist() == [0]
    np.testing.assert_allclose(estimator.calls[-1], BOX)
    for k in range(2, 6):  # no more boxes: the tracker's go on
        assert stream.send(START_NS + k * STEP_NS).track_ids.tolist() == [0]
    facts = stream.node.facts()
    assert (facts['boxes received'], facts['boxes used']) == ('1', '1')


def test_boxes_too_old_predicted_or_unsure_are_not_used(world, estimator):
    stream = Stream(world, boxes_max_age_s=0.2, boxes_min_score=0.5)
    stream.detect(person_array(START_NS - 10 * STEP_NS))
    assert len(stream.send(START_NS)) == 0
    assert stream.node.facts()['boxes too_old'] == '1'
    stream.detect(person_array(START_NS, track_states=[TrackState.SEARCHING]))
    assert len(stream.send(START_NS + STEP_NS)) == 0
    unsure = person_array(START_NS)
    unsure.persons[0].score = 0.4
    stream.detect(unsure)
    assert len(stream.send(START_NS + 2 * STEP_NS)) == 0
    stream.detect(person_array(START_NS + 3 * STEP_NS))
    assert len(stream.send(START_NS + 3 * STEP_NS)) == 1


def test_boxes_without_a_stamp_are_named(world, estimator):
    stream = Stream(world)
    stream.detector.publish(person_array(0))
    world.wait(lambda: 'boxes' in stream.node.statistics.values())
    assert 'copy the header of its image' in stream.node.statistics.values()['boxes']
    stream.detect(person_array(START_NS))
    assert 'boxes' not in stream.node.statistics.values()
    assert len(stream.send(START_NS)) == 1


def test_without_vision_msgs_configure_fails_with_the_remedy(world, estimator, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'vision_msgs.msg', None)
    node = world.add(PoseNode, boxes='topic', boxes_type='Detection2DArray')
    assert world.ask(node.trigger_configure) == FAILURE
    assert 'apt install ros-$ROS_DISTRO-vision-msgs' in node.statistics.last_error


def test_detections_of_vision_msgs(world, estimator):
    vision = pytest.importorskip('vision_msgs.msg', reason='the package vision_msgs is missing')
    stream = Stream(world, vision.Detection2DArray, boxes_type='Detection2DArray')

    def detections(stamp_ns, kind):
        found = vision.Detection2D()
        found.bbox.center.position.x, found.bbox.center.position.y = 320.0, 250.0
        found.bbox.size_x, found.bbox.size_y = 140.0, 300.0
        found.results.append(vision.ObjectHypothesisWithPose())
        found.results[0].hypothesis.class_id, found.results[0].hypothesis.score = kind, 0.8
        header = conversions.make.header(stamp_ns, 'optical')
        return vision.Detection2DArray(header=header, detections=[found])

    stream.detect(detections(START_NS, '0'))
    assert len(stream.send(START_NS)) == 0
    assert "['0']" in stream.node.statistics.values()['boxes']
    assert 'boxes_classes' in stream.node.statistics.values()['boxes']
    stream.detect(detections(START_NS + STEP_NS, 'person'))
    assert len(stream.send(START_NS + STEP_NS)) == 1
    np.testing.assert_allclose(estimator.calls[-1], BOX)

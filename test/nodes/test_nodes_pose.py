"""pose_node against real rclpy: the way through, and everything a camera can do wrong."""

import array
import threading

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from diagnostic_msgs.msg import DiagnosticStatus
from doubles import CAMERA, FakeBoxes, FakeEstimator
from live import LATEST, START_NS, STEP_NS, collect_people, image, live, values_of
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trpose_ros.msg import OcclusionReport, SkeletonInfo
from trpose_ros.nodes import pose_node
from trpose_ros.nodes.base import conversions, silence, stage_node
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.people import Camera, TrackState
from trpose_ros.pipeline.pipeline import PoseStage
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.recordings import messages
from trpose_ros.recordings.image_codec import encode_compressed


class Stage:
    """What the node under test will use: a PoseStage whose estimator is known."""

    def __init__(self, monkeypatch):
        self.estimator = FakeEstimator()
        self.hold = threading.Event()  # cleared: estimate waits
        self.hold.set()
        self.entered = threading.Event()
        estimate = self.estimator.estimate

        def held(frame, boxes):
            self.entered.set()
            assert self.hold.wait(LATEST)
            return estimate(frame, boxes)

        self.estimator.estimate = held
        monkeypatch.setattr(pose_node, 'build_pose_stage', self.build)

    def build(self, config):
        boxes = FakeBoxes([[250, 100, 140, 300, 0.9]])
        return PoseStage(
            estimator=self.estimator, box_source=boxes, tracker=Tracker(), config=config.pose
        )


@pytest.fixture
def stage(monkeypatch):
    return Stage(monkeypatch)


@pytest.fixture
def world():
    with live() as world:
        yield world


class Stream:
    """A camera and what the pose node makes of it."""

    def __init__(self, world, **parameters):
        self.world = world
        self.people = collect_people(world)
        self.images, self.infos = world.camera_publishers()
        self.node = world.start(PoseNode, camera_info_wait_s=0.0, **parameters)
        if parameters.get('image_transport') == 'compressed':
            self.images = world.tester.create_publisher(CompressedImage, 'image/compressed', 5)
        world.connected(self.node, self.images.topic_name, 'camera_info', 'pose_node/people')
        self.next_ns = START_NS

    def send_info(self, camera=CAMERA, stamp_ns=None):
        message = conversions.make.camera_info(camera, stamp_ns or self.next_ns, 'optical')
        self.infos.publish(message)

    def send(self, message=None, answered=True):
        """Publish one image and, if it is to be answered, return the people."""
        if message is None:
            message = image(self.next_ns)
        self.next_ns += STEP_NS
        before = len(self.people)
        self.images.publish(message)
        if answered:
            self.world.wait(lambda: len(self.people) > before)
            return messages.read_people(self.people[-1])
        return None

    def notes(self):
        return self.node.statistics.values()

    def refuse(self, message):
        """Publish an image that cannot be used; return the error it was answered with."""
        errors = self.node.statistics.errors
        self.images.publish(message)
        self.world.wait(lambda: self.node.statistics.errors > errors)
        return self.node.statistics.last_error


def test_stamp_frame_and_provenance_travel_through(world, stage):
    stream = Stream(world)
    stream.send_info()
    world.settle()
    people = stream.send()
    assert (people.stamp_ns, people.frame_id) == (START_NS, 'optical')
    assert (people.width, people.height, len(people)) == (640, 480, 1)
    provenance = people.provenance
    assert (provenance.estimator, provenance.weights_id) == ('fake', 'fake-weights')
    assert not provenance.intrinsics_assumed
    assert 0 < provenance.received_ns <= provenance.published_ns
    np.testing.assert_allclose(people.joints_m[0, 0], (0.0, 0.2, 4.0), atol=1e-6)
    assert stream.send().track_ids[0] == people.track_ids[0]


def test_skeleton_is_latched(world, stage):
    Stream(world)
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    late = world.listen('pose_node/skeleton', SkeletonInfo, qos=qos)
    world.wait(lambda: late)
    assert late[0].name == 'h36m_17'
    assert late[0].parents[late[0].root_index] == -1


def test_without_camera_info_the_field_of_view_is_assumed_and_flagged(world, stage):
    stream = Stream(world, fov_deg=70.0)
    people = stream.send()
    assert people.provenance.intrinsics_assumed
    status = world.status(stream.node, lambda status: status.level == b'\x01')
    assert '70 degrees is assumed' in status.message
    assert 'no camera_info' in values_of(status)['intrinsics_assumed']
    stream.send_info()
    world.settle()
    assert not stream.send().provenance.intrinsics_assumed
    assert 'intrinsics_assumed' not in stream.notes()


@pytest.mark.parametrize('bad', [0.0, float('nan')])
def test_unusable_camera_info_is_named(world, stage, bad):
    stream = Stream(world)
    stream.infos.publish(CameraInfo(width=640, height=480, k=np.full(9, bad)))
    world.wait(lambda: 'camera_info' in stream.notes())
    assert 'calibrat' in stream.notes()['camera_info']
    assert stream.send().provenance.intrinsics_assumed
    stream.send_info()
    world.wait(lambda: 'camera_info' not in stream.notes())
    assert not stream.send().provenance.intrinsics_assumed


def test_resolution_and_encoding_may_change_in_mid_stream(world, stage):
    stream = Stream(world)
    assert len(stream.send()) == 1
    people = stream.send(image(stream.next_ns, 320, 240))
    assert (people.width, people.height) == (320, 240)
    mono = Image(
        header=conversions.make.header(stream.next_ns, 'optical'),
        height=480,
        width=640,
        encoding='mono8',
        step=640,
        data=array.array('B', bytes(640 * 480)),
    )
    people = stream.send(mono)
    assert (people.width, people.height) == (640, 480)
    assert stream.node.statistics.errors == 0


BROKEN = {
    'empty': ({'width': 0, 'height': 0, 'step': 0, 'data': array.array('B')}, 'empty'),
    'short': ({'data': array.array('B', bytes(1000))}, '1000'),
    'step': ({'step': 7}, '7'),
    'encoding': ({'encoding': 'yuv411_packed'}, 'yuv411_packed'),
}


@pytest.mark.parametrize('name', sorted(BROKEN))
def test_broken_image_is_named_and_the_next_one_goes_on(world, stage, name):
    stream = Stream(world)
    changes, words = BROKEN[name]
    message = image(stream.next_ns)
    for key, value in changes.items():
        setattr(message, key, value)
    assert words in stream.refuse(message)
    assert len(stream.send()) == 1


def test_compressed_images_and_cut_off_ones(world, stage):
    stream = Stream(world, image_transport='compressed')
    data = encode_compressed(np.full((480, 640, 3), 90, np.uint8), 'jpeg')

    def message(payload):
        return CompressedImage(
            header=conversions.make.header(stream.next_ns, 'optical'),
            format='jpeg',
            data=array.array('B', bytes(payload)),
        )

    assert len(stream.send(message(data))) == 1
    assert 'image skipped' in stream.refuse(message(bytes(data)[:40]))
    assert 'image skipped' in stream.refuse(message(b''))
    assert len(stream.send(message(data))) == 1


def test_stamps_that_jump_back_begin_new_tracks(world, stage):
    stream = Stream(world)
    first = stream.send()
    stream.next_ns = START_NS - 5 * 10**9
    second = stream.send()
    assert second.track_ids[0] != first.track_ids[0]
    assert stream.notes()['time_jumps'] == '1'


def test_a_repeated_stamp_is_counted_and_answered(world, stage):
    stream = Stream(world)
    stream.send()
    stream.send(image(START_NS))
    assert stream.notes()['repeated_stamps'] == '1'
    assert 'stamps' not in stream.notes()


def test_stamps_that_are_all_zero_are_answered_counted_and_a_warning(world, stage):
    stream = Stream(world)
    for _ in range(2):
        assert stream.send(image(0)).stamp_ns == 0
    assert stream.notes()['zero_stamps'] == '2'
    said = world.status(stream.node, lambda status: status.level == DiagnosticStatus.WARN)
    assert 'has stamp zero' in values_of(said)['stamps']
    stream.send()
    assert 'stamps' not in stream.notes()


@pytest.mark.parametrize('odd', [0, START_NS - 10**17, START_NS + 10**17])
def test_a_stamp_that_does_not_fit_costs_its_image_and_no_track(world, stage, odd):
    stream = Stream(world)
    first = stream.send()
    stream.send(image(odd), answered=False)
    world.wait(lambda: stream.notes().get('odd_stamps') == '1')
    second = stream.send()
    assert second.track_ids[0] == first.track_ids[0]
    assert second.stamp_ns == START_NS + 2 * STEP_NS
    assert 'time_jumps' not in stream.notes()


def test_stamps_that_repeat_on_and_on_are_a_warning(world, stage):
    stream = Stream(world)
    for _ in range(4):
        stream.send(image(START_NS))
    assert 'repeats the stamp' in stream.notes()['stamps']


def test_nobody_is_an_empty_message(world, stage):
    stage.estimator.roots_m = np.zeros((0, 3))
    stream = Stream(world)
    assert len(stream.send()) == 0


def test_a_person_who_leaves_is_searched_then_lost_then_new(world, stage):
    stream = Stream(world)
    track = stream.send().track_ids[0]
    there, stage.estimator.roots_m = stage.estimator.roots_m, np.zeros((0, 3))
    states = []
    for _ in range(30):
        stream.next_ns += 2 * STEP_NS
        people = stream.send()
        states += people.track_states.tolist()
        if TrackState.LOST in states:
            break
    assert states[0] == TrackState.SEARCHING
    assert states[-1] == TrackState.LOST
    stage.estimator.roots_m = there
    assert stream.send().track_ids[0] > track


def test_an_exception_in_inference_is_counted_and_the_next_frame_goes_on(world, stage):
    stream = Stream(world)
    stage.estimator.fail = True
    assert 'out of memory' in stream.refuse(image(START_NS))
    world.status(stream.node, lambda status: status.level == b'\x02')
    stage.estimator.fail = False
    assert len(stream.send()) == 1
    assert stream.notes()['errors'] == '1'


def test_a_slow_model_drops_the_oldest_and_takes_the_newest(world, stage):
    stream = Stream(world)
    stage.hold.clear()
    stream.send(answered=False)
    assert stage.entered.wait(LATEST)
    for _ in range(5):
        stream.send(answered=False)
        world.settle()  # each is taken, though the queue of the subscription holds one alone
    last_ns = stream.next_ns - STEP_NS
    stage.hold.set()
    world.wait(lambda: len(stream.people) == 2)
    assert [messages.origin_of(m)[0] for m in stream.people] == [START_NS, last_ns]
    assert stream.node.dropped == 4
    assert stream.people[-1].provenance.dropped_frames == 4


def test_a_subscriber_may_come_back(world, stage):
    stream = Stream(world)
    stream.send()
    subscription = next(
        s for s in world.tester.subscriptions if s.topic_name.endswith('pose_node/people')
    )
    world.ask(world.tester.destroy_subscription, subscription)
    stream.send(answered=False)
    again = []
    kind = type(stream.people[0])
    world.tester.create_subscription(kind, 'pose_node/people', again.append, 10)
    world.connected(stream.node, 'pose_node/people')
    stream.people = again
    assert len(stream.send()) == 1


def test_an_incompatible_publisher_is_named(world, stage):
    # The subscription is reliable by an override, the camera offers best effort.
    override = {'qos_overrides./image.subscription.reliability': 'reliable'}
    node = world.start(PoseNode, **override)
    world.camera_publishers()
    world.wait(lambda: 'incompatible_qos /image' in node.statistics.values())
    text = node.statistics.values()['incompatible_qos /image']
    assert '/tester' in text
    assert 'RELIABILITY' in text
    status = world.status(node, lambda status: '/tester' in status.message)
    assert values_of(status)['publishers of /image'] == '0'


def test_diagnostics_say_who_is_connected(world, stage):
    stream = Stream(world)
    wanted = {
        'publishers of /image': '1',
        'publishers of /camera_info': '1',
        'publishers of /occlusion_report': '0',
        'subscribers of /pose_node/people': '1',
        'subscribers of /pose_node/image_annotated': '0',
    }
    world.status(stream.node, lambda status: wanted.items() <= values_of(status).items())


def test_the_annotated_image_is_drawn_only_for_somebody(world, stage, monkeypatch):
    drawn = []
    draw = pose_node.draw_people
    monkeypatch.setattr(pose_node, 'draw_people', lambda *args: drawn.append(args) or draw(*args))
    stream = Stream(world)
    stream.send()
    stream.send()
    assert not drawn
    pictures = world.listen('pose_node/image_annotated', Image)
    world.connected(stream.node, 'pose_node/image_annotated')
    stream.send()
    world.wait(lambda: pictures)
    stamp_ns, _ = messages.origin_of(pictures[0])
    assert stamp_ns == stream.next_ns - STEP_NS
    assert (conversions.read_image(pictures[0]) != 100).any()


def test_the_occlusion_of_the_image_is_named(world, stage):
    stream = Stream(world)
    reports = world.tester.create_publisher(OcclusionReport, 'occlusion_report', 10)
    world.connected(stream.node, 'occlusion_report')
    header = conversions.make.header(START_NS, 'optical')
    reports.publish(OcclusionReport(header=header, profile='fixed_left'))
    world.settle()
    assert stream.send().provenance.occlusion == 'fixed_left'
    assert stream.send().provenance.occlusion == ''


def test_silence_is_said_with_what_is_published_nearby_and_ends_with_an_image(
    world, stage, monkeypatch
):
    monkeypatch.setattr(silence, 'SILENT_S', 0.3)
    beside = world.tester.create_publisher(CompressedImage, 'image/compressed', 1)
    node = world.start(PoseNode, camera_info_wait_s=0.0)
    world.wait(lambda: 'set image_transport to compressed' in world.text_of('/pose_node'))
    assert world.diagnostics['/pose_node'].level == DiagnosticStatus.WARN
    images, _ = world.camera_publishers()
    world.connected(node, 'image')
    monkeypatch.setattr(silence, 'SILENT_S', 300.0)
    images.publish(image(START_NS))
    world.wait(lambda: 'nothing has come' not in world.text_of('/pose_node'))
    assert beside.topic_name == '/image/compressed'


def test_an_empty_frame_id_is_counted(world, stage):
    stream = Stream(world)
    message = image(START_NS)
    message.header.frame_id = ''
    stream.send(message)
    assert stream.notes()['empty_frame_id'] == '1'


def test_two_nodes_of_one_name_are_named(world, stage, monkeypatch):
    monkeypatch.setattr(stage_node, 'DOUBLE_S', 0.0)
    for _ in range(2):
        world.add(PoseNode)
    world.wait(lambda: 'nodes are called /pose_node' in world.text_of('/pose_node'))


def test_camera_info_that_was_published_once_before_the_node_is_found(world, stage):
    kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    once = world.tester.create_publisher(CameraInfo, 'camera_info', kept)
    once.publish(conversions.make.camera_info(CAMERA, 5, 'optical'))
    people = collect_people(world)
    images, _ = world.camera_publishers()
    node = world.start(PoseNode, camera_info_wait_s=10.0)
    world.connected(node, 'image', 'pose_node/people')
    images.publish(image(START_NS))
    world.wait(lambda: people)
    assert not people[0].provenance.intrinsics_assumed


def test_camera_info_of_another_camera_is_refused_with_both_names(world, stage):
    stream = Stream(world)
    message = conversions.make.camera_info(CAMERA, stream.next_ns, 'color')
    stream.infos.publish(message)
    world.wait(lambda: stream.node._cameras.book._newest)
    assert stream.send().provenance.intrinsics_assumed
    assert "'color'" in stream.notes()['intrinsics_assumed']
    assert "'optical'" in stream.notes()['intrinsics_assumed']


def test_rectified_images_and_their_topic(world, stage):
    lens = Camera(640, 480, CAMERA.matrix, [-0.3, 0.09, 0.0, 0.0, 0.0])
    stream = Stream(world, rectified=True)
    stream.send_info(lens)
    world.wait(lambda: stream.node._cameras.book._newest)
    assert 'not called image_rect' in stream.node._cameras._noted
    stream.send()
    (camera,) = stream.node._cameras.book._newest.values()
    assert not camera.distortion.any()


def test_a_camera_mounted_upside_down(world, monkeypatch):
    class Looking(Stage):
        def build(self, config):
            monkeypatch.setattr(self.estimator, 'roots_m', np.array([[0.0, 0.2, 4.0]]))
            boxes = FakeBoxes([[250, 100, 140, 300, 0.9]])
            return PoseStage(
                estimator=self.estimator, box_source=boxes, tracker=Tracker(), config=config.pose
            )

    Looking(monkeypatch)
    people = Stream(world, rotate_deg=180).send()
    np.testing.assert_allclose(people.joints_m[0, 0], (0.0, -0.2, 4.0), atol=1e-6)

"""occlusion_node against real rclpy: the image keeps its stamp, the report says what is gone."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import CAMERA, blank, make_people
from live import START_NS, STEP_NS, image, live
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from trpose_ros.msg import OcclusionReport, PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.occlusion_node import OcclusionNode
from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder
from trpose_ros.people import TrackState
from trpose_ros.recordings import messages

BOX = np.array([200.0, 60.0, 200.0, 380.0])


class Stream:
    def __init__(self, world, **parameters):
        self.world = world
        self.images = world.listen('occlusion_node/image', Image)
        self.reports = world.listen('occlusion_node/report', OcclusionReport)
        self.cameras = world.listen('occlusion_node/camera_info', CameraInfo)
        self.camera, self.infos = world.camera_publishers()
        self.people = world.tester.create_publisher(PersonArray, 'people', 10)
        self.node = world.start(OcclusionNode, camera_info_wait_s=0.0, **parameters)
        world.connected(self.node, 'image', 'camera_info')
        if parameters.get('reference') != 'image':
            world.connected(self.node, 'people')
        world.connected(
            self.node, 'occlusion_node/image', 'occlusion_node/report', 'occlusion_node/camera_info'
        )

    def send_people(self, people):
        """Publish people and wait until the node has them."""
        self.people.publish(conversions.make.people(people))
        self.world.settle()

    def send(self, stamp_ns):
        count = len(self.images)
        self.camera.publish(image(stamp_ns))
        self.world.wait(lambda: len(self.images) > count and len(self.reports) > count)
        assert messages.origin_of(self.images[-1]) == (stamp_ns, 'optical')
        assert messages.origin_of(self.reports[-1]) == (stamp_ns, 'optical')
        return conversions.read_image(self.images[-1])


@pytest.fixture
def world():
    with live() as world:
        yield world


def test_without_a_condition_the_image_passes_untouched(world):
    stream = Stream(world)
    assert (stream.send(START_NS) == 100).all()
    assert stream.reports[0].profile == 'none'
    assert stream.reports[0].hidden_regions == []


def test_the_box_given_with_the_image_is_the_reference(world):
    stream = Stream(world, profile='fixed_lower', reference='given')
    people = make_people(START_NS, boxes_px=BOX[None])
    stream.send_people(people)
    got = stream.send(START_NS)
    occluder = make_occluder(OcclusionConfig('fixed_lower'))
    wanted = occluder.apply(blank(START_NS), BOX)
    np.testing.assert_array_equal(got, wanted.frame.image)
    assert stream.reports[0].seed == wanted.seed
    region = stream.reports[0].hidden_regions[0]
    assert [region.x_offset, region.y_offset, region.width, region.height] == [
        round(value) for value in wanted.rectangles_px[0] + (0.5, 0.5, 0, 0)
    ]
    assert 0.2 < stream.reports[0].hidden_fraction < 0.5


def test_a_crop_is_smaller_and_its_camera_fits(world):
    stream = Stream(world, profile='near_crop', reference='given')
    stream.infos.publish(conversions.make.camera_info(CAMERA, START_NS, 'optical'))
    world.settle()
    people = make_people(START_NS, boxes_px=BOX[None])
    stream.send_people(people)
    got = stream.send(START_NS)
    world.wait(lambda: stream.cameras)
    camera = messages.read_camera(stream.cameras[0])
    assert got.shape[:2] == (camera.height, camera.width)
    assert camera.height < 480
    assert camera.matrix[0, 0] == pytest.approx(CAMERA.matrix[0, 0])
    assert messages.origin_of(stream.cameras[0])[0] == START_NS


def test_the_tracked_box_is_that_of_the_frames_before(world):
    stream = Stream(world, profile='fixed_left')
    whole = stream.send(START_NS)
    people = make_people(
        START_NS, track_ids=np.array([4]), track_states=np.array([TrackState.TRACKED])
    )
    stream.send_people(people)
    anchored = stream.send(START_NS + STEP_NS)
    left = people.joints_px[0, :, 0].min()
    hidden = int((anchored[240, :, 0] == 0).sum())
    assert left < hidden < people.joints_px[0, :, 0].max()
    assert hidden != int((whole[240, :, 0] == 0).sum())


def test_without_people_the_whole_image_is_the_reference_and_that_is_counted(world, monkeypatch):
    monkeypatch.setattr('trpose_ros.nodes.occlusion_node._BOX_WAIT_S', 0.01)
    stream = Stream(world, profile='fixed_upper', reference='given')
    got = stream.send(START_NS)
    assert (got[:150] == 0).all()
    assert (got[-150:] == 100).all()
    assert stream.node.statistics.values()['images_without_box'] == '1'


def test_the_condition_changes_while_running_and_a_bad_one_is_refused(world):
    stream = Stream(world, reference='image')
    assert (stream.send(START_NS) == 100).all()
    accepted = stream.node.set_parameters([Parameter('profile', value='fixed_middle')])[0]
    assert accepted.successful
    assert (stream.send(START_NS + STEP_NS)[240] == 0).all()
    refused = stream.node.set_parameters([Parameter('profile', value='umbrella')])[0]
    assert not refused.successful
    assert 'umbrella' in refused.reason
    refused = stream.node.set_parameters([Parameter('realisation', value='crop')])[0]
    assert not refused.successful
    assert 'fixed_middle cannot be cropped' in refused.reason
    assert (stream.send(START_NS + 2 * STEP_NS)[240] == 0).all()

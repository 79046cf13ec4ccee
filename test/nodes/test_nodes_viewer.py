"""viewer_node: what real rclpy carries arrives in the recording, and reasons where none can be."""

from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
pytest.importorskip('rerun', reason='needs pip install "trpose_ros[view]"')

from doubles import CAMERA, blank, make_people
from live import FAILURE, START_NS, STEP_NS, SUCCESS, image, live, values_of
from rclpy.parameter import Parameter
from viewer.test_rerun_log import read

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.viewer_node import ViewerNode, Waiting
from trpose_ros.people import Provenance
from trpose_ros.viewer import sinks

STAMPS = [START_NS + k * STEP_NS for k in range(6)]


@pytest.fixture
def world():
    with live() as world:
        yield world


def people_at(stamp_ns, shift_m=0.0):
    people = make_people(stamp_ns, (shift_m, 0.2, 4.0), track_ids=np.array([3]))
    return people.replace(
        provenance=Provenance(received_ns=stamp_ns, published_ns=stamp_ns + 10**7)
    )


def test_images_and_people_come_together_in_the_file(world, tmp_path):
    path = tmp_path / 'live.rrd'
    node = world.start(ViewerNode, save=str(path))
    images, infos = world.camera_publishers()
    estimated = world.tester.create_publisher(PersonArray, 'estimated', 10)
    lifted = world.tester.create_publisher(PersonArray, 'people', 10)
    world.connected(node, 'image', 'camera_info', 'estimated', 'people')
    infos.publish(conversions.make.camera_info(CAMERA, STAMPS[0], 'optical'))
    world.settle()
    for stamp in STAMPS:
        images.publish(image(stamp))
        world.wait(lambda s=stamp: s in node._waiting._frames)  # the newest image wins
    for k in (0, 1, 3):  # the pose node had no time for the others
        estimated.publish(conversions.make.people(people_at(STAMPS[k], 0.1 * k)))
    lifted.publish(conversions.make.people(people_at(STAMPS[1], 0.5)))
    status = world.status(node, lambda s: values_of(s)['frames'] == '1')
    assert values_of(status)['shown_in'] == str(path)
    world.wait(lambda: list(node._waiting._frames) == [STAMPS[k] for k in (2, 4, 5)])
    assert world.ask(node.trigger_deactivate) == SUCCESS
    assert not path.exists()
    assert world.ask(node.trigger_cleanup) == SUCCESS
    found = read(path)
    assert list(found['/world/camera/image']['blob']) == [STAMPS[k] for k in (0, 1, 3)]
    for k in (0, 1, 3):
        sent = people_at(STAMPS[k], 0.1 * k)
        logged = found['/world/camera/joints']['positions'][STAMPS[k]]
        np.testing.assert_array_equal(logged, sent.joints_px[0])
    (joints,) = found['/world/skeletons/joints']['positions'].values()
    np.testing.assert_array_equal(joints, people_at(STAMPS[1], 0.5).joints_m[0])
    assert found['/world/skeletons/ids']['labels'] == {STAMPS[1]: ['3']}
    assert found['/plots/latency_ms']['scalars'] == {STAMPS[1]: [10.0]}
    matrix = np.array(found['/world/camera']['image_from_camera'][STAMPS[0]]).reshape(3, 3).T
    np.testing.assert_allclose(matrix, CAMERA.matrix, rtol=1e-6)


def test_bad_people_cost_only_themselves(world, tmp_path):
    node = world.start(ViewerNode, save=str(tmp_path / 'x.rrd'))
    estimated = world.tester.create_publisher(PersonArray, 'estimated', 10)
    world.connected(node, 'estimated')
    bad = conversions.make.people(people_at(STAMPS[0]))
    bad.skeleton = 'snake'
    estimated.publish(bad)
    estimated.publish(conversions.make.people(people_at(STAMPS[1])))
    status = world.status(node, lambda s: values_of(s)['errors'] == '1')
    assert 'snake' in status.message
    world.wait(lambda: list(node._waiting._answers) == [STAMPS[1]])
    assert world.ask(node.trigger_deactivate) == SUCCESS
    assert world.ask(node.trigger_cleanup) == SUCCESS
    assert list(read(tmp_path / 'x.rrd')['/world/camera/joints']['positions']) == [STAMPS[1]]


def test_what_is_missing_is_said_and_the_node_lives(world, tmp_path, monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sinks, '_listens', lambda port: False)
    node = world.add(ViewerNode)
    assert world.ask(node.trigger_configure) == FAILURE
    assert 'a viewer needs a display' in node.statistics.last_error
    with monkeypatch.context() as without:
        without.setitem(sys.modules, 'rerun', None)
        assert world.ask(node.trigger_configure) == FAILURE
        assert 'pip install "trpose_ros[view]"' in node.statistics.last_error
    node.set_parameters([Parameter('save', value=str(tmp_path / 'x.rrd'))])
    assert world.ask(node.trigger_configure) == SUCCESS


def test_a_file_that_cannot_be_finished_is_an_error(world, tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, 'is_whole', lambda path: False)
    node = world.start(ViewerNode, save=str(tmp_path / 'x.rrd'))
    assert world.ask(node.trigger_deactivate) == SUCCESS
    assert world.ask(node.trigger_cleanup) == SUCCESS
    assert 'x.rrd cannot be written: its end is missing' in node.statistics.last_error
    assert list(tmp_path.iterdir()) == []


def test_images_wait_for_their_people():
    waiting = Waiting(2)
    frames = [blank(stamp) for stamp in STAMPS]
    assert waiting.add(frames[0]) == []
    assert waiting.add(frames[1]) == []
    assert waiting.add(frames[2]) == [frames[0]]  # nobody has answered: shown alone
    assert waiting.answer(STAMPS[2]) is frames[2]
    assert waiting.answer(STAMPS[2]) is None
    assert waiting.add(frames[3]) == []
    assert waiting.add(frames[4]) == []  # image 1 was passed over
    assert waiting.answer(STAMPS[1]) is None
    assert waiting.answer(STAMPS[5]) is None
    assert waiting.add(frames[5]) == [frames[5]]  # its people were here first

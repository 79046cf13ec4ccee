"""The nodes of several cameras in one process: namespaces, topics, one network for all."""

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import FakeEstimator
from live import image, live

from trpose_ros.estimators import EstimatorConfig
from trpose_ros.estimators.shared import SharedEstimators
from trpose_ros.msg import PersonArray
from trpose_ros.nodes import cameras
from trpose_ros.nodes.pose_node import PoseNode


@pytest.fixture
def world():
    with live() as world:
        yield world


def test_each_camera_has_its_namespace_and_its_topics(world):
    given = cameras.parsed(
        ['--cameras', '[front, rear]', '--namespace', '/robot', '--fusion', '--image-topic',
         '/drivers/{camera}/image']
    )  # fmt: skip
    made = [make.func(**make.keywords, context=world.context) for make in cameras.makers(given)]
    names = [node.get_fully_qualified_name() for node in made]
    topics = [made[0].resolve_topic_name(name) for name in ('image', 'camera_info', '~/people')]
    lifter = made[1].resolve_topic_name('people')
    for node in made:
        node.close()
        node.destroy_node()
    assert names == [
        '/robot/front/pose_node',
        '/robot/front/lifter_node',
        '/robot/rear/pose_node',
        '/robot/rear/lifter_node',
        '/robot/fusion_node',
    ]
    assert topics[0] == '/drivers/front/image'
    assert topics[1:] == ['/robot/front/camera_info', '/robot/front/pose_node/people']
    assert lifter == '/robot/front/pose_node/people'


def test_cameras_share_one_network(world):
    loaded = []

    def create(name, config):
        loaded.append(FakeEstimator())
        return loaded[-1]

    shared = SharedEstimators(create)
    nodes = [
        world.start(
            lambda name=name, **options: PoseNode(estimators=shared, namespace=name, **options),
            boxes='image',
        )
        for name in ('front', 'rear')
    ]
    found = world.listen('/rear/pose_node/people', PersonArray)
    assert len(loaded) == 1
    publisher = world.tester.create_publisher(type(image(1)), '/rear/image', 5)
    world.connected(nodes[1], '/rear/image', '/rear/pose_node/people')
    world.publish_until(lambda: found, lambda stamp_ns: publisher.publish(image(stamp_ns)))
    assert loaded[0].calls
    world.ask(nodes[0].trigger_deactivate)
    world.ask(nodes[0].trigger_cleanup)
    assert not loaded[0].closed
    world.ask(nodes[1].trigger_deactivate)
    world.ask(nodes[1].trigger_cleanup)
    assert loaded[0].closed


def test_other_settings_are_another_network():
    made = []

    def create(name, config):
        made.append(FakeEstimator())
        return made[-1]

    shared = SharedEstimators(create)
    first, second = (shared('a', EstimatorConfig()) for _ in range(2))
    other = shared('a', EstimatorConfig(num_aug=5))
    assert len(made) == 2
    assert (first.name, other.skeleton) == ('fake', 'h36m_17')
    first.close()
    first.close()  # a second call is nobody else's
    assert not made[0].closed
    second.close()
    assert made[0].closed
    again = shared('a', EstimatorConfig())
    assert len(made) == 3
    assert np.shares_memory(again.roots_m, made[2].roots_m)


def test_names_that_no_namespace_can_have_end_it_with_2(capsys):
    assert cameras.main(['--cameras', '2nd']) == 2
    assert '2nd' in capsys.readouterr().err

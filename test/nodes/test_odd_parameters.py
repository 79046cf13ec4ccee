"""Every parameter of every node takes, or refuses in words, any value in any state."""

import math

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from live import SUCCESS, live
from rclpy.parameter import Parameter

from trpose_ros.lifters import LifterConfig
from trpose_ros.msg import Person, PersonArray
from trpose_ros.nodes import occlusion_node
from trpose_ros.nodes.base.people_limit import bounded
from trpose_ros.nodes.evaluation import EvaluationNode
from trpose_ros.nodes.fusion_node import FusionNode
from trpose_ros.nodes.hri_bridge import HriBridge
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.nodes.occlusion_node import OcclusionNode
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.nodes.viewer_node import ViewerNode

NODES = [
    OcclusionNode,
    LifterNode,
    PoseNode,
    ViewerNode,
    FusionNode,
    HriBridge,
    EvaluationNode,
]
ODD = {
    bool: [True, False],
    int: [0, 1, -1, 7, 60, 2**31, -(2**63), 2**63 - 1],
    float: [0.0, -0.0, 0.5, 60.0, -1.0, 1e308, -1e308, 5e-324, math.nan, math.inf, -math.inf],
    str: ['', 'none', 'x', '\0', '/', '../..', 'ä' * 3000, "';--", '%s{0}', '\n'],
}
OTHER = [[b'a'], ['a'], [1], [1.5], [True]]


@pytest.fixture
def world():
    with live() as world:
        yield world


def try_all(node):
    """Set every parameter to every odd value and back; each answer is a yes or a reason."""
    count = 0
    for name in sorted(node._parameters):
        if name.startswith(('qos_', 'use_sim_time', 'start_')):
            continue
        before = node.get_parameter(name).value
        own = ODD[type(before)]
        for value in [
            *own,
            *(v for kind in ODD.values() if kind is not own for v in kind[:2]),
            *OTHER,
        ]:
            result = node.set_parameters([Parameter(name, value=value)])[0]
            assert result.successful or result.reason, (name, value)
            assert len(result.reason) < 1000, (name, value)
            count += 1
        assert node.set_parameters([Parameter(name, value=before)])[0].successful or (
            node.get_parameter(name).value == before
        )
    return count


@pytest.mark.parametrize('kind', NODES)
def test_before_configure_and_while_it_holds_a_model(world, kind, monkeypatch):
    """`ros2 param set /occlusion_node fov_deg 60` before configure ended the node."""
    monkeypatch.setattr(kind, 'load', lambda self: None)
    monkeypatch.setattr(kind, 'start', lambda self: None)
    node = world.add(kind)
    assert try_all(node) > 40
    assert world.ask(node.trigger_configure) == SUCCESS
    assert try_all(node) > 40
    assert world.ask(node.trigger_activate) == SUCCESS
    assert try_all(node) > 40
    assert world.ask(node.trigger_deactivate) == SUCCESS
    assert world.ask(node.trigger_cleanup) == SUCCESS
    assert try_all(node) > 40
    assert world.ask(node.trigger_shutdown) == SUCCESS
    assert try_all(node) > 40


@pytest.mark.parametrize(('kind', 'given'), [(OcclusionNode, {}), (LifterNode, {'lifter': 'none'})])
def test_while_it_works(world, kind, given):
    node = world.start(kind, **given)
    assert try_all(node) > 50
    assert world.ask(node.trigger_deactivate) == SUCCESS


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active'])
def test_a_field_of_view_can_be_set(world, state):
    node = world.add(OcclusionNode)
    if state != 'unconfigured':
        assert world.ask(node.trigger_configure) == SUCCESS
    if state == 'active':
        assert world.ask(node.trigger_activate) == SUCCESS
    result = node.set_parameters([Parameter('fov_deg', value=60.0)])[0]
    assert result.successful == (state == 'unconfigured')
    if not result.successful:
        assert 'before configure' in result.reason


def test_causal_is_yes_no_or_not_given(world):
    node = world.add(LifterNode)
    for value, good in [(-1, True), (0, True), (1, True), (7, False), (-2, False)]:
        assert node.set_parameters([Parameter('causal', value=value)])[0].successful == good
    assert node.get_parameter('causal').value == 1
    with pytest.raises(ValueError, match='causal must be one of'):
        LifterConfig(causal=7)
    assert LifterConfig(causal=None).causal is None


def test_a_change_that_fails_is_refused_in_words(world, monkeypatch):
    node = world.start(OcclusionNode)

    def fail(config, identity):
        raise KeyError('strange')

    monkeypatch.setattr(occlusion_node, 'make_occluder', fail)
    other = 'none' if node.get_parameter('profile').value != 'none' else 'fixed_lower'
    result = node.set_parameters([Parameter('profile', value=other)])[0]
    assert not result.successful
    assert 'strange' in result.reason


def test_people_of_a_message_are_bounded_and_counted(world):
    node = world.add(LifterNode)
    message = PersonArray(persons=[Person(track_id=i) for i in range(100)])
    kept = bounded(node, message)
    assert [p.track_id for p in kept.persons] == list(range(64))
    assert node.statistics.values()['people_left_out']
    assert node.statistics.notes['people_left_out'] == 36
    assert len(bounded(node, PersonArray(persons=[Person()] * 3), 2).persons) == 2
    assert node.statistics.notes['people_left_out'] == 37
    assert len(bounded(node, PersonArray()).persons) == 0


def test_megabytes_from_outside_do_not_reach_the_diagnostics(world):
    """40 MB/s of /diagnostics came from one message."""
    node = world.start(LifterNode, lifter='none')
    for number in range(100):
        node.report(f'people skipped: unknown skeleton {"s" * 1_000_000!r} {number}')
    node.warn('camera_info', f'camera_info is unusable: {[0.1] * 100_000}')
    world.wait(lambda: 'unusable' in str(world.diagnostics.get('/lifter_node', '')))
    status = world.diagnostics['/lifter_node']
    assert len(status.message) < 700
    assert sum(len(pair.value) for pair in status.values) < 4000
    assert node.statistics.errors == 100

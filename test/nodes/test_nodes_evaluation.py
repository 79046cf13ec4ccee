"""The evaluation node alone: listening, running metrics, writing, refusals."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
pytest.importorskip('pyarrow')

from diagnostic_msgs.msg import DiagnosticArray
from doubles import make_people
from live import FAILURE, START_NS, STEP_NS, live, values_of
from std_srvs.srv import Trigger

from trpose_ros.evaluation.results import read_rows
from trpose_ros.msg import OcclusionReport, PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.evaluation import EvaluationNode, EvaluationNodeConfig
from trpose_ros.people import Provenance

POSED = Provenance(weights_id='small@abc', inference_ms=5.0, preprocess_ms=1.0)
LIFTED = Provenance(weights_id='small@abc+v@def', lifter='videopose3d', lookahead=2)


@pytest.fixture
def world():
    with live() as world:
        yield world


def off(stamp_ns, mm, provenance):
    people = make_people(stamp_ns, provenance=provenance)
    joints_m = people.joints_m.copy()
    joints_m[:, 5, 0] += mm / 1000
    return people.replace(joints_m=joints_m)


class Talk:
    """Publishes what the other nodes would."""

    def __init__(self, world):
        create = world.tester.create_publisher
        self.truth = create(PersonArray, 'ground_truth', 100)
        self.posed = create(PersonArray, 'estimated', 100)
        self.lifted = create(PersonArray, 'people', 100)
        self.reports = create(OcclusionReport, 'occlusion_report', 100)

    def say(self, stamp_ns, truth=True, answered=True):
        message = conversions.make.people
        if truth:
            self.truth.publish(message(make_people(stamp_ns)))
        if answered:
            self.posed.publish(message(off(stamp_ns, 17.0, POSED)))
            self.lifted.publish(message(off(stamp_ns, 34.0, LIFTED)))


def call(world, node):
    client = world.tester.create_client(Trigger, f'{node.get_name()}/write')
    world.wait(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    world.wait(future.done)
    return future.result()


def start(world, **parameters):
    metrics = world.listen('evaluation/metrics', DiagnosticArray)
    talk = Talk(world)
    node = world.start(EvaluationNode, **parameters)
    world.connected(node, 'ground_truth', 'estimated', 'people', 'occlusion_report')
    world.connected(node, 'evaluation/metrics')
    return node, talk, metrics


def test_running_metrics_and_the_results_on_request(world, tmp_path):
    node, talk, metrics = start(world, results=str(tmp_path / 'out'), identity='bag|a|b|0')
    for k in range(10):
        talk.say(START_NS + k * STEP_NS, answered=k != 4)
    newest = {}

    def complete():
        for message in metrics:
            for status in message.status:
                newest[status.name] = values_of(status)
        return [v['frames'] for v in newest.values()] == ['10', '10']

    world.wait(complete)
    estimator, lifter = newest['/evaluation: estimator'], newest['/evaluation: lifter']
    assert float(estimator['mpjpe_mm']) == pytest.approx(1, rel=0.01)
    assert float(lifter['mpjpe_mm']) == pytest.approx(2, rel=0.01)
    assert float(lifter['coverage_percent']) == pytest.approx(90)
    assert lifter['reference'] == 'truth'
    world.wait(lambda: node.facts().get('lifted') == '9')
    answer = call(world, node)
    assert answer.success, answer.message
    assert 'MPJPE 2.0 mm' in answer.message
    rows = read_rows(tmp_path / 'out' / 'results.parquet')
    assert [r['lifter'] for r in rows] == ['none', 'videopose3d@2+fusion']
    np.testing.assert_allclose([r['mpjpe_mm'] for r in rows], [1, 2], rtol=0.01)
    assert {r['subject'] for r in rows} == {'a'}
    for name in ('tables.md', 'tables.json', 'report.html'):
        assert (tmp_path / 'out' / name).stat().st_size > 0


def test_without_truth_and_reference_nothing_is_written(world, tmp_path):
    node, talk, _ = start(world, results=str(tmp_path / 'out'))
    report = OcclusionReport(profile='fixed_lower')
    report.header.stamp = conversions.make.time(START_NS)
    talk.reports.publish(report)
    talk.say(START_NS, truth=False)
    world.wait(lambda: node.facts().get('lifted') == '1')
    assert node.facts()['condition'] == 'fixed_lower'
    answer = call(world, node)
    assert not answer.success
    assert 'no ground truth and no unoccluded pass' in answer.message
    assert list((tmp_path / 'out').iterdir()) == []


def test_people_in_another_frame_than_the_truth_are_not_compared(world):
    node, talk, _ = start(world)
    talk.say(START_NS, answered=False)
    world.settle()
    other = off(START_NS, 34.0, LIFTED).replace(frame_id='base_link')
    talk.lifted.publish(conversions.make.people(other))
    world.wait(lambda: node.statistics.errors == 1)
    assert "'base_link' are not compared with true ones of frame 'optical'" in (
        node.statistics.last_error
    )
    assert node.facts()['lifted'] == '0'


def test_people_of_an_unknown_skeleton_are_skipped_and_named(world):
    node, talk, _ = start(world)
    message = conversions.make.people(make_people(START_NS))
    message.skeleton = 'octopus_8'
    talk.truth.publish(message)
    world.wait(lambda: node.statistics.errors == 1)
    assert 'octopus_8' in node.statistics.last_error
    talk.say(START_NS + STEP_NS)
    world.wait(lambda: node.facts().get('lifted') == '1')
    answer = call(world, node)
    assert not answer.success
    assert 'parameter results names no folder' in answer.message


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'conditions': 'fog'}, "unknown condition 'fog'"),
        ({'conditions': 'skeleton'}, "unknown condition 'sk_rand'"),
        ({'conditions': 'moving_box', 'realisation': 'crop'}, 'moving_box cannot be cropped'),
        ({'identity': 'me'}, 'identity must be'),
    ],
)
def test_impossible_parameters_are_named(world, parameters, words):
    if 'identity' in parameters:
        parameters = {**parameters, 'conditions': 'none'}
    node = world.add(EvaluationNode, **parameters)
    assert world.ask(node.trigger_configure) == FAILURE
    assert words in node.statistics.last_error


def test_missing_libraries_are_named(world, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, 'plotly', None)
    node = world.add(EvaluationNode, results=str(tmp_path / 'out'))
    assert world.ask(node.trigger_configure) == FAILURE
    assert "pip install 'trpose_ros[evaluate]'" in node.statistics.last_error


def test_the_plan_begins_untouched():
    names = [c.profile for c in EvaluationNodeConfig(conditions='five').plan()]
    assert names[0] == 'none'
    assert len(names) == 6
    assert [c.profile for c in EvaluationNodeConfig(conditions='none').plan()] == ['none']
    assert EvaluationNodeConfig().plan() == []
    plan = EvaluationNodeConfig(conditions='random_box, random_box', severity=2, draw=3).plan()
    assert [(c.profile, c.severity, c.draw) for c in plan] == [
        ('none', -1, 0),
        ('random_box', 2, 3),
    ]


def test_nodes_that_never_come_are_named(world):
    ended = []

    def make(**options):
        node = EvaluationNode(**options)
        node.end = ended.append
        return node

    world.start(make, conditions='none', start_s=1.0)
    world.wait(lambda: ended)
    assert 'after 1 s the nodes are not connected' in ended[0]
    assert '/player: says nothing' in ended[0]

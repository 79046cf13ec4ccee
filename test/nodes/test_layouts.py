"""The layouts for RViz and Foxglove show topics that the nodes publish, in panels that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import numpy as np
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from doubles import make_people
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from trpose_ros.drawing.markers import MarkersConfig, people_shapes
from trpose_ros.nodes import reference
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.stage_node import DIAGNOSTICS
from trpose_ros.nodes.base.statistics import Statistics

CONFIG = Path(__file__).resolve().parents[2] / 'config'
# https://docs.foxglove.dev/docs/visualization/panels/introduction, as layouts call them.
PANELS = {'3D', 'Image', 'DiagnosticSummary', 'Plot'}


def published():
    """Return name -> type of what the nodes of pose.launch.py publish."""
    found = {DIAGNOSTICS.name: DIAGNOSTICS.type}
    for node in ('pose_node', 'lifter_node'):
        for topic in reference.NODES[node].TOPICS:
            if topic.direction == 'out':
                found[topic.name.replace('~', f'/{node}')] = topic.type
    return found


def get_message(name):
    """Return the class of 'package/Name', as fields of messages call it."""
    return conversions.make.class_of('/msg/'.join(name.split('/')))


def check_path(path):
    """Follow a message path of Foxglove through the fields of the message."""
    topic, _, rest = path.partition('.')
    kind = published()[topic]
    for part in re.findall(r'(\w+)((?:\[:\]|\{[^}]*\})*)(?:\.|$)', rest):
        field, filters = part
        text = kind.get_fields_and_field_types()[field]
        listed = text.startswith('sequence<')
        assert listed == ('[:]' in filters), path
        for key, value in re.findall(r'\{(\w+)=="([^"]*)"\}', filters):
            inner = get_message(text[9:-1])
            assert key in inner.get_fields_and_field_types()
            if key == 'key':
                assert value in Statistics().values()
            else:
                assert value in ('/pose_node', '/lifter_node')
        name = text[9:-1] if listed else text
        kind = get_message(name) if '/' in name else name
    assert kind in ('double', 'uint64', 'string'), path


def leaves(layout):
    if isinstance(layout, str):
        return [layout]
    assert layout['direction'] in ('row', 'column')
    assert 0 < layout['splitPercentage'] < 100
    return leaves(layout['first']) + leaves(layout['second'])


def test_foxglove_shows_what_there_is():
    layout = json.loads((CONFIG / 'foxglove.json').read_text(encoding='utf-8'))
    panels = layout['configById']
    assert sorted(leaves(layout['layout'])) == sorted(panels)
    assert {name.partition('!')[0] for name in panels} == PANELS
    seen = set()
    for name, panel in panels.items():
        kind = name.partition('!')[0]
        if kind == '3D':
            assert {published()[topic] for topic in panel['topics']} == {MarkerArray}
            (markers,) = panel['topics'].values()
            assert set(markers['namespaces']) == namespaces()
        elif kind == 'Image':
            assert published()[panel['imageMode']['imageTopic']] is Image
        elif kind == 'DiagnosticSummary':
            assert published()[panel['topicToRender']] is DiagnosticArray
        for path in panel.get('paths', ()):
            assert path['enabled']
            check_path(path['value'])
            seen.add(path['value'].partition('.')[0])
    assert seen == {'/diagnostics', '/pose_node/people', '/lifter_node/people'}


@pytest.mark.parametrize(
    'path',
    [
        '/pose_node/poeple.provenance.inference_ms',
        '/pose_node/people.provenance.speed_ms',
        '/diagnostics.status[:]{name=="/pose_node"}.values[:]{key=="latency"}.value',
        '/diagnostics.status.values[:]{key=="rate_hz"}.value',
        '/pose_node/people.provenance',
    ],
)
def test_a_wrong_path_would_be_noticed(path):
    with pytest.raises((KeyError, AssertionError)):
        check_path(path)


def namespaces():
    """The namespaces of the markers."""
    people = make_people(1, covariances_m2=np.tile(np.eye(3), (1, 17, 1, 1)))
    return {shape.namespace for shape in people_shapes(people, MarkersConfig(sigma_spheres=True))}


def test_rviz_shows_what_there_is():
    layout = yaml.safe_load((CONFIG / 'pose.rviz').read_text(encoding='utf-8'))
    displays = layout['Visualization Manager']['Displays']
    kinds = {'rviz_default_plugins/MarkerArray': MarkerArray, 'rviz_default_plugins/Image': Image}
    shown = {}
    for display in displays:
        assert display['Class'].startswith('rviz_default_plugins/')
        assert display['Enabled'] is True
        if 'Topic' in display:
            shown[display['Class']] = display['Topic']
            assert published()[display['Topic']['Value']] is kinds[display['Class']]
            if 'Namespaces' in display:
                assert set(display['Namespaces']) == namespaces()
    assert set(shown) == set(kinds)
    assert all(panel['Class'].startswith('rviz_common/') for panel in layout['Panels'])

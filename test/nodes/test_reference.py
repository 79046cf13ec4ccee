"""What the documentation says about topics, arguments and parameters is what the code says."""

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import yaml

from trpose_ros.nodes import reference

ROOT = Path(__file__).resolve().parents[2]
REMEDY = 'run: python -m trpose_ros.nodes.reference docs/ros.md config/pose.yaml'


def test_tables_of_the_documentation_match_the_code():
    text = (ROOT / 'docs' / 'ros.md').read_text(encoding='utf-8')
    for name in reference.REGIONS:
        assert f'<!-- generated: {name} -->' in text
        assert f'<!-- end: {name} -->' in text
    assert text == reference.filled(text), REMEDY


def test_parameter_file_matches_the_code_and_is_valid():
    text = (ROOT / 'config' / 'pose.yaml').read_text(encoding='utf-8')
    assert text == reference.parameter_file(), REMEDY
    parsed = yaml.safe_load(text)
    assert set(parsed) == {f'/**/{name}' for name in reference.NODES}


@pytest.mark.parametrize('preset', ['fast', 'balanced', 'accurate'])
def test_presets_set_parameters_that_exist_to_values_that_are_allowed(preset):
    parsed = yaml.safe_load((ROOT / 'config' / f'{preset}.yaml').read_text(encoding='utf-8'))
    (values,) = (section['ros__parameters'] for section in parsed.values())
    known = {
        spec.name: spec
        for node in reference.NODES.values()
        for spec in reference._specifications(node)
    }
    assert set(values) <= set(known)
    for name, value in values.items():
        spec = known[name]
        assert type(value) is spec.kind
        assert spec.limits is None or spec.limits[0] <= value <= spec.limits[1]


def test_filling_changes_regions_only(tmp_path):
    path = tmp_path / 'text.md'
    path.write_text('before\n<!-- generated: launch -->\nold\n<!-- end: launch -->\nafter\n')
    assert reference.main([str(path)]) == 0
    text = path.read_text()
    assert text.startswith('before\n<!-- generated: launch -->\n| argument |')
    assert text.endswith('|\n<!-- end: launch -->\nafter\n')
    assert '-->\nold' not in text
    assert [p.name for p in tmp_path.iterdir()] == ['text.md']

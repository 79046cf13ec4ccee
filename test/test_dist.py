"""What would be in a wheel; scripts/make_dist.py makes one and tries it (make dist-check)."""

import importlib.util
import re
from pathlib import Path

import pytest
import setuptools
from setuptools import Distribution

ROOT = Path(__file__).resolve().parents[1]

_SPEC = importlib.util.spec_from_file_location('make_dist', ROOT / 'scripts' / 'make_dist.py')
make_dist = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_dist)


def packed_files(monkeypatch, tmp_path):
    """What setuptools would copy into a wheel, without copying it."""
    seen = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr('setuptools.setup', lambda **given: seen.update(given))
    exec(compile((ROOT / 'setup.py').read_text('utf-8'), 'setup.py', 'exec'), {})
    distribution = Distribution({**seen, 'script_name': 'setup.py'})
    distribution.include_package_data = False  # what MANIFEST.in names belongs to the sdist alone
    command = distribution.get_command_obj('build_py')
    command.build_lib = str(tmp_path)
    command.ensure_finalized()
    outputs = command.get_outputs(include_bytecode=False)
    return {Path(name).relative_to(tmp_path).as_posix() for name in outputs}


def test_a_wheel_holds_all_that_is_wanted_and_nothing_else(monkeypatch, tmp_path):
    names = packed_files(monkeypatch, tmp_path)
    assert make_dist.wrong_files(names, make_dist.expected_files()) == []
    for path in (ROOT / 'trpose_ros' / 'weights').glob('*.safetensors'):
        assert f'trpose_ros/weights/{path.name}' in names
    for name in ('msg/PersonArray.msg', 'config/pose.yaml', 'launch/pose.launch.py'):
        assert f'trpose_ros/share/{name}' in names
    assert len(names) > 300


def test_what_is_missing_or_too_much_is_named():
    expected = {'trpose_ros/a.py', 'trpose_ros/weights/w.safetensors'}
    assert make_dist.wrong_files(expected | {'trpose_ros-1.dist-info/METADATA'}, expected) == []
    wrong = make_dist.wrong_files({'trpose_ros/a.py', 'test/test_a.py'}, expected)
    assert wrong[0] == 'trpose_ros/weights/w.safetensors is missing'
    assert wrong[1:] == [
        'test/test_a.py does not belong there',
        'test/test_a.py must not be there',
    ]


METADATA = """Metadata-Version: 2.4
Name: trpose_ros
Version: 0.3
License-Expression: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.10
Description-Content-Type: text/markdown
Requires-Dist: numpy>=1.22
Provides-Extra: ros
Requires-Dist: cmake==4.4; extra == "ros"
"""
PROJECT = """version = '0.3'
[project.optional-dependencies]
ros = ['cmake']
[project.scripts]
"""


@pytest.mark.parametrize(
    ('old', 'new', 'words'),
    [
        ('Version: 0.3', 'Version: 0.2', "Version is '0.2'"),
        ('Apache-2.0', 'MIT', "License-Expression is 'MIT'"),
        ('Extra: ros', 'Extra: rose', 'extras are'),
        ('numpy>=1.22', 'numpy==1.22', 'pinned'),
        ('License-File: LICENSE\n', '', 'License-File is None'),
    ],
)
def test_wrong_metadata_is_named(old, new, words):
    assert make_dist.wrong_metadata(METADATA, PROJECT) == []
    (wrong,) = make_dist.wrong_metadata(METADATA.replace(old, new), PROJECT)
    assert words in wrong


@pytest.mark.skipif(
    int(setuptools.__version__.partition('.')[0]) < 77,
    reason='the package is built by setuptools 77',
)
def test_setuptools_takes_the_metadata():
    from setuptools.config import pyprojecttoml

    read = pyprojecttoml.read_configuration(ROOT / 'pyproject.toml')['project']
    assert read['scripts'] == {'trpose': 'trpose_ros.commands.main:main'}
    extras = set(read['optional-dependencies'])
    assert {'ros', 'onnx', 'openvino', 'tensorflow', 'train', 'evaluate'} <= extras
    page = (ROOT / 'docs' / 'install.md').read_text('utf-8')
    assert extras == set(re.findall(r'^\| `(\w+)` \|', page, re.M))

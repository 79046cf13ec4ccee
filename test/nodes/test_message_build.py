"""`trpose messages`: what it builds from, what stands in its way, where the result goes."""

import importlib.util
import re
import sys
import sysconfig
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

import trpose_ros
from trpose_ros.commands import ros
from trpose_ros.commands.ros import NODES
from trpose_ros.nodes import message_build
from trpose_ros.nodes.message_build import MessageBuildError

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(sysconfig.get_path('purelib'))


def test_the_project_has_the_messages_and_dependencies_of_the_package(tmp_path):
    message_build.write_project(tmp_path)
    made = (tmp_path / 'CMakeLists.txt').read_text()
    ours = (ROOT / 'CMakeLists.txt').read_text()
    messages = re.findall(r'"(msg/\w+\.msg)"', ours)
    assert sorted(messages) == re.findall(r'"(msg/\w+\.msg)"', made)
    assert all((tmp_path / name).is_file() for name in messages)
    (needs,) = re.findall(r'DEPENDENCIES (.*?)\)', ours.replace('\n', ''))
    assert needs.split() == list(message_build.NEEDS)
    package = ElementTree.parse(tmp_path / 'package.xml').getroot()
    assert package.findtext('version') == trpose_ros.__version__
    assert [each.text for each in package.iter('depend')] == list(message_build.NEEDS)


@pytest.mark.parametrize(
    ('environ', 'folder', 'words'),
    [
        ({'ROS_DISTRO': 'jazzy'}, SITE, 'colcon build'),
        ({}, ROOT, 'make messages'),
    ],
)
def test_obstacles_name_the_command_to_give_instead(environ, folder, words):
    assert words in message_build.obstacle(environ, folder)


def test_missing_generators_and_compilers_are_named(monkeypatch, tmp_path):
    prefix = tmp_path / 'venv'
    (prefix / 'bin').mkdir(parents=True)
    monkeypatch.setattr(sys, 'prefix', str(prefix))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    assert 'trpose_ros[ros]' in message_build.obstacle({}, SITE)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: object())
    assert 'bin/cmake is missing' in message_build.obstacle({}, SITE)
    (prefix / 'bin' / 'cmake').touch()
    real = sysconfig.get_paths()
    paths = {**real, 'include': str(tmp_path)}
    monkeypatch.setattr(sysconfig, 'get_paths', lambda *_: paths)
    assert 'apt install python3-dev' in message_build.obstacle({}, SITE)
    (tmp_path / 'Python.h').touch()
    monkeypatch.setattr(message_build.shutil, 'which', lambda name: None)
    assert 'apt install g++' in message_build.obstacle({}, SITE)
    assert message_build.obstacle({'CXX': 'clang++'}, SITE) == ''


def test_a_step_that_fails_ends_with_its_last_words():
    seen = []
    code = "print('[ 40%] Building'); print('no such type'); raise SystemExit(2)"
    with pytest.raises(MessageBuildError, match='no such type'):
        message_build._run([sys.executable, '-c', code], lambda *done: seen.append(done))
    assert seen == [(40, 100)]


def test_results_go_beside_the_package_without_a_second_name_for_pip(tmp_path):
    stage, prefix, site = tmp_path / 'stage', tmp_path / 'venv', tmp_path / 'site'
    package = stage / 'lib' / 'python3.11' / 'site-packages' / 'trpose_ros'
    for path in (
        stage / 'lib' / 'libtrpose_ros__x.so',
        package / '__init__.py',
        package / 'msg' / '_person.py',
        package / 'trpose_ros_s__x.so',
        package.parent / 'trpose_ros-0.2.0-py3.11.egg-info' / 'PKG-INFO',
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('x')
    written = message_build._install(stage, prefix, site)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        'site/trpose_ros/msg/_person.py',
        'site/trpose_ros/trpose_ros_s__x.so',
        'venv/lib/libtrpose_ros__x.so',
    ]
    assert all(path.is_file() for path in written)


def test_all_executables_of_a_workspace_can_be_run_by_name():
    cmake = (ROOT / 'CMakeLists.txt').read_text()
    assert set(NODES) == set(re.search(r'foreach\(node (.*?)\)', cmake, re.DOTALL)[1].split())


def test_a_node_gets_the_rest_of_the_line_as_its_own(monkeypatch):
    seen = []
    module = types.SimpleNamespace(main=lambda: seen.append(sys.argv) or 3)
    monkeypatch.setitem(sys.modules, 'trpose_ros.nodes.cameras', module)
    monkeypatch.setattr(sys, 'argv', ['trpose'])
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', '/mine.xml')
    words = ['--ros-args', '-p', 'num_aug:=2', '--help']
    result = CliRunner().invoke(ros.app, ['node', 'cameras', 'front', *words])
    assert result.exit_code == 3
    assert seen == [['cameras', 'front', *words]]
    assert 'is no node' in CliRunner().invoke(ros.app, ['node', 'x']).output

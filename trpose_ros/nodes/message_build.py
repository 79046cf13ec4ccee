"""Builds the messages of this package into an environment whose ROS comes from wheels.

A wheel of trpose_ros holds the definitions (``share/msg``) and no built messages: those are
libraries for one Python and one ROS. On a robot colcon builds them. Here CMake and the generators
of the extra ``[ros]`` do, with the system's compiler, and the result goes where the wheels of
others put theirs: modules beside ours, libraries into ``lib`` of the environment. So nothing has to
be sourced afterwards.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import trpose_ros
from trpose_ros.resources import resource
from trpose_ros.writing import write_bytes

# The same as in CMakeLists.txt and package.xml, which a wheel does not hold.
NEEDS = ('builtin_interfaces', 'std_msgs', 'geometry_msgs', 'sensor_msgs')
_CMAKE = """cmake_minimum_required(VERSION 3.16)
project(trpose_ros)
find_package(ament_cmake REQUIRED)
find_package(rosidl_default_generators REQUIRED)
{find}
rosidl_generate_interfaces(trpose_ros
{messages}
  DEPENDENCIES {needs})
ament_package()
"""
_PACKAGE = """<?xml version="1.0"?>
<package format="3">
  <name>trpose_ros</name><version>{version}</version><description>messages</description>
  <maintainer email="trpose_ros@users.noreply.github.com">trpose_ros</maintainer>
  <license>Apache-2.0</license>
  <buildtool_depend>ament_cmake</buildtool_depend>
  <buildtool_depend>rosidl_default_generators</buildtool_depend>
{depends}
  <member_of_group>rosidl_interface_packages</member_of_group>
  <export><build_type>ament_cmake</build_type></export>
</package>
"""
_PERCENT = re.compile(r'^\[ *(\d+)%\]')
_LAST_LINES = 25


class MessageBuildError(ValueError):
    """The messages cannot be built here; the message says why and what to do."""


def obstacle(environ: Mapping[str, str], modules: Path) -> str:
    """Say why nothing can be built for the package in the folder ``modules``; '' if it can."""
    if environ.get('ROS_DISTRO'):
        return (
            f'ROS {environ["ROS_DISTRO"]} is sourced: build with colcon build --packages-select '
            'trpose_ros, so that ros2 sees the messages, too'
        )
    if modules.resolve() != Path(sysconfig.get_path('purelib')).resolve():
        return (
            f'trpose_ros in {modules} is not installed in the environment {sys.prefix}: in a '
            'source tree the command is make messages'
        )
    if importlib.util.find_spec('rosidl_generator_py') is None:
        return 'the generators of ROS are missing: pip install "trpose_ros[ros]"'
    if not (Path(sys.prefix) / 'bin' / 'cmake').is_file():
        return f'{sys.prefix}/bin/cmake is missing: pip install "trpose_ros[ros]"'
    if not (Path(sysconfig.get_paths()['include']) / 'Python.h').is_file():
        return 'Python.h is missing: apt install python3-dev'
    if shutil.which('g++') is None and not environ.get('CXX'):
        return 'g++ is missing: apt install g++'
    return ''


def check() -> None:
    """Raise MessageBuildError where nothing can be built."""
    if reason := obstacle(os.environ, Path(trpose_ros.__file__).parent.parent):
        raise MessageBuildError(reason)


def write_project(folder: Path) -> None:
    """Write the smallest package that generates the messages."""
    (folder / 'msg').mkdir()
    names = sorted(path.name for path in resource('msg').glob('*.msg'))
    for name in names:
        shutil.copyfile(resource('msg', name), folder / 'msg' / name)
    cmake = _CMAKE.format(
        find='\n'.join(f'find_package({name} REQUIRED)' for name in NEEDS),
        messages='\n'.join(f'  "msg/{name}"' for name in names),
        needs=' '.join(NEEDS),
    )
    package = _PACKAGE.format(
        version=trpose_ros.__version__,
        depends='\n'.join(f'  <depend>{name}</depend>' for name in NEEDS),
    )
    (folder / 'CMakeLists.txt').write_text(cmake)
    (folder / 'package.xml').write_text(package)


def build(progress: Callable[[int, int], None], jobs: int = 0) -> list[Path]:
    """Build and install; return the installed files.

    Args:
        progress: called with percent done and 100.
        jobs: compilers at a time; 0: as many as there are cores, at most four.

    Raises:
        MessageBuildError: where it is not possible, or a step fails, with its last words.

    """
    check()
    modules = Path(trpose_ros.__file__).parent.parent
    prefix = Path(sys.prefix)
    jobs = jobs or min(os.cpu_count() or 1, 4)
    with tempfile.TemporaryDirectory(prefix='trpose_messages_') as made:
        source, objects, stage = (Path(made, name) for name in ('source', 'build', 'stage'))
        source.mkdir()
        write_project(source)
        cmake = str(prefix / 'bin' / 'cmake')
        configure = [
            *(cmake, '-S', str(source), '-B', str(objects), '-G', 'Unix Makefiles'),
            f'-DCMAKE_INSTALL_PREFIX={stage}',
            f'-DPython3_EXECUTABLE={sys.executable}',
            f'-DCMAKE_PREFIX_PATH={prefix}',
            f'-DCMAKE_PROJECT_INCLUDE={resource("cmake", "wheel_compat.cmake")}',
            # Nothing of the system may be found: the wheels are complete.
            '-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF',
            *('-DBUILD_TESTING=OFF', '-DCMAKE_BUILD_TYPE=Release'),
        ]
        for command in (
            configure,
            [cmake, '--build', str(objects), f'-j{jobs}'],
            [cmake, '--install', str(objects)],
        ):
            _run(command, progress)
        return _install(stage, prefix, modules)


def _run(command: list[str], progress: Callable[[int, int], None]) -> None:
    environment = {**os.environ, 'AMENT_PREFIX_PATH': sys.prefix, 'LC_ALL': 'C'}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        env=environment,
    ) as process:
        lines: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if match := _PERCENT.match(line):
                progress(int(match[1]), 100)
    if process.returncode:
        words = ''.join(lines[-_LAST_LINES:])
        raise MessageBuildError(f'building the messages failed; {" ".join(command[:2])}:\n{words}')


def _install(stage: Path, prefix: Path, modules: Path) -> list[Path]:
    """Copy libraries and modules; CMake's metadata would tell pip of a second trpose_ros."""
    (package,) = stage.glob('lib/python*/site-packages/trpose_ros')
    pairs = [(path, prefix / 'lib' / path.name) for path in sorted(stage.glob('lib/*.so'))]
    for path in sorted(package.rglob('*')):
        relative = path.relative_to(package)
        if path.is_file() and str(relative) != '__init__.py' and path.suffix != '.pyc':
            pairs.append((path, modules / 'trpose_ros' / relative))
    for source, target in pairs:
        write_bytes(target, source.read_bytes())
    return [target for _, target in pairs]

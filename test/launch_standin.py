"""A strict stand-in for `launch` and `launch_ros`, which no package index offers.

It knows the classes and keywords that the launch files may use, with the real names of
Humble and Jazzy; anything else raises. Executables and files are looked up as launch_ros does,
through AMENT_PREFIX_PATH, and what would be started is recorded as command lines, which a test
runs as real processes.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import tempfile
import types
from dataclasses import dataclass, field
from pathlib import Path

import yaml

NODE_KEYWORDS = {
    *('executable', 'package', 'name', 'namespace', 'exec_name', 'parameters', 'remappings'),
    *('ros_arguments', 'arguments', 'prefix', 'cwd', 'env', 'additional_env', 'shell'),
    *('sigterm_timeout', 'sigkill_timeout', 'emulate_tty', 'output', 'output_format'),
    *('cached_output', 'log_cmd', 'on_exit', 'respawn', 'respawn_delay', 'respawn_max_retries'),
    'condition',
}


class LaunchError(Exception):
    """What launch itself would refuse."""


@dataclass
class Context:
    configurations: dict[str, str]
    environment: dict[str, str]
    folder: Path
    log: list[str] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)


@dataclass
class Process:
    """What would be started."""

    package: str
    executable: str
    command: list[str]
    environment: dict[str, str]


class LaunchDescription:
    def __init__(self, initial_entities=None, *, deprecated_reason=None):
        self.entities = list(initial_entities or [])


class LaunchConfiguration:
    def __init__(self, variable_name, *, default=None):
        self.name, self.default = variable_name, default

    def perform(self, context):
        if self.name in context.configurations:
            return context.configurations[self.name]
        if self.default is None:
            raise LaunchError(f"launch configuration '{self.name}' does not exist")
        return self.default


class DeclareLaunchArgument:
    def __init__(self, name, *, default_value=None, description=None, choices=None):
        if not description:
            raise LaunchError(f'argument {name} has no description')
        if choices is not None and default_value not in choices:
            raise LaunchError(f'default of {name} is not one of its choices')
        self.name, self.default_value = name, default_value
        self.description, self.choices = description, choices

    def visit(self, context):
        value = context.configurations.setdefault(self.name, self.default_value)
        if self.choices is not None and value not in self.choices:
            raise LaunchError(f'argument {self.name} must be one of {self.choices}, got {value!r}')


class OpaqueFunction:
    def __init__(self, *, function, args=None, kwargs=None, condition=None):
        self.function, self.args, self.kwargs = function, args or (), kwargs or {}

    def visit(self, context):
        return self.function(context, *self.args, **self.kwargs)


class LogInfo:
    def __init__(self, *, msg, condition=None):
        self.msg = msg

    def visit(self, context):
        context.log.append(self.msg)


class SetEnvironmentVariable:
    def __init__(self, name, value, condition=None):
        self.name, self.value = name, value

    def visit(self, context):
        context.environment[self.name] = self.value


class Shutdown:
    def __init__(self, *, reason='reason not given', condition=None):
        self.reason = reason


class Node:
    def __init__(self, *, executable, **keywords):
        unknown = set(keywords) - NODE_KEYWORDS
        if unknown:
            raise TypeError(f'launch_ros.actions.Node has no keywords {sorted(unknown)}')
        if not isinstance(keywords.get('on_exit'), (Shutdown, type(None))):
            raise TypeError('the stand-in knows on_exit=Shutdown(...) alone')
        self.executable, self.keywords = executable, keywords

    def visit(self, context):
        package = self.keywords['package']
        command = [str(find_executable(package, self.executable))]
        command += self.keywords.get('arguments', [])
        command += ['--ros-args', *self.keywords.get('ros_arguments', [])]
        namespace = self.keywords.get('namespace', '')
        if namespace:
            command += ['-r', f'__ns:=/{namespace.strip("/")}']
        if self.keywords.get('name'):
            command += ['-r', f'__node:={self.keywords["name"]}']
        for entry in self.keywords.get('parameters', []):
            command += ['--params-file', _parameters(entry, context.folder)]
        for before, after in self.keywords.get('remappings', []):
            command += ['-r', f'{before}:={after}']
        context.processes.append(
            Process(package, self.executable, command, dict(context.environment))
        )


def _parameters(entry, folder: Path) -> str:
    """Return a parameter file: launch_ros writes dictionaries to one, for every node."""
    if isinstance(entry, (str, Path)):
        if not Path(entry).is_file():
            raise LaunchError(f'parameter file {entry} does not exist')
        return str(entry)
    for name, value in entry.items():
        if not isinstance(name, str) or not isinstance(value, (bool, int, float, str)):
            raise LaunchError(f'launch_ros cannot pass parameter {name!r} = {value!r}')
    with tempfile.NamedTemporaryFile('w', suffix='.yaml', dir=folder, delete=False) as file:
        yaml.safe_dump({'/**': {'ros__parameters': dict(entry)}}, file)
    return file.name


def find_executable(package: str, executable: str) -> Path:
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(':'):
        index = Path(prefix) / 'share' / 'ament_index' / 'resource_index' / 'packages' / package
        if prefix and index.is_file():
            path = Path(prefix) / 'lib' / package / executable
            if not os.access(path, os.X_OK):
                raise LaunchError(f"executable '{executable}' not found in '{path.parent}'")
            return path
    raise LaunchError(f"package '{package}' not found in AMENT_PREFIX_PATH")


@contextlib.contextmanager
def _modules():
    """Put the stand-ins where the launch file imports from; other names do not exist."""
    names = {
        'launch': {'LaunchDescription': LaunchDescription},
        'launch.actions': {
            'DeclareLaunchArgument': DeclareLaunchArgument,
            'LogInfo': LogInfo,
            'OpaqueFunction': OpaqueFunction,
            'SetEnvironmentVariable': SetEnvironmentVariable,
            'Shutdown': Shutdown,
        },
        'launch.substitutions': {'LaunchConfiguration': LaunchConfiguration},
        'launch_ros': {},
        'launch_ros.actions': {'Node': Node},
    }
    before = {name: sys.modules.get(name) for name in names}
    for name, members in names.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def launch(path: Path, folder: Path, **arguments: str) -> Context:
    """Run a launch file; return what it would start. Unknown arguments raise.

    Parameters given as a dictionary are written to files in ``folder``.
    """
    with _modules():
        entities = runpy.run_path(str(path))['generate_launch_description']().entities
        declared = {e.name for e in entities if isinstance(e, DeclareLaunchArgument)}
        unknown = set(arguments) - declared
        if unknown:
            raise LaunchError(f'unknown launch arguments {sorted(unknown)}')
        context = Context(dict(arguments), {}, folder)
        while entities:
            entity = entities.pop(0)
            entities = [*(entity.visit(context) or []), *entities]
    return context

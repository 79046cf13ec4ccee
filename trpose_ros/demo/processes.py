"""Node processes of a demonstration: started here, watched, and ended by their own numbers.

They get a ROS domain of their own, on this machine only, and the Fast DDS profile that lets
images through. What they say goes into a log file each.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trpose_ros.resources import resource

_END_S = 8.0
_LOG_LINES = 12


class ProcessError(RuntimeError):
    """A node has ended that should run; the message holds its last words."""


@dataclass
class NodeProcess:
    """One running node."""

    name: str
    process: subprocess.Popen
    log: Path

    def last_words(self) -> str:
        """Return the end of the log."""
        lines = self.log.read_text(errors='replace').splitlines()
        return '\n'.join(lines[-_LOG_LINES:])


class NodeProcesses:
    """Starts nodes; a context manager that ends them."""

    def __init__(self, folder: Path, domain_id: int, threads: int | None = None) -> None:
        """Write logs to ``folder``; ``threads`` limits the CPU threads of each node."""
        self._folder = folder
        self._nodes: list[NodeProcess] = []
        self._environment = dict(os.environ)
        self._environment['ROS_DOMAIN_ID'] = str(domain_id)
        self._environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
        if self._environment.get('ROS_DISTRO') == 'humble':
            self._environment['ROS_LOCALHOST_ONLY'] = '1'
        names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
        if not any(self._environment.get(name) for name in names):
            self._environment[names[0]] = str(resource('config', 'fastdds.xml'))
        if threads:
            self._environment.setdefault('OMP_NUM_THREADS', str(threads))
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> NodeProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(
        self,
        module: str,
        parameters: dict[str, Any] | None = None,
        remappings: dict[str, str] | None = None,
        name: str = '',
    ) -> NodeProcess:
        """Start ``main()`` of a module of trpose_ros.nodes, or of another one (with a dot)."""
        name = name or module
        if '.' not in module:
            module = f'trpose_ros.nodes.{module}'
        code = f'import sys; from {module} import main; sys.exit(main())'
        command = [sys.executable, '-c', code, '--ros-args', '-r', f'__node:={name}']
        for topic, other in (remappings or {}).items():
            command += ['-r', f'{topic}:={other}']
        for key, value in (parameters or {}).items():
            command += ['-p', f'{key}:={_yaml(value)}']
        log = self._folder / f'{name}.log'
        with log.open('wb') as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment,
                start_new_session=True,  # Ctrl-C comes to us; we end them in order
            )
        node = NodeProcess(name, process, log)
        self._nodes.append(node)
        return node

    def check(self) -> None:
        """Raise ProcessError when one has ended."""
        for node in self._nodes:
            code = node.process.poll()
            if code is not None:
                raise ProcessError(
                    f'{node.name} has ended with code {code}; its last words '
                    f'(all of them: {node.log}):\n{node.last_words()}'
                )

    def complaints(self) -> dict[str, list[str]]:
        """Return the errors in the logs of the running nodes, by name."""
        found = {}
        for node in self._nodes:
            lines = node.log.read_text(errors='replace').splitlines()
            errors = [line for line in lines if 'ERROR' in line or 'FATAL' in line]
            if errors:
                found[node.name] = errors
        return found

    def end(self) -> None:
        """Ask all to end, wait, end those by force that do not."""
        running = [node for node in self._nodes if node.process.poll() is None]
        for node in running:
            node.process.send_signal(signal.SIGINT)
        limit_s = time.monotonic() + _END_S
        for node in running:
            try:
                node.process.wait(max(limit_s - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()
        self._nodes.clear()


def free_domain() -> int:
    """Return a ROS domain (1..100) whose discovery ports nobody on this machine uses."""
    for domain in random.sample(range(1, 101), 100):
        base = 7400 + 250 * domain  # ports of DDS: RTPS specification, 9.6.1
        if all(_is_free(base + offset) for offset in (0, 10, 11)):
            return domain
    raise ProcessError('no free ROS domain between 1 and 100; end other ROS programs')


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
        return True


def _yaml(value: Any) -> str:
    import json

    if isinstance(value, Path):
        value = str(value)
    return json.dumps(value)  # JSON is YAML, and strings stay strings

"""One check in a process of its own: what hangs, crashes or raises there is a finding here.

``python -m trpose_ros.doctor.isolated MODULE:FUNCTION ARGUMENTS`` is that process; it writes the
findings as JSON to standard output. Whatever else is written there, by Python or by C, goes to
standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from trpose_ros.doctor.findings import Finding, one_line, problem

_GRACE_S = 2.0  # for a killed process to end; one that waits for a dead disk does not
_REPORT = 'run this check alone with `trpose doctor --only {name}`; if it fails again, report it'


def run_isolated(
    name: str, function: str, arguments: Mapping[str, Any], limit_s: float
) -> list[Finding]:
    """Return the findings of ``function`` ('module:function'), or one that says how it failed.

    Args:
        name: of the check, for the words.
        function: is called with ``arguments`` (JSON) and returns a list of findings.
        arguments: its keyword arguments.
        limit_s: the process is killed after this time.

    """
    command = [sys.executable, '-m', 'trpose_ros.doctor.isolated', function, json.dumps(arguments)]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,  # so that what it starts ends with it
        )
    except OSError as error:
        return [_failed(name, f'could not be started: {one_line(error)}')]
    try:
        out, words = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return [
            problem(
                f'this check did not end within {limit_s:g} s',
                'something that it asks hangs: a driver, a disk of the network, a library',
                _REPORT.format(name=name),
            )
        ]
    finally:
        _end(process)
    return _read(name, process.returncode, out, words.decode('utf-8', 'replace'))


def _read(name: str, code: int, out: bytes, words: str) -> list[Finding]:
    try:
        return [Finding(**entry) for entry in json.loads(out)]
    except (ValueError, TypeError):
        last = words.strip().splitlines()[-1:] or ['nothing was said']
        how = f'was ended by {_signal(-code)}' if code < 0 else f'ended with code {code}'
        return [_failed(name, f'{how}: {one_line(last[0])}')]


def _failed(name: str, how: str) -> Finding:
    return problem(
        f'this check {how}',
        'what it asks is broken so badly that it took the check with it',
        _REPORT.format(name=name),
    )


def _signal(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f'signal {number}'


def _environment() -> dict[str, str]:
    """Return the environment, with this package where it is imported from here."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    paths = [root, *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    return os.environ | {'PYTHONPATH': os.pathsep.join(dict.fromkeys(paths))}


def _end(process: subprocess.Popen) -> None:
    """End the process and what it has started, also after Ctrl-C."""
    if process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_GRACE_S)


def main(function: str, arguments: str) -> None:
    """Run one check and end the process, without taking the interpreter down."""
    channel = os.dup(1)
    os.dup2(2, 1)
    try:
        module, _, name = function.partition(':')
        found = getattr(importlib.import_module(module), name)(**json.loads(arguments))
    except BaseException as error:  # whatever a half-broken machine raises
        found = [
            problem(
                f'this check failed: {one_line(error)}',
                'something that it asks does not answer as it should',
                'see the words of the error; where they do not help, report it',
            )
        ]
    with os.fdopen(channel, 'w') as stream:
        json.dump([finding.as_dict() for finding in found], stream)
    sys.stderr.flush()
    os._exit(0)  # a driver or a middleware may crash when it is taken down


if __name__ == '__main__':
    main(*sys.argv[1:])

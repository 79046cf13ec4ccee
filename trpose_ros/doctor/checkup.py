"""The checks in their order, and what comes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trpose_ros import __version__
from trpose_ros.doctor.findings import MARKS, PROBLEM, Finding
from trpose_ros.doctor.isolated import run_isolated


@dataclass(frozen=True)
class Check:
    """One kind of check; ``function`` is 'module:function' and returns findings."""

    name: str
    title: str
    function: str
    limit_s: float = 60.0
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """What came of a check."""

    check: Check
    findings: list[Finding]
    seconds: float


def all_checks(seconds: float = 3.0) -> tuple[Check, ...]:
    """Return all checks; cameras are listened to for ``seconds``."""
    room = 'trpose_ros.doctor'
    return (
        Check('python', 'Python and packages', f'{room}.python:check'),
        Check('ros', 'ROS 2', f'{room}.ros:check'),
        Check('dds', 'DDS: how images travel', f'{room}.dds:check'),
        Check('memory', 'Shared memory', f'{room}.shared_memory:check'),
        Check('torch', 'PyTorch and its devices', f'{room}.torch_devices:check', 300.0),
        Check('extras', 'Extras', f'{room}.extras:check', 120.0),
        Check('opencv', 'OpenCV and videos', f'{room}.opencv:check'),
        Check('weights', 'Weights', f'{room}.weights:check', 180.0),
        Check('disk', 'Disks', f'{room}.disk:check'),
        Check(
            'cameras',
            'Cameras on ROS topics',
            f'{room}.cameras:check',
            90.0 + seconds,
            {'seconds': seconds},
        ),
    )


def chosen(checks: Sequence[Check], names: Sequence[str]) -> tuple[Check, ...]:
    """Return the named checks, all without names; raises ValueError for one that is unknown."""
    known = [check.name for check in checks]
    for name in names:
        if name not in known:
            raise ValueError(f'no check is called {name!r}; there are {", ".join(known)}')
    return tuple(check for check in checks if not names or check.name in names)


def examine(checks: Sequence[Check]) -> Iterator[Section]:
    """Run checks one after the other; this never raises for what they find."""
    for check in checks:
        begin_s = time.monotonic()
        found = run_isolated(check.name, check.function, check.arguments, check.limit_s)
        yield Section(check, found, time.monotonic() - begin_s)


def count(sections: Sequence[Section]) -> dict[str, int]:
    """Return how many findings there are of each mark."""
    marks = [finding.mark for section in sections for finding in section.findings]
    return {mark: marks.count(mark) for mark in MARKS}


def document(sections: Sequence[Section]) -> dict[str, Any]:
    """Return everything as one document for scripts."""
    counts = count(sections)
    return {
        'format': 'trpose doctor',
        'version': __version__,
        'healthy': counts[PROBLEM] == 0,
        'counts': counts,
        'sections': [
            {
                'name': section.check.name,
                'title': section.check.title,
                'seconds': round(section.seconds, 2),
                'findings': [finding.as_dict() for finding in section.findings],
            }
            for section in sections
        ],
    }

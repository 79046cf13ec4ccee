"""DDS: do large images get through, on this machine and over the network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem
from trpose_ros.resources import resource

_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_IMAGE = 1920 * 1080 * 3  # bytes; a segment should hold two
_LARGEST_FILE = 1 << 20
_RECEIVE = Path('/proc/sys/net/core/rmem_max')
_GOOD_BUFFER = 4 << 20  # bytes


def check() -> list[Finding]:
    """Look at the profile and at the system's buffers."""
    rmw = os.environ.get('RMW_IMPLEMENTATION', '') or 'rmw_fastrtps_cpp'
    found = [profile(os.environ)] if 'fastrtps' in rmw else [other(rmw, os.environ)]
    try:
        found.append(buffers(int(_RECEIVE.read_text()), fast='fastrtps' in rmw))
    except (OSError, ValueError) as error:
        means = 'how large UDP buffers may be is not known here'
        found.append(note(f'{_RECEIVE} cannot be read: {one_line(error)}', means))
    return found


def profile(environ: Mapping[str, str]) -> Finding:
    """Judge the profile of Fast DDS that the variables name."""
    named = [(name, environ[name]) for name in _VARIABLES if environ.get(name)]
    ours = resource('config', 'fastdds.xml')
    use = f'export {_VARIABLES[0]}={ours}, in the shell of the camera driver, too'
    if not named:
        return note(
            'no Fast DDS profile is set',
            'our launch files set one for the nodes, but a camera driver that is started without '
            'it loses images larger than half a MB',
            use,
        )
    name, path = named[0]
    text = f'{name}={path}'
    facts: dict[str, Any] = {'variable': name, 'file': path}
    try:
        if Path(path).stat().st_size > _LARGEST_FILE:
            raise ValueError('larger than any profile')
        segment = segment_bytes(Path(path).read_bytes())
    except (OSError, ValueError, ElementTree.ParseError) as error:
        return problem(
            f'{text}: {one_line(error)}',
            'Fast DDS goes on without a profile: large images get lost, and nothing says so',
            use,
            **facts,
        )
    facts['segment_bytes'] = segment
    if segment == 0:
        means = 'it has no transport of shared memory: images go over UDP, large ones get lost'
        return note(text, means, use, **facts)
    if segment < 2 * _IMAGE:
        means = f'its segment of {segment / 1e6:.1f} MB does not hold two images of 1920x1080'
        return problem(text, means, use, **facts)
    return ok(f'{text}: shared memory, {segment / 1e6:.0f} MB for each process', **facts)


def segment_bytes(xml: bytes) -> int:
    """Return the size of the largest shared-memory segment of a profile, 0 without one.

    Raises ParseError for what is no XML, ValueError for what is no profile or no size.
    """
    root = ElementTree.fromstring(xml)
    names = {_local(node.tag) for node in root.iter()}
    if 'participant' not in names and 'profiles' not in names:
        raise ValueError('this is no profile of Fast DDS')
    largest = 0
    for node in root.iter():
        if _local(node.tag) != 'transport_descriptor':
            continue
        values = {_local(child.tag): (child.text or '').strip() for child in node}
        if values.get('type') == 'SHM':
            largest = max(largest, int(values.get('segment_size', 512 << 10)))
    return largest


def _local(tag: str) -> str:
    return tag.rpartition('}')[2]


def other(rmw: str, environ: Mapping[str, str]) -> Finding:
    """Say what another middleware needs."""
    uri = environ.get('CYCLONEDDS_URI', '')
    if 'cyclone' not in rmw:
        return note(f'{rmw} is set', 'config/fastdds.xml has no effect there', rmw=rmw)
    return note(
        f'{rmw}, CYCLONEDDS_URI {uri or "is not set"}',
        'it sends images over UDP, in fragments that small buffers lose',
        'raise net.core.rmem_max (below) and MinimumSocketReceiveBufferSize in CYCLONEDDS_URI',
        rmw=rmw,
        uri=uri,
    )


def buffers(largest: int, fast: bool) -> Finding:
    """Judge net.core.rmem_max, bytes; ``fast``: images on this machine do not need it."""
    text = f'net.core.rmem_max is {largest / 1e6:.1f} MB'
    facts: dict[str, Any] = {'rmem_max_bytes': largest}
    if largest >= _GOOD_BUFFER:
        return ok(text, **facts)
    means = 'images from other machines come in fragments, and some get lost; best-effort images '
    means += 'are then lost as a whole'
    do = 'sudo sysctl -w net.core.rmem_max=16777216 (to keep it: /etc/sysctl.d/60-ros.conf)'
    if fast:
        return note(text, f'{means}. On one machine shared memory is used instead', do, **facts)
    return problem(text, means, do, **facts)

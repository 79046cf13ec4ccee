"""Shared memory: through it images go from process to process on one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem

SEGMENT = 64 << 20  # bytes of each process, as config/fastdds.xml says
_ENOUGH = 4 * SEGMENT  # camera, two nodes and something to look at them
_FOLDER = Path('/dev/shm')


def check() -> list[Finding]:
    """Look at /dev/shm."""
    try:
        room = os.statvfs(_FOLDER)
    except OSError as error:
        return [
            problem(
                f'{_FOLDER} is not there: {one_line(error)}',
                'images between processes go over the network stack: slower, and large ones get '
                'lost',
                'mount a tmpfs there (Linux does so by itself; in a container: --shm-size=1g)',
            )
        ]
    total, free = room.f_frsize * room.f_blocks, room.f_frsize * room.f_bavail
    return [size(total, free), left_behind(_FOLDER, total)]


def size(total: int, free: int) -> Finding:
    """Judge bytes of shared memory in all and free."""
    text = f'/dev/shm: {free / 1e6:.0f} of {total / 1e6:.0f} MB free'
    facts: dict[str, Any] = {'total_bytes': total, 'free_bytes': free}
    do = (
        'in a container: docker run --shm-size=1g (or --ipc=host); else '
        'sudo mount -o remount,size=1g /dev/shm'
    )
    if free < SEGMENT:
        means = (
            'each ROS process wants a segment of 64 MB there (config/fastdds.xml); without it '
            'large images get lost, or processes do not find each other'
        )
        return problem(text, means, do, **facts)
    if free < _ENOUGH:
        means = 'each ROS process takes 64 MB: there is room for very few'
        return note(text, means, do, **facts)
    return ok(text, **facts)


def left_behind(folder: Path, total: int) -> Finding:
    """Say what Fast DDS has in a folder; processes that were killed leave their segments."""
    sizes = []
    for path in folder.glob('fastrtps_*'):
        try:
            sizes.append(path.stat().st_blocks * 512)
        except OSError:  # gone meanwhile
            continue
    used = sum(sizes)
    text = f'Fast DDS has {len(sizes)} files there, {used / 1e6:.0f} MB'
    facts: dict[str, Any] = {'files': len(sizes), 'bytes': used}
    if used > total / 2:
        means = 'more than half: probably segments of processes that were killed'
        return note(text, means, 'fastdds shm clean, or end all ROS processes first', **facts)
    return ok(text, **facts)

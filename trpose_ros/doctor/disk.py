"""Room on the disks that results, weights and temporary files go to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem
from trpose_ros.weights import user_folder

_LITTLE, _SOME = 1 << 30, 5 << 30  # bytes


def check() -> list[Finding]:
    """Look at the folders that commands write to."""
    return [
        place('results (this folder)', Path.cwd()),
        place('imported weights', user_folder()),
        place('temporary files', Path(tempfile.gettempdir())),
    ]


def place(
    what: str, folder: Path, free_bytes: Callable[[Path], int] = lambda p: shutil.disk_usage(p).free
) -> Finding:
    """Judge the disk of a folder, which need not exist yet."""
    there = folder.absolute()
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
        free = free_bytes(there)
    except OSError as error:
        return problem(
            f'{what}: {folder} cannot be looked at: {one_line(error)}',
            'nothing can be written there',
            'look at that disk (df, mount), or work in another folder',
        )
    text = f'{what}: {free / 1e9:.1f} GB free in {folder}'
    facts: dict[str, Any] = {
        'folder': str(folder),
        'free_bytes': free,
        'writable': os.access(there, os.W_OK),
    }
    if not facts['writable']:
        means = 'commands that write there end with an error'
        do = 'give another folder by --out, or take the rights to write there'
        return note(f'{text}, which you may not write to', means, do, **facts)
    if free < _LITTLE:
        means = 'recordings and videos need a GB soon; a file that does not fit is not written'
        return problem(text, means, 'free some space, or give another folder', **facts)
    if free < _SOME:
        return note(text, 'enough to run, little for recordings and evaluations', **facts)
    return ok(text, **facts)

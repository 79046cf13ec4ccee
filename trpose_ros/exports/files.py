"""Writes people into the formats that a user names, all complete or not at all, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trpose_ros.people import Camera, People
from trpose_ros.recordings.people_json import camera_record
from trpose_ros.registry import Registry


@dataclass(frozen=True)
class Export:
    """What is written: all frames of a run, and how they came about."""

    frames: Sequence[People]
    facts: dict[str, Any] = field(default_factory=dict)  # plain values for JSON
    rate_hz: float | None = None  # of formats with a constant rate; None: as the frames come


# Writes an export beside ``base`` (a path without suffix); returns the files.
Writer = Callable[[Export, Path], list[Path]]
EXPORTS: Registry[Writer] = Registry(
    'export',
    {
        'csv': 'trpose_ros.exports.csv_file',
        'parquet': 'trpose_ros.exports.parquet_file',
        'npz': 'trpose_ros.exports.npz_file',
        'json': 'trpose_ros.exports.json_file',
        'bvh': 'trpose_ros.exports.bvh_file',
        'trc': 'trpose_ros.exports.trc_file',
    },
)


def formats_of(text: str) -> tuple[str, ...]:
    """Return the formats of 'csv,bvh'; raises ValueError for one that is not known.

    What writes them is loaded here: a package that it needs is missed before the work, not after.
    """
    names = tuple(dict.fromkeys(n for n in (p.strip().lower() for p in text.split(',')) if n))
    for name in names:
        if name not in EXPORTS:
            raise ValueError(
                f'unknown export {name!r:.80}; known are {", ".join(EXPORTS)}, joined by commas'
            )
        EXPORTS[name]
    return names


def write_exports(formats: Sequence[str], export: Export, base: Path) -> list[Path]:
    """Write ``base``.csv and so on; bvh and trc have one file a track, ``base``-ID.bvh.

    Raises ValueError for frames that a format cannot hold, and WriteError.
    """
    return [path for name in formats for path in EXPORTS[name](export, base)]


def facts_of(frames: Sequence[People], camera: Camera | None, **more: Any) -> dict[str, Any]:
    """Return how people came about: networks, weights, skeleton, camera, and what else is given."""
    last = frames[-1] if frames else None
    facts: dict[str, Any] = {'format': 'trpose tracks', 'version': 1}
    if last is not None:
        told = asdict(last.provenance)
        kept = ('estimator', 'lifter', 'weights_id', 'occlusion', 'window_length', 'lookahead')
        facts |= {name: told[name] for name in kept}
        facts['intrinsics_assumed'] = any(p.provenance.intrinsics_assumed for p in frames)
        facts |= {'skeleton': last.skeleton, 'width': last.width, 'height': last.height}
    if camera is not None:
        facts['camera'] = camera_record(camera)
    return facts | more

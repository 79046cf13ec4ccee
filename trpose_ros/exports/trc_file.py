"""TRC: marker positions for OpenSim, one file a track; millimetres, y up, gaps blank.

Layout: OpenSim's user guide, "Marker (.trc) Files": three lines of header, two of columns, an empty
line, then frame number, time in seconds and three numbers a marker, separated by tabs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trpose_ros.exports.files import EXPORTS, Export
from trpose_ros.exports.tracks import Film, films
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import write_text

_KEYS = (
    'DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\t'
    'OrigDataRate\tOrigDataStartFrame\tOrigNumFrames'
)


@EXPORTS.register('trc')
def write_trc(export: Export, base: Path) -> list[Path]:
    """Write ``base``-ID.trc for each track."""
    paths = []
    for film in films(export.frames, export.rate_hz):
        path = base.parent / f'{base.name}-{film.track_id}.trc'
        write_text(path, _text(film, path.name))
        paths.append(path)
    return paths


def _text(film: Film, name: str) -> str:
    names = get_skeleton('h36m_17').joint_names
    frames, rate = len(film.joints_m), f'{film.rate_hz:.6g}'
    count = len(names)
    axes = '\t'.join(f'X{i}\tY{i}\tZ{i}' for i in range(1, count + 1))
    lines = [
        f'PathFileType\t4\t(X/Y/Z)\t{name}',
        _KEYS,
        f'{rate}\t{rate}\t{frames}\t{count}\tmm\t{rate}\t1\t{frames}',
        'Frame#\tTime\t' + '\t\t\t'.join(names) + '\t\t',
        f'\t\t{axes}',
        '',
    ]
    for number, joints in enumerate(film.joints_m * 1000, 1):
        cells = [f'{v:.3f}' if np.isfinite(v) else '' for v in joints.ravel()]
        lines.append('\t'.join([str(number), f'{(number - 1) / film.rate_hz:.6f}', *cells]))
    return '\n'.join(lines) + '\n'

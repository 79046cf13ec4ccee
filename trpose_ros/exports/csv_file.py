"""CSV: a line a joint, for tables and statistics; empty cells are not known, never zero."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trpose_ros.exports.files import EXPORTS, Export
from trpose_ros.exports.tracks import seen
from trpose_ros.people import JointState, People, RootSource
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import whole_stream

_UPPER = np.triu_indices(3)
COLUMNS = (
    *('stamp_ns', 'id', 'joint', 'x_m', 'y_m', 'z_m', 'state', 'score', 'root_source'),
    *('x_px', 'y_px'),
    *('cov_xx_m2', 'cov_xy_m2', 'cov_xz_m2', 'cov_yy_m2', 'cov_yz_m2', 'cov_zz_m2'),
)


@EXPORTS.register('csv')
def write_csv(export: Export, base: Path) -> list[Path]:
    """Write ``base``.csv, in metres of the camera's optical frame."""
    path = base.parent / f'{base.name}.csv'
    with whole_stream(path, 'w', encoding='utf-8', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for people in export.frames:
            writer.writerows(_lines(people))
    return [path]


def _lines(people: People) -> Iterator[list[object]]:
    names = get_skeleton(people.skeleton).joint_names
    for i in seen(people):
        source = RootSource(int(people.root_sources[i])).name.lower()
        for j, name in enumerate(names):
            yield [
                people.stamp_ns,
                int(people.track_ids[i]),
                name,
                *_cells(people.joints_m[i, j], 5),
                JointState(int(people.joint_states[i, j])).name.lower(),
                *_cells(people.joint_scores[i, j : j + 1], 4),
                source,
                *_cells(people.joints_px[i, j], 2),
                *_cells(people.covariances_m2[i, j][_UPPER], None),
            ]


def _cells(values: np.ndarray, digits: int | None) -> list[str]:
    """Return the numbers as text; without ``digits`` four significant ones."""
    form = '.4g' if digits is None else f'.{digits}f'
    return [format(float(v), form) if np.isfinite(v) else '' for v in values]

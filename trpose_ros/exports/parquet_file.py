"""Parquet: the table of csv_file.py with numbers as they are, for pandas, polars and DuckDB.

A row a joint, in the same columns; what is not known is null. The file's metadata holds how the
people came about, as JSON under the key ``trpose``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trpose_ros.exports.csv_file import COLUMNS
from trpose_ros.exports.files import EXPORTS, Export
from trpose_ros.exports.tracks import seen
from trpose_ros.people import JointState, People, RootSource
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import whole_file

_UPPER = np.triu_indices(3)
_TEXTS = ('joint', 'state', 'root_source')


@EXPORTS.register('parquet')
def write_parquet(export: Export, base: Path) -> list[Path]:
    """Write ``base``.parquet, in metres of the frame of the results; needs pyarrow."""
    kinds = {'stamp_ns': pa.int64(), 'id': pa.int64()} | dict.fromkeys(_TEXTS, pa.string())
    fields = [(name, kinds.get(name, pa.float64())) for name in COLUMNS]
    schema = pa.schema(fields, metadata={'trpose': json.dumps(export.facts)})
    columns = _columns(export)
    arrays = [pa.array(columns[name], kind, from_pandas=True) for name, kind in fields]
    table = pa.Table.from_arrays(arrays, schema=schema)
    path = base.parent / f'{base.name}.parquet'
    with whole_file(path) as draft:
        pq.write_table(table, draft)
    return [path]


def _columns(export: Export) -> dict[str, Any]:
    """Return one array for each column; NaN where nothing is known."""
    parts = [_frame(people) for people in export.frames if len(seen(people))]
    if not parts:
        return {name: np.zeros(0) for name in COLUMNS}
    return {name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}


def _frame(people: People) -> dict[str, np.ndarray]:
    rows = np.asarray(seen(people), int)
    names = np.array(get_skeleton(people.skeleton).joint_names, object)
    count = len(names)
    sources = [RootSource(int(people.root_sources[i])).name.lower() for i in rows]
    states = [JointState(int(s)).name.lower() for s in people.joint_states[rows].ravel()]
    joints, pixels = people.joints_m[rows], people.joints_px[rows]
    covariances = people.covariances_m2[rows][..., _UPPER[0], _UPPER[1]].reshape(-1, 6)
    values: dict[str, np.ndarray] = {
        'stamp_ns': np.full(len(rows) * count, people.stamp_ns, np.int64),
        'id': np.repeat(people.track_ids[rows].astype(np.int64), count),
        'joint': np.tile(names, len(rows)),
        'state': np.array(states, object),
        'score': people.joint_scores[rows].ravel().astype(np.float64),
        'root_source': np.repeat(np.array(sources, object), count),
    }
    axes = (*joints.reshape(-1, 3).T, *pixels.reshape(-1, 2).T, *covariances.T)
    numeric = ('x_m', 'y_m', 'z_m', 'x_px', 'y_px', *COLUMNS[-6:])
    values |= {n: np.asarray(a, np.float64) for n, a in zip(numeric, axes, strict=True)}
    return values

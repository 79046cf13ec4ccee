"""Rows of results: Parquet files, and the tables made from them.

One row is one person in one clip under one condition, as one estimator and lifter saw it; the
columns are those of metrics/all_measures.py. A table's cell is the mean over clips for every k of
the seed, then mean and standard deviation over k.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.evaluation.metrics.positions import finite_mean, severity_area
from trpose_ros.occlusion.occluder import FIVE
from trpose_ros.writing import whole_file, write_text

Row = dict[str, Any]

# The columns of the study's table, in its order.
COLUMNS = ('clean', 'random_box', 'fixed_lower', 'fixed_middle', 'fixed_upper', 'moving_box')
HEADLINE = (
    'mpjpe_occluded_mm',
    'cvar95_mm',
    'accel_mm_frame2',
    'jitter_ratio',
    'mrpe_mm',
    'bone_cv_percent',
    'coverage_percent',
    'inside95_percent',
)


class MissingExtraError(RuntimeError):
    """pyarrow is not installed; the message says how to get it."""


@dataclass(frozen=True)
class Cell:
    """A mean over clips; ``spread`` is the standard deviation over the seeds, NaN for one."""

    mean: float
    spread: float = float('nan')
    digits: int = 1  # behind the point

    def text(self) -> str:
        """Return '81.2 ± 0.3', without the spread where there is none, or '-'."""
        digits = self.digits
        if math.isnan(self.mean):
            return '-'
        spread = '' if math.isnan(self.spread) else f' ± {self.spread:.{digits}f}'
        return f'{self.mean:.{digits}f}{spread}'


@dataclass(frozen=True)
class Table:
    """Cells by (row, column)."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # as many names as ``head`` has
    cells: dict[tuple[tuple[str, ...], str], Cell]
    head: tuple[str, ...] = ('estimator', 'lifter')

    def cell(self, row: tuple[str, ...], column: str) -> Cell:
        """Return a cell, an empty one where nothing was measured."""
        return self.cells.get((row, column), Cell(float('nan')))

    def markdown(self) -> str:
        """Return the table as Markdown."""
        head = [*self.head, *self.columns]
        lines = [
            f'**{self.title}**',
            '',
            '| ' + ' | '.join(head) + ' |',
            '|' + '---|' * len(self.head) + '---:|' * len(self.columns),
        ]
        for row in self.rows:
            cells = [self.cell(row, column).text() for column in self.columns]
            lines.append('| ' + ' | '.join([*row, *cells]) + ' |')
        return '\n'.join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON takes; NaN becomes None."""

        def number(value: float) -> float | None:
            return None if math.isnan(value) else value

        cells = []
        for row in self.rows:
            for column in self.columns:
                cell = self.cell(row, column)
                values = {'mean': number(cell.mean), 'spread': number(cell.spread)}
                cells.append({**dict(zip(self.head, row, strict=True)), 'column': column, **values})
        return {'title': self.title, 'cells': cells}


def study_table(rows: list[Row], measure: str, title: str = '') -> Table:
    """Return the study's table of one measure: clean, the five conditions and their mean.

    Main severities alone. The average is the plain mean of those of the five that were run, and
    is empty unless all five were.
    """
    keys = _keys(rows)
    cells = {}
    for key in keys:
        mine = [r for r in rows if (r['estimator'], r['lifter']) == key and r['main_severity']]
        for column in COLUMNS:
            cells[key, column] = _cell([r for r in mine if r['condition'] == column], measure)
        cells[key, 'average'] = _average([cells[key, name] for name in FIVE])
        clean = cells[key, 'clean'].mean
        cells[key, 'average - clean'] = Cell(cells[key, 'average'].mean - clean)
    columns = (*COLUMNS, 'average', 'average - clean')
    return Table(title or f'{measure}, protocol v1', columns, keys, cells)


def headline_table(rows: list[Row]) -> Table:
    """Return the headline card's other measures, averaged over the five conditions."""
    keys, cells = _keys(rows), {}
    for key in keys:
        mine = [r for r in rows if (r['estimator'], r['lifter']) == key and r['main_severity']]
        for measure in HEADLINE:
            per_condition = [
                _cell([r for r in mine if r['condition'] == name], measure) for name in FIVE
            ]
            cells[key, measure] = _average(per_condition)
        for measure in ('estimator_p95_ms', 'lifter_p95_ms', 'look_ahead'):
            cells[key, measure] = Cell(float(finite_mean(np.array([r[measure] for r in mine]))))
    columns = (*HEADLINE, 'estimator_p95_ms', 'lifter_p95_ms', 'look_ahead')
    return Table('Mean of the five conditions, protocol v1', columns, keys, cells)


def split_table(rows: list[Row]) -> Table:
    """Return clean, visible and occluded joints' error over the five conditions.

    A source whose joint convention merely suits the truth better gains on clean and visible
    joints alike: the last column, occluded minus clean, is free of that.
    """
    keys, cells = _keys(rows), {}
    columns = ('clean', 'visible', 'occluded', 'occluded - clean')
    for key in keys:
        mine = [r for r in rows if (r['estimator'], r['lifter']) == key and r['main_severity']]
        cells[key, 'clean'] = _cell([r for r in mine if r['condition'] == 'clean'], 'mpjpe_mm')
        for column in ('visible', 'occluded'):
            cells[key, column] = _average(
                [
                    _cell([r for r in mine if r['condition'] == name], f'mpjpe_{column}_mm')
                    for name in FIVE
                ]
            )
        cells[key, 'occluded - clean'] = Cell(
            cells[key, 'occluded'].mean - cells[key, 'clean'].mean
        )
    return Table('MPJPE of visible and occluded joints, mm', columns, keys, cells)


def severity_table(rows: list[Row], condition: str, measure: str = 'mpjpe_mm') -> Table:
    """Return the severity curve of a condition, and the area below it over its width."""
    chosen = [r for r in rows if r['condition'] == condition]
    order = sorted({(r['severity_value'], r['severity']) for r in chosen})
    keys, cells = _keys(chosen), {}
    for key in keys:
        mine = [r for r in chosen if (r['estimator'], r['lifter']) == key]
        for _, label in order:
            cells[key, label] = _cell([r for r in mine if r['severity'] == label], measure)
        means = np.array([cells[key, label].mean for _, label in order])
        cells[key, 'area'] = Cell(severity_area(np.array([value for value, _ in order]), means))
    columns = (*(label for _, label in order), 'area')
    return Table(f'{_title(measure)} by severity of {condition}', columns, keys, cells)


def onset_table(rows: list[Row]) -> Table:
    """Return what happens when joints disappear and come back, over the five conditions."""
    columns = ('onset_step_mm_frame', 'recovery_frames', 'recovered_percent', 'failure_percent')
    keys, cells = _keys(rows), {}
    for key in keys:
        mine = [r for r in rows if (r['estimator'], r['lifter']) == key and r['main_severity']]
        for measure in columns:
            # fixed regions may have no onset at all: the mean is over those that have
            found = [_cell([r for r in mine if r['condition'] == n], measure) for n in FIVE]
            cells[key, measure] = _average([cell for cell in found if not math.isnan(cell.mean)])
    return Table('Around onset and recovery of occlusions', columns, keys, cells)


def look_ahead_table(rows: list[Row], measure: str = 'mpjpe_mm') -> Table:
    """Return the dial of latency against error: mean of the five conditions by look-ahead.

    A lifter's look-ahead is the number behind @ in its specification, or its own; lifters that ran
    with one alone are left out.
    """
    rows = [r for r in rows if r['lifter'] != 'none']
    keys: dict[tuple[str, ...], list[Row]] = {}
    cells: dict[tuple[tuple[str, ...], str], Cell] = {}
    for row in rows:
        name, _, tail = row['lifter'].partition('@')
        rest = tail.lstrip('0123456789')  # smoothing, hop and fusion make another lifter
        lifter = name + ('@' if rest[:1] in ('~', '/') else '') + rest
        keys.setdefault((row['estimator'], lifter), []).append(row)
    keys = {key: mine for key, mine in keys.items() if len({r['look_ahead'] for r in mine}) > 1}
    order = sorted({r['look_ahead'] for mine in keys.values() for r in mine})
    for key, mine in keys.items():
        for frames in order:
            chosen = [r for r in mine if r['look_ahead'] == frames and r['main_severity']]
            found = [_cell([r for r in chosen if r['condition'] == n], measure) for n in FIVE]
            cells[key, str(frames)] = _average(found)
    columns = tuple(map(str, order))
    return Table(
        f'{_title(measure)} mean of the five, by frames of look-ahead', columns, tuple(keys), cells
    )


def _title(measure: str) -> str:
    return 'MPJPE, mm,' if measure == 'mpjpe_mm' else f'{measure},'


def _keys(rows: Iterable[Row]) -> tuple[tuple[str, ...], ...]:
    return tuple(dict.fromkeys((r['estimator'], r['lifter']) for r in rows))


def _cell(rows: list[Row], measure: str) -> Cell:
    """Return the mean over actions' means of each k, then mean and deviation over k."""
    by_k: dict[int, dict[str, list[float]]] = {}
    for row in rows:
        by_k.setdefault(row['k'], {}).setdefault(row['action'], []).append(row[measure])
    means = np.array(
        [
            finite_mean(np.array([finite_mean(np.array(v)) for v in actions.values()]))
            for actions in by_k.values()
        ]
    )
    means = means[np.isfinite(means)]
    if means.size == 0:
        return Cell(float('nan'))
    return Cell(float(means.mean()), float(means.std(ddof=1)) if means.size > 1 else math.nan)


def _average(cells: list[Cell]) -> Cell:
    """Return the plain mean of conditions; spreads are independent, so they add in squares."""
    if not cells:
        return Cell(float('nan'))
    mean = float(np.mean([cell.mean for cell in cells]))
    spreads = np.nan_to_num([cell.spread for cell in cells])
    spread = float(np.sqrt((spreads**2).sum()) / len(cells))
    return Cell(mean, spread if spread > 0 else math.nan)


def write_rows(file: Path, rows: list[Row]) -> None:
    """Write rows as Parquet, whole or not at all; raises MissingExtraError without pyarrow."""
    arrow, parquet = _pyarrow()
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = arrow.table({name: [row.get(name) for row in rows] for name in names})
    with whole_file(file) as temporary:
        parquet.write_table(table, temporary)


def read_rows(file: Path) -> list[Row]:
    """Read rows from Parquet."""
    _, parquet = _pyarrow()
    return parquet.read_table(file).to_pylist()


def is_readable(file: Path) -> bool:
    """Say whether a Parquet file is there and whole."""
    if not file.is_file():
        return False
    arrow, parquet = _pyarrow()
    try:
        parquet.read_metadata(file)
    except (OSError, arrow.ArrowException):
        return False
    return True


def write_json(file: Path, value: Any) -> None:
    """Write JSON, whole or not at all."""
    replace_text(file, json.dumps(value, indent=2) + '\n')


def replace_text(file: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    write_text(file, text)


def check_extra() -> None:
    """Raise MissingExtraError, with the remedy, when results cannot be made or written."""
    _pyarrow()
    if find_spec('motmetrics') is None:
        raise MissingExtraError(
            "identities are counted by motmetrics: pip install 'trpose_ros[evaluate]'"
        )


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError(
            "results are Parquet files and need pyarrow: pip install 'trpose_ros[evaluate]'"
        ) from error
    return pyarrow, pyarrow.parquet

"""All tables of an evaluation: printed, written beside the rows, shown in the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from trpose_ros.evaluation import published
from trpose_ros.evaluation.results import (
    Row,
    Table,
    headline_table,
    look_ahead_table,
    onset_table,
    replace_text,
    severity_table,
    split_table,
    study_table,
    write_json,
)
from trpose_ros.evaluation.study import comparison_table


def all_tables(rows: list[Row]) -> list[Table]:
    """Return every table; errors of different data sets are never averaged."""
    names = list(dict.fromkeys(r['dataset'] for r in rows))
    if len(names) == 1:
        return _tables_of(rows)
    tables = []
    for name in names:
        for table in _tables_of([r for r in rows if r['dataset'] == name]):
            tables.append(dataclasses.replace(table, title=f'{name}: {table.title}'))
    return tables


def _tables_of(rows: list[Row]) -> list[Table]:
    tables = [
        study_table(rows, 'mpjpe_mm', 'MPJPE, mm, protocol v1'),
        study_table(rows, 'p_mpjpe_mm', 'P-MPJPE, mm, protocol v1'),
        *_comparisons(rows),
        headline_table(rows),
        split_table(rows),
        onset_table(rows),
    ]
    dial = look_ahead_table(rows)
    if dial.rows:
        tables.append(dial)
    for name in dict.fromkeys(r['condition'] for r in rows):
        if len({r['severity'] for r in rows if r['condition'] == name}) > 1:
            tables.append(severity_table(rows, name))
    return tables


def _comparisons(rows: list[Row]) -> list[Table]:
    tables = [comparison_table(rows, measure) for measure in ('mpjpe_mm', 'p_mpjpe_mm')]
    return [table for table in tables if table is not None]


def write_tables(
    folder: Path, rows: list[Row], track: str, failed: dict[str, str], notes: Iterable[str] = ()
) -> str:
    """Write tables.md and tables.json into a folder; return the sentence above the tables."""
    frames = {(r['dataset'], r['subject'], r['action'], r['camera']): r['frames'] for r in rows}
    rates = sorted({round(r['fps'], 2) for r in rows})
    clips = '1 clip' if len(frames) == 1 else f'{len(frames)} clips'
    note = (
        f'Protocol v1, track {track}; {clips}, {sum(frames.values())} frames at '
        f'{", ".join(map(str, rates))} Hz; data: {", ".join(sorted({r["dataset"] for r in rows}))}.'
    )
    tables, notes = all_tables(rows), list(notes)
    text = [note, *notes, *(table.markdown() for table in tables), published.markdown()]
    page = '\n\n'.join(text) + '\n'
    replace_text(folder / 'tables.md', page)
    content = {'note': note, 'tables': [table.as_dict() for table in tables], 'failed': failed}
    write_json(folder / 'tables.json', content | ({'notes': notes} if notes else {}))
    return note

"""The page: everything of a run in one HTML file, with its scripts, styles and videos inside."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trpose_ros import __version__
from trpose_ros.evaluation import published, results, tables
from trpose_ros.evaluation.excerpts import Scene, load_scenes
from trpose_ros.evaluation.results import Cell, Row, Table
from trpose_ros.recordings.video import VideoError
from trpose_ros.report import media, plots
from trpose_ros.report.names import Method, column_name, labels_of

_CARD = (
    ('clean', 'MPJPE clean', 'mm'),
    ('average', 'MPJPE truncated', 'mm, mean of the five'),
    ('mpjpe_occluded_mm', 'MPJPE occluded joints', 'mm'),
    ('cvar95_mm', 'CVaR95', 'mm'),
    ('accel_mm_frame2', 'Accel', 'mm/frame²'),
    ('jitter_ratio', 'jitter ratio', '1 is ideal'),
    ('mrpe_mm', 'MRPE', 'mm'),
    ('bone_cv_percent', 'bone CV', '%'),
    ('estimator_p95_ms', 'p95, boxes and estimator', 'ms/frame'),
    ('lifter_p95_ms', 'p95, lifter and fusion', 'ms/frame'),
    ('look_ahead', 'look-ahead', 'frames'),
    ('coverage_percent', 'coverage', '%'),
)


@dataclass(frozen=True)
class _Plot:
    """A plot with its place in the page."""

    name: str
    title: str
    text: str
    content: Markup


def write_page(folder: Path, out: Path, progress: media.Progress | None = None) -> Path:
    """Write the page of a run; see report.write_report."""
    file = folder / 'results.parquet'
    if not file.is_file():
        raise FileNotFoundError(
            f'{file} does not exist: give the folder of an evaluation (`trpose evaluate --out`)'
        )
    if not results.is_readable(file):
        raise ValueError(f'{file} is damaged; run the evaluation again, what is done stays')
    rows = results.read_rows(file)
    if not rows:
        raise ValueError(f'{file} holds no rows: nothing was measured')
    scenes = sorted(load_scenes(folder), key=_place)
    text = render(rows, scenes, _facts_beside(folder), progress)
    out.parent.mkdir(parents=True, exist_ok=True)
    results.replace_text(out, text)
    return out


def _place(scene: Scene) -> int:
    """Return the place of a scene: conditions in the order of the study's table."""
    known = results.COLUMNS
    return known.index(scene.condition) if scene.condition in known else len(known)


def render(
    rows: list[Row],
    scenes: list[Scene],
    beside: dict[str, Any],
    progress: media.Progress | None = None,
) -> str:
    """Return the page of rows and scenes as HTML."""
    labels = labels_of((r['estimator'], r['lifter']) for r in rows)
    notes = [str(note) for note in beside.get('notes', [])]
    try:
        films = media.videos(scenes, labels, progress)
    except VideoError as error:
        films = []
        notes.append(f'There are no videos: {error}')
    environment = Environment(
        loader=PackageLoader('trpose_ros.report', 'templates'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    source = {name: Markup(_source(environment, name)) for name in ('report.css', 'report.js')}
    player = media.player(scenes, labels)
    return environment.get_template('report.html.j2').render(
        css=source['report.css'],
        script=source['report.js'],
        plotly=Markup(get_plotlyjs()),
        version=__version__,
        note=beside.get('note', ''),
        notes=notes,
        failed=beside.get('failed', {}),
        settings=beside.get('settings', {}),
        cards=_cards(rows, labels),
        tables=[_table(table, labels) for table in tables.all_tables(rows)],
        published=_published(),
        videos=films,
        player=None if player is None else _json(player),
        plots=_plots(rows, scenes, labels),
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _json(value: Any) -> Markup:
    """Return JSON that cannot end a script element."""
    return Markup(json.dumps(value, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c'))


def _facts_beside(folder: Path) -> dict[str, Any]:
    """Return what the JSON files of a run say: note, notes, failed cases, settings."""
    facts: dict[str, Any] = {}
    for name in ('tables', 'settings', 'failed'):
        file = folder / f'{name}.json'
        if file.is_file():
            content = json.loads(file.read_text(encoding='utf-8'))
            facts |= (
                {name: content}
                if name != 'tables'
                else {key: content[key] for key in ('note', 'notes', 'failed') if key in content}
            )
    return facts


def _cards(rows: list[Row], labels: dict[Method, str]) -> list[dict[str, Any]]:
    """Return the headline card of every method, that of the last fused one first."""
    study, headline = results.study_table(rows, 'mpjpe_mm'), results.headline_table(rows)
    cards = []
    for method, label in labels.items():
        values = []
        for column, name, unit in _CARD:
            cell = (study if column in study.columns else headline).cell(method, column)
            values.append({'name': name, 'unit': unit, 'text': cell.text()})
        cards.append({'label': label, 'lifter': method[1], 'values': values})
    return sorted(cards, key=lambda card: not card['lifter'].endswith('+fusion'))


def _table(table: Table, labels: dict[Method, str]) -> dict[str, Any]:
    """Return a table for the template: head, rows of names and cells, which cells are best."""
    best = {}
    if table.head == ('estimator', 'lifter') and 'MPJPE' in table.title:
        for column in table.columns:
            if ' - ' in column:
                continue  # a difference is small where everything is bad
            means = [table.cell(row, column).mean for row in table.rows]
            if len(means) > 1 and np.isfinite(means).any():
                best[column] = float(np.nanmin(means))
    methods = table.head == ('estimator', 'lifter') and all(
        (row[0], row[1]) in labels for row in table.rows
    )
    lines = []
    for row in table.rows:
        names = [{'text': name, 'detail': ''} for name in row]
        if methods:
            names = [{'text': labels[row[0], row[1]], 'detail': f'{row[0]} · {row[1]}'}]
        cells = [_cell(table.cell(row, c), best.get(c)) for c in table.columns]
        lines.append({'names': names, 'cells': cells})
    return {
        'title': table.title,
        'head': ['method'] if methods else list(table.head),
        'columns': [column_name(column) for column in table.columns],
        'rows': lines,
    }


def _cell(cell: Cell, best: float | None = None) -> dict[str, Any]:
    known = not math.isnan(cell.mean)
    return {
        'text': cell.text(),
        'value': repr(cell.mean) if known else '',
        'best': known and best is not None and cell.mean == best,
    }


def _published() -> dict[str, Any]:
    columns = ('clean', *published.CONDITIONS, 'average')
    lines = []
    for source, method, values in published.per_condition():
        name = method if source == '-' else f'{method} ({source} 2D)'
        cells = [_cell(Cell(values[column])) for column in columns]
        lines.append({'names': [{'text': name, 'detail': ''}], 'cells': cells})
    return {
        'title': 'MPJPE, mm, as published, on Human3.6M',
        'head': ['method'],
        'columns': [column_name(column) for column in columns],
        'rows': lines,
    }


def _plots(rows: list[Row], scenes: list[Scene], labels: dict[Method, str]) -> list[_Plot]:
    one_set = len({row['dataset'] for row in rows}) == 1
    found = (
        (
            'overview',
            'Clean and truncated',
            'The shorter the line, the less an occlusion costs.',
            plots.overview(rows, labels) if one_set else None,
        ),
        ('conditions', 'By condition', '', plots.by_condition(rows, labels) if one_set else None),
        (
            'split',
            'Visible and occluded joints',
            'Mean of the five conditions.',
            plots.split(rows, labels) if one_set else None,
        ),
        ('severities', 'By severity', 'MPJPE, mm.', plots.severities(rows, labels)),
        (
            'look-ahead',
            'Look-ahead against error',
            'Waiting for more future costs latency: the dial of a lifter.',
            plots.look_ahead(rows),
        ),
        (
            'edges',
            'Around onset and recovery',
            'Mean error of a joint in the clip that is shown above, relative to the moment at '
            'which it is hidden or visible again.',
            plots.edges(scenes, labels),
        ),
    )
    return [
        _Plot(name, title, text, Markup(plots.as_json(figure)))
        for name, title, text, figure in found
        if figure is not None
    ]

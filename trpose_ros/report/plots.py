"""The plots of a report, as plotly figures without colours of their own.

The page sets text, grid and background after its light or dark theme; here only what stands for a
method has a colour: one for each lifter, paler where the 2D is the baseline's.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from trpose_ros.evaluation import results
from trpose_ros.evaluation.excerpts import Scene
from trpose_ros.evaluation.metrics.join import hold
from trpose_ros.evaluation.metrics.positions import joint_errors
from trpose_ros.evaluation.results import Row, Table
from trpose_ros.evaluation.study import is_baseline, lifter_name
from trpose_ros.report.names import Method, column_name
from trpose_ros.skeletons import get_skeleton

_COLOURS = {
    'none': '#8a8f98',
    'videopose3d': '#3b82f6',
    'mhformer': '#e0559b',
    'mixste': '#12a594',
    'pstmo': '#f0902d',
}
_FURTHER = ('#8b5cf6', '#65a30d', '#dc2626', '#0891b2')
_AROUND = 15  # frames before and after an onset or recovery
_FEWEST = 20  # onsets that a curve is averaged over


def colour_of(method: Method) -> str:
    """Return the colour of a method as '#rrggbb'."""
    name = lifter_name(method[1])
    return _COLOURS.get(name, _FURTHER[sum(name.encode()) % len(_FURTHER)])


def as_json(figure: go.Figure) -> str:
    """Return a figure for a page: JSON that cannot end a script element."""
    content = json.loads(figure.to_json())
    content['layout'].pop('template', None)
    return json.dumps(content, separators=(',', ':')).replace('<', '\\u003c')


def overview(rows: list[Row], labels: dict[Method, str]) -> go.Figure | None:
    """Return clean and truncated MPJPE of each method, one line each, the best at the top."""
    table = results.study_table(rows, 'mpjpe_mm')
    found = [m for m in labels if np.isfinite(table.cell(m, 'average').mean)]
    if not found:
        return None
    found.sort(key=lambda method: -table.cell(method, 'average').mean)
    columns = (('clean', 'clean', 'circle-open'), ('average', 'mean of the five', 'circle'))
    return _dumbbells(table, found, labels, columns, 'MPJPE, mm')


def split(rows: list[Row], labels: dict[Method, str]) -> go.Figure | None:
    """Return the error of visible and of occluded joints of each method."""
    table = results.split_table(rows)
    found = [m for m in labels if np.isfinite(table.cell(m, 'occluded').mean)]
    if not found:
        return None
    found.sort(key=lambda method: -table.cell(method, 'occluded').mean)
    columns = (('visible', 'visible joints', 'circle-open'), ('occluded', 'occluded', 'diamond'))
    return _dumbbells(table, found, labels, columns, 'MPJPE, mm')


def _dumbbells(
    table: Table,
    methods: Sequence[Method],
    labels: dict[Method, str],
    columns: Sequence[tuple[str, str, str]],
    unit: str,
) -> go.Figure:
    figure = go.Figure()
    names = [labels[method] for method in methods]
    for method, name in zip(methods, names, strict=True):
        ends = [table.cell(method, column).mean for column, _, _ in columns]
        figure.add_scatter(
            x=ends,
            y=[name] * len(ends),
            mode='lines',
            line={'color': colour_of(method), 'width': 4},
            opacity=0.35 if is_baseline(method[0]) else 0.7,
            hoverinfo='skip',
            showlegend=False,
        )
    for column, title, symbol in columns:
        cells = [table.cell(method, column) for method in methods]
        figure.add_scatter(
            x=[cell.mean for cell in cells],
            y=names,
            name=title,
            mode='markers',
            marker={'size': 12, 'symbol': symbol, 'color': [colour_of(m) for m in methods]},
            error_x={
                'array': [np.nan_to_num(cell.spread) for cell in cells],
                'color': '#8a8f98',
                'thickness': 1,
            },
            hovertemplate='%{y}<br>' + title + ' %{x:.1f}<extra></extra>',
        )
    figure.update_layout(
        height=110 + 30 * len(methods),
        xaxis={'title': {'text': unit}, 'rangemode': 'tozero'},
        yaxis={'automargin': True},
        legend={'orientation': 'h', 'y': 1.02, 'yanchor': 'bottom'},
    )
    return figure


def by_condition(rows: list[Row], labels: dict[Method, str]) -> go.Figure | None:
    """Return MPJPE of each method under each condition as a coloured matrix."""
    table = results.study_table(rows, 'mpjpe_mm')
    if not table.rows:
        return None
    columns = [c for c in table.columns if c != 'average - clean']
    methods = list(reversed(labels))
    values = np.array([[table.cell(method, c).mean for c in columns] for method in methods])
    columns = [c for i, c in enumerate(columns) if np.isfinite(values[:, i]).any()]
    values = np.array([[table.cell(method, c).mean for c in columns] for method in methods])
    if not values.size:
        return None
    texts = [[table.cell(method, c).text() for c in columns] for method in methods]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=[column_name(c) for c in columns],
            y=[labels[method] for method in methods],
            text=texts,
            texttemplate='%{text}',
            colorscale='Blues',
            colorbar={'title': {'text': 'mm'}},
            hovertemplate='%{y}<br>%{x}: %{text} mm<extra></extra>',
        )
    )
    figure.update_layout(
        height=120 + 32 * len(methods),
        yaxis={'automargin': True},
        xaxis={'side': 'top'},
    )
    return figure


def severities(rows: list[Row], labels: dict[Method, str]) -> go.Figure | None:
    """Return MPJPE by severity, one panel for each condition that was run with several."""
    names = [
        name
        for name in dict.fromkeys(row['condition'] for row in rows)
        if len({row['severity'] for row in rows if row['condition'] == name}) > 1
    ]
    if not names:
        return None
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure = make_subplots(lines, columns, subplot_titles=[column_name(n) for n in names])
    for index, name in enumerate(names):
        table = results.severity_table(rows, name)
        steps = [c for c in table.columns if c != 'area']
        for method in labels:
            if method not in table.rows:
                continue
            figure.add_scatter(
                x=steps,
                y=[table.cell(method, step).mean for step in steps],
                name=labels[method],
                legendgroup=labels[method],
                showlegend=index == 0,
                mode='lines+markers',
                line=_line(method),
                row=index // columns + 1,
                col=index % columns + 1,
            )
    figure.update_xaxes(type='category')
    figure.update_yaxes(rangemode='tozero')
    figure.update_layout(height=120 + 280 * lines, legend={'orientation': 'h', 'y': -0.12})
    return figure


def look_ahead(rows: list[Row]) -> go.Figure | None:
    """Return the dial of latency against error; None with a single look-ahead per lifter."""
    table = results.look_ahead_table(rows)
    figure = go.Figure()
    for key in table.rows:
        points = [(int(c), table.cell(key, c).mean) for c in table.columns]
        points = [point for point in points if np.isfinite(point[1])]
        if len(points) > 1:
            figure.add_scatter(
                x=[frames for frames, _ in points],
                y=[error for _, error in points],
                name=f'{key[1]} ({key[0]})',
                mode='lines+markers',
                line=_line((key[0], key[1])),
            )
    if not figure.data:
        return None
    figure.update_layout(
        height=380,
        xaxis={'title': {'text': 'look-ahead, frames'}},
        yaxis={'title': {'text': 'MPJPE, mm, mean of the five'}},
        showlegend=True,
        legend={'orientation': 'h', 'y': -0.25},
    )
    return figure


def edges(scenes: list[Scene], labels: dict[Method, str]) -> go.Figure | None:
    """Return the mean error of a joint around the moments at which it is hidden and shown again.

    Measured in the scenes that are kept, so in one clip.
    """
    found: dict[Method, dict[str, tuple[np.ndarray, int]]] = {}
    for method in labels:
        pieces: dict[str, list[np.ndarray]] = {'hidden': [], 'visible again': []}
        for scene in scenes:
            if scene.estimator != method[0] or method[1] not in scene.outputs_m:
                continue
            for name, more in _around(scene, method[1]).items():
                pieces[name] += more
        curves = {}
        for name, parts in pieces.items():
            if len(parts) >= _FEWEST:
                curves[name] = np.nanmean(np.array(parts), axis=0), len(parts)
        if curves:
            found[method] = curves
    if not found:
        return None
    names = [n for n in ('hidden', 'visible again') if any(n in c for c in found.values())]
    titles = [f'joint {name} at 0' for name in names]
    figure = make_subplots(1, len(names), subplot_titles=titles, shared_yaxes=True)
    frames = np.arange(-_AROUND, _AROUND + 1)
    for method, curves in found.items():
        for column, name in enumerate(names, 1):
            if name in curves:
                figure.add_scatter(
                    x=frames,
                    y=curves[name][0],
                    name=labels[method],
                    legendgroup=labels[method],
                    showlegend=column == 1,
                    line=_line(method),
                    hovertemplate=f'{labels[method]}<br>%{{x}}: %{{y:.0f}} mm<extra></extra>',
                    row=1,
                    col=column,
                )
    figure.update_xaxes(title_text='frames')
    figure.update_yaxes(title_text='joint error, mm', rangemode='tozero', col=1)
    figure.update_layout(height=430, legend={'orientation': 'h', 'y': -0.2})
    return figure


def _around(scene: Scene, lifter: str) -> dict[str, list[np.ndarray]]:
    """Return the errors of a joint from 15 frames before to 15 after each change, mm."""
    root = get_skeleton(scene.skeleton).root_index
    errors = joint_errors(hold(scene.outputs_m[lifter], root), scene.true_m, root)
    padded = np.pad(errors, ((_AROUND, _AROUND), (0, 0)), constant_values=np.nan)
    out: dict[str, list[np.ndarray]] = {'hidden': [], 'visible again': []}
    change = np.diff(scene.hidden.astype(np.int8), axis=0)
    for t, joint in np.argwhere(change):
        if joint != root:
            window = padded[t + 1 : t + 2 + 2 * _AROUND, joint]
            if np.isfinite(window).all():
                out['hidden' if change[t, joint] > 0 else 'visible again'].append(window)
    return out


def _line(method: Method) -> dict[str, Any]:
    """Return the style of a method's line: dotted for the baseline's 2D, dashed when fused."""
    dash = 'dot' if is_baseline(method[0]) else 'dash' if method[1].endswith('+fusion') else 'solid'
    return {'color': colour_of(method), 'dash': dash, 'width': 2}

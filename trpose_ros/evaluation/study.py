"""The study: which estimators and lifters are compared, and the table that compares them.

Without --estimator and --lifter, ``trpose evaluate`` runs MeTRAbs alone, and each temporal lifter
twice: with the baseline's 2D and weights trained on clean 2D, as such lifters usually are, and with
MeTRAbs 2D, weights trained for truncation and the smoothing of the live presets, alone and fused
with MeTRAbs's metric 3D. What is not among the weights at hand is left out and named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from trpose_ros import weights
from trpose_ros.evaluation.published import PUBLISHED
from trpose_ros.evaluation.results import Cell, Row, Table, study_table

OURS = 'metrabs-s'
BASELINE_KIND = 'movenet'
BASELINE = f'{BASELINE_KIND}:movenet-thunder'
METHODS = {
    'videopose3d': 'VideoPose3D',
    'mhformer': 'MHFormer',
    'mixste': 'MixSTE',
    'pstmo': 'P-STMO',
}
_NOTHING = float('nan')


@dataclass(frozen=True)
class Preset:
    """What to run, and what is missing for the whole study."""

    estimators: tuple[str, ...]
    pairs: dict[str, tuple[str, ...]]  # lifters by estimator
    missing: tuple[str, ...]  # sentences


def preset(known: Iterable[str] | None = None) -> Preset:
    """Return the study with the weights in ``known`` (all that are installed, by default).

    Raises WeightsError without the weights of MeTRAbs.
    """
    names = set(weights.available() if known is None else known)
    missing = []
    if OURS not in names:
        weights.resolve(OURS)  # says what to do
    baseline, ours = [], ['none']
    for lifter, method in METHODS.items():
        clean, robust = f'{lifter}-clean', f'{lifter}-robust'  # trained on clean, on truncated 2D
        if robust in names:
            spec = _spec(lifter, robust, '~1')  # the smoothing of the live presets
            ours += [spec, f'{spec}+fusion']
        else:
            missing.append(f'{robust} is missing: no {method} on MeTRAbs 2D')
        if clean in names:
            baseline.append(_spec(lifter, clean))
        else:
            missing.append(f'{clean} is missing: no {method} on baseline 2D')
    estimators, pairs = [OURS], {OURS: tuple(ours)}
    if BASELINE.partition(':')[2] not in names:
        missing = [f'{BASELINE.partition(":")[2]} is missing: no baseline 2D', *missing]
    elif baseline:
        estimators.insert(0, BASELINE)
        pairs[BASELINE] = tuple(baseline)
    return Preset(tuple(estimators), pairs, tuple(missing))


def _spec(lifter: str, name: str, smoothing: str = '') -> str:
    """Return how a lifter runs in the study: MixSTE window by window, as it was published."""
    hop = ''
    if lifter == 'mixste':
        try:
            hop = f'/{json.loads(weights.read_meta(name)["config"])["frames"]}'
        except (weights.WeightsError, KeyError):
            hop = ''  # loading it will say what is wrong
    # A window of its own waits for no future: one frame more is there for the smoothing.
    ahead = '1' if smoothing and hop else ''
    tail = f'{ahead}{smoothing}{hop}'
    return f'{lifter}:{name}@{tail}' if tail else f'{lifter}:{name}'


def is_baseline(estimator: str) -> bool:
    """Say whether an estimator is the plain 2D one."""
    return estimator.partition(':')[0] == BASELINE_KIND


def lifter_name(text: str) -> str:
    """Return the network's name in a lifter specification."""
    return text.partition('+')[0].partition('@')[0].partition(':')[0]


def method_of(text: str) -> str:
    """Return a lifter specification in words: 'VideoPose3D + fusion'."""
    joined = text.partition('+')[2].partition(':')[0]
    fused = f' + {joined}' if joined else ''
    name = lifter_name(text)
    return ('estimator alone' if name == 'none' else METHODS.get(name, name)) + fused


def best_pairs(rows: list[Row]) -> dict[str, tuple[tuple[str, str], tuple[str, str]]]:
    """Return for each method its (estimator, lifter) of the baseline and of ours.

    Ours is the fused one where there is one: what a robot would run. A choice by name, never by
    error.
    """
    keys = list(dict.fromkeys((r['estimator'], r['lifter']) for r in rows))
    found = {}
    for name, method in METHODS.items():
        mine = [key for key in keys if lifter_name(key[1]) == name]
        left = [key for key in mine if is_baseline(key[0])]
        right = [key for key in mine if not is_baseline(key[0])]
        fused = [key for key in right if key[1].endswith('+fusion')]
        if left and right:
            found[method] = left[0], (fused or right)[0]
    return found


def comparison_table(rows: list[Row], measure: str = 'mpjpe_mm') -> Table | None:
    """Return the truncated average by 2D source and lifter, beside the published one.

    None where no lifter ran on both 2D sources. The ratio is ours without fusion over the
    baseline, as in the published figures, and ours with fusion over the baseline.
    """
    table = study_table(rows, measure)
    columns = (
        'baseline 2D',
        'MeTRAbs 2D',
        'MeTRAbs 2D + fusion',
        'ratio',
        'ratio with fusion',
        'published: baseline 2D',
        'published: MeTRAbs 2D',
        'published ratio',
    )
    cells: dict[tuple[tuple[str, ...], str], Cell] = {}
    keys = []
    index = 0 if measure == 'mpjpe_mm' else 1
    for name, method in METHODS.items():
        key = (method,)
        for row in table.rows:
            if lifter_name(row[1]) != name:
                continue
            column = columns[0] if is_baseline(row[0]) else columns[1]
            column = columns[2] if row[1].endswith('+fusion') and column != columns[0] else column
            cells.setdefault((key, column), table.cell(row, 'average'))
        if (key, columns[0]) not in cells or not {(key, c) for c in columns[1:3]} & set(cells):
            continue
        keys.append(key)
        for target, column in ((columns[3], columns[1]), (columns[4], columns[2])):
            ours = cells.get((key, column), Cell(_NOTHING)).mean
            cells[key, target] = Cell(ours / cells[key, columns[0]].mean, digits=2)
        known = next(one for one in PUBLISHED if one.method == method)
        assert known.truncated_metrabs is not None
        before, after = known.truncated_baseline[index], known.truncated_metrabs[index]
        cells[key, columns[5]], cells[key, columns[6]] = Cell(before), Cell(after)
        cells[key, columns[7]] = Cell(after / before, digits=2)
    if not keys:
        return None
    name = 'MPJPE' if index == 0 else 'P-MPJPE'
    title = f'{name}, mm, mean of the five conditions; published: Human3.6M, another data set'
    return Table(title, columns, tuple(keys), cells, head=('lifter',))

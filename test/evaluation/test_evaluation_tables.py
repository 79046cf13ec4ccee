"""Tables of the study by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trpose_ros.evaluation import results
from trpose_ros.occlusion.occluder import FIVE

pytest.importorskip('pyarrow')


def row(condition, value, k=0, action='walk', lifter='none', **more):
    return {
        'estimator': 'e',
        'lifter': lifter,
        'condition': condition,
        'severity': '1',
        'severity_value': 1.0,
        'main_severity': True,
        'k': k,
        'action': action,
        'mpjpe_mm': value,
    } | more


def test_table_by_hand():
    rows = [row('clean', 50.0)]
    rows += [row(name, 100.0) for name in FIVE if name != 'random_box']
    for k, value in enumerate((120.0, 130, 140)):
        rows += [row('random_box', value - 10, k), row('random_box', value + 10, k, action='run')]
        rows.append(row('random_box', 9e9, k, main_severity=False))
    table = results.study_table(rows, 'mpjpe_mm')
    key = ('e', 'none')
    assert table.rows == (key,)
    assert table.cell(key, 'random_box') == results.Cell(130, 10)
    assert table.cell(key, 'average').mean == pytest.approx(106)
    assert table.cell(key, 'average').spread == pytest.approx(2)
    assert table.cell(key, 'average - clean').mean == pytest.approx(56)
    assert table.cell(key, 'random_box').text() == '130.0 ± 10.0'
    assert '| e | none | 50.0 | 130.0 ± 10.0 | 100.0 |' in table.markdown()
    # frames of unequal actions: the headline is the mean of the actions' means
    rows = [row('clean', 10.0), row('clean', 20.0), row('clean', 45.0, action='run')]
    assert results.study_table(rows, 'mpjpe_mm').cell(key, 'clean').mean == pytest.approx(30)
    # an average over less than the five is no average
    assert np.isnan(results.study_table(rows, 'mpjpe_mm').cell(key, 'average').mean)


def test_severity_table_by_hand():
    rows = [
        row('random_box', value, severity=str(s), severity_value=float(s), main_severity=s == 6)
        for s, value in ((12, 40.0), (3, 10.0), (6, 20.0), (9, 30.0))
    ]
    table = results.severity_table(rows, 'random_box')
    assert table.columns == ('3', '6', '9', '12', 'area')
    assert table.cell(('e', 'none'), 'area').mean == pytest.approx(25)


def test_look_ahead_and_onset_tables_by_hand():
    rows = []
    for ahead in (0, 4, 13):
        for name in FIVE:
            rows.append(
                row(name, 100.0 - ahead, lifter=f'mixste@{ahead}+fusion', look_ahead=ahead)
                | {
                    'onset_step_mm_frame': 7.0 if name == 'random_box' else float('nan'),
                    'recovery_frames': float('nan'),
                    'recovered_percent': float('nan'),
                    'failure_percent': 2.0,
                }
            )
    others = [row(name, 50.0, lifter='pstmo', look_ahead=13) for name in FIVE]
    assert results.look_ahead_table(others).rows == ()
    table = results.look_ahead_table([*rows, *others])  # one look-ahead is no dial
    assert table.rows == (('e', 'mixste+fusion'),)
    assert [table.cell(table.rows[0], c).mean for c in table.columns] == [100, 96, 87]
    calm = [
        r | {'lifter': r['lifter'].replace('+', '~1+'), 'mpjpe_mm': r['mpjpe_mm'] - 1}
        for r in rows
        if r['look_ahead'] > 0
    ]
    table = results.look_ahead_table(rows + calm)  # smoothing makes another lifter
    assert table.rows == (('e', 'mixste+fusion'), ('e', 'mixste@~1+fusion'))
    assert [table.cell(table.rows[1], c).text() for c in table.columns] == ['-', '95.0', '86.0']
    onset = results.onset_table(rows)
    first = onset.rows[0]
    assert onset.cell(first, 'onset_step_mm_frame').mean == 7
    assert onset.cell(first, 'failure_percent').mean == 2
    assert onset.cell(first, 'recovery_frames').text() == '-'

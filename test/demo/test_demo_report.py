"""The demonstration's table: both kinds of passes, in a terminal of the usual width."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trpose_ros.demo.report import Table
from trpose_ros.occlusion.occluder import FIVE


def row(condition, in_step, mm):
    values = {
        'condition': condition,
        'in_step': in_step,
        'images_sent': 1186,
        'dropped': 1108,
        'hidden_percent': 33.3,
        'inference_p50_ms': 57.2,
        'estimator': {'mpjpe_held_mm': mm},
        'lifted': {'mpjpe_held_mm': None if mm is None else mm / 2},
        'look_ahead_frames': 2,
        'weights': 'a-network@134ef6c5324c+another-network@01246a3a5baf',
    }
    if not in_step:
        values |= {'camera_hz': 29.97, 'rate_hz': 14.5}
        values |= {'latency_p50_ms': 1194.0, 'latency_p95_ms': None}
    return values


def printed(table, width):
    file = io.StringIO()
    Console(file=file, width=width).print(table.rich(), *table.footnotes())
    return file.getvalue()


def test_both_kinds_of_passes_stand_in_a_terminal_of_80_columns():
    rows = [row('clean', False, 300.0), row('clean', True, 100.0)]
    rows += [row(name, True, 200.0 + 10 * k) for k, name in enumerate(FIVE)]
    text = printed(Table(rows, 'walk.mcap'), 80)
    assert '\N{HORIZONTAL ELLIPSIS}' not in text
    lines = [' '.join(line.split()) for line in text.splitlines()]
    assert 'clean 30 Hz 33 14.5 1194 - 1108/1186 300.0 150.0' in lines
    assert 'clean in step 33 1108/1186 100.0 50.0' in lines
    assert 'mean of five in step 220.0 110.0' in lines  # the pass at the camera's rate is none
    words = ' '.join(lines)
    assert '30 Hz: as a camera sends them' in words
    assert 'in step: the next image comes when the last one is answered' in words


@pytest.mark.parametrize('missing', FIVE)
def test_mean_needs_all_five(missing):
    rows = [row(name, True, None if name == missing else 200.0) for name in FIVE]
    assert Table(rows, 'a').average == {'estimator': None, 'lifted': None}
    assert 'mean of five' not in printed(Table(rows, 'a'), 80)

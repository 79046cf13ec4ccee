"""The study: what it runs with the weights that are there, and its comparison by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trpose_ros import weights
from trpose_ros.evaluation import published, results
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.evaluation.study import METHODS, best_pairs, comparison_table, preset
from trpose_ros.occlusion.occluder import FIVE

BASE, OURS = 'movenet:movenet-thunder', 'metrabs-s'
ALL = ['metrabs-s', 'movenet-thunder'] + [
    f'{name}-{kind}' for name in METHODS for kind in ('clean', 'robust')
]


def test_the_whole_study():
    study = preset(ALL)
    assert study.missing == ()
    assert study.estimators == (BASE, OURS)
    assert study.pairs[BASE] == (
        'videopose3d:videopose3d-clean',
        'mhformer:mhformer-clean',
        'mixste:mixste-clean@/27',  # window by window, as published
        'pstmo:pstmo-clean',
    )
    assert study.pairs[OURS][0] == 'none'
    assert len(study.pairs[OURS]) == 1 + 2 * 4
    assert 'pstmo:pstmo-robust@~1+fusion' in study.pairs[OURS]
    assert 'mixste:mixste-robust@1~1/27+fusion' in study.pairs[OURS]
    config = EvaluationConfig(estimators=study.estimators, pairs=study.pairs)
    assert config.lifters_of(BASE) == study.pairs[BASE]


def test_what_is_missing_is_named_and_the_rest_runs():
    study = preset(['metrabs-s', 'videopose3d-robust'])
    assert study.estimators == (OURS,)
    assert study.pairs[OURS][1:] == (
        'videopose3d:videopose3d-robust@~1',
        'videopose3d:videopose3d-robust@~1+fusion',
    )
    text = ' '.join(study.missing)
    assert 'movenet-thunder is missing: no baseline 2D' in text
    assert 'pstmo-robust is missing: no P-STMO on MeTRAbs 2D' in text
    study = preset(['metrabs-s', 'pstmo-clean', 'movenet-thunder'])
    assert study.pairs[BASE] == ('pstmo:pstmo-clean',)
    assert 'videopose3d-clean is missing: no VideoPose3D on baseline 2D' in study.missing
    with pytest.raises(weights.WeightsError, match='metrabs'):
        preset([]) if 'metrabs-s' not in weights.available() else weights.resolve('metrabs-x')


def test_the_shipped_study_loads():
    study = preset()
    for text in {lifter for pair in study.pairs.values() for lifter in pair}:
        assert LifterSpec.parse(text).stage() is not None


@pytest.mark.parametrize(
    ('text', 'look_ahead', 'smoothing', 'hop'),
    [
        ('mixste', None, 0, 1),
        ('mixste@3', 3, 0, 1),
        ('mixste:a/b@/27', None, 0, 27),
        ('m@4/9+fusion', 4, 0, 9),
        ('m@~1', None, 1, 1),
        ('m@4~2/9+fusion', 4, 2, 9),
    ],
)
def test_what_stands_behind_a_lifters_name(text, look_ahead, smoothing, hop):
    spec = LifterSpec.parse(text)
    assert (spec.look_ahead, spec.smoothing, spec.hop) == (look_ahead, smoothing, hop)
    for bad in ('mixste@', 'mixste@x', 'mixste@/0', 'mixste@3/x', 'mixste@~', 'm@3~x', 'none@~3'):
        with pytest.raises(ValueError, match=f'lifter .{bad}'):
            LifterSpec.parse(bad)


def rows(values):
    """One row for clean and for each of the five, all with the same error."""
    return [
        {
            'estimator': estimator,
            'lifter': lifter,
            'condition': condition,
            'main_severity': True,
            'k': 0,
            'action': 'walk',
            'mpjpe_mm': value,
            'p_mpjpe_mm': value / 2,
        }
        for (estimator, lifter), value in values.items()
        for condition in ('clean', *FIVE)
    ]


def test_comparison_by_hand():
    made = rows(
        {
            (BASE, 'mixste:mixste-clean@/27'): 200.0,
            (BASE, 'pstmo'): 210.0,  # not on MeTRAbs 2D: no line
            (OURS, 'none'): 120.0,
            (OURS, 'mixste:mixste-robust@1~1/27'): 100.0,
            (OURS, 'mixste:mixste-robust@1~1/27+fusion'): 90.0,
        }
    )
    table = comparison_table(made)
    assert table.rows == (('MixSTE',),)
    assert table.head == ('lifter',)
    cell = {column: table.cell(('MixSTE',), column).text() for column in table.columns}
    assert cell == {
        'baseline 2D': '200.0',
        'MeTRAbs 2D': '100.0',
        'MeTRAbs 2D + fusion': '90.0',
        'ratio': '0.50',
        'ratio with fusion': '0.45',
        'published: baseline 2D': '128.6',
        'published: MeTRAbs 2D': '71.8',
        'published ratio': '0.56',
    }
    assert comparison_table(made, 'p_mpjpe_mm').cell(('MixSTE',), 'baseline 2D').mean == 100
    assert 'Human3.6M, another data set' in table.markdown()
    assert best_pairs(made) == {
        'MixSTE': (
            (BASE, 'mixste:mixste-clean@/27'),
            (OURS, 'mixste:mixste-robust@1~1/27+fusion'),
        )
    }
    assert comparison_table([r for r in made if r['estimator'] == OURS]) is None


def test_published_figures_agree_with_themselves():
    conditions = published.per_condition()
    assert len(conditions) == 9
    for _, method, values in conditions:
        mean = np.mean([values[name] for name in published.CONDITIONS])
        assert mean == pytest.approx(values['average'], abs=0.06), method
    assert set(published.CONDITIONS) == set(FIVE)
    assert list(published.CONDITIONS) == list(results.COLUMNS[1:])

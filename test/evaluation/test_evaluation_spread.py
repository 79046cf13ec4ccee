"""The same evaluation over processes: equal rows, and a worker that dies costs one case."""

from __future__ import annotations

import json
import os
import secrets
import sys

import doubles
import evaluation_stand_in
import pytest
from evaluation_stand_in import FOUR, Blinded, clip

from trpose_ros.evaluation import spread
from trpose_ros.evaluation.cases import TOGETHER, Case, EvaluationConfig, Outcome
from trpose_ros.evaluation.runner import EvaluationRun
from trpose_ros.evaluation.spread import _after_death, _Task

ray = pytest.importorskip('ray')


class Deadly(Blinded):
    """Kills its process when it sees that the lower part is hidden."""

    def estimate(self, frame, boxes_px):
        if (frame.image[300:] == 0).all():
            os._exit(3)
        return super().estimate(frame, boxes_px)


def config(*names):
    return EvaluationConfig(
        estimators=names,
        factories={'good': Blinded, 'deadly': Deadly},
        lifters=('none',),
        conditions=FOUR,
        boxes='image',
    )


def test_spread_over_processes(tmp_path, monkeypatch):
    # Ray guards even a local cluster by a token; the test's own keeps out of the home folder.
    (tmp_path / 'token').write_text(secrets.token_hex(32))
    monkeypatch.setenv('RAY_AUTH_TOKEN_PATH', str(tmp_path / 'token'))
    for module in (doubles, evaluation_stand_in, sys.modules[__name__]):
        ray.cloudpickle.register_pickle_by_value(module)  # workers do not have the tests

    clips = [clip(), clip('sit', frames=5)]
    plain = EvaluationRun(config('good'), clips, tmp_path / 'plain')
    assert {step.error for step in plain.steps()} == {''}
    shared = EvaluationRun(config('good', 'deadly'), clips, tmp_path / 'spread', workers=2)
    steps = list(shared.steps())
    assert [step.done for step in steps] == list(range(1, 17))

    errors = {step.case.title: step.error for step in steps if step.error}
    assert sorted(errors) == [
        'test|s1|sit|0 fixed_lower 1/3 k=0 deadly',
        'test|s1|walk|0 fixed_lower 1/3 k=0 deadly',
    ]
    assert all('the worker died' in error for error in errors.values())
    assert json.loads((tmp_path / 'spread' / 'failed.json').read_text()) == errors
    rows = shared.rows()
    assert len(rows) == 14  # the rest is kept
    good = [row for row in rows if row['estimator'] == 'good']
    for one, two in zip(plain.rows(), good, strict=True):
        same = sorted(name for name in one if not name.endswith('_ms'))
        assert repr({n: one[n] for n in same}) == repr({n: two[n] for n in same})


def test_who_is_blamed_for_a_death():
    group = [Case(clip(), condition, 'good') for condition in FOUR]
    keys = [[case.key for case in group], group[2].key]

    def after(cases, at):
        blamed, again = _after_death(_Task(cases, at))
        return blamed and blamed.key, [[case.key for case in part] for part in again]

    assert after(group, keys[1]) == (keys[1], [[*keys[0][:2], keys[0][3]]])
    assert after(group[2:3], keys[1]) == (keys[1], [])
    assert after(group, TOGETHER) == (None, [[key] for key in keys[0]])
    assert after(group[:2], keys[1]) == (keys[0][0], [keys[0][1:2]])  # it had answered
    assert after([], keys[1]) == (None, [])


def test_a_worker_keeps_what_it_has_loaded(monkeypatch):
    monkeypatch.setattr(Blinded, 'made', 0)
    monkeypatch.setattr(spread, '_KEPT', {})
    made = []
    for run, name in (('a', 'walk'), ('a', 'sit'), ('b', 'walk')):
        group = [Case(clip(name, frames=3), condition, 'good') for condition in FOUR]
        outcomes = [o for o in spread._work(run, config('good'), group) if isinstance(o, Outcome)]
        assert [outcome.error for outcome in outcomes] == [''] * 4
        made.append(Blinded.made)
    assert made == [1, 1, 2]

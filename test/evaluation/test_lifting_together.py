"""Passes of a clip lifted together give what each gives when it is lifted alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from evaluation_stand_in import (
    FOUR,
    Blinded,
    _estimator,  # noqa: F401 - a fixture
    clip,
    config,
)
from lifting_stand_in import FRAMES, TRACKED, a_pass, always
from random_weights import save_lifter, save_videopose3d

from trpose_ros.evaluation import cases, lifting_together
from trpose_ros.evaluation.cases import TOGETHER, Case, CaseRunner, Outcome
from trpose_ros.evaluation.lifting_together import PassesTogether, alike, calls_of
from trpose_ros.people import TrackState

CLOSE = {'abs': 1e-3, 'rel': 1e-4, 'nan_ok': True}  # mm, and ratios
LOST = TrackState.LOST


def edge_cases():
    returns = [TRACKED] * 8 + [LOST] * 2 + [None] * 3 + [TRACKED] * 11
    return {
        'nobody': a_pass({}),
        'one': a_pass({3: always()}, seed=5),
        'lost and back': a_pass({0: returns, 7: always()}, seed=6),
        'others': a_pass({1: [None] * 5 + always(19), 2: always(10) + [None] * 14}, seed=7),
        'gap': a_pass({3: always(3) + [None] * 18 + always(3)}, seed=8),  # longer than allowed
        'time goes back': a_pass({3: always()}, seed=9, turn=15),
        'lost without an id': a_pass({-1: [LOST] * FRAMES, 4: always()}, seed=10),
    }


# What becomes of failures and times does not depend on the lifter: one will do.
one_lifter = pytest.mark.parametrize('name', ['videopose3d'], indirect=True)


@pytest.fixture(params=['videopose3d', 'videopose3d, smoothed', 'mixste', 'mixste in hops'])
def name(request, tmp_path):
    if request.param.startswith('videopose3d'):
        file = save_videopose3d(tmp_path / 'small.safetensors')
        return f'videopose3d:{file}' + '@~1' * ('smoothed' in request.param)
    file = save_lifter(tmp_path / 'small.safetensors', 'mixste')
    return f'mixste:{file}' + '@/9' * (request.param != 'mixste')


def same(one, other):
    assert list(one) == list(other)
    for stamp, people in one.items():
        assert people.track_ids.tolist() == other[stamp].track_ids.tolist()
        np.testing.assert_allclose(people.joints_m, other[stamp].joints_m, rtol=0, atol=1e-4)
        np.testing.assert_allclose(
            people.covariances_m2, other[stamp].covariances_m2, rtol=0, atol=1e-4
        )


def lifted_together(name, passes, texts):
    runner = CaseRunner(config(lifters=texts))
    runner._together = PassesTogether(passes)
    runner._together.lift(name, runner._stage(texts[0]).lifter)
    return [{text: runner._lift(text, seen) for text in texts} for seen in passes]


def test_together_is_alone(name):
    passes = edge_cases()
    texts = (name, name + '+fusion')
    alone = CaseRunner(config(lifters=texts))
    found = lifted_together(name, list(passes.values()), texts)
    for (case, seen), both in zip(passes.items(), found, strict=True):
        for text, (people, times) in both.items():
            same(people, alone._lift(text, seen)[0])
            # a batch's time is nobody's latency; what was lifted alone has its own
            assert np.isfinite(times).all() == (case == 'time goes back')


def test_clips_of_one_frame_and_of_none(name):
    passes = [a_pass({0: always(1)}, 1), a_pass({}, 1), a_pass({5: always(1)}, 1, seed=2)]
    alone = CaseRunner(config(lifters=(name,)))
    for seen, both in zip(passes, lifted_together(name, passes, (name,)), strict=True):
        same(both[name][0], alone._lift(name, seen)[0])
    nothing = [a_pass({}, 0)] * 2
    assert [both[name][0] for both in lifted_together(name, nothing, (name,))] == [{}, {}]


def test_passes_of_other_moments_are_apart():
    calls = [calls_of(seen, 'h36m_17') for seen in edge_cases().values()]
    assert alike(calls) == [[0, 1, 2, 3, 4, 6], [5]]
    assert alike([]) == []


def run_all(settings, one_clip):
    runner = CaseRunner(settings)
    group = [Case(one_clip, condition, 'blinded:x') for condition in settings.conditions]
    given = list(runner.attempt_all(group))
    return group, given, [each for each in given if isinstance(each, Outcome)]


def assert_rows_equal(one, other):
    for a, b in zip(one.rows, other.rows, strict=True):
        assert list(a) == list(b)
        for name in a:
            if not name.startswith(('estimator_p', 'lifter_p')):
                exact = not isinstance(a[name], float)
                assert a[name] == (b[name] if exact else pytest.approx(b[name], **CLOSE)), name


def test_rows_of_a_group(name):
    settings = config(lifters=('none', name, name + '+fusion'))
    group, given, outcomes = run_all(settings, clip())
    keys = [case.key for case in group]
    assert (
        [each for each in given if isinstance(each, str)]
        == [
            *keys,  # all estimator passes
            keys[0],  # the clean case
            TOGETHER,
            *keys[1:],
        ]
    )
    alone = CaseRunner(settings)
    for case, outcome in zip(group, outcomes, strict=True):
        assert outcome.error == ''
        assert outcome.seconds > 0
        assert_rows_equal(outcome, alone.attempt(case))
        clean = case.condition.profile == 'none'
        for row in outcome.rows:
            assert np.isfinite(row['lifter_p50_ms']) == (clean or row['lifter'] == 'none')


@one_lifter
def test_the_rest_goes_on_when_passes_fail(name, monkeypatch):
    monkeypatch.setattr(Blinded, 'explode', 'occluded')
    settings = config(lifters=(name,))
    _, _, outcomes = run_all(settings, clip())
    assert [outcome.error for outcome in outcomes] == [
        '',
        *['RuntimeError: no memory for this'] * 3,
    ]


@one_lifter
def test_cases_are_lifted_alone_when_together_fails(name, monkeypatch):
    settings = config(lifters=(name, name + '+fusion'))
    asked = []

    def fails(stream, passes):
        asked.append(len(passes))
        stream.push(0, np.array([1, 1]), np.zeros((2, 17, 2)))  # an id twice

    monkeypatch.setattr(lifting_together, 'answers_together', fails)
    group, _, outcomes = run_all(settings, clip())
    assert asked == [3]
    alone = CaseRunner(settings)
    for case, outcome in zip(group, outcomes, strict=True):
        assert_rows_equal(outcome, alone.attempt(case))
        assert all(np.isfinite(row['lifter_p50_ms']) for row in outcome.rows)


@one_lifter
def test_a_pass_that_cannot_be_lifted_does_not_take_the_others_along(name, monkeypatch):
    settings = config(lifters=(name,))
    cached_pass = cases.cached_pass

    def spoilt(one, condition, *rest):
        seen, cached = cached_pass(one, condition, *rest)
        if condition == FOUR[1]:
            seen = dataclasses.replace(seen, people=[p.replace(skeleton='?') for p in seen.people])
        return seen, cached

    monkeypatch.setattr(cases, 'cached_pass', spoilt)
    _, _, outcomes = run_all(settings, clip())
    assert [bool(outcome.error) for outcome in outcomes] == [False, True, False, False]
    assert np.isnan(outcomes[2].rows[0]['lifter_p50_ms'])  # these were lifted together


@one_lifter
def test_answers_that_do_not_fit_are_not_used_twice(name, monkeypatch):
    settings = config(lifters=(name,))
    answers_together = lifting_together.answers_together

    def spoilt(stream, passes):
        first, *rest = answers_together(stream, passes)
        return [first[:3], *rest]

    monkeypatch.setattr(lifting_together, 'answers_together', spoilt)
    _, _, outcomes = run_all(settings, clip())
    assert [outcome.error for outcome in outcomes] == [''] * 4
    timed = [np.isfinite(outcome.rows[0]['lifter_p50_ms']) for outcome in outcomes]
    assert timed == [True, True, False, False]


@one_lifter
def test_a_group_whose_clean_case_was_there_already(name):
    settings = config(lifters=(name, name + '+fusion'), conditions=FOUR[1:])
    group, _, outcomes = run_all(settings, clip())
    alone = CaseRunner(settings)
    for case, outcome in zip(group, outcomes, strict=True):
        assert_rows_equal(outcome, alone.attempt(case))
        assert all(np.isnan(row['lifter_p50_ms']) for row in outcome.rows)


@one_lifter
def test_a_case_by_itself_is_timed(name):
    settings = config(lifters=(name,), conditions=FOUR[1:2])
    group, given, outcomes = run_all(settings, clip())
    assert given == [group[0].key, outcomes[0]]
    assert np.isfinite(outcomes[0].rows[0]['lifter_p50_ms'])

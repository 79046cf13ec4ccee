"""One run of a lifter for its skeletons alone and for the fused ones."""

from __future__ import annotations

import numpy as np
import pytest
from lifting_stand_in import a_pass, always
from random_weights import save_videopose3d

from trpose_ros.evaluation.cases import CaseRunner, EvaluationConfig
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.evaluation.shared_lifting import SharedLifter


def seen(seed=0):
    """Return a pass of one person; another seed is another person."""
    return a_pass({3: always()}, seed=seed)


@pytest.fixture
def name(tmp_path):
    return f'videopose3d:{save_videopose3d(tmp_path / "small.safetensors")}'


def same(one, other):
    assert list(one) == list(other)
    for stamp, people in one.items():
        np.testing.assert_array_equal(people.joints_m, other[stamp].joints_m)


@pytest.mark.parametrize('order', [('', '+fusion'), ('+fusion', '')])
def test_two_readers_get_what_two_lifters_would_give(order, name, monkeypatch):
    runner, one = CaseRunner(EvaluationConfig()), seen()
    given = {}
    pushed = []
    push = SharedLifter.push
    monkeypatch.setattr(
        SharedLifter, 'push', lambda self, *a: (pushed.append(self), push(self, *a))[1]
    )
    for tail in order:
        given[tail], times = runner._lift(name + tail, one)
        assert (times > 0).all()
    assert len(set(map(id, pushed))) == 1  # one lifter, asked by both
    for tail in order:
        same(given[tail], CaseRunner(EvaluationConfig())._lift(name + tail, one)[0])
    assert any(
        np.abs(a.joints_m - b.joints_m).max() > 1e-3
        for a, b in zip(given[''].values(), given['+fusion'].values(), strict=True)
    )


def test_other_people_are_lifted_anew(name):
    runner = CaseRunner(EvaluationConfig())
    first, second = seen(0), seen(1)
    runner._lift(name, first)
    found = runner._lift(name + '+fusion', second)[0]
    same(found, CaseRunner(EvaluationConfig())._lift(name + '+fusion', second)[0])
    same(runner._lift(name, first)[0], CaseRunner(EvaluationConfig())._lift(name, first)[0])


def test_another_question_than_before_is_an_error(name):
    lifter = LifterSpec.parse(name).stage().lifter
    assert isinstance(lifter, SharedLifter)
    joints = np.zeros((1, 17, 2), np.float32)
    lifter.begin(again=False)
    lifter.push(1_000, np.array([1]), joints)
    lifter.begin(again=True)
    with pytest.raises(RuntimeError, match='call 0 of a lifter, push'):
        lifter.push(1_000, np.array([1]), joints + 1)
    lifter.push(1_000, np.array([1]), joints)
    with pytest.raises(RuntimeError, match='call 1 of a lifter, flush'):
        lifter.flush()
    assert lifter.repeated_s > 0
    assert lifter.look_ahead == 4

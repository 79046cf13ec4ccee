"""Joining by stamp: nobody wins by abstaining, everybody gets their own skeleton."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import STANDING, make_people
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.evaluation.metrics import all_measures as measures
from trpose_ros.evaluation.metrics.join import hold, join
from trpose_ros.evaluation.metrics.stream_errors import evaluate
from trpose_ros.people import TrackState
from trpose_ros.skeletons import convert

MS = 1_000_000
TRUTH = {t * MS: make_people(t * MS, (0.001 * t, 0, 4)) for t in range(0, 200, 20)}


def shifted(people, offset, **changes):
    return people.replace(joints_m=people.joints_m + np.asarray(offset, np.float32), **changes)


def test_perfect_results():
    result = evaluate(TRUTH, TRUTH)
    assert (result.frames, result.outputs, result.coverage) == (10, 10, 1.0)
    for name, value in result.as_dict().items():
        if name.endswith('_mm'):
            assert value == pytest.approx(0, abs=1e-3), name


def test_a_shift_is_an_absolute_error_only():
    result = evaluate({s: shifted(p, (0.3, 0, 0.4)) for s, p in TRUTH.items()}, TRUTH)
    assert result.mpjpe_mm == pytest.approx(0, abs=1e-3)
    assert result.abs_mpjpe_mm == pytest.approx(500, rel=1e-5)
    assert result.mrpe_mm == pytest.approx(500, rel=1e-5)


def test_nothing_at_all():
    empty = evaluate({}, {})
    assert (empty.frames, empty.outputs) == (0, 0)
    assert set(empty.as_dict().values()) == {0, None}
    none = evaluate({}, TRUTH)
    assert (none.coverage, none.outputs) == (0.0, 0)
    assert np.isnan(none.mpjpe_mm)
    # who never answers counts as a skeleton collapsed in one point
    collapsed = np.linalg.norm(STANDING, axis=1).mean() * 1000
    assert none.mpjpe_held_mm == pytest.approx(collapsed, rel=1e-5)


def test_only_exact_stamps_count():
    late = {s + 1: p for s, p in TRUTH.items()}
    assert evaluate(late, TRUTH).outputs == 0
    assert join(late, TRUTH).unmatched == 10


def test_abstaining_does_not_pay():
    bad = {s: shifted(p, 0) for s, p in TRUTH.items()}
    stamps = sorted(bad)
    wrong = bad[stamps[4]].joints_m.copy()
    wrong[:, 1:] += (0.17, 0, 0)  # 160 mm over 17 joints
    bad[stamps[4]] = bad[stamps[4]].replace(joints_m=wrong)
    for stamp in stamps[5:8]:
        del bad[stamp]
    result = evaluate(bad, TRUTH)
    assert result.coverage == pytest.approx(0.7)
    assert result.mpjpe_mm == pytest.approx(160 / 7, rel=1e-4)
    assert result.mpjpe_held_mm == pytest.approx(4 * 160 / 10, rel=1e-4)
    for stamp in stamps[:4]:
        del bad[stamp]  # before the first output the first one counts
    assert evaluate(bad, TRUTH).mpjpe_held_mm == pytest.approx(8 * 160 / 10, rel=1e-4)


def test_lost_tracks_are_no_output():
    lost = {s: p.replace(track_states=np.array([int(TrackState.LOST)])) for s, p in TRUTH.items()}
    assert evaluate(lost, TRUTH).outputs == 0


def test_hold_by_hand():
    poses = np.full((5, 2, 3), np.nan)
    poses[1] = [[1, 1, 1], [2, 1, 1]]
    poses[3] = [[5, 1, 1], [np.nan] * 3]  # the second joint is held relative to the root
    held = hold(poses, 0)
    np.testing.assert_array_equal(held[:, 0, 0], [1, 1, 1, 5, 5])
    np.testing.assert_array_equal(held[:, 1, 0], [2, 2, 2, 6, 6])
    assert (hold(np.full((3, 2, 3), np.nan), 0) == 0).all()
    poses[:, 1] = np.nan  # a joint that is never there is no part of the convention
    assert np.isnan(hold(poses, 0)[:, 1]).all()
    assert hold(np.zeros((0, 2, 3)), 0).shape == (0, 2, 3)


def test_each_person_gets_their_own_skeleton():
    truth, results = {}, {}
    for t in range(0, 200, 20):
        places = np.array([(-1, 0, 4), (1, 0, 4), (0, 0, 6)], float)
        truth[t * MS] = make_people(t * MS, places, track_ids=np.array([10, 11, 12]))
        order = [2, 0, 1] if t % 40 else [1, 2, 0]
        results[t * MS] = make_people(
            t * MS, places[order] + (0, 0, 0.1), track_ids=np.array([5, 6, 7])[order]
        )
    joined = join(results, truth)
    assert [p.person for p in joined.persons] == [10, 11, 12]
    assert [set(p.track_ids.tolist()) for p in joined.persons] == [{5}, {6}, {7}]
    assert joined.identity.idf1 == 1.0
    assert joined.identity.switches == 0
    for person in joined.persons:
        assert measures.measure(person, 50)['mrpe_mm'] == pytest.approx(100, rel=1e-4)
    one = {s: p.select([0]) for s, p in results.items()}
    coverages = [p.coverage for p in join(one, truth).persons]
    assert sum(coverages) == pytest.approx(1.0)  # one result serves one person, never two
    ghosts = {s: shifted(p, (0, 0, 20)) for s, p in results.items()}
    assert [p.coverage for p in join(ghosts, truth).persons] == [0, 0, 0]


def test_truth_for_part_of_the_time_and_a_person_who_comes_later():
    truth = {}
    for t in range(0, 200, 20):
        places = [(-1, 0, 4)] if t < 100 else [(1, 0, 4), (-1, 0, 4)]
        ids = np.array([3] if t < 100 else [4, 3])
        truth[t * MS] = make_people(t * MS, np.array(places, float), track_ids=ids)
    joined = join(truth, truth)
    assert [(p.person, len(p.stamps_ns)) for p in joined.persons] == [(3, 10), (4, 5)]
    assert joined.persons[1].fps == pytest.approx(50)
    assert all(np.array_equal(p.held_m, p.true_m) for p in joined.persons)


def test_results_in_another_skeleton():
    smpl = {}
    for stamp, people in TRUTH.items():
        other = convert(people.joints_m, 'h36m_17', 'coco_19')
        smpl[stamp] = make_people(stamp).replace(
            skeleton='coco_19',
            joints_m=other,
            joints_px=np.zeros((1, 19, 2), np.float32),
            covariances_m2=np.full((1, 19, 3, 3), np.nan, np.float32),
        )
    person = join(smpl, TRUTH).persons[0]
    names = np.isfinite(person.held_m).all((0, 2))
    assert names.sum() < 17  # the head top, for one, is unknown to COCO
    limbs = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]
    np.testing.assert_allclose(person.held_m[:, limbs], person.true_m[:, limbs], atol=1e-6)
    changing = dict(TRUTH) | {10**12: smpl[0]}
    with pytest.raises(ValueError, match='changes its skeleton'):
        join({}, changing)


@settings(max_examples=25)
@given(st.integers(0, 2**31))
def test_measures_never_fail_and_are_numbers(seed):
    rng = np.random.default_rng(seed)
    results = {}
    for stamp, people in TRUTH.items():
        if rng.random() < 0.3:
            continue
        joints = people.joints_m + rng.normal(0, 0.1, people.joints_m.shape)
        joints[rng.random(joints.shape[:2]) < 0.2] = np.nan
        covariance = np.tile(np.eye(3) * 0.01, (1, 17, 1, 1))
        results[stamp] = people.replace(
            joints_m=joints.astype(np.float32), covariances_m2=covariance.astype(np.float32)
        )
    person = join(results, TRUTH).persons[0]
    hidden = rng.random((10, 17)) < 0.5
    row = measures.measure(person, 50.0, hidden, measures.joint_means(person))
    assert all(isinstance(value, (int, float)) for value in row.values())
    assert np.isfinite(row['mpjpe_mm'])
    assert row['p_mpjpe_mm'] <= row['mpjpe_mm'] * 1.5
    assert 0 <= row['coverage_percent'] <= 100


def test_measures_of_perfection():
    rng = np.random.default_rng(0)
    truth = {t * 20 * MS: make_people(t * 20 * MS, (0.1 * np.sin(t / 7), 0, 4)) for t in range(100)}
    for stamp, people in truth.items():
        wave = 0.05 * np.sin(2 * np.pi * stamp / 1e9 * np.linspace(1, 8, 17))[:, None]
        truth[stamp] = shifted(people, wave * (0, 1, 0))
    person = join(truth, truth).persons[0]
    row = measures.measure(person, 50.0, rng.random((100, 17)) < 0.5, measures.joint_means(person))
    ideal = {'coverage_percent': 100, 'pck150_percent': 100, 'jitter_ratio': 1, 'lag_ms': 0}
    for name, value in ideal.items():
        assert row[name] == pytest.approx(value), name
    for name in (
        'mpjpe_mm',
        'p_mpjpe_mm',
        'accel_mm_frame2',
        'mrpe_mm',
        'cvar95_mm',
        'high_frequency_ratio',
        'onset_step_mm_frame',
    ):
        assert row[name] == pytest.approx(0, abs=1e-6), name

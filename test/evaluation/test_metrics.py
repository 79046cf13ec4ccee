"""Metrics of protocol v1: published numbers, scipy, numbers worked out by hand, invariants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import procrustes as scipy_procrustes
from scipy.spatial.transform import Rotation
from scipy.stats import rankdata

from trpose_ros.evaluation.metrics import bodies, motion, uncertainty
from trpose_ros.evaluation.metrics import positions as metrics
from trpose_ros.evaluation.metrics.identity import Identity, identity_metrics
from trpose_ros.skeletons import get_skeleton

REFERENCE = np.load(Path(__file__).parents[1] / 'reference' / 'geometry_and_eval.npz')


def published():
    predicted = np.random.default_rng(3).normal(0, 0.3, (4, 9, 17, 3)).astype(np.float32)
    noise = np.random.default_rng(4).normal(0, 0.05, predicted.shape).astype(np.float32)
    return predicted, predicted + noise


def walk(frames=100, seed=0):
    rng = np.random.default_rng(seed)
    body = rng.uniform(-0.5, 0.5, (17, 3))
    t = np.arange(frames)[:, None, None] / 50.0
    sway = 0.1 * np.sin(2 * np.pi * t * rng.uniform(0.5, 2, (17, 3)) + rng.uniform(0, 6, (17, 3)))
    return body + sway + np.array([0, 0, 4.0])


POSE_METRICS = {
    'mpjpe': metrics.mpjpe,
    'p_mpjpe': metrics.p_mpjpe,
    'n_mpjpe': metrics.n_mpjpe,
    'abs_mpjpe': metrics.abs_mpjpe,
    'mrpe': metrics.mrpe,
    'mpjve': motion.mpjve,
    'accel': motion.acceleration_error,
}


def test_published_numbers():
    predicted, true = published()
    flat, flat_true = predicted.reshape(-1, 17, 3), true.reshape(-1, 17, 3)
    for value, name in [
        (metrics.mpjpe(predicted, true, root=None), 'mpjpe'),
        (metrics.n_mpjpe(predicted, true, root=None), 'n_mpjpe'),
        (metrics.p_mpjpe(flat, flat_true), 'p_mpjpe'),
        (motion.mpjve(flat, flat_true, root=None), 'mpjve'),
    ]:
        assert value / 1000 == pytest.approx(float(REFERENCE[name]), rel=2e-6), name


@pytest.mark.parametrize('name', POSE_METRICS)
def test_edge_sizes(name):
    metric = POSE_METRICS[name]
    assert np.isnan(metric(np.zeros((0, 17, 3)), np.zeros((0, 17, 3))))
    assert np.isnan(metric(np.full((9, 17, 3), np.nan), walk(9)))
    assert metric(walk(9), walk(9)) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(ValueError, match='must both be'):
        metric(walk(3), walk(4))


def test_mpjpe_by_hand():
    true = np.zeros((2, 3, 3))
    predicted = true + np.array((1.0, 2, 3))  # where it is does not matter
    predicted[0, 1] += (0.003, 0.004, 0)
    predicted[1, 2] += (0, 0, 0.012)
    assert metrics.mpjpe(predicted, true) == pytest.approx(17 / 6)
    np.testing.assert_allclose(metrics.frame_errors(predicted, true), [5 / 3, 4])
    assert metrics.abs_mpjpe(true + np.array((0.3, 0.4, 0)), true) == pytest.approx(500)
    assert metrics.mrpe(true + np.array((0, 0, 0.01)), true) == pytest.approx(10)
    predicted[0, 1] = np.nan  # a joint without value does not count
    assert metrics.mpjpe(predicted, true) == pytest.approx(12 / 5)


def test_procrustes_is_scipys():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(20, 17, 3))
    predicted = true + rng.normal(0, 0.3, true.shape)
    aligned = metrics.procrustes(predicted, true)
    for a, p, t in zip(aligned, predicted, true, strict=True):
        standard, fitted, _ = scipy_procrustes(t, p)
        norm = np.linalg.norm(t - t.mean(axis=0))
        # scipy allows reflections; of these poses none needs one
        np.testing.assert_allclose(a - t.mean(axis=0), fitted * norm, atol=1e-9)
        np.testing.assert_allclose(t - t.mean(axis=0), standard * norm, atol=1e-9)


def test_procrustes_never_reflects():
    true = np.random.default_rng(1).normal(size=(5, 17, 3))
    mirrored = true * (-1.0, 1, 1)
    assert metrics.p_mpjpe(mirrored, true) > 100
    # the best rotation and scale, by scipy
    for m, t in zip(mirrored, true, strict=True):
        x, y = m - m.mean(0), t - t.mean(0)
        rotation, _ = Rotation.align_vectors(y, x)
        turned = rotation.apply(x)
        scale = (turned * y).sum() / (turned**2).sum()
        error = np.linalg.norm(scale * turned - y, axis=1).mean() * 1000
        assert metrics.p_mpjpe(m[None], t[None]) == pytest.approx(error, rel=1e-6)


@given(st.integers(0, 2**31), st.floats(0.1, 10))
def test_alignments_forgive_what_they_should(seed, scale):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(3, 17, 3))
    rotation = Rotation.random(3, rng=seed).as_matrix()
    moved = scale * true @ rotation + rng.normal(size=(3, 1, 3))
    assert metrics.p_mpjpe(moved, true) == pytest.approx(0, abs=1e-6)
    assert metrics.n_mpjpe(scale * true, true) == pytest.approx(0, abs=1e-6)
    other = true + rng.normal(0, 0.1, true.shape)
    p, n, plain = (
        metrics.p_mpjpe(other, true),
        metrics.n_mpjpe(other, true),
        metrics.mpjpe(other, true),
    )
    assert np.isfinite([p, n, plain]).all()
    holes = rng.random((3, 17)) < 0.3
    holed = np.where(holes[..., None], np.nan, moved)
    assert metrics.p_mpjpe(holed, true) == pytest.approx(0, abs=1e-6)  # the rest decides


def test_procrustes_of_too_little():
    true = np.random.default_rng(0).normal(size=(1, 17, 3))
    few = np.full_like(true, np.nan)
    few[:, :2] = true[:, :2]
    assert np.isnan(metrics.p_mpjpe(few, true))
    assert np.isfinite(metrics.p_mpjpe(np.zeros_like(true), true))  # all joints in one point


def test_pck_and_auc_by_hand():
    true = np.zeros((1, 5, 3))
    predicted = true.copy()
    predicted[0, 1:, 0] = (0.1, 0.15, 0.2, np.nan)
    assert metrics.pck(predicted, true) == pytest.approx(50)  # 0 and 100 of 0 100 150 200
    # below the 31 thresholds 0..150: error 0 in 30, error 100 in the 10 from 105 on
    assert metrics.auc(predicted, true) == pytest.approx(100 * (30 + 10) / 31 / 4)
    assert np.isnan(metrics.auc(np.full_like(true, np.nan), true))


def test_split_by_hand():
    true = np.zeros((2, 2, 3))
    predicted = true.copy()
    predicted[:, 1, 0] = (0.01, 0.05)
    hidden = np.array([[False, False], [False, True]])
    assert metrics.split_mpjpe(predicted, true, hidden) == pytest.approx((10 / 3, 50))
    assert np.isnan(metrics.split_mpjpe(predicted, true, np.zeros((2, 2), bool))[1])
    with pytest.raises(ValueError, match='hidden must be'):
        metrics.split_mpjpe(predicted, true, np.zeros(2))


def test_tails_by_hand():
    errors = np.arange(1.0, 41)
    assert metrics.cvar(errors) == pytest.approx(39.5)  # the worst 2 of 40
    assert metrics.cvar(np.array([5.0, np.nan, 1])) == 5
    assert np.isnan(metrics.cvar(np.zeros(0)))
    assert metrics.failure_rate(np.array([100, 150, 151, np.nan])) == pytest.approx(100 / 3)
    with pytest.raises(ValueError, match='share'):
        metrics.cvar(errors, 0)
    assert metrics.retention(150, 100) == pytest.approx(1.5)
    assert np.isnan(metrics.retention(150, 0))


def test_severity_area_by_hand():
    assert metrics.severity_area(np.array([9, 3, 6]), np.array([30, 10, 20])) == pytest.approx(20)
    x, y = np.array([3.0, 6, 9, 12]), np.array([50.0, 70, 60, 120])
    assert metrics.severity_area(x, y) == pytest.approx(np.trapezoid(y, x) / 9)
    assert metrics.severity_area(np.array([1.0]), np.array([7.0])) == 7
    assert np.isnan(metrics.severity_area(np.zeros(0), np.zeros(0)))


def test_motion_by_hand():
    t = np.arange(10.0)[:, None, None]
    still = np.zeros((10, 2, 3))
    straight = still + np.array([[0, 0, 0], [0.003, 0, 0]]) * t
    bent = still + np.array([[0, 0, 0], [0.002, 0, 0]]) * t**2
    cubic = still + np.array([[0, 0, 0], [0.001, 0, 0]]) * t**3
    assert motion.mpjve(straight, still) == pytest.approx(1.5)  # the root has none
    assert motion.acceleration_error(straight, still) == pytest.approx(0, abs=1e-9)
    assert motion.acceleration_error(bent, still) == pytest.approx(2.0)
    assert motion.acceleration_error_m_s2(bent, still, 50) == pytest.approx(0.002 * 2500)
    # third difference of 0.001 t^3 is 0.006 m/frame^3
    assert motion.jitter(cubic, 10) == pytest.approx(0.003 * 1000 / 10)
    assert motion.jitter_ratio(2 * cubic, cubic, 10) == pytest.approx(2)
    assert np.isnan(motion.jitter(still[:3], 10))
    assert np.isnan(motion.jitter_ratio(cubic, still, 10))


def test_jitter_of_white_noise():
    # the third difference of white noise has variance 20 sigma^2; |N3| has mean sqrt(8 / pi)
    noise = np.random.default_rng(0).normal(0, 0.01, (20_000, 2, 3))
    expected = np.sqrt(8 / np.pi) * np.sqrt(20) * 0.01 * 50**3 / 10
    assert motion.jitter(noise, 50, root=None) == pytest.approx(expected, rel=0.02)


def test_high_frequency_ratio():
    t = np.arange(1000)[:, None, None] / 100.0
    true = np.zeros((1000, 2, 3))
    true[:, 1:, :] = np.sin(2 * np.pi * 10 * t)
    predicted = true.copy()
    predicted[:, 1:, :] += 0.5 * np.sin(2 * np.pi * 20 * t)
    ratio = motion.high_frequency_ratio(predicted, true, 100)
    assert np.isnan(ratio[0])  # the root
    assert ratio[1] == pytest.approx(0.25, rel=1e-3)
    slow = true.copy()
    slow[:, 1:, :] += 0.5 * np.sin(2 * np.pi * 2 * t)
    assert motion.high_frequency_ratio(slow, true, 100)[1] < 1e-3  # slow errors do not count
    assert np.isnan(motion.high_frequency_ratio(predicted, true, 10)).all()
    assert np.isnan(motion.high_frequency_ratio(predicted[:5], true[:5], 100)).all()
    holed = predicted.copy()
    holed[300] = np.nan
    assert motion.high_frequency_ratio(holed, true, 100)[1] == pytest.approx(0.25, rel=2e-2)


def test_static_std():
    rng = np.random.default_rng(0)
    true = np.zeros((500, 3, 3))
    true[:, 2, 0] = np.arange(500) * 0.01  # 0.5 m/s: never still
    predicted = true + rng.normal(0, 0.005, true.shape)
    predicted[:, 0] = true[:, 0]
    expected = 5 * np.sqrt(3)
    assert motion.static_std(predicted, true, 50) == pytest.approx(expected, rel=0.05)
    moving = true[:, [0, 2]]
    assert np.isnan(motion.static_std(moving, moving, 50))
    assert np.isnan(motion.static_std(true[:3], true[:3], 50))


def test_onset_step_by_hand():
    true = np.zeros((40, 2, 3))
    predicted = true.copy()
    hidden = np.zeros((40, 2), bool)
    hidden[10:20, 1] = True
    predicted[12:, 1, 0] = 0.03  # a jump of 30 mm two frames after the onset
    predicted[30:, 1, 0] = 0.5  # too far from both changes
    # around frame 10: 30 mm; around frame 20: none
    assert motion.onset_step(predicted, true, hidden) == pytest.approx(15)
    assert np.isnan(motion.onset_step(predicted, true, np.zeros_like(hidden)))
    assert np.isnan(motion.onset_step(true[:1], true[:1], hidden[:1]))


def test_recovery_by_hand():
    true = np.zeros((50, 2, 3))
    predicted = true.copy()
    hidden = np.zeros((50, 2), bool)
    hidden[10:20, 1] = hidden[40:45, 1] = True
    predicted[10:24, 1, 0] = 0.1  # good again four frames after it is seen
    predicted[40:, 1, 0] = 0.1  # never again
    result = motion.recovery(predicted, true, hidden, clean_mm=10.0)
    assert (result.events, result.recovered_percent, result.frames) == (2, 50.0, 4.5)
    assert motion.recovery(predicted, true, np.zeros_like(hidden), 10.0).events == 0


@pytest.mark.parametrize('lag', [-7, 0, 3])
def test_effective_lag(lag):
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(0, 0.01, (300, 17, 3)), axis=0)
    true, predicted = path[50:250], path[50 - lag : 250 - lag]
    assert motion.effective_lag_ms(predicted, true, 50) == pytest.approx(20 * lag)


def test_lag_of_nothing():
    assert np.isnan(motion.effective_lag_ms(np.zeros((50, 2, 3)), walk(50)[:, :2], 50))
    assert np.isnan(motion.effective_lag_ms(walk(1), walk(1), 50))


def test_bones_by_hand():
    rng = np.random.default_rng(0)
    poses = np.tile(rng.normal(size=(1, 17, 3)), (100, 1, 1))
    assert bodies.bone_variation(poses, 'h36m_17') == pytest.approx(0, abs=1e-9)
    scales = np.where(np.arange(100) % 2, 1.1, 0.9)[:, None, None]
    assert bodies.bone_variation(poses * scales, 'h36m_17') == pytest.approx(10)
    tree = get_skeleton('h36m_17')
    symmetric = poses[:, tree.mirror] * (-1, 1, 1)
    symmetric = (poses + symmetric) / 2
    assert bodies.asymmetry(symmetric, 'h36m_17') == pytest.approx(0, abs=1e-9)
    for side in 'lr':  # a forearm of 0.2 m on the left and of 0.3 m on the right
        elbow, wrist = tree.index(f'{side}elb'), tree.index(f'{side}wri')
        symmetric[:, wrist] = symmetric[:, elbow] + (0, {'l': 0.2, 'r': 0.3}[side], 0)
    assert bodies.asymmetry(symmetric, 'h36m_17') == pytest.approx(100 / 6)  # six pairs
    with pytest.raises(ValueError, match='poses must be'):
        bodies.bone_variation(poses[:, :5], 'h36m_17')
    assert np.isnan(bodies.bone_variation(poses[:0], 'h36m_17'))


def test_implausible_frames():
    true = np.tile(np.random.default_rng(0).normal(size=(1, 17, 3)), (10, 1, 1))
    predicted = true.copy()
    predicted[3] *= 1.6
    predicted[4] *= 1.4
    predicted[5] *= 0.6
    predicted[6] = np.nan  # no pose at all does not count
    assert bodies.implausible_frames(predicted, true, 'h36m_17') == pytest.approx(200 / 9)


def test_foot_sliding():
    true = walk(50) * 0
    true[25:, [3, 6]] += np.arange(25)[:, None, None] * np.array([0.02, 0, 0])  # 1 m/s
    predicted = true.copy()
    predicted[:, [3, 6], 2] += np.arange(50)[:, None] * 0.002
    assert bodies.foot_sliding(predicted, true, 'h36m_17', 50) == pytest.approx(2.0)
    assert bodies.foot_sliding(true, true, 'h36m_17', 50) == pytest.approx(0.0, abs=1e-9)


def test_spearman_is_the_correlation_of_ranks():
    rng = np.random.default_rng(0)
    sigmas = rng.random(200)
    errors = sigmas + rng.normal(0, 0.3, 200)
    expected = np.corrcoef(rankdata(sigmas), rankdata(errors))[0, 1]
    assert uncertainty.spearman(sigmas, errors) == pytest.approx(expected)
    assert np.isnan(uncertainty.spearman(np.ones(5), np.arange(5)))
    assert np.isnan(uncertainty.spearman(np.zeros(0), np.zeros(0)))
    with pytest.raises(ValueError, match='do not fit'):
        uncertainty.spearman(np.zeros(3), np.zeros(4))


def test_ause():
    errors = np.random.default_rng(0).exponential(1, 1000)
    assert uncertainty.ause(errors, errors) == pytest.approx(0, abs=1e-12)
    nothing = uncertainty.ause(np.random.default_rng(1).random(1000), errors)
    worst = uncertainty.ause(-errors, errors)
    assert 0 < nothing < worst
    # by hand, two shares: all, and the better half by sigma against the better half by error
    assert uncertainty.ause(np.array([1.0, 2]), np.array([3.0, 1]), steps=2) == pytest.approx(
        ((2 - 2) + (3 - 1)) / 2 / 2
    )
    assert np.isnan(uncertainty.ause(np.ones(3), np.zeros(3)))


def test_ellipsoids_hold_what_they_say():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(5000, 3, 3))
    covariance = root @ np.swapaxes(root, 1, 2)
    errors = (root @ rng.normal(size=(5000, 3, 1)))[..., 0]
    covered = uncertainty.ellipsoid_coverage(errors, covariance)
    np.testing.assert_allclose(covered, [50, 90, 95], atol=2)
    assert np.isnan(uncertainty.ellipsoid_coverage(errors, covariance * np.nan)).all()
    assert np.isnan(uncertainty.ellipsoid_coverage(errors[:2], np.zeros((2, 3, 3)))).all()


def test_projected_covariances_are_those_of_projected_points():
    rng = np.random.default_rng(1)
    matrix = np.array([[500.0, 3, 320], [0, 520, 240], [0, 0, 1]])
    joints = rng.uniform([-1, -1, 2], [1, 1, 5], (6, 3))
    root = 1e-3 * rng.normal(size=(6, 3, 3))
    covariances = root @ root.swapaxes(1, 2)
    found = uncertainty.projected_covariances(covariances, joints, matrix)
    moved = joints + (root @ rng.normal(size=(40000, 6, 3, 1)))[..., 0]
    seen = moved @ matrix.T
    seen = seen[..., :2] / seen[..., 2:]
    for k in range(6):
        np.testing.assert_allclose(found[k], np.cov(seen[:, k].T), rtol=0.06, atol=1e-3)
    exact = joints @ matrix.T
    errors = seen - exact[:, :2] / exact[:, 2:]
    covered = uncertainty.ellipsoid_coverage(errors, np.broadcast_to(found, (40000, 6, 2, 2)))
    np.testing.assert_allclose(covered, [50, 90, 95], atol=1)
    # along the line of sight nothing shows, and behind the camera nothing is known
    sight = joints[0] / np.linalg.norm(joints[0])
    along = uncertainty.projected_covariances(np.outer(sight, sight), joints[0], matrix)
    np.testing.assert_allclose(along, 0, atol=1e-9)
    behind = uncertainty.projected_covariances(covariances, -joints, matrix)
    assert np.isnan(behind).all()


APART = np.array([[0.1, np.nan], [np.nan, 0.1]])  # two people, two results


def test_identity_by_hand():
    frames = 10
    true_ids = [np.array([0, 1])] * frames
    assert identity_metrics(true_ids, true_ids, [APART] * frames) == Identity(1.0, 0, 0, 0, 0)
    # the two swap after 6 frames: 12 of 20 stay right, each person switches once
    swapped = [np.array([0, 1])] * 6 + [np.array([1, 0])] * 4
    assert identity_metrics(true_ids, swapped, [APART] * frames) == Identity(12 / 20, 2, 0, 0, 0)
    # one person of two found, new id half-way: 5 right of 20 true + 10 found
    ids = [np.array([7])] * 5 + [np.array([8])] * 5
    result = identity_metrics(true_ids, ids, [np.array([[np.nan], [0.1]])] * frames)
    assert result == Identity(2 * 5 / 30, 1, 0, 0, misses=10)
    # unseen for three frames in between, and once somebody whom nobody is
    gap = [np.array([5])] * 4 + [np.zeros(0, int)] * 3 + [np.array([5])] * 3
    tables = [np.full((1, len(row)), 0.1) for row in gap]
    tables[0] = np.array([[np.nan]])
    result = identity_metrics([np.array([0])] * frames, gap, tables)
    assert result == Identity(2 * 6 / 17, 0, 1, 1, 4)


def test_nobody_has_no_identity_and_people_without_ids_are_never_the_same():
    nobody = np.zeros(0, int)
    assert np.isnan(identity_metrics([], [], []).idf1)
    assert np.isnan(identity_metrics([nobody], [nobody], [np.zeros((0, 0))]).idf1)
    alone = identity_metrics([nobody] * 3, [np.array([4])] * 3, [np.zeros((0, 1))] * 3)
    assert alone == Identity(0.0, 0, 0, 3, 0)
    unknown = [np.array([-1, -1])] * 3
    found = identity_metrics([np.array([4])] * 3, unknown, [np.array([[0.1, np.nan]])] * 3)
    assert (found.switches, found.false_people) == (2, 3)
    twice = identity_metrics([np.array([4])], [np.array([9, 9])], [np.array([[0.1, np.nan]])])
    assert twice == Identity(1.0, 0, 0, 0, 0)


@given(st.integers(0, 2**31))
def test_metrics_do_not_depend_on_the_order_of_frames_or_joints(seed):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(6, 17, 3))
    predicted = true + rng.normal(0, 0.2, true.shape)
    frames, joints = rng.permutation(6), np.concatenate([[0], 1 + rng.permutation(16)])
    for name in ('mpjpe', 'p_mpjpe', 'n_mpjpe', 'abs_mpjpe'):
        one = POSE_METRICS[name](predicted, true)
        other = POSE_METRICS[name](predicted[frames][:, joints], true[frames][:, joints])
        assert one == pytest.approx(other), name

"""Fusion by formula: covariances, priors, the depth filter and fading shares, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from test_fusion import CAMERA, LIFTED_M, people

from trpose_ros.evaluation.metrics.uncertainty import ellipsoid_coverage
from trpose_ros.people import RootSource
from trpose_ros.pipeline.fusion import Fusion, FusionConfig, reprojection_errors_px

S = 10**9
ROOT = np.array([0.3, -0.1, 3.0])
LIFTED = LIFTED_M[0]
HIDDEN = (3, 13)


def random_covariances(seed=0):
    roots = np.random.default_rng(seed).normal(0, 0.1, (17, 3, 3))
    return roots @ roots.transpose(0, 2, 1) + 1e-4 * np.eye(3)


def noise(seed, size=0.05):
    offset = np.random.default_rng(seed).normal(0, size, (17, 3))
    offset[0] = 0
    return offset


def fuse(fusion, stamp_ns, offset, root=ROOT, hidden=(), covariances=None, lifted=LIFTED):
    """Fuse one frame whose estimate is the lifted skeleton and an offset, at a root."""
    frame = people(stamp_ns, LIFTED + offset + root, hidden)
    if covariances is not None:
        frame = frame.replace(covariances_m2=covariances[None].astype(np.float32))
    return fusion.fuse(frame, lifted[None], CAMERA)


def test_covariance_is_a_share_of_the_estimators_and_a_quarter_of_the_disagreement():
    stated, fusion = random_covariances(), Fusion()
    first, second = noise(1), noise(2)
    out = fuse(fusion, 0, first, covariances=stated)
    expected = 0.6 * stated + 0.25 * (first**2)[:, :, None] * np.eye(3)
    np.testing.assert_allclose(out.covariances_m2[0], expected, rtol=1e-4, atol=1e-8)
    out = fuse(fusion, S // 2, second, covariances=stated)
    gain = 1 - np.exp(-0.5)  # half a second of a memory of one
    mean_square = first**2 + gain * (second**2 - first**2)
    expected = 0.6 * stated + 0.25 * mean_square[:, :, None] * np.eye(3)
    np.testing.assert_allclose(out.covariances_m2[0], expected, rtol=1e-4, atol=1e-8)


def test_without_a_covariance_of_the_estimator_priors_and_the_distance_count():
    config = FusionConfig(sigma_visible_m=0.05, sigma_hidden_m=0.2)
    stated = random_covariances()
    stated[[5, 13]] = np.nan
    out = fuse(Fusion(config), 0, 0 * LIFTED, hidden=HIDDEN, covariances=stated)
    expected = 0.6 * stated
    along = 0.1**2 * np.outer(ROOT, ROOT)
    expected[5], expected[13] = 0.05**2 * np.eye(3) + along, 0.2**2 * np.eye(3) + along
    np.testing.assert_allclose(out.covariances_m2[0], expected, rtol=1e-4, atol=1e-8)


def test_people_without_a_root_have_no_uncertainty_of_distance():
    frame = people(0, np.full((17, 3), np.nan), HIDDEN)
    out = Fusion().fuse(frame, LIFTED[None], CAMERA)
    assert out.root_sources[0] == RootSource.NONE
    sigmas = np.full(17, 0.06)
    sigmas[list(HIDDEN)] = 0.15
    expected = (sigmas**2)[:, None, None] * np.eye(3)
    np.testing.assert_allclose(out.covariances_m2[0], expected, rtol=1e-5)
    np.testing.assert_allclose(out.joints_m[0], LIFTED, atol=1e-6)


def test_depth_is_filtered_by_level_and_speed_and_its_residuals_widen_the_ellipsoid():
    fusion, stated = Fusion(FusionConfig(root_smoothing_s=0.2)), random_covariances()
    depth, speed, variance = 3.0, 0.0, 0.0
    for step, seen in enumerate((3.0, 3.2, 3.1, 3.5)):
        root = np.array([0.1, -0.05, 1.0]) * seen
        out = fuse(fusion, step * S // 10, 0 * LIFTED, root=root, covariances=stated)
        if step:
            alpha = 1 - np.exp(-0.1 / 0.2)
            residual = seen - (depth + 0.1 * speed)
            depth += 0.1 * speed + alpha * residual
            speed += alpha**2 / (2 - alpha) / 0.1 * residual
            variance += (1 - np.exp(-0.1)) * (residual**2 - variance)
        position = np.array([0.1, -0.05, 1.0]) * depth
        np.testing.assert_allclose(out.joints_m[0, 0], position, rtol=1e-5)
        ray = position / np.linalg.norm(position)
        expected = 0.6 * stated + variance * np.outer(ray, ray)
        np.testing.assert_allclose(out.covariances_m2[0], expected, rtol=1e-4, atol=1e-8)
        assert out.root_sources[0] == (RootSource.FUSED if step else RootSource.ESTIMATOR)


def test_without_smoothing_the_root_is_the_estimators():
    fusion = Fusion(FusionConfig(root_smoothing_s=0.0))
    for step, seen in enumerate((3.0, 4.0, 2.0)):
        out = fuse(fusion, step * S // 10, 0 * LIFTED, root=ROOT * seen / 3)
        np.testing.assert_allclose(out.joints_m[0, 0], ROOT * seen / 3, rtol=1e-6)
        assert out.root_sources[0] == RootSource.ESTIMATOR


@pytest.mark.parametrize('fade_s', [0.0, 0.1, 0.5])
def test_a_share_fades_when_a_joint_is_hidden_and_seen_again(fade_s):
    config = FusionConfig(fade_s=fade_s, estimator_share=0.6, hidden_share=0.2, smoothing_s=0.0)
    fusion, offset, share = Fusion(config), noise(3), 0.6
    for step, hidden in enumerate((False, True, True, False)):
        out = fuse(fusion, step * S // 20, offset, hidden=HIDDEN if hidden else ())
        target = 0.2 if hidden else 0.6
        share = target if fade_s == 0 else target + (share - target) * np.exp(-0.05 / fade_s)
        relative = out.joints_m[0] - out.joints_m[0, 0]
        shares = np.full((17, 1), 0.6)
        shares[list(HIDDEN)] = share if step else 0.6
        np.testing.assert_allclose(relative, LIFTED + shares * offset, atol=1e-5)


def test_differences_are_averaged_over_the_smoothing_time():
    fusion = Fusion(FusionConfig(smoothing_s=0.5))
    mean, age = None, 0.0
    for step in range(8):
        offset = noise(step)
        out = fuse(fusion, step * S // 10, offset)
        if mean is None:
            mean = offset
        else:
            mean = mean + min(1.0, 0.1 / min(age + 0.2, 0.5)) * (offset - mean)
            age += 0.1
        relative = out.joints_m[0] - out.joints_m[0, 0]
        np.testing.assert_allclose(relative, LIFTED + 0.5 * mean, atol=1e-5)


def test_lost_people_and_other_tracks_begin_anew():
    fusion, offset = Fusion(), noise(4)
    fuse(fusion, 0, offset)
    lost = people(S // 10, LIFTED + ROOT).replace(track_states=np.array([4], np.uint8))
    fusion.fuse(lost, LIFTED[None], CAMERA)
    out = fuse(fusion, S // 5, 0 * offset)
    np.testing.assert_allclose(out.joints_m[0], LIFTED + ROOT, atol=1e-5)
    other = people(S // 4, LIFTED + ROOT + offset).replace(track_ids=np.array([5], np.int32))
    alone = Fusion().fuse(other, LIFTED[None], CAMERA)
    np.testing.assert_array_equal(fusion.fuse(other, LIFTED[None], CAMERA).joints_m, alone.joints_m)


@pytest.mark.parametrize('hidden', [(), tuple(range(1, 17))])
def test_gaussian_people_lie_inside_as_often_as_the_ellipsoids_say(hidden):
    """Estimates with independent errors of the stated size, lifted skeletons 3 cm off."""
    rng, stated, errors, covariances = np.random.default_rng(0), random_covariances(7), [], []
    factor, truth = np.linalg.cholesky(stated), LIFTED + ROOT
    for _ in range(150):
        estimated = (factor @ rng.normal(size=(17, 3, 1)))[..., 0]
        lifted = LIFTED + rng.normal(0, 0.03, LIFTED.shape)
        out = fuse(Fusion(), 0, estimated, hidden=hidden, covariances=stated, lifted=lifted)
        errors.append(out.joints_m[0] - truth)
        covariances.append(out.covariances_m2[0])
    inside = ellipsoid_coverage(np.array(errors), np.array(covariances))[-1]
    assert 90 <= inside <= 98.5


def test_a_root_never_comes_nearer_than_five_centimetres():
    fusion = Fusion(FusionConfig(root_smoothing_s=0.2))
    for step, seen in enumerate((2.0, 0.1, 0.1, 0.1, 0.1)):  # falls below by its speed
        out = fuse(fusion, step * S // 10, 0 * LIFTED, root=np.array([0.0, 0.0, seen]))
    assert out.joints_m[0, 0, 2] == pytest.approx(0.05)


def test_a_new_root_has_no_speed_from_two_stamps_a_moment_apart():
    fusion = Fusion(FusionConfig(root_smoothing_s=0.2))
    fuse(fusion, 0, 0 * LIFTED, root=ROOT)
    fuse(fusion, 1000, 0 * LIFTED, root=ROOT * 1.1)  # a microsecond: counted as a millisecond
    out = fuse(fusion, S // 10, 0 * LIFTED, root=ROOT)
    alpha = 1 - np.exp(-1e-6 / 0.2)
    depth = 3.0 + alpha * 0.3
    speed = alpha**2 / (2 - alpha) / 1e-3 * 0.3
    elapsed = 0.1 - 1e-6
    before = depth + elapsed * speed
    expected = before + (1 - np.exp(-elapsed / 0.2)) * (3.0 - before)
    assert out.joints_m[0, 0, 2] == pytest.approx(expected, rel=1e-6)


def test_the_error_of_projection_is_the_mean_over_the_joints_in_the_image():
    joints_m = np.tile([0.0, 0.0, 2.0], (1, 17, 1))
    frame = people(0, joints_m[0])
    px = np.full((1, 17, 2), np.nan, np.float32)
    px[0, 0], px[0, 1] = (320 + 3, 240 + 4), (320, 240 - 10)  # 5 and 10 px off
    px[0, 2], px[0, 3], px[0, 4], px[0, 5] = (-0.6, 0), (0, -0.6), (639.6, 0), (0, 479.6)
    found = reprojection_errors_px(joints_m, frame.replace(joints_px=px), CAMERA)
    assert found.shape == (1,)
    assert found[0] == pytest.approx(7.5)
    px[0, 2:4] = (-0.5, -0.5), (639.5, 479.5)  # the outermost edges count
    corner = np.hypot(320.5, 240.5), np.hypot(319.5, 239.5)
    found = reprojection_errors_px(joints_m, frame.replace(joints_px=px), CAMERA)
    assert found[0] == pytest.approx((15 + sum(corner)) / 4)
    px[:] = np.nan
    assert np.isnan(reprojection_errors_px(joints_m, frame.replace(joints_px=px), CAMERA)).all()
    nobody = frame.select([])
    assert reprojection_errors_px(joints_m[:0], nobody, CAMERA).shape == (0,)


def test_untracked_people_leave_no_memory_and_reset_forgets():
    fusion, offset = Fusion(), noise(5)
    frame = people(0, LIFTED + ROOT + offset).replace(track_ids=np.array([-1], np.int32))
    fusion.fuse(frame, LIFTED[None], CAMERA)
    assert fusion._memory == {}
    for forget in ((), (4,)):
        fuse(fusion, 0, offset)
        fusion.reset(*forget)
        out = fuse(fusion, S // 10, 0 * offset)
        np.testing.assert_allclose(out.joints_m[0], LIFTED + ROOT, atol=1e-5)
        fusion.reset()
    fuse(fusion, 0, offset)
    fusion.reset(5)  # another one's
    out = fuse(fusion, S // 10, 0 * offset)
    assert np.abs(out.joints_m[0] - LIFTED - ROOT).max() > 0.01


@pytest.mark.parametrize('sigma', [0.005, 0.02])
def test_squared_errors_over_their_covariance_are_three_or_a_little_less(sigma):
    """A stream of independent errors, the lifted ones of 5 cm: NEES by formula, and coverage."""
    rng, fusion = np.random.default_rng(1), Fusion(FusionConfig(smoothing_s=0.0))
    stated, errors, covariances = np.tile(sigma**2 * np.eye(3), (17, 1, 1)), [], []
    for step in range(500):
        error = rng.normal(0, sigma, LIFTED.shape)
        lifted = LIFTED + rng.normal(0, 0.05, LIFTED.shape)
        error[0], lifted[0] = 0, LIFTED[0]
        out = fuse(fusion, step * S // 50, error, covariances=stated, lifted=lifted)
        if step >= 250:  # five times the memory
            errors.append((out.joints_m[0] - LIFTED - ROOT)[1:].astype(float))
            covariances.append(out.covariances_m2[0, 1:].astype(float))
    nees = [
        np.einsum('ji,jik,jk->j', e, np.linalg.inv(c), e)
        for e, c in zip(errors, covariances, strict=True)
    ]
    true = 0.25 * (sigma**2 + 0.05**2)  # of the mean of both
    assert np.mean(nees) == pytest.approx(3 * true / (0.6 * sigma**2 + true), rel=0.06)
    assert 2.0 < np.mean(nees) < 3.2
    assert 90 <= ellipsoid_coverage(np.array(errors), np.array(covariances))[-1] <= 99

"""Fusion: motion from the lifted skeleton, what stays different from the estimator, root depth."""

from __future__ import annotations

import numpy as np
import pytest
from made_people import moving_person

from trpose_ros.cameras import camera_from_fov
from trpose_ros.people import JointState, People, TrackState
from trpose_ros.pipeline.fusion import Fusion, FusionConfig

CAMERA = camera_from_fov(640, 480)
STEP_NS = 33_333_333
LIFTED_M = moving_person(60, 'h36m_17', root_m=(0.0, 0.0, 3.0)).astype(float)
LIFTED_M -= LIFTED_M[:, :1]


def people(stamp_ns, joints_m, hidden=()):
    states = np.full((1, 17), JointState.VISIBLE)
    states[0, list(hidden)] = JointState.OCCLUDED
    return People.build(
        stamp_ns=stamp_ns,
        frame_id='camera',
        skeleton='h36m_17',
        width=640,
        height=480,
        joints_px=np.full((1, 17, 2), 100.0),
        joints_m=joints_m[None],
        joint_states=states,
        track_ids=np.array([4]),
        track_states=np.array([TrackState.TRACKED]),
    )


def fused(estimated_m, lifted_m, hidden=(), **config):
    """Fuse clips (T, 17, 3) that begin at stamp 0; return root-relative (T, 17, 3)."""
    fusion = Fusion(FusionConfig(root_smoothing_s=0.0, **config))
    results = [
        fusion.fuse(people(t * STEP_NS, estimate, hidden), lifted[None], CAMERA).joints_m[0]
        for t, (estimate, lifted) in enumerate(zip(estimated_m, lifted_m, strict=True))
    ]
    results = np.array(results, float)
    return results - results[:, :1]


def with_root(relative_m):
    return relative_m + np.array([0.0, 0.0, 3.0])


def flicker(joints_m):
    return np.linalg.norm(np.diff(joints_m, n=2, axis=0), axis=-1).mean()


def test_one_frame_is_the_weighted_mean():
    result = fused(with_root(1.2 * LIFTED_M[:1]), LIFTED_M[:1])
    np.testing.assert_allclose(result, 1.1 * LIFTED_M[:1], atol=1e-5)


@pytest.mark.parametrize('smoothing_s', [0.0, 0.5])
@pytest.mark.parametrize(('hidden', 'share'), [((), 0.5), ((9, 13), 0.25)])
def test_a_lasting_difference_counts_by_its_share(smoothing_s, hidden, share):
    offset = np.random.default_rng(0).normal(0, 0.05, (17, 3))
    offset[0] = 0
    result = fused(with_root(LIFTED_M + offset), LIFTED_M, hidden, smoothing_s=smoothing_s)
    shares = np.full((17, 1), 0.5)
    shares[list(hidden)] = share
    np.testing.assert_allclose(result, LIFTED_M + shares * offset, atol=1e-5)


def test_without_smoothing_every_frame_is_the_weighted_mean():
    noise = np.random.default_rng(1).normal(0, 0.05, LIFTED_M.shape)
    noise[:, 0] = 0
    result = fused(with_root(LIFTED_M + noise), LIFTED_M, smoothing_s=0.0)
    np.testing.assert_allclose(result, LIFTED_M + 0.5 * noise, atol=1e-5)


def test_the_estimators_flicker_is_averaged_away():
    noise = np.random.default_rng(2).normal(0, 0.05, LIFTED_M.shape)
    noise[:, 0] = 0
    mean = fused(with_root(LIFTED_M + noise), LIFTED_M, smoothing_s=0.0)
    smooth = fused(with_root(LIFTED_M + noise), LIFTED_M)
    added = [flicker(joints[20:]) - flicker(LIFTED_M[20:]) for joints in (mean, smooth)]
    assert added[1] < 0.1 * added[0]


def test_the_first_frames_count_alike():
    differences = np.array([0.08, 0.02, 0.05])
    estimated = with_root(LIFTED_M[:3])
    estimated[:, 1:, 0] += differences[:, None]
    result = fused(estimated, LIFTED_M[:3])
    means = [0.08, 0.05, 0.05]
    np.testing.assert_allclose(
        result[:, 5, 0] - LIFTED_M[:3, 5, 0], 0.5 * np.array(means), atol=1e-6
    )


def test_joints_that_one_of_both_lacks_come_from_the_other():
    estimated, lifted = with_root(LIFTED_M[:8] + 0.02), LIFTED_M[:8].copy()
    estimated[:, 0] = [0.0, 0.0, 3.0]
    estimated[3:5, 6] = np.nan
    lifted[:, 9] = np.nan
    result = fused(estimated, lifted)
    np.testing.assert_allclose(result[:, 6], LIFTED_M[:8, 6] + 0.01, atol=1e-5)  # kept meanwhile
    np.testing.assert_allclose(result[:, 9], LIFTED_M[:8, 9] + 0.02, atol=1e-5)


def test_time_that_goes_back_forgets_the_difference():
    fusion = Fusion()
    for stamp, offset in ((1000 * STEP_NS, 0.1), (3 * STEP_NS, 0.0)):
        estimated = with_root(LIFTED_M[0] + offset * (np.arange(17) > 0)[:, None])
        result = fusion.fuse(people(stamp, estimated), LIFTED_M[:1], CAMERA).joints_m[0]
    np.testing.assert_allclose(result - result[0], LIFTED_M[0], atol=1e-5)

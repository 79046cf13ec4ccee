"""Smoothed streams: means of what the same stream gives unsmoothed, no later than declared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import LIFTERS, MOST, RATE_HZ, STEP_NS, clip, make, run

from trpose_ros.lifters import create_lifter
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.lifters.streams.smoothing import Smoother, hann_weights


def held(joints, frames):
    """Repeat the last frame of clips (N, T, 17, 2), as a stream does at the end of a track."""
    return np.concatenate([joints, *[joints[:, -1:]] * frames], axis=1)


def smoothed(poses, side, frames):
    """Smooth the first frames of (N, T, 17, 3); near the beginning over fewer."""
    result = np.empty_like(poses[:, :frames])
    for t in range(frames):
        reach = min(side, t)
        result[:, t] = np.einsum(
            'k,nkjc->njc', hann_weights(reach), poses[:, t - reach : t + reach + 1]
        )
    return result


@pytest.mark.parametrize('name', LIFTERS)
@pytest.mark.parametrize('side', [1, 3])
@pytest.mark.parametrize('frames', [1, 2, 14])
def test_a_smoothed_stream_is_the_mean_of_the_unsmoothed_one(name, side, frames):
    joints = clip(frames, seed=frames, people=2)
    ahead = min(1, MOST.get(name, 4))
    got = run(make(name, ahead, smoothing=side, flip=True), joints)
    plain = run(make(name, ahead, flip=True), held(joints, side))
    np.testing.assert_allclose(got, smoothed(plain, side, frames), atol=1e-9)
    if frames > 2:
        assert np.abs(got - plain[:, :frames]).max() > 1e-3


@pytest.mark.parametrize(('name', 'hop', 'ahead'), [('mixste', 9, 0), ('mhformer', 4, 2)])
def test_smoothing_goes_across_the_seams_of_hops(name, hop, ahead):
    joints = clip(20, seed=2)
    got = run(make(name, ahead, hop=hop, smoothing=2), joints)
    plain = run(make(name, ahead, hop=hop), held(joints, 2))
    np.testing.assert_allclose(got, smoothed(plain, 2, 20), atol=1e-9)


@pytest.mark.parametrize('ahead', [0, 2])
def test_frames_that_did_not_arrive_take_part_as_they_are_interpolated(ahead):
    """The network frames between two observations are lifted for the smoothing alone."""
    joints = clip(30, seed=3)
    arrived = np.array([*range(12), 13, 16, 17, 22, *range(23, 30)])
    filled = joints[0, arrived].reshape(len(arrived), -1)
    filled = np.stack([np.interp(range(30), arrived, column) for column in filled.T], axis=1)
    want = run(make('mixste', ahead, smoothing=2), filled.reshape(1, 30, 17, 2))[0]
    stream, results = make('mixste', ahead, smoothing=2), []
    for t in arrived:
        results += stream.push(t * STEP_NS, [0], joints[:, t])
    results += stream.flush()
    assert [r.stamp_ns // STEP_NS for r in results] == arrived.tolist()
    np.testing.assert_allclose([r.joints_m for r in results], want[arrived], atol=1e-9)


@pytest.mark.parametrize('name', LIFTERS)
def test_smoothed_results_wait_no_longer_than_declared_and_nothing_piles_up(name):
    ahead = min(2, MOST.get(name, 4))
    stream = make(name, ahead, smoothing=3)
    assert stream.look_ahead == ahead + 3
    assert stream.delay_s == pytest.approx((ahead + 3) / RATE_HZ)
    joints = clip(40, seed=4)
    for t in range(40):
        stamps = [r.stamp_ns for r in stream.push(t * STEP_NS, [0], joints[:, t])]
        assert stamps == ([(t - ahead - 3) * STEP_NS] if t >= ahead + 3 else [])
        assert len(stream._tracks[0].poses) <= 8


@pytest.mark.parametrize(
    ('look_ahead', 'smoothing', 'network', 'side'),
    [(2, 1, 1, 1), (2, 5, 0, 2), (0, 1, 0, 0), (None, 1, 12, 1), (13, 0, 13, 0)],
)
def test_smoothing_is_a_share_of_the_look_ahead(look_ahead, smoothing, network, side):
    config = LifterConfig(look_ahead=look_ahead, smoothing=smoothing, device='cpu')
    stream = create_lifter(config)
    assert stream.core.look_ahead == network
    assert stream.config.smoothing == side
    assert stream.look_ahead == network + side


def test_one_frame_of_smoothing_makes_the_shipped_lifter_twice_as_steady_at_the_same_delay():
    rng = np.random.default_rng(5)
    body = rng.uniform(-0.25, 0.25, (1, 1, 17, 2))
    sway = 0.02 * np.sin(np.arange(60)[None, :, None, None] / 7 + rng.uniform(0, 6, (1, 1, 17, 2)))
    joints = body + sway + rng.normal(0, 0.005, (1, 60, 17, 2))
    trembling = {}
    for side in (0, 1):
        stream = create_lifter(LifterConfig(look_ahead=2, smoothing=side, device='cpu'))
        poses = run(stream, joints, step_ns=round(1e9 / stream.rate_hz))[0]
        trembling[side] = np.linalg.norm(np.diff(poses, 2, axis=0), axis=-1).mean()
    assert trembling[1] < 0.5 * trembling[0]


@pytest.mark.parametrize('smoothing', [-1, 31])
def test_a_number_of_frames_that_makes_no_sense_is_refused(smoothing):
    with pytest.raises(ValueError, match='smoothing'):
        LifterConfig(smoothing=smoothing)


@given(st.integers(0, 30))
def test_weights_are_symmetric_sum_to_one_and_fall(side):
    weights = hann_weights(side)
    assert weights.shape == (2 * side + 1,)
    np.testing.assert_allclose(weights, weights[::-1], atol=1e-15)
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights[side:]) < 0).all()
    assert (weights > 0).all()


@given(st.integers(0, 4), st.integers(0, 12))
def test_a_steady_motion_is_left_as_it_is(side, index):
    poses = {t: np.full((17, 3), 0.1 + 0.03 * t) for t in range(13)}
    np.testing.assert_allclose(Smoother(side)(poses, index), poses[index], atol=1e-12)

"""The truncation conditions on keypoints alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.occlusion.keypoints import (
    SEVERITIES,
    DetectorNoise,
    SkeletonOcclusionConfig,
    missing_joints,
    present,
    seed_of,
)
from trpose_ros.occlusion.occluder import (
    FIVE,
    OcclusionConfig,
    joints_in,
    make_occluder,
    reference_boxes,
)
from trpose_ros.skeletons import get_skeleton

IDENTITY = 'rendered|s1|walk|0'
CASES = [(name, i) for name, labels in SEVERITIES.items() for i in range(len(labels))]
NAMES = get_skeleton('h36m_17').joint_names


def clip(frames, seed=0):
    rng = np.random.default_rng(seed)
    body = rng.uniform((400, 200), (600, 800), (17, 2))
    return body + np.cumsum(rng.normal(0, 1, (frames, 1, 2)), axis=0)


def config(profile, severity=0, **changes):
    return SkeletonOcclusionConfig(profile=profile, severity=severity, **changes)


def test_the_protocol_by_name():
    assert SEVERITIES['sk_rand'] == ('0.1', '0.3', '0.5')
    assert SEVERITIES['sk_gap'] == ('5', '10', '25', '50')
    assert len(SEVERITIES['sk_part']) == 6
    assert SEVERITIES['sk_box'] == FIVE


@pytest.mark.parametrize(('name', 'severity'), CASES)
def test_seed_is_the_hash_of_the_protocol(name, severity):
    text = f'v1|{IDENTITY}|{name}|{SEVERITIES[name][severity]}|2'
    expected = int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)
    assert seed_of(config(name, severity, draw=2), IDENTITY) == expected


@pytest.mark.parametrize(('name', 'severity'), CASES)
@pytest.mark.parametrize('frames', [0, 1, 30])
@pytest.mark.parametrize('presentation', ['drop', 'noisy'])
def test_every_condition_at_edge_sizes(name, severity, frames, presentation):
    case, joints = config(name, severity, presentation=presentation), clip(frames)
    missing = missing_joints(case, joints, identity=IDENTITY)
    assert missing.shape == (frames, 17)
    again = missing_joints(case, joints, identity=IDENTITY)
    np.testing.assert_array_equal(missing, again)
    shown, confidence = present(case, joints, missing, identity=IDENTITY)
    np.testing.assert_array_equal(shown[~missing], joints[~missing])
    assert (confidence[~missing] == 1).all()
    if presentation == 'drop':
        assert (shown[missing] == 0).all()
        assert (confidence[missing] == 0).all()
    else:
        assert np.isfinite(shown).all()
        assert ((confidence[missing] >= 0.1) & (confidence[missing] <= 0.6)).all()
        assert not (shown[missing] == joints[missing]).all(-1).any()


@pytest.mark.parametrize('severity', range(3))
def test_share_of_random_joints(severity):
    missing = missing_joints(config('sk_rand', severity), clip(3000), identity=IDENTITY)
    p = (0.1, 0.3, 0.5)[severity]
    assert missing.mean() == pytest.approx(p, abs=0.01)  # standard deviation below 0.0023
    both = (missing[1:] & missing[:-1]).mean()  # frames are independent
    assert both == pytest.approx(p * p, abs=0.01)


def test_parts_by_hand():
    def hidden(label, draw=0):
        severity = SEVERITIES['sk_part'].index(label)
        case = config('sk_part', severity, draw=draw)
        missing = missing_joints(case, clip(3), identity=IDENTITY)
        assert (missing == missing[0]).all()  # for the whole sequence
        return {name for name, gone in zip(NAMES, missing[0], strict=True) if gone}

    arms = {'lsho', 'lelb', 'lwri', 'rsho', 'relb', 'rwri'}
    legs = {'lhip', 'lkne', 'lank', 'rhip', 'rkne', 'rank'}
    assert hidden('arms') == arms
    assert hidden('legs') == legs
    assert hidden('lower') == legs | {'pelv'}
    assert hidden('upper') == set(NAMES) - legs - {'pelv'}
    one_arm = {frozenset(hidden('arm', draw)) for draw in range(10)}
    assert one_arm == {
        frozenset(n for n in arms if n[0] == 'l'),
        frozenset(n for n in arms if n[0] == 'r'),
    }
    assert {frozenset(hidden('leg', draw)) for draw in range(10)} == {
        frozenset(n for n in legs if n[0] == 'l'),
        frozenset(n for n in legs if n[0] == 'r'),
    }


@pytest.mark.parametrize('severity', range(4))
def test_one_gap_in_every_four_seconds(severity):
    missing = missing_joints(config('sk_gap', severity), clip(2000), identity=IDENTITY, rate_hz=50)
    assert (missing == missing[:, :1]).all()
    cycles = missing[:, 0].reshape(10, 200)
    length = (5, 10, 25, 50)[severity]
    assert (cycles.sum(axis=1) == length).all()
    first = cycles.argmax(axis=1)
    for row, start in zip(cycles, first, strict=True):
        assert row[start : start + length].all()
    assert len(set(first.tolist())) > 5


@pytest.mark.parametrize('severity', range(5))
def test_box_is_the_image_level_mask(severity):
    joints = clip(20)
    missing = missing_joints(config('sk_box', severity, draw=1), joints, identity=IDENTITY)
    occluder = make_occluder(OcclusionConfig(FIVE[severity], draw=1), IDENTITY)
    for t, box in enumerate(reference_boxes(joints)):
        rectangles = occluder.rectangles(1000, 1000, box, t * 20_000_000)
        np.testing.assert_array_equal(missing[t], joints_in(joints[t], rectangles, 1000, 1000))
    assert 0 < missing.mean() < 1


def test_noise_is_as_large_as_it_says():
    joints = np.tile(clip(1), (4000, 1, 1))
    height = np.ptp(joints[0, :, 1])
    noise = DetectorNoise(bias=0.04, jitter=0.015, jump_share=0.0)
    case = config('sk_rand', noise=noise)
    everything = np.ones((4000, 17), bool)
    shown, _ = present(case, joints, everything, identity=IDENTITY)
    error = (shown - joints) / height
    assert error.std() == pytest.approx(np.hypot(0.04, 0.015), rel=0.05)
    step = np.diff(error, axis=0).std()  # slow bias plus white jitter
    keep = np.exp(-1 / 25)
    assert step == pytest.approx(np.hypot(0.04 * np.sqrt(2 * (1 - keep)), 0.015 * 2**0.5), rel=0.05)
    jumps = config('sk_rand', noise=DetectorNoise(bias=0.0, jitter=0.0, jump_share=0.2))
    shown, _ = present(jumps, joints, everything, identity=IDENTITY)
    away = (shown != joints).any(-1)
    assert away[:, 1:7].mean() == pytest.approx(0.2, abs=0.03)


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from(CASES), st.integers(1, 20))
def test_nan_joints_stay_nan(seed, case, frames):
    joints = clip(frames, seed)
    joints[np.random.default_rng(seed).random(joints.shape[:2]) < 0.3] = np.nan
    setting = config(*case)
    missing = missing_joints(setting, joints, identity=IDENTITY)
    shown, _ = present(setting, joints, missing, identity=IDENTITY)
    gone = np.isnan(joints[..., 0])
    assert np.isnan(shown[gone]).all()  # also where a jump would lead somewhere


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: config('sk_fog'), 'unknown profile .sk_fog.'),
        (lambda: config('sk_rand', 3), r'severities 0 to 2 \(0.1, 0.3, 0.5\), got 3'),
        (lambda: config('sk_rand', presentation='loud'), 'drop or noisy'),
        (lambda: DetectorNoise(bias=-1), 'must not be negative'),
        (lambda: DetectorNoise(jump_share=1.0), 'jump_share'),
        (lambda: seed_of(config('sk_rand'), 'walk'), 'identity'),
        (
            lambda: missing_joints(config('sk_rand'), np.zeros((3, 16, 2)), identity=IDENTITY),
            'joints_px must be',
        ),
        (
            lambda: missing_joints(config('sk_gap'), clip(3), identity=IDENTITY, rate_hz=0),
            'rate_hz must be positive',
        ),
        (
            lambda: present(config('sk_rand'), clip(3), np.ones((2, 17)), identity=IDENTITY),
            'missing must be',
        ),
    ],
)
def test_bad_values_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()

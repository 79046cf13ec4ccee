"""Lenses of virtual cameras, and windows played at other speeds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_people import moving_person

from trpose_ros.data.motion.packs import vary_rate
from trpose_ros.data.motion.virtual_cameras import CameraConfig, distort, lenses, view


def test_a_lens_is_opencvs_where_it_does_not_fold():
    rng = np.random.default_rng(0)
    points = rng.uniform(-0.6, 0.6, (4, 5, 17, 2)).astype(np.float32)
    lens = lenses(4, rng)
    for i in range(4):
        flat = np.concatenate([points[i].reshape(-1, 2), np.ones((85, 1))], axis=1)
        expected, _ = cv2.projectPoints(flat, np.zeros(3), np.zeros(3), np.eye(3), lens[i])
        np.testing.assert_allclose(
            distort(points, lens)[i].reshape(-1, 2), expected[:, 0], atol=1e-5
        )


@given(st.integers(0, 1000))
def test_points_farther_out_stay_farther_out(seed):
    lens = lenses(3, np.random.default_rng(seed))
    lens[:, 2:] = 0
    radius = np.linspace(0, 6, 60, dtype=np.float32)
    points = np.stack([radius, np.zeros_like(radius)], axis=-1)[None, None].repeat(3, axis=0)
    bent = distort(points, lens)[..., 0]
    assert (np.diff(bent, axis=-1) > -1e-6).all()


def test_no_lens_changes_nothing_and_some_cameras_have_one():
    world = np.stack([moving_person(5, 'h36m_17', s, (0, 0, 1.0)) for s in range(40)])
    plain = view(world, CameraConfig(), np.random.default_rng(2))
    bent = view(world, CameraConfig(distorted_share=0.5), np.random.default_rng(2))
    np.testing.assert_array_equal(plain[0], bent[0])  # the same cameras
    changed = (plain[1] != bent[1]).any(axis=(1, 2, 3))
    assert 8 < changed.sum() < 32
    zero = np.zeros((40, 4))
    np.testing.assert_allclose(distort(plain[1], zero), plain[1], atol=1e-6)


@pytest.mark.parametrize(('length', 'frames'), [(1, 1), (5, 5), (9, 5), (40, 27), (6, 1)])
def test_windows_keep_their_middle_at_any_speed(length, frames):
    t = np.arange(length, dtype=np.float64)
    joints = np.broadcast_to(t[None, :, None, None], (20, length, 17, 3))
    played = vary_rate(joints, frames, np.random.default_rng(1))
    assert played.shape == (20, frames, 17, 3)
    np.testing.assert_allclose(played.mean(axis=1), (length - 1) / 2)
    if frames > 1:
        speed = np.diff(played, axis=1)
        np.testing.assert_allclose(speed - speed[:, :1], 0, atol=1e-9)
        assert speed.min() >= 0.75 - 1e-9
        assert speed.max() <= (length - 1) / (frames - 1) + 1e-9


def test_windows_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match='windows of 4 frames cannot be played as 5'):
        vary_rate(np.zeros((1, 4, 17, 3)), 5, np.random.default_rng(0))

"""Training data of the lifters: motions, cameras, noise, what is hidden."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.data.motion.packs import vary_bones
from trpose_ros.data.motion.virtual_cameras import (
    CameraConfig,
    NoiseConfig,
    add_noise,
    look_rotation,
    view,
)
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.lifters.masks import draw_hidden, guess
from trpose_ros.training.lifters.samples import estimated, make_sample
from trpose_ros.training.lifters.trainer import cut_future
from trpose_ros.training.lifters.windows import hidden_for_test

SKELETON = get_skeleton('h36m_17')


def standing(frames, seed=0):
    """Return (T, 17, 3): somebody upright who sways, z up."""
    rng = np.random.default_rng(seed)
    rest = np.zeros((17, 3))
    rest[:, 2] = [1, 1, 0.5, 0, 1, 0.5, 0, 1.2, 1.5, 1.6, 1.7, 1.45, 1.2, 1, 1.45, 1.2, 1]
    rest[:, 0] = [0, -0.1, -0.1, -0.1, 0.1, 0.1, 0.1, 0, 0, 0, 0, 0.2, 0.3, 0.3, -0.2, -0.3, -0.3]
    rest[[2, 5], 1] = -0.2
    sway = rng.normal(0, 0.01, (frames, 17, 3)).cumsum(axis=0)
    return (rest + sway - sway.mean(axis=0)).astype(np.float32)


@given(st.integers(0, 1000))
def test_bones_vary_alike_on_both_sides_and_over_time(seed):
    world = np.stack([standing(4, seed)] * 6)
    varied = vary_bones(world, np.random.default_rng(seed))

    def lengths(joints):
        return np.stack(
            [np.linalg.norm(joints[:, :, b] - joints[:, :, a], axis=-1) for a, b in SKELETON.bones],
            axis=-1,
        )

    factor = lengths(varied) / lengths(world)
    np.testing.assert_allclose(factor, factor[:, :1].repeat(4, axis=1), rtol=1e-3)
    child = [b for _, b in SKELETON.bones]
    other = [child.index(SKELETON.mirror[b]) for b in child]
    np.testing.assert_allclose(factor, factor[:, :, other], rtol=1e-3)
    assert factor.min() > 0.7
    assert factor.max() < 1.35
    assert np.ptp(factor[:, 0, 0]) > 0


def test_cameras_see_what_a_pinhole_sees():
    world = np.stack([standing(9)] * 300)
    rng = np.random.default_rng(1)
    joints_m, joints, half_height, focal_length = view(world, CameraConfig(moving_share=1.0), rng)
    assert joints_m[..., 2].min() >= 0.249
    # Rigid: distances between joints do not change, apart from persons pushed back.
    apart = np.linalg.norm(joints_m[:, :, 3] - joints_m[:, :, 10], axis=-1)
    np.testing.assert_allclose(
        apart, np.linalg.norm(world[:, :, 3] - world[:, :, 10], axis=-1), 1e-3
    )
    # One focal length per window explains all joints that are not clamped.
    inside = np.abs(joints).max(axis=-1) < 4
    with np.errstate(divide='ignore', invalid='ignore'):
        focal = joints * joints_m[..., 2:] / joints_m[..., :2]
    steady = inside[..., None] & (np.abs(joints_m[..., :2]) > 0.05)
    for window in range(0, 300, 10):
        values = focal[window][steady[window]]
        np.testing.assert_allclose(values, focal_length[window], rtol=1e-3)
    upright = joints[:, :, 10, 1] < joints[:, :, 0, 1]  # y down: the head above the pelvis
    assert upright.mean() > 0.99
    seen = (np.abs(joints[..., 0]) < 1) & (np.abs(joints[..., 1]) < half_height[:, None, None])
    assert 0.3 < seen.mean() < 0.97  # people are cut off, but not all of them


def test_rotations_are_rotations():
    rng = np.random.default_rng(0)
    rotation = look_rotation(*rng.uniform(-1, 1, (3, 50)))
    product = rotation @ np.swapaxes(rotation, 1, 2)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    ahead = look_rotation(np.zeros(1), np.zeros(1), np.zeros(1))[0]
    np.testing.assert_allclose(ahead @ [1, 0, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(ahead @ [0, 0, 1], [0, -1, 0], atol=1e-12)


def test_noise_has_gaps_but_never_loses_a_whole_person():
    rng = np.random.default_rng(2)
    exact = rng.uniform(-1.5, 1.5, (400, 27, 17, 2)).astype(np.float32)
    noisy = add_noise(exact, np.full(400, 0.75), NoiseConfig(), rng)
    gone = np.isnan(noisy).any(axis=-1)
    assert 0.02 < gone.mean() < 0.5
    assert not gone.all(axis=2).any()
    none = NoiseConfig(0, 0, 0, 0, 0, 0, 0)
    clean = add_noise(exact, np.full(400, 0.75), none, rng)
    seen = np.isfinite(clean)
    np.testing.assert_allclose(clean[seen], exact[seen], atol=1e-6)
    assert seen.mean() > 0.8  # only what lies outside the image may be silent


def windows(count, frames=27, seed=3):
    world = np.broadcast_to(standing(frames), (count, frames, 17, 3)).copy()
    return make_sample(world, np.random.default_rng(seed), CameraConfig())


def test_half_of_a_batch_is_mirrored():
    sample = windows(8, 5)
    assert sample.exact.shape == (8, 5, 17, 2)
    np.testing.assert_array_equal(sample.target_m[:, :, 0], 0)
    # Right is right of what is in front, in mirrored bodies too: the knees are bent forward.
    pose = sample.target_m[:, 0]
    ahead = pose[:, 2] + pose[:, 5] - pose[:, 1] - pose[:, 4]
    side = np.einsum('bi,bi->b', np.cross(pose[:, 1] - pose[:, 4], pose[:, 10]), ahead)
    assert (side < 0).all() or (side > 0).all()


@pytest.mark.parametrize('count', [0, 1, 400])
def test_an_estimator_sees_numbers_and_marks_what_it_does_not_see(count):
    sample = windows(count)
    joints, trusted = estimated(sample, NoiseConfig(), 30.0, np.random.default_rng(4))
    assert joints.shape == (count, 27, 17, 2)
    assert np.isfinite(joints).all()
    if count == 400:
        assert 0.3 < trusted.mean() < 0.9
        error = np.linalg.norm(joints - sample.exact, axis=-1)
        assert np.median(error[trusted]) < 0.3 * np.median(error[~trusted])


def test_hidden_joints_are_parts_gaps_boxes_and_single_ones():
    exact = windows(600).exact
    hidden = draw_hidden(exact, np.random.default_rng(5))
    whole = hidden.all(axis=2)
    assert 0.02 < whole.any(axis=1).mean() < 0.2  # gaps
    assert not whole.all(axis=1).any()
    constant = (hidden == hidden[:, :1]).all(axis=(1, 2)) & hidden.any(axis=(1, 2))
    assert constant.mean() > 0.2  # body parts
    assert (~hidden.any(axis=(1, 2))).mean() > 0.2  # nothing hidden


def test_guesses_wander_tremble_and_jump():
    exact = windows(300).exact
    guessed = guess(exact, 30.0, np.random.default_rng(6))
    assert guessed.shape == exact.shape
    height = np.ptp(exact[..., 1], axis=2).mean(axis=1)
    error = np.linalg.norm(guessed - exact, axis=-1) / height[:, None, None]
    assert 0.03 < np.median(error) < 0.1
    assert 0.02 < (error > 0.25).mean() < 0.2  # jumps
    steps = np.abs(np.diff(error, axis=1))
    assert np.median(steps) < np.median(error)  # the bias stays for a while


def test_what_tests_hide_is_what_their_names_say():
    rng = np.random.default_rng(7)
    rand, part, gap = (hidden_for_test((60, 27, 17), k, rng) for k in ('rand', 'part', 'gap'))
    assert rand.mean() == pytest.approx(0.3, abs=0.01)
    assert (part == part[:, :1]).all()
    assert part.any(axis=(1, 2)).all()
    assert (gap.all(axis=2).sum(axis=1) == 10).all()
    assert gap[:, 13].all()


@given(st.floats(0, 1), st.sampled_from([1, 3, 9]), st.integers(0, 99))
def test_cut_futures_repeat_the_newest_known_frame(share, frames, seed):
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(20, frames, 17, 3))
    cut = joints.copy()
    cut_future(cut, share, rng)
    now = frames // 2
    np.testing.assert_array_equal(cut[:, : now + 1], joints[:, : now + 1])
    for before, after in zip(joints, cut, strict=True):
        changed = np.flatnonzero((before != after).any(axis=(1, 2)))
        if len(changed):
            first = changed[0]
            assert first > now
            assert (after[first:] == before[first - 1]).all()


def test_a_fitted_estimator_guesses_all_and_knows_only_what_is_outside():
    sample = windows(200)
    noise = NoiseConfig.fitted('metrabs-small')
    joints, trusted = estimated(sample, noise, 30.0, np.random.default_rng(8))
    assert np.isfinite(joints).all()
    np.testing.assert_array_equal(trusted, sample.inside)
    assert np.abs(joints - sample.exact).mean() > 1e-3

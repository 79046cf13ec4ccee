"""Poses to render: bones keep their lengths, people who are seated sit, rare poses weigh more."""

import numpy as np
import pytest
from tiny_body import walking

from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.poses import PoseSource, lay_down, rarity, seat
from trpose_ros.data.rendering.posing import HIP, LFOOT, LHIP, LKNEE, THORAX
from trpose_ros.skeletons import get_skeleton

BONES = get_skeleton('h36m_17').bones


def pack(frames: int = 30) -> MotionPack:
    return MotionPack(
        walking(frames).astype(np.float32),
        np.array([0]),
        np.array([frames]),
        ('walk',),
        ('a',),
        ('train',),
        30.0,
    )


def lengths(poses: np.ndarray) -> np.ndarray:
    return np.stack([np.linalg.norm(poses[:, a] - poses[:, b], axis=1) for a, b in BONES], axis=1)


def test_without_variation_poses_are_those_of_the_clips():
    source, rng = PoseSource(pack(), varied=False), np.random.default_rng(0)
    frames = source.frames(8, rng)
    assert np.allclose(source.poses(frames, rng), walking(30)[frames], atol=1e-6)


def test_varied_poses_keep_bones_and_stand_on_the_ground():
    source, rng = PoseSource(pack(), varied=True), np.random.default_rng(1)
    frames = source.frames(200, rng)
    assert ((frames >= 0) & (frames < 30)).all()
    poses = source.poses(frames, rng)
    assert np.isfinite(poses).all()
    usual = lengths(walking(30))  # a limb may come from another frame
    assert (lengths(poses) > 0.98 * usual.min(axis=0)).all()
    assert (lengths(poses) < 1.02 * usual.max(axis=0)).all()
    assert (poses[..., 2].min(axis=1) > -0.6).all()
    changed = ~np.isclose(poses, walking(30)[frames], atol=1e-3).all(axis=(1, 2))
    assert 0.3 < changed.mean() < 0.7


@pytest.mark.parametrize('seed', range(5))
def test_a_seated_person_has_bent_hips_and_knees(seed):
    pose = walking(1)[0]
    seat(pose, np.random.default_rng(seed))
    thigh, trunk = pose[LKNEE] - pose[LHIP], pose[THORAX] - pose[HIP]
    cosine = thigh @ trunk / np.linalg.norm(thigh) / np.linalg.norm(trunk)
    assert cosine > -0.8  # standing: -1
    assert thigh[1] < 0  # forwards: the body faces -y
    assert np.linalg.norm(pose[LFOOT] - pose[LHIP]) < 0.97 * np.linalg.norm(
        walking(1)[0][LFOOT] - walking(1)[0][LHIP]
    )


def test_a_lying_person_is_low():
    pose = walking(1)[0]
    lay_down(pose, np.random.default_rng(0))
    assert np.ptp(pose[:, 2]) < 1.0 < np.ptp(walking(1)[0][:, 2])
    assert pose[:, 2].min() == pytest.approx(0.12)


def test_rare_poses_weigh_more():
    poses = np.repeat(walking(1), 200, axis=0)
    lay_down(poses[7], np.random.default_rng(0))
    weights = rarity(poses)
    assert weights.sum() == pytest.approx(1)
    assert weights[7] > 2 * weights[0]
    assert np.isfinite(rarity(np.zeros((3, 17, 3)))).all()

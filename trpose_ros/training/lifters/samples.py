"""Samples for training and measuring lifters: what an estimator would see, and the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.data.motion.virtual_cameras import CameraConfig, NoiseConfig, add_noise, view
from trpose_ros.lifters.streams.missing import JointFiller
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.lifters.masks import draw_hidden, guess

_DROPPED = 0.35  # share of windows whose hidden joints are missing, not guessed
_UNMARKED = 0.15  # share of windows of an estimator that does not know what it cannot see
_FILLER = JointFiller()


@dataclass(frozen=True)
class Sample:
    """A batch as a camera sees it, without noise."""

    exact: np.ndarray  # (B, T, 17, 2) normalised screen coordinates
    target_m: np.ndarray  # (B, T, 17, 3) root-relative, camera frame
    half_height: np.ndarray  # (B,) of the image, in half image widths
    root_m: np.ndarray  # (B, T, 3) camera frame
    intrinsics: np.ndarray  # (B, 4) focal lengths and principal point in half image widths

    @property
    def inside(self) -> np.ndarray:
        """Return (B, T, 17) whether a joint lies in the image."""
        limit = np.stack([np.ones_like(self.half_height), self.half_height], axis=-1)
        return (np.abs(self.exact) <= limit[:, None, None]).all(axis=3)


def make_sample(world_m: np.ndarray, rng: np.random.Generator, cameras: CameraConfig) -> Sample:
    """Turn (B, T, 17, 3) world joints into a batch; half of it mirrored."""
    joints_m, exact, half_height, focal = view(world_m, cameras, rng)
    target, root_m = joints_m - joints_m[:, :, :1], joints_m[:, :, 0]
    half = len(world_m) // 2
    mirror = get_skeleton('h36m_17').mirror
    for array in (exact, target):
        array[:half] = array[:half][:, :, mirror]
        array[:half, ..., 0] *= -1
    root_m[:half, :, 0] *= -1  # the principal point lies in the middle
    intrinsics = np.stack([focal, focal, 0 * focal, 0 * focal], axis=1)
    return Sample(exact, target, half_height, root_m, intrinsics)


def marked(joints: np.ndarray, trusted: np.ndarray) -> np.ndarray:
    """Return (..., 17, 3): joints (..., 17, 2), NaN filled already, and their marks 1 or 0."""
    return np.concatenate([joints, trusted[..., None]], axis=-1, dtype=np.float32)


def estimated(
    sample: Sample, noise: NoiseConfig, rate_hz: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """See a sample as an estimator does, parts of people hidden.

    With errors fitted to an estimator (NoiseConfig.fitted) all joints are guessed, as it does, and
    marks say no more than what lies outside the image. Otherwise it knows what it does not see.

    Returns:
        joints: (B, T, 17, 2) noisy, filled.
        trusted: (B, T, 17) bool, the estimator's opinion of them.

    """
    hidden = draw_hidden(sample.exact, rng)
    joints = add_noise(sample.exact, sample.half_height, noise, rng, hidden)
    if noise.errors is not None:
        return joints, sample.inside
    guessed = guess(sample.exact, rate_hz, rng)
    dropped = rng.random(len(joints)) < _DROPPED
    joints = np.where(hidden[..., None], guessed, joints)
    joints[hidden & dropped[:, None, None]] = np.nan
    seen = np.isfinite(joints[..., 0])
    lost = ~seen.any(axis=2)  # a frame without any joint is none; here somebody guesses it
    joints[lost], seen[lost] = guessed[lost], True
    trusted = seen & ~hidden & sample.inside
    unmarked = rng.random(len(joints)) < _UNMARKED
    trusted |= unmarked[:, None, None] & seen
    return _FILLER.fill_clips(joints), trusted

"""Samples for training and measuring lifters: what an estimator would see, and the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.data.virtual_cameras import CameraConfig
from trpose_ros.data.virtual_cameras import NoiseConfig
from trpose_ros.data.virtual_cameras import add_noise
from trpose_ros.data.virtual_cameras import view
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.skeletons import get_skeleton


@dataclass(frozen=True)
class Sample:
    """A batch: what the network sees and what it should say."""

    joints: np.ndarray  # (B, T, 17, 2) noisy, filled, normalised screen coordinates
    exact: np.ndarray  # (B, T, 17, 2) without noise
    target_m: np.ndarray  # (B, T, 17, 3) root-relative, camera frame


def make_sample(
    world_m: np.ndarray,
    rng: np.random.Generator,
    cameras: CameraConfig,
    noise: NoiseConfig,
    filler: JointFiller,
) -> Sample:
    """Turn (B, T, 17, 3) world joints into a batch; half of it mirrored."""
    joints_m, exact, half_height = view(world_m, cameras, rng)
    joints = filler.fill_clips(add_noise(exact, half_height, noise, rng))
    target = joints_m - joints_m[:, :, :1]
    half = len(world_m) // 2
    mirror = get_skeleton('h36m_17').mirror
    for array in (joints, exact, target):
        array[:half] = array[:half][:, :, mirror]
        array[:half, ..., 0] *= -1
    return Sample(joints, exact, target)

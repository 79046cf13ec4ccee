"""Which poses are believable, and which describe the same person twice.

The published wrapper drops a pose when a bone has an impossible length or when the variants of
test-time augmentation disagree; then it suppresses duplicates by the similarity of poses instead
of boxes, because boxes of people who embrace overlap while their poses do not. Its check against
the detection is left out (estimators/outliers.py). Lengths in mm, camera frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PlausibilityConfig:
    """Thresholds of the filter; the defaults are the published ones."""

    min_bone_ratio: float = 0.1
    max_bone_ratio: float = 3.0
    bone_slack_mm: float = 300.0  # smaller deviations are never implausible
    max_spread_mm: float = 200.0  # of a joint over the variants
    spread_joint_share: int = 4  # more than J // this many joints must be consistent
    duplicate_mm: float = 300.0
    max_similarity: float = 0.4
    max_people: int = 150


def bones_plausible(
    poses: np.ndarray, edges: np.ndarray, lengths: np.ndarray, config: PlausibilityConfig
) -> np.ndarray:
    """Return (N,) bool for poses (N, J, 3): no bone is absurdly short or long.

    ``edges`` (E, 2) joint pairs, ``lengths`` (E,) their usual lengths in mm.
    """
    bones = np.linalg.norm(poses[:, edges[:, 0]] - poses[:, edges[:, 1]], axis=-1)
    ratio = bones / lengths
    odd = (ratio < config.min_bone_ratio) | (ratio > config.max_bone_ratio)
    odd &= np.abs(bones - lengths) > config.bone_slack_mm
    return ~odd.any(axis=-1)


def scale_align(poses: np.ndarray) -> np.ndarray:
    """Scale each pose of a group (..., G, J, 3) about the camera to the group's RMS distance.

    Depth is the least certain; variants that differ by distance alone agree after this.
    """
    square = (poses**2).mean(axis=(-2, -1), keepdims=True)
    common = square.mean(axis=-3, keepdims=True)
    return poses * np.sqrt(common / np.maximum(square, 1e-12))


def variant_spread(poses: np.ndarray) -> np.ndarray:
    """Return the joint's standard deviation over variants, (N, J), of poses (N, A, J, 3)."""
    return np.sqrt(scale_align(poses).var(axis=1).sum(axis=-1))


def variants_agree(spread: np.ndarray, config: PlausibilityConfig) -> np.ndarray:
    """Return (N,) bool: more than a quarter of the joints have a small spread (N, J)."""
    count = (spread < config.max_spread_mm).sum(axis=-1)
    return count > spread.shape[-1] // config.spread_joint_share


def pose_similarity(poses: np.ndarray, config: PlausibilityConfig) -> np.ndarray:
    """Return (N, N): similarity of poses (N, J, 3), 1 for equal, 0 for 300 mm apart.

    The mean over the worst quarter of the joints, after the pair was scaled to a common distance.
    """
    n, joints = poses.shape[:2]
    first = np.broadcast_to(poses[:, None], (n, n, joints, 3))
    pair = scale_align(np.stack([first, first.swapaxes(0, 1)], axis=2))
    distance = np.linalg.norm(pair[:, :, 0] - pair[:, :, 1], axis=-1)
    worst = -np.sort(-distance, axis=-1)[..., : max(joints // 4, 1)]
    return np.clip(1 - worst / config.duplicate_mm, 0, None).mean(axis=-1)


def suppress_duplicates(
    similarity: np.ndarray, scores: np.ndarray, eligible: np.ndarray, config: PlausibilityConfig
) -> np.ndarray:
    """Return the indices kept, best score first: greedy non-maximum suppression over poses."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind='stable'):
        if len(kept) == config.max_people:
            break
        if eligible[i] and (similarity[i, kept] <= config.max_similarity).all():
            kept.append(int(i))
    return np.array(kept, dtype=np.intp)

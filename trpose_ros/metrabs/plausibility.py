"""Which poses are believable, and which describe the same person twice.

The published wrapper drops a pose when a bone has an impossible length, when the variants of
test-time augmentation disagree, or when the 2D joints do not fit the detection they came from;
then it suppresses duplicates by the similarity of poses instead of boxes, because boxes of people
who embrace overlap while their poses do not. Lengths in mm, camera frame.
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
    min_box_share: float = 0.5  # of the detection that the 2D joints must cover
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


def boxes_fit(poses2d: np.ndarray, boxes: np.ndarray, config: PlausibilityConfig) -> np.ndarray:
    """Return (N,) bool: the joints' box covers more than half of the detection (N, 4+) xywh."""
    low = np.maximum(poses2d.min(axis=1), boxes[:, :2])
    high = np.minimum(poses2d.max(axis=1), boxes[:, :2] + boxes[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    return shared > config.min_box_share * boxes[:, 2:4].prod(axis=-1)


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


def filter_poses(
    poses: np.ndarray,
    poses2d: np.ndarray,
    boxes: np.ndarray,
    edges: np.ndarray,
    lengths: np.ndarray,
    config: PlausibilityConfig | None = None,
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the indices of people to keep, best score first, and how many fell for what.

    ``poses`` (N, A, J, 3) mm, ``poses2d`` (N, A, J, 2) px, ``boxes`` (N, 5) x, y, w, h, score.
    Poses that are not finite are dropped, too.
    """
    config = config or PlausibilityConfig()
    finite = np.isfinite(poses).all(axis=(1, 2, 3)) & np.isfinite(poses2d).all(axis=(1, 2, 3))
    poses = np.where(finite[:, None, None, None], poses, 0.0)
    poses2d = np.where(finite[:, None, None, None], poses2d, 0.0)
    mean, mean2d = poses.mean(axis=1), poses2d.mean(axis=1)
    tests = {
        'not_finite': finite,
        'implausible_bones': bones_plausible(mean, edges, lengths, config),
        'inconsistent_variants': variants_agree(variant_spread(poses), config),
        'pose_outside_box': boxes_fit(mean2d, boxes, config),
    }
    eligible = np.ones(len(poses), bool)
    dropped: dict[str, int] = {}
    for reason, passed in tests.items():
        dropped[reason] = int((eligible & ~passed).sum())
        eligible &= passed
    kept = suppress_duplicates(pose_similarity(mean, config), boxes[:, 4], eligible, config)
    dropped['duplicate'] = int(eligible.sum()) - len(kept)
    return kept, {reason: count for reason, count in dropped.items() if count}

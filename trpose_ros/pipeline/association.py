"""Which pose belongs to which track: distances between poses in 3D and in the image.

A monocular estimate knows the direction to a person far better than the distance, above all when
the person is cut off. The 3D distance therefore counts errors along the viewing ray less than
errors across it, and the image distance, in shares of the person's size, is asked as well.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

_FORBIDDEN = 1e6
_FEWEST = 3  # joints that say whose part it is
_SAME_BOX_PX = 0.01


def pose_distance_m(first: np.ndarray, second: np.ndarray, depth_weight: float) -> np.ndarray:
    """Return mean joint distances (M, N), m, between poses (M, J, 3) and (N, J, 3).

    Distances along the ray to the first pose's centre count ``depth_weight`` times. Joints that
    one of the two lacks do not count; NaN where they share none.
    """
    centre = _mean(first, axis=1)
    length = np.linalg.norm(centre, axis=-1, keepdims=True)
    ray = centre / np.where(length > 0, length, np.nan)
    difference = second[None] - first[:, None]  # (M, N, J, 3)
    along = np.einsum('mnjc,mc->mnj', difference, np.nan_to_num(ray))[..., None]
    across = difference - along * np.nan_to_num(ray)[:, None, None]
    squared = (across**2).sum(-1) + (depth_weight * along[..., 0]) ** 2
    return _mean(np.sqrt(squared), axis=-1)


def pose_distance_2d(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return mean joint distances (M, N) between poses (M, J, 2) and (N, J, 2), px.

    They are in shares of the person's size (box diagonal of the larger one); joints that one of
    the two lacks do not count; NaN where they share none.
    """
    distance = np.linalg.norm(second[None] - first[:, None], axis=-1)
    size = np.maximum(pose_size_px(first)[:, None], pose_size_px(second)[None])
    return _mean(distance, axis=-1) / size


def pose_size_px(joints_px: np.ndarray) -> np.ndarray:
    """Return the box diagonal (N,) of poses (N, J, 2), at least one px."""
    finite = np.isfinite(joints_px).all(axis=-1, keepdims=True)
    low = np.where(finite, joints_px, np.inf).min(axis=1, initial=np.inf)
    high = np.where(finite, joints_px, -np.inf).max(axis=1, initial=-np.inf)
    extent = np.where(np.isfinite(low) & np.isfinite(high), high - low, 0.0)
    return np.maximum(np.hypot(extent[:, 0], extent[:, 1]), 1.0)


def same_box(boxes_px: np.ndarray, asked_px: np.ndarray) -> np.ndarray:
    """Return (N,): which of the boxes (M, 4) that were asked for boxes (N, 4) are, or -1."""
    if not len(asked_px):
        return np.full(len(boxes_px), -1)
    apart = np.abs(boxes_px[:, None].astype(np.float64) - asked_px).max(axis=-1)
    same = apart < _SAME_BOX_PX
    return np.where(same.any(axis=1), same.argmax(axis=1), -1)


def assign(
    distance_m: np.ndarray,
    distance_2d: np.ndarray,
    gates_m: np.ndarray,
    gates_2d: np.ndarray,
    handicaps: np.ndarray,
) -> list[tuple[int, int]]:
    """Return the best pairs (track, pose) under the gates.

    distance_m and distance_2d are (M, N), NaN where unknown; gates (M,) are the largest distances
    allowed for each track; handicaps (M,) or (M, N) are added to the costs (to prefer older tracks
    and the same clothes), and forbid a pair where they are infinite.
    """
    share_m, share_2d = distance_m / gates_m[:, None], distance_2d / gates_2d[:, None]
    both = np.stack([share_m, share_2d])
    known = np.isfinite(both)
    allowed = known.any(axis=0) & (~known | (both <= 1.0)).all(axis=0)
    cost = np.where(known, both, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    handicaps = handicaps[:, None] if handicaps.ndim == 1 else handicaps
    allowed &= np.isfinite(handicaps)
    cost = np.where(allowed, cost + handicaps, _FORBIDDEN)
    rows, columns = linear_sum_assignment(cost)
    return [(int(m), int(n)) for m, n in zip(rows, columns, strict=True) if allowed[m, n]]


def duplicates(
    joints_m: np.ndarray,
    joints_px: np.ndarray,
    quality: np.ndarray,
    share_2d: float,
    depth_share: float,
) -> np.ndarray:
    """Return (N,) bool: poses that repeat a better one.

    Two poses are one person when their image joints differ by less than ``share_2d`` of the
    person's size and their depths by less than ``depth_share`` of the depth (where both know it).
    ``quality`` (N,) decides which one stays; of equals the earlier one.
    """
    n = len(joints_px)
    near = pose_distance_2d(joints_px, joints_px) < share_2d
    depth = _mean(joints_m[..., 2], axis=1)
    ratio = np.abs(depth[:, None] - depth[None]) / np.maximum(depth[:, None], depth[None])
    same = near & ~(ratio >= depth_share)
    repeated = np.zeros(n, bool)
    order = sorted(range(n), key=lambda i: (-quality[i], i))
    for place, i in enumerate(order):
        if repeated[i]:
            continue
        for j in order[place + 1 :]:
            repeated[j] |= bool(same[i, j])
    return repeated


def parts(
    joints_px: np.ndarray, visible: np.ndarray, tracked: np.ndarray, share_2d: float
) -> np.ndarray:
    """Return (N,) bool: poses that are a part of somebody who is tracked.

    Of a part of a body the estimator makes a whole one, at another distance and in another pose,
    but what it sees (``visible`` (N, J)) lies on the joints of the same names, nearer than
    ``share_2d`` of the person's size. ``tracked`` (N,) marks the poses of tracked people, which
    are never parts.
    """
    seen = np.where(visible[..., None], joints_px, np.nan)
    distance = np.linalg.norm(seen[:, None] - joints_px[tracked][None], axis=-1)  # (N, M, J)
    enough = np.isfinite(distance).sum(axis=-1) >= _FEWEST
    near = _mean(distance, axis=-1) < share_2d * pose_size_px(joints_px[tracked])
    return np.asarray(~tracked & (near & enough).any(axis=1))


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean over the finite entries, NaN where there is none, without warnings."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

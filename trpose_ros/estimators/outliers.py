"""What every estimator refuses: boxes without a person, poses that cannot be.

Reasons are the keys of an estimator's ``skipped``:

    box_not_finite, box_empty, box_outside_image    the box
    not_finite, behind_camera, too_far              the pose
    inconsistent_variants, duplicate                with ``suppress_implausible``
"""

from __future__ import annotations

import numpy as np

from trpose_ros.metrabs import plausibility
from trpose_ros.people import Camera

_MIN_BOX_PX = 1.0
_NEAREST_MM, _FARTHEST_MM = 50.0, 100_000.0  # mean depth of a believable person


def box_problems(boxes_px: np.ndarray, camera: Camera) -> np.ndarray:
    """Return (N,) str for boxes (N, 4) x, y, w, h px: '' or why there can be nobody in it."""
    boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
    problem = np.full(len(boxes), '', dtype=object)
    with np.errstate(invalid='ignore'):
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        size = np.array([camera.width, camera.height])
        touches = ((low < size - 0.5) & (high > -0.5)).all(axis=1)
        problem[~touches] = 'box_outside_image'
        problem[~(boxes[:, 2:] >= _MIN_BOX_PX).all(axis=1)] = 'box_empty'
    problem[~np.isfinite(boxes).all(axis=1)] = 'box_not_finite'
    return problem


def keep_plausible(
    poses_mm: np.ndarray, suppress: bool, solvable: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the indices of believable people, in order, and how many fell for what.

    ``poses_mm`` (N, A, J, 3) camera frame, ``solvable`` (N,) bool whether depth is determined.
    ``suppress`` also drops people whose variants disagree and, of two who are in the same place
    in the same pose, the later one.
    """
    n, _, joints = poses_mm.shape[:3]
    depth = np.median(poses_mm[..., 2].mean(axis=1), axis=-1) if joints else np.zeros(n)
    with np.errstate(invalid='ignore'):
        tests = {
            'not_finite': np.isfinite(poses_mm).all(axis=(1, 2, 3)),
            'too_few_joints_in_view': np.ones(n, bool) if solvable is None else solvable,
            'behind_camera': depth > _NEAREST_MM,
            'too_far': depth < _FARTHEST_MM,
        }
    fine = np.ones(n, bool)
    dropped: dict[str, int] = {}
    for reason, passed in tests.items():
        dropped[reason] = int((fine & ~passed).sum())
        fine &= passed
    kept = np.flatnonzero(fine)
    if suppress and len(kept):
        kept, more = _suppress(poses_mm[kept], kept)
        dropped |= more
    return kept, {reason: count for reason, count in dropped.items() if count}


def _suppress(poses: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """Apply the published filters that need neither detections nor bone lengths."""
    config = plausibility.PlausibilityConfig()
    agree = plausibility.variants_agree(plausibility.variant_spread(poses), config)
    similarity = plausibility.pose_similarity(poses.mean(axis=1), config)
    first_wins = -np.arange(len(poses), dtype=float)
    kept = np.sort(plausibility.suppress_duplicates(similarity, first_wins, agree, config))
    dropped = {
        'inconsistent_variants': int((~agree).sum()),
        'duplicate': int(agree.sum()) - len(kept),
    }
    return index[kept], dropped

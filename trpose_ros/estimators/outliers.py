"""What every estimator refuses: boxes without a person, poses that cannot be.

Reasons are the keys of an estimator's ``skipped``:

    box_not_finite, box_empty, box_outside_image    the box
    not_finite, behind_camera, too_far              the pose
    implausible_bones, inconsistent_variants, duplicate    with ``suppress_implausible``

These three are the published ones. The published fourth, 2D joints that cover less than half of
their detection, is left out: boxes here are those of whole bodies, predicted, padded and cut off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from trpose_ros.metrabs import plausibility
from trpose_ros.people import Camera

_MIN_BOX_PX = 1.0
_NEAREST_MM, _FARTHEST_MM = 50.0, 100_000.0  # mean depth of a believable person
# Usual lengths by the joints' names without their side: shares of a stature of 1.75 m after
# Drillis and Contini (1966). Bones of spine, head, hands and feet are at most as long as the last.
_USUAL_MM = {
    frozenset({'hip', 'kne'}): 430.0,
    frozenset({'kne', 'ank'}): 430.0,
    frozenset({'sho', 'elb'}): 325.0,
    frozenset({'elb', 'wri'}): 255.0,
    frozenset({'hip', 'sho'}): 505.0,
    frozenset({'pelv', 'neck'}): 505.0,
    frozenset({'pelv', 'spin'}): 250.0,
    frozenset({'spin', 'neck'}): 250.0,
    frozenset({'neck', 'sho'}): 225.0,
    frozenset({'nose', 'sho'}): 300.0,
}
_OTHER_MM = 200.0
Bones = tuple[np.ndarray, np.ndarray]  # (E, 2) joint pairs, (E,) usual lengths in mm


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


def usual_bones(names: Sequence[str], edges: Iterable[Sequence[int]]) -> Bones:
    """Return the bones of a skeleton, pairs of indices into its joint names, with lengths."""
    pairs = np.array([tuple(edge) for edge in edges], int).reshape(-1, 2)
    bare = [name.partition('_')[0] for name in names]  # without the convention that it is of
    bare = [name[1:] if name.startswith(('l', 'r')) else name for name in bare]
    lengths = [_USUAL_MM.get(frozenset({bare[a], bare[b]}), _OTHER_MM) for a, b in pairs]
    return pairs, np.array(lengths)


def keep_plausible(
    poses_mm: np.ndarray, suppress: bool, bones: Bones, solvable: np.ndarray | None = None
) -> tuple[np.ndarray, dict[str, int]]:
    """Return the indices of believable people, in order, and how many fell for what.

    ``poses_mm`` (N, A, J, 3) camera frame, ``bones`` from ``usual_bones``, ``solvable`` (N,) bool
    whether depth is determined. ``suppress`` also drops people with impossible bones, people
    whose variants disagree and, of two who are in the same place in the same pose, the later one.
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
        kept, more = _suppress(poses_mm[kept], kept, bones)
        dropped |= more
    return kept, {reason: count for reason, count in dropped.items() if count}


def _suppress(
    poses: np.ndarray, index: np.ndarray, bones: Bones
) -> tuple[np.ndarray, dict[str, int]]:
    """Apply the published filters that need no detections."""
    config = plausibility.PlausibilityConfig()
    mean = poses.mean(axis=1)
    whole = plausibility.bones_plausible(mean, *bones, config)
    agree = plausibility.variants_agree(plausibility.variant_spread(poses), config)
    similarity = plausibility.pose_similarity(mean, config)
    first_wins = -np.arange(len(poses), dtype=float)
    kept = plausibility.suppress_duplicates(similarity, first_wins, whole & agree, config)
    dropped = {
        'implausible_bones': int((~whole).sum()),
        'inconsistent_variants': int((whole & ~agree).sum()),
        'duplicate': int((whole & agree).sum()) - len(kept),
    }
    return index[np.sort(kept)], dropped

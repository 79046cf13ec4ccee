"""What of the people of an estimator can be tracked."""

from __future__ import annotations

import numpy as np

from trpose_ros.people import People
from trpose_ros.skeletons import convert, get_skeleton

_FARTHEST_M, _FARTHEST_PX = 1e4, 1e6  # beyond these a coordinate is an error, not a person


def without_nonsense(people: People) -> People:
    """Return the people with infinite and astronomic coordinates replaced by NaN."""
    changes = {}
    for name, limit in (('joints_m', _FARTHEST_M), ('joints_px', _FARTHEST_PX)):
        joints = getattr(people, name)
        nonsense = ~(np.abs(np.nan_to_num(joints, nan=0.0, posinf=np.inf)) <= limit)
        if nonsense.any():
            changes[name] = np.where(nonsense, np.float32(np.nan), joints)
    return people.replace(**changes) if changes else people


def has_joints(people: People) -> np.ndarray:
    """Return (N,) bool: people with at least one finite joint in the image or in 3D."""
    return np.isfinite(people.joints_px).all(-1).any(-1) | np.isfinite(people.joints_m).all(-1).any(
        -1
    )


def knows(skeleton: str, joints: int) -> bool:
    """Say whether a skeleton is known here, with this number of joints; networks bring others."""
    try:
        return get_skeleton(skeleton).num_joints == joints
    except ValueError:
        return False


def in_coco(joints_px: np.ndarray, seen: np.ndarray, skeleton: str) -> np.ndarray:
    """Return image points (N, J, 2) as (N, 17, 2) float64 of coco_17, NaN where not ``seen``.

    ``seen`` is (N, J) bool. A skeleton that is not known here has none of these joints.
    """
    if not knows(skeleton, joints_px.shape[1]):
        return np.full((len(joints_px), get_skeleton('coco_17').num_joints, 2), np.nan)
    points = np.where(seen[..., None], joints_px.astype(np.float64), np.nan)
    return convert(points, skeleton, 'coco_17')

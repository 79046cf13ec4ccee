"""Missing 2D joints: what a lifter sees where the estimator gave nothing.

The published lifters take two numbers per joint and no confidence, so a joint that is missing
(NaN) needs a stand-in. One causal rule serves training, streams and offline use:

* known before: the last stand-in or value, moved along with the joints seen in both frames, so the
  hidden foot of a walking person walks along with the body;
* never seen yet: the position of the nearest seen joint along the skeleton.

A row without any joint is no observation at all and stays NaN; callers treat it as a lost frame.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.skeletons import get_skeleton


def _nearest_first(skeleton: str) -> np.ndarray:
    """Return (J, J): for each joint all joints by distance along the tree, itself first."""
    parents = get_skeleton(skeleton).parents
    count = len(parents)
    steps = np.full((count, count), count, np.int64)
    np.fill_diagonal(steps, 0)
    for child, parent in enumerate(parents):
        if parent >= 0:
            steps[child, parent] = steps[parent, child] = 1
    for via in range(count):
        steps = np.minimum(steps, steps[:, via : via + 1] + steps[via : via + 1])
    return np.argsort(steps, axis=1, kind='stable')


class JointFiller:
    """Fills the missing joints of N independent sequences, frame by frame."""

    def __init__(self, skeleton: str = 'h36m_17') -> None:
        self.order = _nearest_first(skeleton)

    def fill(self, joints: np.ndarray, previous: np.ndarray | None) -> np.ndarray:
        """Return ``joints`` with stand-ins where a joint is NaN.

        Args:
            joints: (N, J, 2), NaN = missing.
            previous: (N, J, 2) the filled frame before, NaN rows (or None) where there is none.

        Returns:
            (N, J, 2); rows of ``joints`` without any joint come back all NaN.

        """
        seen = np.isfinite(joints).all(axis=2)
        if seen.all():
            return joints
        clean = np.where(seen[:, :, None], joints, 0)
        count = np.maximum(seen.sum(axis=1), 1)[:, None, None]
        if previous is None:
            previous = np.full_like(joints, np.nan)
        known = np.isfinite(previous[:, 0, 0])
        moved = np.where(seen[:, :, None], joints - previous, 0).sum(axis=1, keepdims=True) / count
        stand_in = previous + moved
        new = ~known
        # The first seen joint in the order of distance; a row without any is dropped below.
        rank = seen[new][:, self.order].argmax(axis=2)  # (n, J)
        nearest = self.order[np.arange(self.order.shape[0]), rank]
        stand_in[new] = np.take_along_axis(clean[new], nearest[:, :, None], axis=1)
        filled = np.where(seen[:, :, None], joints, stand_in)
        filled[~seen.any(axis=1)] = np.nan
        return filled

    def fill_clips(self, joints: np.ndarray) -> np.ndarray:
        """Fill (N, T, J, 2) along time; frames without any joint stay NaN."""
        filled = joints.copy()
        previous = None
        for t in range(joints.shape[1]):
            filled[:, t] = self.fill(joints[:, t], previous)
            lost = np.isnan(filled[:, t, :1, :1])
            previous = filled[:, t] if previous is None else np.where(lost, previous, filled[:, t])
        return filled

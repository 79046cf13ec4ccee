"""Tracked bodies, joint by joint, in what a detector of joints saw.

A box source that finds joints (estimators/detector.py) may see some of a body that has no box: its
heatmaps say where joints are, whatever becomes of the person's centre. A track whose joints, those
that the estimator calls visible, lie on such peaks is somebody. In an empty place the estimator
invents a body, but the other network, which never saw where, has no joints there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trpose_ros.pipeline.association import pose_size_px
from trpose_ros.pipeline.usable import in_coco

_FEWEST = 3  # joints that must be expected in sight
_SURE = 0.12  # mean evidence of a body (docs/models.md has the table)
_SAME = 0.1  # mean distance of the joints of one body, shares of its size
_JOINT_SCORE = 0.127  # of a found person, from which a joint counts (movenet/decoding.py)


class TrackedJoints:
    """The joints of N tracks in the image of a search."""

    def __init__(
        self, joints_px: np.ndarray, visible: np.ndarray, skeleton: str, source: Any
    ) -> None:
        """Take joints (N, J, 2) px where tracks expect them, and which the estimator saw (N, J).

        ``source`` is the box source, asked about the same image; what it cannot say, nobody knows.
        """
        self._source = source
        self._count = len(joints_px)
        self._joints_px = in_coco(joints_px, np.ones(visible.shape, bool), skeleton)
        self._visible = np.isfinite(in_coco(joints_px, visible, skeleton)).all(axis=-1)

    @property
    def evidence(self) -> np.ndarray:
        """Return (N, 17): how sure the source is of joints that the estimator saw, else NaN."""
        look = getattr(self._source, 'joint_evidence', None)
        if look is None or not self._count:
            return np.full(self._joints_px.shape[:2], np.nan)
        return np.where(self._visible, look(self._joints_px), np.nan)

    @property
    def seen(self) -> np.ndarray:
        """Return (N,) bool: tracks of which enough joints are seen where they are expected."""
        evidence = self.evidence
        asked = np.isfinite(evidence).sum(axis=1)
        return np.asarray((asked >= _FEWEST) & (np.nansum(evidence, axis=1) >= _SURE * asked))

    def held_by(self, boxes_px: np.ndarray) -> np.ndarray:
        """Return (K, N) bool: tracks whose joints are those found in boxes (K, 4)."""
        rows = [self._held_by(box) for box in boxes_px]
        return np.array(rows, bool).reshape(len(boxes_px), self._count)

    def _held_by(self, box_px: np.ndarray) -> np.ndarray:
        people = getattr(self._source, 'found_people', None)
        if people is None or not self._count:
            return np.zeros(self._count, bool)
        found = people()
        rows = np.flatnonzero((found.boxes[:, :4] == box_px).all(axis=1))
        if not len(rows):
            return np.zeros(self._count, bool)
        known = found.joint_scores[rows[0]] > _JOINT_SCORE
        apart = np.linalg.norm(found.joints_px[rows[0]] - self._joints_px, axis=-1)
        counts = known & np.isfinite(apart)
        mean = np.where(counts, apart, 0).sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        near = mean <= _SAME * pose_size_px(self._joints_px)
        return np.asarray(near & (counts.sum(axis=1) >= _FEWEST))

"""A second look in a larger box, where the first one took a piece of a body for all of it.

Where something hides a body's middle, or the image ends at the chest, a box source finds head and
shoulders. In a crop around them the estimator looks for a whole person and makes a small one, far
away. Its 2D joints are then not where its 3D joints project to, and few of them are seen; in a crop
of the whole body both are as they are of other people. So where 2D and 3D disagree more than usual
the estimator looks again, in boxes that reach farther down, and the better answer stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trpose_ros.people import Frame, JointState, People, concatenate, with_visibility
from trpose_ros.pipeline.association import pose_size_px, same_box

if TYPE_CHECKING:
    from trpose_ros.estimators import Estimator

SUSPICIOUS = 0.025  # disagreement; people who are seen well have half of it (docs/models.md)
_TIMES = (3.5, 2.0)  # as high as what is seen: of head and shoulders, of head to hips
_WIDTH = 0.4  # of a body's box, at least, in shares of its height
_ABOVE = 0.05  # air over the head, in the same shares of what is seen
_BETTER = 0.7  # of the first look's disagreement
_FEWEST = 3  # joints of the larger body within the first box


def disagreement(people: People) -> np.ndarray:
    """Return (N,): distance of 2D and 3D joints in the image, shares of a body's size, or NaN."""
    return np.asarray(
        people.reprojection_errors_px / pose_size_px(people.joints_px.astype(np.float64))
    )


def look_again(
    estimator: Estimator, frame: Frame, people: People, doubtful: np.ndarray
) -> tuple[People, np.ndarray]:
    """Look again at people who are ``doubtful`` (N,).

    Returns:
        the people in their order, with the better look at each, and (N,) bool who is replaced.

    """
    best = disagreement(people)
    rows, merged = np.arange(len(people)), people
    for times in _TIMES if doubtful.any() else ():
        asked = np.flatnonzero(doubtful)
        boxes = np.array([_larger(box, times) for box in people.boxes_px[asked]])
        looks = with_visibility(estimator.estimate(frame, boxes))
        found, errors = same_box(looks.boxes_px, boxes), disagreement(looks)
        for k, of in enumerate(found):
            n = asked[of]
            better = errors[k] < min(best[n], _BETTER * disagreement(people)[n])
            if of >= 0 and better and _is_of(looks.select([k]), people.select([int(n)])):
                best[n], rows[n] = errors[k], len(merged) + k
        merged = concatenate(merged, looks)
    replaced = rows != np.arange(len(people))
    return (merged.select(rows) if replaced.any() else people), replaced


def _larger(box_px: np.ndarray, times: float) -> np.ndarray:
    """Return the box (4,) of a body of which a box (4,) holds the upper part."""
    x, y, width, height = box_px.astype(np.float64)
    wide = max(width, _WIDTH * times * height)
    return np.array([x + (width - wide) / 2, y - _ABOVE * height, wide, times * height], np.float32)


def _is_of(larger: People, piece: People) -> bool:
    """Say whether a larger body is that of a piece: seen no less, and in the piece's box, too."""
    x, y, width, height = piece.boxes_px[0]
    inside = (
        (larger.joints_px[0] >= [x, y]) & (larger.joints_px[0] <= [x + width, y + height])
    ).all(axis=1)
    hidden = np.isin(larger.joint_states[0], (JointState.OCCLUDED, JointState.UNOBSERVED))
    seen, before = (
        int((one.joint_states[0] == JointState.VISIBLE).sum()) for one in (larger, piece)
    )
    return bool((inside & ~hidden).sum() >= _FEWEST and seen >= before)

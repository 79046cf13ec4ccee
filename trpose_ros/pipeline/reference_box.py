"""The box that an occlusion moves with: that of the person tracked in the frame before.

The truncation simulator stands before the estimator, so it knows people of earlier frames only;
live (occlusion_node) and offline (Pipeline) ask here. When nobody was tracked, or so long ago that
a person may have left the box, the whole image is the reference.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.people import People, TrackState
from trpose_ros.pipeline.pose_stage import body_box

_OLDEST_S = 2.0


def tracked_box(people: People, offset_px: tuple[int, int] = (0, 0)) -> np.ndarray:
    """Return the box (4,) of the first tracked person, NaN without one.

    In px of the image before the occlusion, of which the people's image begins at ``offset_px``.
    """
    tracked = people.track_ids >= 0
    tracked &= people.track_states != TrackState.LOST
    if not tracked.any():
        return np.full(4, np.nan)
    box = body_box(people.joints_px[tracked][0], people.boxes_px[tracked][0]).astype(np.float64)
    box[:2] += offset_px
    return box


def box_for(stamp_ns: int, last: tuple[int, np.ndarray] | None) -> np.ndarray | None:
    """Return the box for the frame of a stamp, None for the whole image.

    ``last`` is the newest known box with the stamp of its people.
    """
    if last is None or not 0 <= stamp_ns - last[0] <= _OLDEST_S * 1e9:
        return None
    return last[1] if np.isfinite(last[1]).all() else None

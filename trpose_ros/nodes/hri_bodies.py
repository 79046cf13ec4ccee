"""People as ROS4HRI (REP-155) has them: ids, regions, 2D skeletons and body frames, as numbers.

Sources: https://ros.org/reps/rep-0155.html, and the comments of hri_msgs 2.0.0.
"""

from __future__ import annotations

import hashlib
import string

import numpy as np
from scipy.spatial.transform import Rotation

from trpose_ros.people import People, RootSource, TrackState
from trpose_ros.skeletons import convert, convert_ranks, get_skeleton

# hri_msgs/Skeleton2D in the order of its constants: left before right at eyes and ears.
JOINTS = (
    *('nose', 'neck', 'rsho', 'relb', 'rwri', 'lsho', 'lelb', 'lwri', 'rhip', 'rkne', 'rank'),
    *('lhip', 'lkne', 'lank', 'leye', 'reye', 'lear', 'rear'),
)
_THROUGH = 'openpose_25'  # has all of them
_LETTERS = 5
_TINY_M = 0.02  # shorter trunks and hips have no direction


class BodyIds:
    """Five letters for each track, the same while the salt is.

    Letters alone: a part of a topic's name must not begin with a digit.
    """

    def __init__(self, salt: str) -> None:
        self._salt = salt
        self._ids: dict[int, str] = {}
        self._taken: set[str] = set()

    def of(self, track_id: int) -> str:
        """Return the id of a track; no two tracks share one."""
        if track_id not in self._ids:
            attempt = 0
            while (name := self._letters(track_id, attempt)) in self._taken:
                attempt += 1
            self._ids[track_id] = name
            self._taken.add(name)
        return self._ids[track_id]

    def _letters(self, track_id: int, attempt: int) -> str:
        digest = hashlib.sha256(f'{self._salt} {track_id} {attempt}'.encode()).digest()
        return ''.join(string.ascii_lowercase[byte % 26] for byte in digest[:_LETTERS])


def bodies(people: People) -> np.ndarray:
    """Return the indices of those who are tracked: they have an id and are not LOST."""
    return np.flatnonzero((people.track_ids >= 0) & (people.track_states != TrackState.LOST))


def regions(people: People) -> np.ndarray:
    """Return (N, 4) xmin, ymin, xmax, ymax in 0..1, cut to the image; NaN without a box in it."""
    size = np.array([people.width, people.height], np.float64)
    if not size.all():
        return np.full((len(people), 4), np.nan)
    boxes = people.boxes_px.astype(np.float64)
    # The centre of the first pixel is (0, 0), so the image begins half a pixel before it.
    low = np.clip((boxes[:, :2] + 0.5) / size, 0.0, 1.0)
    high = np.clip((boxes[:, :2] + boxes[:, 2:] + 0.5) / size, 0.0, 1.0)
    regions = np.concatenate([low, high], axis=1)
    regions[~(high > low).all(axis=1)] = np.nan  # NaN compares false, too
    return regions


def skeletons_2d(people: People) -> np.ndarray:
    """Return (N, 18, 3) x, y in 0..1 and confidence, in the order of JOINTS.

    x and y are NaN and the confidence 0 where there is no joint, or none within the image: the
    message has no place for others. A joint whose estimator states no confidence has NaN.
    """
    names = get_skeleton(_THROUGH).joint_names
    order = [names.index(name) for name in JOINTS]
    pixels = convert(people.joints_px.astype(np.float64), people.skeleton, _THROUGH)[:, order]
    scores = convert_ranks(people.joint_scores, people.skeleton, _THROUGH)[:, order]
    found = np.full((len(people), len(JOINTS), 3), np.nan)
    if people.width > 0 and people.height > 0:
        found[..., :2] = (pixels + 0.5) / (people.width, people.height)
    found[..., 2] = scores
    with np.errstate(invalid='ignore'):
        outside = ~((found[..., :2] >= 0.0) & (found[..., :2] <= 1.0)).all(axis=2)
    found[outside] = (np.nan, np.nan, 0.0)
    return found


def body_frame(people: People, person: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return origin (3,) m and quaternion (4,) x, y, z, w of a body in the camera's frame.

    The origin is the middle of the hips, x points out of the chest, y to the left, z from the hips
    to the shoulders (REP-155, body frames). None without an absolute position, or without
    hips and shoulders that have a direction.
    """
    if people.root_sources[person] == RootSource.NONE:
        return None
    joints = convert(people.joints_m[person].astype(np.float64), people.skeleton, _THROUGH)
    at = dict(zip(get_skeleton(_THROUGH).joint_names, joints, strict=True))
    origin = (at['lhip'] + at['rhip']) / 2.0
    up = (at['lsho'] + at['rsho']) / 2.0 - origin
    left = at['lhip'] - at['rhip']
    if not (np.isfinite(up).all() and np.isfinite(left).all()):
        return None
    height = float(np.linalg.norm(up))
    if height < _TINY_M:
        return None
    up /= height
    left -= up * (left @ up)
    width = float(np.linalg.norm(left))
    if width < _TINY_M:
        return None
    left /= width
    axes = np.stack([np.cross(left, up), left, up], axis=1)
    return origin, Rotation.from_matrix(axes).as_quat()

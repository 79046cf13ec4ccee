"""Where people are, which way they face and how they move: what a robot asks first.

A torso's position is the middle between hips and shoulders; its axes are x forward, y to the left,
z from the hips to the shoulders, as ROS has them for a robot (REP 103). So the yaw of its
orientation is the heading in every frame whose z axis points up. Velocities are slopes of straight
lines through the positions of the last ``velocity_window_s``: they lag by half of it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from trpose_ros.people import People, RootSource, TrackState
from trpose_ros.skeletons import get_skeleton
from trpose_ros.transforms import Transform, quaternion_of

CORNERS = ('lhip', 'rhip', 'lsho', 'rsho')
_LEAST_M = 0.02  # an axis shorter than this has no direction
_LEAST_SINE = 0.1  # between the two axes: below it they do not span a torso
_LEAST_SHARE = 0.3  # of the window that positions must cover
_LONGEST_GAP_S = 0.5
_MOST_POSITIONS = 256


def placed(people: People) -> np.ndarray:
    """Return (N,) bool: who is somewhere, with a root of their own, and not LOST."""
    here = (people.root_sources != RootSource.NONE) & (people.track_states != TrackState.LOST)
    return np.asarray(here, bool)


def torso_positions(joints_m: np.ndarray, skeleton: str) -> np.ndarray:
    """Return (N, 3) positions, m, of skeletons (N, J, 3); the root's where a corner is missing."""
    description = get_skeleton(skeleton)
    roots = joints_m[:, description.root_index]
    if not set(CORNERS) <= set(description.joint_names):
        return roots
    middle = joints_m[:, [description.index(name) for name in CORNERS]].mean(axis=1)
    return np.where(np.isfinite(middle).all(axis=1)[:, None], middle, roots)


def torso_orientations(joints_m: np.ndarray, skeleton: str) -> np.ndarray:
    """Return (N, 4) quaternions of skeletons (N, J, 3); NaN where the torso is not known."""
    description = get_skeleton(skeleton)
    found = np.full((len(joints_m), 4), np.nan)
    if not set(CORNERS) <= set(description.joint_names):
        return found
    corners = joints_m[:, [description.index(name) for name in CORNERS]].astype(np.float64)
    for i, (left_hip, right_hip, left_shoulder, right_shoulder) in enumerate(corners):
        up = (left_shoulder + right_shoulder - left_hip - right_hip) / 2
        left = (left_shoulder + left_hip - right_shoulder - right_hip) / 2
        lengths = np.linalg.norm(up), np.linalg.norm(left)
        if not min(lengths) > _LEAST_M:  # NaN, too
            continue
        up, left = up / lengths[0], left / lengths[1]
        forward = np.cross(left, up)
        sine = np.linalg.norm(forward)
        if sine > _LEAST_SINE:
            forward = forward / sine
            axes = np.stack([forward, np.cross(up, forward), up], axis=1)
            found[i] = quaternion_of(axes)
    return found


def torso_pose(position_m: np.ndarray, quaternion: np.ndarray) -> Transform | None:
    """Return a torso as a transform, None where position or orientation is not known."""
    if not (np.isfinite(position_m).all() and np.isfinite(quaternion).all()):
        return None
    return Transform(quaternion.astype(np.float64), position_m.astype(np.float64))


@dataclass
class _Track:
    stamps_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST_POSITIONS))
    joints_m: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=_MOST_POSITIONS))


class Velocities:
    """Velocities of the joints of tracked people, in the frame in which they come."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._tracks: dict[int, _Track] = {}
        self._frame = ''
        self._last_ns = 0

    def push(self, people: People) -> np.ndarray:
        """Take the people of a frame; return (N, J, 3) m/s, NaN where not known yet.

        Another frame_id or skeleton, and a stamp before the last one, start everything afresh.
        """
        frame = f'{people.frame_id}, {people.skeleton}'
        if frame != self._frame or people.stamp_ns < self._last_ns:
            self._tracks.clear()
        self._frame, self._last_ns = frame, people.stamp_ns
        velocities = np.full(people.joints_m.shape, np.nan)
        for i, track_id in enumerate(people.track_ids.tolist()):
            if people.root_sources[i] != RootSource.NONE and track_id >= 0:
                velocities[i] = self._slope(track_id, people.stamp_ns, people.joints_m[i])
        old_ns = people.stamp_ns - int(_LONGEST_GAP_S * 1e9)
        self._tracks = {k: t for k, t in self._tracks.items() if t.stamps_ns[-1] >= old_ns}
        return velocities

    def _slope(self, track_id: int, stamp_ns: int, joints_m: np.ndarray) -> np.ndarray:
        """Return the slopes (J, 3) of the lines through the positions of a track."""
        track = self._tracks.setdefault(track_id, _Track())
        stamps = track.stamps_ns
        if stamps and stamp_ns == stamps[-1]:
            stamps.pop()
            track.joints_m.pop()
        stamps.append(stamp_ns)
        track.joints_m.append(joints_m.astype(np.float64))
        # Half a nanosecond more than the window: periods are rounded to whole ones.
        while (stamp_ns - stamps[0]) * 1e-9 > self._window_s + 1e-8:
            stamps.popleft()
            track.joints_m.popleft()
        times = (np.array(stamps, np.int64) - stamp_ns) * 1e-9
        return slopes(times, np.array(track.joints_m), _LEAST_SHARE * self._window_s)


def slopes(times_s: np.ndarray, values: np.ndarray, least_span_s: float) -> np.ndarray:
    """Return the least-squares slopes (...) of values (T, ...) over times (T,); NaN is left out.

    NaN where fewer than three values are known, or where they cover less than ``least_span_s``.
    """
    known = np.isfinite(values)
    count = known.sum(axis=0)
    wide = times_s.reshape(-1, *[1] * (values.ndim - 1))
    times = np.where(known, wide, 0.0)
    filled = np.where(known, values, 0.0)
    safe = np.maximum(count, 1)
    centred = np.where(known, wide - times.sum(axis=0) / safe, 0.0)
    centre = filled.sum(axis=0) / safe
    spread = (centred**2).sum(axis=0)
    span = np.where(known, wide, -np.inf).max(axis=0) - np.where(known, wide, np.inf).min(axis=0)
    enough = (count >= 3) & (span >= least_span_s)
    top = (centred * (filled - centre)).sum(axis=0)
    return np.where(enough, top / np.where(spread > 0, spread, 1.0), np.nan)

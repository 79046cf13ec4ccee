"""What one camera sees of people, as rays of the world, at any time near its frames.

A joint in an image is a ray from the camera; how far beside it the joint may be is an angle, which
depends on what the estimator says of the joint (visible, hidden, outside the image) and of how sure
it is. The metric 3D of a single camera gives a point on that ray, whose distance is uncertain.

Cameras are not synchronised. Between two frames of a person rays are interpolated, behind the last
one they go on with the speed that they had, for a short time; what was not measured at the time
that is asked for is less certain.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from trpose_ros.cameras import pixel_rays
from trpose_ros.multiview.rig import Placement
from trpose_ros.people import Camera, JointState, People, TrackState

# Errors of joints in the image, standard deviations as shares of the person's size in it. Source:
# data/motion/noise: the errors of metrabs-s's and metrabs-m's kind, all parts together.
_SHARES = {
    JointState.UNKNOWN: 0.04,
    JointState.VISIBLE: 0.025,
    JointState.OCCLUDED: 0.06,
    JointState.TRUNCATED: 0.12,
    JointState.UNOBSERVED: 0.12,
}
_SHARE_OF = np.array([_SHARES[state] for state in JointState])
_LEAST_PX = 1.0
_FARTHEST_PX, _FARTHEST_M, _LARGEST_M2 = 1e5, 1e3, 1e4  # beyond these a value is an error
_UNSURE = 3.0  # a joint of score 0 has this many times the error of one of score 1
_DEPTH_SHARE = 0.12  # of the distance: error of a single camera's metric 3D
_LEAST_DEPTH_M = 0.05
_KEPT_S = 1.0
_USUAL_M = 3.0  # a depth that nobody knows
_FASTEST_M_S, _JITTER_M = 6.0, 0.15  # a body's joints move at most so fast, on average
_BETWEEN_M_S = 0.1  # error that grows with the time to the nearest frame: between two frames,
_BEYOND_M_S = 0.6  # behind the last one with its speed,
_HELD_M_S = 1.2  # and without a speed


@dataclass(frozen=True)
class Sights:
    """N people with J joints as one camera sees them at one time; world frame, NaN no value."""

    stamp_ns: int
    ids: np.ndarray  # (N,) the camera's own track ids; below zero: not tracked
    origin_m: np.ndarray  # (3,)
    rays: np.ndarray  # (N, J, 3) of length one
    sigmas: np.ndarray  # (N, J) rad beside the ray
    depths_m: np.ndarray  # (N, J) along the ray, of the metric 3D
    depth_sigmas_m: np.ndarray  # (N, J)
    states: np.ndarray  # (N, J) uint8
    scores: np.ndarray  # (N, J)
    focal_px: float  # px per rad

    def __len__(self) -> int:
        """Return the number of people."""
        return len(self.ids)

    @property
    def points_m(self) -> np.ndarray:
        """Return (N, J, 3): the single camera's own 3D."""
        return self.origin_m + self.depths_m[..., None] * self.rays


def sights_of(people: People, camera: Camera, placement: Placement, stamp_ns: int) -> Sights:
    """Return people of a frame as rays; those who were not seen in it are left out."""
    seen = ~np.isin(people.track_states, (TrackState.SEARCHING, TrackState.LOST))
    people = people.select(np.flatnonzero(seen))
    px = _within(people.joints_px, _FARTHEST_PX)
    points = _within(people.joints_m, _FARTHEST_M)
    rays = pixel_rays(px, camera) if len(people) else np.zeros((*px.shape[:2], 3))
    distance = np.linalg.norm(points, axis=-1)
    # Without a place in the image, or where no ray of the lens leads, the 3D has a direction.
    rays = np.where(np.isfinite(rays).all(axis=-1, keepdims=True), rays, points)
    length = np.linalg.norm(rays, axis=-1)
    length = np.where(length > 0, length, np.nan)
    unit = rays / length[..., None]
    depths = np.einsum('njc,njc->nj', unit, points)
    depths = np.where(depths > 0.05, depths, np.nan)
    focal = float(np.sqrt(camera.matrix[0, 0] * camera.matrix[1, 1]))
    scores = _within(people.joint_scores, 1.0)
    doubt = 1.0 + (_UNSURE - 1.0) * (1.0 - np.clip(np.nan_to_num(scores, nan=1.0), 0.0, 1.0))
    states = np.minimum(people.joint_states, len(_SHARE_OF) - 1)
    sigma_px = np.maximum(_SHARE_OF[states] * size_px(px)[:, None] * doubt, _LEAST_PX)
    if camera.assumed:
        sigma_px = 2.0 * sigma_px
    across = np.maximum(np.nan_to_num(length, nan=1.0), 1.0)
    sigmas = np.where(np.isfinite(unit).all(axis=-1), sigma_px / (focal * across), np.nan)
    return Sights(
        stamp_ns=stamp_ns,
        ids=np.where(people.track_ids >= 0, people.track_ids, -1 - np.arange(len(people))),
        origin_m=placement.position_m,
        rays=unit @ placement.rotation.T,
        sigmas=sigmas,
        depths_m=depths,
        depth_sigmas_m=_depth_sigmas(people, unit, distance),
        states=states,
        scores=scores,
        focal_px=focal,
    )


def _within(values: np.ndarray, limit: float) -> np.ndarray:
    """Return values as float64, NaN where they are infinite or beyond what anybody measures."""
    values = values.astype(np.float64)
    return np.where(np.abs(np.nan_to_num(values, nan=np.inf)) <= limit, values, np.nan)


def size_px(joints_px: np.ndarray) -> np.ndarray:
    """Return (N,): the extent of people in the image, at least ten px."""
    finite = np.isfinite(joints_px).all(axis=-1, keepdims=True)
    low = np.where(finite, joints_px, np.inf).min(axis=1, initial=np.inf)
    high = np.where(finite, joints_px, -np.inf).max(axis=1, initial=-np.inf)
    extent = np.where(np.isfinite(low) & np.isfinite(high), high - low, 0.0)
    return np.maximum(np.hypot(extent[:, 0], extent[:, 1]), 10.0)


def _depth_sigmas(people: People, unit: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return (N, J): the error of depths, at least a share of the distance."""
    covariances = _within(people.covariances_m2, _LARGEST_M2)
    stated = np.einsum('njc,njcd,njd->nj', unit, covariances, unit)
    stated = np.sqrt(np.where(stated > 0, stated, 0.0))
    return np.maximum(np.maximum(np.nan_to_num(stated), _DEPTH_SHARE * distance), _LEAST_DEPTH_M)


class SightHistory:
    """The last frames of one camera."""

    def __init__(self) -> None:
        self._frames: deque[Sights] = deque()

    def add(self, sights: Sights) -> None:
        """Take the next frame; a stamp that was there already, or lies before the last, is not."""
        if self._frames and sights.stamp_ns <= self._frames[-1].stamp_ns:
            return
        self._frames.append(sights)
        while sights.stamp_ns - self._frames[0].stamp_ns > _KEPT_S * 1e9:
            self._frames.popleft()

    @property
    def newest_ns(self) -> int | None:
        """Return the stamp of the last frame."""
        return self._frames[-1].stamp_ns if self._frames else None

    @property
    def joints(self) -> int:
        """Return the number of joints of its people; 0 before the first frame."""
        return self._frames[-1].rays.shape[1] if self._frames else 0

    def stamps_after(self, stamp_ns: int | None) -> list[int]:
        """Return the stamps of its frames behind a time, all for None."""
        return [s.stamp_ns for s in self._frames if stamp_ns is None or s.stamp_ns > stamp_ns]

    def at(self, stamp_ns: int, hold_s: float) -> Sights | None:
        """Return what is seen at a time; None where no frame is nearer than ``hold_s``."""
        before = [s for s in self._frames if s.stamp_ns <= stamp_ns]
        after = next((s for s in self._frames if s.stamp_ns > stamp_ns), None)
        hold_ns = hold_s * 1e9
        first = before[-1] if before and stamp_ns - before[-1].stamp_ns <= hold_ns else None
        if first is not None and first.stamp_ns == stamp_ns:
            return first
        if after is not None and after.stamp_ns - stamp_ns > hold_ns:
            after = None
        if first is None:
            return None if after is None else _moved(after, stamp_ns, _HELD_M_S)
        if after is not None:
            return _between(first, after, stamp_ns)
        if len(before) > 1 and first.stamp_ns - before[-2].stamp_ns <= hold_ns:
            return _beyond(before[-2], first, stamp_ns)
        return _moved(first, stamp_ns, _HELD_M_S)


def _rows(first: Sights, second: Sights) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of people of both; those who are not tracked are in neither.

    A number whose body would have jumped is now somebody else's: between two people nobody is.
    """
    _, i, j = np.intersect1d(
        np.where(first.ids >= 0, first.ids, -1 - 2 * np.arange(len(first))),
        np.where(second.ids >= 0, second.ids, -2 - 2 * np.arange(len(second))),
        return_indices=True,
    )
    depth = np.where(np.isfinite(first.depths_m), first.depths_m, _USUAL_M)[i]
    moved_m = np.linalg.norm(second.rays[j] - first.rays[i], axis=-1) * depth
    known = np.isfinite(moved_m)
    mean = np.where(known, moved_m, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    elapsed_s = abs(second.stamp_ns - first.stamp_ns) * 1e-9
    same = mean <= _FASTEST_M_S * elapsed_s + _JITTER_M
    return i[same], j[same]


def _with(sights: Sights, stamp_ns: int, rays: np.ndarray, depths: np.ndarray, speed: float,
          away_s: np.ndarray | float, origin: np.ndarray) -> Sights:  # fmt: skip
    """Return sights with other rays, less certain by ``speed`` times the time to a frame."""
    length = np.linalg.norm(rays, axis=-1, keepdims=True)
    moved = speed * np.asarray(away_s, np.float64)
    depth = np.where(np.isfinite(depths), depths, _USUAL_M)
    return Sights(
        stamp_ns,
        sights.ids,
        origin,
        rays / np.where(length > 0, length, np.nan),
        np.hypot(sights.sigmas, moved / np.maximum(depth, 0.5)),
        depths,
        np.hypot(sights.depth_sigmas_m, moved),
        sights.states,
        sights.scores,
        sights.focal_px,
    )


def _moved(sights: Sights, stamp_ns: int, speed: float) -> Sights:
    away_s = abs(stamp_ns - sights.stamp_ns) * 1e-9
    return _with(sights, stamp_ns, sights.rays, sights.depths_m, speed, away_s, sights.origin_m)


def _between(first: Sights, second: Sights, stamp_ns: int) -> Sights:
    """Interpolate people of both frames; those of one alone are held as they are."""
    share = (stamp_ns - first.stamp_ns) / (second.stamp_ns - first.stamp_ns)
    nearer, other = (first, second) if share < 0.5 else (second, first)
    mine, its = _rows(nearer, other)
    part = min(share, 1.0 - share)
    rays, depths = nearer.rays.copy(), nearer.depths_m.copy()
    mixed = (1 - part) * rays[mine] + part * other.rays[its]
    rays[mine] = np.where(np.isfinite(mixed), mixed, rays[mine])
    deep = (1 - part) * depths[mine] + part * other.depths_m[its]
    depths[mine] = np.where(np.isfinite(deep), deep, depths[mine])
    origin = (1 - part) * nearer.origin_m + part * other.origin_m
    away_s = np.full((len(nearer), 1), abs(stamp_ns - nearer.stamp_ns) * 1e-9)
    away_s[mine] *= _BETWEEN_M_S / _HELD_M_S
    return _with(nearer, stamp_ns, rays, depths, _HELD_M_S, away_s, origin)


def _beyond(before: Sights, last: Sights, stamp_ns: int) -> Sights:
    """Let people of the last frame go on as they went from the one before."""
    step = (stamp_ns - last.stamp_ns) / (last.stamp_ns - before.stamp_ns)
    mine, its = _rows(last, before)
    rays, depths = last.rays.copy(), last.depths_m.copy()
    going = rays[mine] + step * (rays[mine] - before.rays[its])
    rays[mine] = np.where(np.isfinite(going), going, rays[mine])
    origin = last.origin_m + step * (last.origin_m - before.origin_m)
    away_s = np.full((len(last), 1), abs(stamp_ns - last.stamp_ns) * 1e-9)
    away_s[mine] *= _BEYOND_M_S / _HELD_M_S
    return _with(last, stamp_ns, rays, depths, _HELD_M_S, away_s, origin)

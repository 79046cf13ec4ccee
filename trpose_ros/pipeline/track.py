"""One track: the body of a person in metres, where it moves, and the box to look for it in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trpose_ros.cameras import distort_points, project, undistort_points
from trpose_ros.people import Camera, People, TrackState
from trpose_ros.pipeline.predicted_boxes import padded_box
from trpose_ros.pipeline.returning import Trace
from trpose_ros.pipeline.tracker_config import TrackerConfig


@dataclass(eq=False)
class Track:
    """What is remembered of one person; arrays are float64, NaN where never seen."""

    id: int
    row: People  # the last measurement (one person)
    camera: Camera
    joints_m: np.ndarray  # (J, 3) full body
    joints_px: np.ndarray  # (J, 2), serves joints without 3D
    first_ns: int
    seen_ns: int
    velocity_m_s: np.ndarray = field(default_factory=lambda: np.zeros(3))
    nearest_m: float = float('nan')  # distance of the body that the box is made for
    state: TrackState = TrackState.NEW
    confirmed: bool = False
    doubted: bool = False  # ends unless the next poses belong to it
    trace: Trace = field(default_factory=Trace)

    def predict(
        self, camera: Camera, stamp_ns: int, coast_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the full body at a stamp: (J, 3) m and (J, 2) px."""
        elapsed = max(0.0, (stamp_ns - self.seen_ns) * 1e-9)
        reach = coast_s * (1.0 - np.exp(-elapsed / coast_s))
        joints_m = self.joints_m + self.velocity_m_s * reach
        joints_px = project(joints_m, camera)
        unknown = ~np.isfinite(self.joints_m).all(axis=-1)
        joints_px[unknown] = through(self.joints_px[unknown], self.camera, camera)
        return joints_m, joints_px

    def box(self, camera: Camera, stamp_ns: int, config: TrackerConfig) -> np.ndarray | None:
        """Return the padded box (4,) of the full body at a stamp, px."""
        joints_m, joints_px = self.predict(camera, stamp_ns, config.coast_s)
        centre = finite_mean(joints_m[None])[0]
        distance = float(np.linalg.norm(centre))
        if 0.1 < self.nearest_m < distance:
            nearer = joints_m + centre * (self.nearest_m / distance - 1.0)
            nearer_px = project(nearer, camera)
            joints_px = np.where(np.isfinite(nearer_px), nearer_px, joints_px)
        return padded_box(joints_px, config.padding)

    def mend(self, row: People, camera: Camera) -> None:
        """Take another body for the same person: what was known of the first one is wrong."""
        self.joints_m, self.joints_px = (
            row.joints_m[0].astype(float),
            row.joints_px[0].astype(float),
        )
        self.row, self.camera = row, camera
        self.velocity_m_s, self.nearest_m = np.zeros(3), float('nan')
        self.trace = Trace(decided=self.trace.decided)

    def _approach(self, config: TrackerConfig, elapsed: float) -> None:
        """Follow the body's distance: at once when it comes nearer, else as fast as it can run."""
        distance = float(np.linalg.norm(finite_mean(self.joints_m[None])[0]))
        limit = self.nearest_m + config.max_speed_m_s * max(elapsed, 0.0)
        self.nearest_m = limit if limit < distance else distance

    def absorb(self, row: People, camera: Camera, stamp_ns: int, config: TrackerConfig) -> None:
        """Take a new measurement; joints it lacks move along with those it has."""
        new_m, new_px = row.joints_m[0].astype(float), row.joints_px[0].astype(float)
        old_px = through(self.joints_px, self.camera, camera)
        move_m, move_px = _mean_move(self.joints_m, new_m), _mean_move(old_px, new_px)
        elapsed = (stamp_ns - self.seen_ns) * 1e-9
        if elapsed > 0 and np.isfinite(move_m).all():
            velocity = move_m / elapsed
            speed = float(np.linalg.norm(velocity))
            velocity *= min(1.0, config.max_speed_m_s / max(speed, 1e-9))
            share = 1.0 - np.exp(-elapsed / config.velocity_s)
            self.velocity_m_s = self.velocity_m_s + share * (velocity - self.velocity_m_s)
        self.joints_m = _fill(new_m, self.joints_m + np.nan_to_num(move_m))
        self.joints_px = _fill(new_px, old_px + np.nan_to_num(move_px))
        self._approach(config, elapsed)
        self.row, self.camera, self.seen_ns = row, camera, stamp_ns
        self.confirmed |= stamp_ns - self.first_ns >= round(config.confirm_s * 1e9)
        self.state = TrackState.TRACKED if self.confirmed else TrackState.NEW
        self.doubted = False


def through(points_px: np.ndarray, old: Camera, new: Camera) -> np.ndarray:
    """Carry image points from one camera's image to another's along their viewing rays."""
    if old is new or not len(points_px):
        return points_px
    if old.model == new.model and np.array_equal(old.distortion, new.distortion):
        # One is cut out of the other, or zoomed: the bent rays are the same in both.
        turn = new.matrix[:2, :2] @ np.linalg.inv(old.matrix[:2, :2])
        return (points_px - old.matrix[:2, 2]) @ turn.T + new.matrix[:2, 2]
    return distort_points(undistort_points(points_px, old), new)


def _fill(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(new).all(axis=-1, keepdims=True), new, old)


def finite_mean(joints: np.ndarray) -> np.ndarray:
    """Return the mean (N, C) of the finite joints of (N, J, C), NaN without any."""
    finite = np.isfinite(joints).all(axis=-1, keepdims=True)
    count = finite.sum(axis=1)
    total = np.where(finite, joints, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_move(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the mean displacement (C,) of the joints that both have, NaN without any."""
    return finite_mean((new - old)[None])[0]

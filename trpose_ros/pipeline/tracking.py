"""Tracks: people keep their ids through truncation and short losses.

A track remembers a full body in metres. For each new frame that body is moved with its own
velocity and projected again; its box, padded, is where the estimator looks next. The box is that
of the whole body, whatever the image shows of it, so it cannot shrink to the visible part and
drag the estimate along; and where an estimate shrinks all at once, as if the person had leapt
away, the box shrinks no faster than people can run.

New poses are given to tracks by the assignment of least total distance in 3D and in the image,
under gates that widen with the time a track was not seen.

Life: NEW until seen for a while, then TRACKED; SEARCHING when not seen, predicted and searched
for a limited time; LOST after that, reported once. All times are seconds from stamps, and none of
them ends a track between two frames of a slow stream. Stamps that jump back, another optical frame
or another skeleton end all tracks; ids are never used twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trpose_ros.cameras import distort_points, project, undistort_points
from trpose_ros.configuration import check_fields, setting
from trpose_ros.frame_period import FramePeriod
from trpose_ros.people import Camera, JointState, People, TrackState, concatenate, with_visibility
from trpose_ros.pipeline.association import assign, duplicates, pose_distance_2d, pose_distance_m
from trpose_ros.pipeline.predicted_boxes import in_view, padded_box

_BODY_M = 1.7  # turns a speed in m/s into shares of a person's size in the image
_FARTHEST_M, _FARTHEST_PX = 1e4, 1e6  # beyond these a coordinate is an error, not a person
_PERIODS = 1.5  # of the frames: no life time is shorter, jitter of stamps included


@dataclass(frozen=True)
class TrackerConfig:
    """Times in seconds, distances in metres or in shares of the person's size in the image.

    ``lost_s``, ``lost_new_s`` and ``search_s`` last one and a half frame periods at least.
    """

    confirm_s: float = setting(0.1, 'a track is NEW until it is this old', range=(0.0, 10.0))
    lost_s: float = setting(1.5, 'a track not seen for longer is LOST', range=(0.0, 60.0))
    lost_new_s: float = setting(0.3, 'the same for a track that is still NEW', range=(0.0, 60.0))
    search_s: float = setting(
        1.0, 'how long the box of an unseen track is offered', range=(0.0, 60.0)
    )
    gate_m: float = setting(0.6, 'largest mean joint distance to a track, m', range=(0.01, 100.0))
    gate_2d: float = setting(0.4, 'the same in the image, shares of body size', range=(0.01, 100.0))
    depth_share: float = setting(
        0.1, 'gate_m grows with the distance by this share', range=(0.0, 1.0)
    )
    speed_m_s: float = setting(2.0, 'how fast the gates widen while unseen, m/s', range=(0.0, 20.0))
    max_speed_m_s: float = setting(4.0, 'speed limit of a predicted body, m/s', range=(0.0, 20.0))
    velocity_s: float = setting(0.2, 'time constant of the velocity estimate', range=(0.001, 10.0))
    coast_s: float = setting(
        0.4, 'time constant with which a prediction stops', range=(0.001, 10.0)
    )
    depth_weight: float = setting(
        0.4, 'weight of distances along the viewing ray', range=(0.0, 1.0)
    )
    duplicate_2d: float = setting(0.1, 'poses closer than this are one person', range=(0.0, 1.0))
    duplicate_depth: float = setting(
        0.25, 'unless their depths differ by this share', range=(0.0, 1.0)
    )
    padding: float = setting(
        0.15, 'padding of predicted boxes, share of each side', range=(0.0, 2.0)
    )
    min_visible: float = setting(
        0.05, 'share of a box that must lie in the image', range=(0.0, 1.0)
    )

    def __post_init__(self) -> None:
        """Validate ranges."""
        check_fields(self)


@dataclass(eq=False)
class _Track:
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

    def predict(
        self, camera: Camera, stamp_ns: int, coast_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the full body at a stamp: (J, 3) m and (J, 2) px."""
        elapsed = max(0.0, (stamp_ns - self.seen_ns) * 1e-9)
        reach = coast_s * (1.0 - np.exp(-elapsed / coast_s))
        joints_m = self.joints_m + self.velocity_m_s * reach
        joints_px = project(joints_m, camera)
        unknown = ~np.isfinite(self.joints_m).all(axis=-1)
        joints_px[unknown] = _through(self.joints_px[unknown], self.camera, camera)
        return joints_m, joints_px

    def box(self, camera: Camera, stamp_ns: int, config: TrackerConfig) -> np.ndarray | None:
        """Return the padded box (4,) of the full body at a stamp, px."""
        joints_m, joints_px = self.predict(camera, stamp_ns, config.coast_s)
        centre = _finite_mean(joints_m[None])[0]
        distance = float(np.linalg.norm(centre))
        if 0.1 < self.nearest_m < distance:
            nearer = joints_m + centre * (self.nearest_m / distance - 1.0)
            nearer_px = project(nearer, camera)
            joints_px = np.where(np.isfinite(nearer_px), nearer_px, joints_px)
        return padded_box(joints_px, config.padding)

    def _approach(self, config: TrackerConfig, elapsed: float) -> None:
        """Follow the body's distance: at once when it comes nearer, else as fast as it can run."""
        distance = float(np.linalg.norm(_finite_mean(self.joints_m[None])[0]))
        limit = self.nearest_m + config.max_speed_m_s * max(elapsed, 0.0)
        self.nearest_m = limit if limit < distance else distance

    def absorb(self, row: People, camera: Camera, stamp_ns: int, config: TrackerConfig) -> None:
        """Take a new measurement; joints it lacks move along with those it has."""
        new_m, new_px = row.joints_m[0].astype(float), row.joints_px[0].astype(float)
        old_px = _through(self.joints_px, self.camera, camera)
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


class Tracker:
    """Gives people ids that last; see the module for the rules."""

    def __init__(self, config: TrackerConfig | None = None) -> None:
        """Start without tracks."""
        self.config = config or TrackerConfig()
        self._tracks: list[_Track] = []
        self._next_id = 0
        self._last_ns: int | None = None
        self._period = FramePeriod()

    def __len__(self) -> int:
        """Return the number of tracks that are not LOST."""
        return len(self._tracks)

    def reset(self) -> None:
        """Forget all tracks without reporting them; ids go on counting."""
        self._tracks, self._last_ns = [], None
        self._period.reset()

    def predict_boxes(self, camera: Camera, stamp_ns: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the tracked people should be: ids (M,) int32 and boxes (M, 4) x y w h, px.

        The boxes hold the whole body and may reach beyond the image. Tracks out of view, or not
        seen for longer than ``search_s``, are left out; so is everybody when the stamp lies
        before the last one (the next update starts anew).
        """
        if self._last_ns is not None and stamp_ns < self._last_ns:
            return np.zeros(0, np.int32), np.zeros((0, 4), np.float32)
        ids, boxes = [], []
        limit_ns = self._limit_ns(self.config.search_s, stamp_ns)
        for track in self._tracks:
            if stamp_ns - track.seen_ns > limit_ns:
                continue
            box = track.box(camera, stamp_ns, self.config)
            if box is not None and in_view(box, camera, self.config.min_visible):
                ids.append(track.id)
                boxes.append(box)
        return np.array(ids, np.int32), np.array(boxes, np.float32).reshape(-1, 4)

    def doubt(self, ids: np.ndarray) -> None:
        """End these tracks with the next update, unless it has poses that belong to them."""
        for track in self._tracks:
            track.doubted |= track.id in ids

    def update(self, people: People, camera: Camera) -> People:
        """Give ids and states to the people of a frame.

        Returns the people in their order, without repeated estimates of one person, followed by
        the tracks not seen in this frame: SEARCHING ones with their predicted body, all joints
        UNOBSERVED, and LOST ones, once. People without any finite joint stay UNTRACKED, id -1.
        Never raises for bad values: infinite and astronomic coordinates become NaN.
        """
        people = _without_nonsense(people)
        lost = self._end_if_discontinuous(people)
        self._last_ns = people.stamp_ns
        self._period.push(people.stamp_ns)
        lost += self._expire(people.stamp_ns)
        keep = self._measurements(people)
        ids, states = self._associate(people, camera, keep)
        shown = np.sort(np.concatenate([keep, np.flatnonzero(~_has_joints(people))]))
        out = people.replace(track_ids=ids, track_states=states).select(shown)
        seen = set(ids[keep].tolist())
        lost += [track for track in self._tracks if track.doubted]
        self._tracks = [track for track in self._tracks if not track.doubted]
        unseen = [track for track in self._tracks if track.id not in seen]
        for track in unseen:
            track.state = TrackState.SEARCHING
        for track, state in [
            *((track, TrackState.SEARCHING) for track in unseen),
            *((track, TrackState.LOST) for track in lost),
        ]:
            if track.joints_px.shape[0] == people.joints_px.shape[1]:
                out = concatenate(out, self._predicted_row(track, state, people, camera))
        return out

    def _end_if_discontinuous(self, people: People) -> list[_Track]:
        """End all tracks when time, optical frame or skeleton changed under them."""
        if not self._tracks:
            return []
        last = self._tracks[0].row
        back = self._last_ns is not None and people.stamp_ns < self._last_ns
        if not back and people.frame_id == last.frame_id and people.skeleton == last.skeleton:
            return []
        ended = [track for track in self._tracks if track.row.skeleton == people.skeleton]
        self._tracks = []
        return ended

    def _limit_ns(self, seconds: float, stamp_ns: int) -> int:
        """Return a life time in a frame of this stamp: longer than it takes to the next frame."""
        return round(max(seconds, _PERIODS * self._period.with_frame_at(stamp_ns)) * 1e9)

    def _expire(self, stamp_ns: int) -> list[_Track]:
        limits_ns = {
            True: self._limit_ns(self.config.lost_s, stamp_ns),
            False: self._limit_ns(self.config.lost_new_s, stamp_ns),
        }
        lost = [
            track for track in self._tracks if stamp_ns - track.seen_ns > limits_ns[track.confirmed]
        ]
        self._tracks = [track for track in self._tracks if track not in lost]
        return lost

    def _measurements(self, people: People) -> np.ndarray:
        """Return the indices of usable people, repeated ones removed, from left to right.

        The order makes ids independent of the order in which the estimator lists people.
        """
        index = np.flatnonzero(_has_joints(people))
        centre = np.nan_to_num(_finite_mean(people.joints_px[index]), nan=np.inf)
        depth = np.nan_to_num(_finite_mean(people.joints_m[index])[:, 2], nan=np.inf)
        scores = np.nan_to_num(people.scores[index], nan=-np.inf)
        index = index[np.lexsort((-scores, depth, centre[:, 1], centre[:, 0]))]
        quality = _quality(people.select(index))
        repeated = duplicates(
            people.joints_m[index].astype(float),
            people.joints_px[index].astype(float),
            quality,
            self.config.duplicate_2d,
            self.config.duplicate_depth,
        )
        return index[~repeated]

    def _associate(
        self, people: People, camera: Camera, keep: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Update and start tracks; returns ids (N,) and states (N,) of all people."""
        ids = np.full(len(people), -1, np.int32)
        states = np.full(len(people), int(TrackState.UNTRACKED), np.uint8)
        pairs = self._pairs(people.select(keep), camera) if self._tracks and len(keep) else []
        taken = {n: self._tracks[m] for m, n in pairs}
        for place, n in enumerate(keep):
            row, track = people.select([int(n)]), taken.get(place)
            if track is None:
                track = self._start(row, camera, people.stamp_ns)
            track.absorb(row, camera, people.stamp_ns, self.config)
            ids[n], states[n] = track.id, int(track.state)
        return ids, states

    def _pairs(self, people: People, camera: Camera) -> list[tuple[int, int]]:
        predicted = [t.predict(camera, people.stamp_ns, self.config.coast_s) for t in self._tracks]
        bodies_m, bodies_px = (np.stack(arrays) for arrays in zip(*predicted, strict=True))
        ages = np.array([(people.stamp_ns - track.seen_ns) * 1e-9 for track in self._tracks])
        widening = self.config.speed_m_s * np.clip(ages, 0.0, 1.0)
        distances = np.linalg.norm(_finite_mean(bodies_m), axis=1)
        # Of two tracks that claim one person, the one better established should win.
        handicaps = np.array([0.0 if track.confirmed else 0.05 for track in self._tracks])
        handicaps += 0.05 * (ages > ages.min())
        return assign(
            pose_distance_m(bodies_m, people.joints_m.astype(float), self.config.depth_weight),
            pose_distance_2d(bodies_px, people.joints_px.astype(float)),
            self.config.gate_m + widening + self.config.depth_share * np.nan_to_num(distances),
            self.config.gate_2d + widening / _BODY_M,
            handicaps,
        )

    def _start(self, row: People, camera: Camera, stamp_ns: int) -> _Track:
        joints_m, joints_px = row.joints_m[0].astype(float), row.joints_px[0].astype(float)
        track = _Track(self._next_id, row, camera, joints_m, joints_px, stamp_ns, stamp_ns)
        self._next_id += 1
        self._tracks.append(track)
        return track

    def _predicted_row(
        self, track: _Track, state: TrackState, people: People, camera: Camera
    ) -> People:
        """Return a track that was not seen as a person of this frame."""
        stamp_ns = max(people.stamp_ns, track.seen_ns)
        joints_m, joints_px = track.predict(camera, stamp_ns, self.config.coast_s)
        if track.row.frame_id != people.frame_id:  # coordinates of another frame mean nothing here
            joints_m, joints_px = np.full_like(joints_m, np.nan), np.full_like(joints_px, np.nan)
        box = padded_box(joints_px, self.config.padding)
        joints = joints_px.shape[0]
        row = People.build(
            stamp_ns=people.stamp_ns,
            frame_id=people.frame_id,
            skeleton=people.skeleton,
            width=people.width,
            height=people.height,
            joints_px=joints_px[None],
            joints_m=joints_m[None],
            boxes_px=np.full((1, 4), np.nan) if box is None else box[None],
            track_ids=np.array([track.id]),
            track_states=np.array([int(state)]),
            root_sources=track.row.root_sources,
        )
        unobserved = np.full((1, joints), int(JointState.UNOBSERVED), np.uint8)
        return with_visibility(row).replace(joint_states=unobserved)


def _without_nonsense(people: People) -> People:
    """Return the people with infinite and astronomic coordinates replaced by NaN."""
    changes = {}
    for name, limit in (('joints_m', _FARTHEST_M), ('joints_px', _FARTHEST_PX)):
        joints = getattr(people, name)
        nonsense = ~(np.abs(np.nan_to_num(joints, nan=0.0, posinf=np.inf)) <= limit)
        if nonsense.any():
            changes[name] = np.where(nonsense, np.float32(np.nan), joints)
    return people.replace(**changes) if changes else people


def _has_joints(people: People) -> np.ndarray:
    """Return (N,) bool: people with at least one finite joint in the image or in 3D."""
    return np.isfinite(people.joints_px).all(-1).any(-1) | np.isfinite(people.joints_m).all(-1).any(
        -1
    )


def _quality(people: People) -> np.ndarray:
    """Return (N,): score first, then share of the body in view, then agreement of 2D and 3D."""
    score = np.nan_to_num(people.scores, nan=0.0)
    inside = np.nan_to_num(with_visibility(people).visible_fractions, nan=0.0)
    error = np.nan_to_num(people.reprojection_errors_px, nan=0.0)
    return score + 1e-2 * inside - 1e-5 * np.clip(error, 0.0, 100.0)


def _through(points_px: np.ndarray, old: Camera, new: Camera) -> np.ndarray:
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


def _finite_mean(joints: np.ndarray) -> np.ndarray:
    """Return the mean (N, C) of the finite joints of (N, J, C), NaN without any."""
    finite = np.isfinite(joints).all(axis=-1, keepdims=True)
    count = finite.sum(axis=1)
    total = np.where(finite, joints, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_move(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the mean displacement (C,) of the joints that both have, NaN without any."""
    return _finite_mean((new - old)[None])[0]

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
or another skeleton end all tracks. An id is used again for one reason alone: the person who had it
comes back within some seconds, of the same colours and size, near enough to have walked there.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.frame_period import FramePeriod
from trpose_ros.people import Camera, JointState, People, TrackState, concatenate, with_visibility
from trpose_ros.pipeline.appearance import FEATURES, all_other, other_colours
from trpose_ros.pipeline.association import (
    assign,
    duplicates,
    parts,
    pose_distance_2d,
    pose_distance_m,
    pose_size_px,
)
from trpose_ros.pipeline.predicted_boxes import in_view, unseen_person
from trpose_ros.pipeline.returning import Gone, Returns
from trpose_ros.pipeline.track import Track, finite_mean
from trpose_ros.pipeline.tracker_config import TrackerConfig
from trpose_ros.pipeline.usable import has_joints, without_nonsense

_BODY_M = 1.7  # turns a speed in m/s into shares of a person's size in the image
_DISAGREE = 0.03  # of a body's size: 2D and 3D of a body that is there differ by a third of it
_UNSEEN = 0.5  # cost of a track that was not seen in the last frame, where another one was
_FEW = 4  # joints of a body: fewer may be made up
_MAY_BE_SEEN = (JointState.UNKNOWN, JointState.VISIBLE)  # not every estimator says
_HIDDEN_S = 0.3  # and longer: place alone says little about who comes out again
_BELONGS = 10.0  # to a track: more than any other quality
_Pairs = list[tuple[int, int]]  # of a track and a pose
_PERIODS = 1.5  # of the frames: no life time is shorter, jitter of stamps included


class Tracker:
    """Gives people ids that last; see the module for the rules."""

    def __init__(self, config: TrackerConfig | None = None) -> None:
        """Start without tracks."""
        self.config = config or TrackerConfig()
        self._tracks: list[Track] = []
        self._next_id = 0
        self._last_ns: int | None = None
        self._period = FramePeriod()
        self._returns = Returns(self.config.remember_s, self.config.max_speed_m_s)

    def __len__(self) -> int:
        """Return the number of tracks that are not LOST."""
        return len(self._tracks)

    def reset(self) -> None:
        """Forget all tracks without reporting them; ids go on counting."""
        self._tracks, self._last_ns = [], None
        self._period.reset()
        self._returns.clear()

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

    def expected(
        self, ids: np.ndarray, camera: Camera, stamp_ns: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the joints (N, J, 2) px of tracks at a stamp, and which (N, J) were seen last.

        ``ids`` (N,) are some of those that ``predict_boxes`` returned; their skeleton is one.
        Joints of a pose whose 2D and 3D disagree were not seen: a body that is invented has those.
        """
        tracks = {track.id: track for track in self._tracks}
        chosen = [tracks[int(i)] for i in ids]
        joints = [t.predict(camera, stamp_ns, self.config.coast_s)[1] for t in chosen]
        states = [t.row.joint_states[0] == JointState.VISIBLE for t in chosen]
        count = chosen[0].joints_px.shape[0] if chosen else 0
        seen = np.array(states, bool).reshape(len(chosen), count)
        for n, track in enumerate(chosen):
            error = float(track.row.reprojection_errors_px[0])
            seen[n] &= not error > _DISAGREE * pose_size_px(track.row.joints_px)[0]
        return np.array(joints).reshape(len(chosen), count, 2), seen

    def present(self, ids: np.ndarray) -> np.ndarray:
        """Return (N,) bool: tracks that were seen in the last frame."""
        seen = {track.id for track in self._tracks if track.seen_ns == self._last_ns}
        return np.array([int(i) in seen for i in ids], bool)

    def doubt(self, ids: np.ndarray) -> None:
        """End these tracks with the next update, unless it has poses that belong to them."""
        for track in self._tracks:
            track.doubted |= track.id in ids

    def update(
        self,
        people: People,
        camera: Camera,
        colours: np.ndarray | None = None,
        origins: np.ndarray | None = None,
        mended: np.ndarray | None = None,
    ) -> People:
        """Give ids and states to the people of a frame.

        ``colours`` (N, 6) tell what people wear (appearance.py); without them nobody who was LOST
        is known again. ``origins`` (N,) are the ids of the tracks in whose boxes people were found,
        -1 elsewhere: out of the box of a confirmed track no other one begins, because a pose that
        leaps away from its own track is an error, not a second person. Those who are ``mended``
        (N,) bool are right where their tracks were wrong: tracks go on from there.

        Returns the people in their order, without repeated estimates of one person, followed by
        the tracks not seen in this frame: SEARCHING ones with their predicted body, all joints
        UNOBSERVED, and LOST ones, once. People without any finite joint stay UNTRACKED, id -1.
        Never raises for bad values: infinite and astronomic coordinates become NaN.
        """
        people = without_nonsense(people)
        ended = self._end_if_discontinuous(people)
        self._last_ns = people.stamp_ns
        self._period.push(people.stamp_ns)
        lost = self._expire(people.stamp_ns)
        if colours is None:
            colours = np.full((len(people), FEATURES), np.nan)
        origins = np.full(len(people), -1) if origins is None else origins
        if mended is not None:
            self._mend(people, camera, np.where(mended, origins, -1))
        usable = has_joints(people) & ~self._unseen(people, camera, origins)
        sure = [track.id for track in self._tracks if track.confirmed]
        known = np.isin(origins, sure)
        keep, pairs = self._measurements(people, camera, colours, usable, known)
        ids, states = self._associate(people, camera, keep, pairs, known)
        keep = keep[ids[keep] >= 0]
        renamed = self._returns.rename(self._tracks, people, ids, states, colours)
        shown = np.sort(np.concatenate([keep, np.flatnonzero(~has_joints(people))]))
        out = people.replace(track_ids=ids, track_states=states).select(shown)
        seen = set(ids[keep].tolist())
        lost += [track for track in self._tracks if track.doubted]
        self._tracks = [track for track in self._tracks if not track.doubted]
        for track in lost:
            self._returns.add(Gone(track.id, track.seen_ns, track.trace))
        lost = [*ended, *lost, *renamed]
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

    def _mend(self, people: People, camera: Camera, ids: np.ndarray) -> None:
        """Put the tracks with these ids (N,) where people are; -1 is nobody's."""
        by_id = {track.id: track for track in self._tracks}
        for n in np.flatnonzero(np.isin(ids, list(by_id)) & has_joints(people)):
            by_id[int(ids[n])].mend(people.select([int(n)]), camera)

    def _end_if_discontinuous(self, people: People) -> list[Track]:
        """End all tracks when time, optical frame or skeleton changed under them."""
        if not self._tracks:
            return []
        last = self._tracks[0].row
        back = self._last_ns is not None and people.stamp_ns < self._last_ns
        if not back and people.frame_id == last.frame_id and people.skeleton == last.skeleton:
            return []
        ended = [track for track in self._tracks if track.row.skeleton == people.skeleton]
        self._tracks = []
        self._returns.clear()
        return ended

    def _limit_ns(self, seconds: float, stamp_ns: int) -> int:
        """Return a life time in a frame of this stamp: longer than it takes to the next frame."""
        return round(max(seconds, _PERIODS * self._period.with_frame_at(stamp_ns)) * 1e9)

    def _expire(self, stamp_ns: int) -> list[Track]:
        limits_ns = {
            True: self._limit_ns(self.config.lost_s, stamp_ns),
            False: self._limit_ns(self.config.lost_new_s, stamp_ns),
        }
        lost = [
            track for track in self._tracks if stamp_ns - track.seen_ns > limits_ns[track.confirmed]
        ]
        self._tracks = [track for track in self._tracks if track not in lost]
        return lost

    def _unseen(self, people: People, camera: Camera, origins: np.ndarray) -> np.ndarray:
        """Return (N,) bool: bodies that were made up in the boxes of confirmed tracks.

        An estimator makes a body where somebody is hidden, too. No joint of that is seen, or next
        to none and none of it where the person should be.
        """
        tracks = {track.id: track for track in self._tracks if track.confirmed}
        seen = np.isin(people.joint_states, _MAY_BE_SEEN).sum(axis=1)
        unseen = np.zeros(len(people), bool)
        for n in np.flatnonzero((seen < _FEW) & np.isin(origins, list(tracks))):
            track = tracks[int(origins[n])]
            _, joints_px = track.predict(camera, people.stamp_ns, self.config.coast_s)
            apart = pose_distance_2d(joints_px[None], people.joints_px[[n]].astype(float))
            unseen[n] = seen[n] == 0 or not apart[0, 0] <= self.config.duplicate_2d
        return unseen

    def _measurements(
        self,
        people: People,
        camera: Camera,
        colours: np.ndarray,
        usable: np.ndarray,
        known: np.ndarray,
    ) -> tuple[np.ndarray, _Pairs]:
        """Return the indices of ``usable`` people (N,), repeated ones removed, from left to right.

        The order makes ids independent of the order in which the estimator lists people. Of
        estimates that repeat each other the one that belongs to a track stays, and one that has
        left its own (``known`` (N,)) goes first; one that belongs to none goes, too, when all that
        is seen of it are joints of a tracked person. With them come the tracks that they belong
        to: pairs of track and place in the indices.
        """
        index = np.flatnonzero(usable)
        centre = np.nan_to_num(finite_mean(people.joints_px[index]), nan=np.inf)
        depth = np.nan_to_num(finite_mean(people.joints_m[index])[:, 2], nan=np.inf)
        scores = np.nan_to_num(people.scores[index], nan=-np.inf)
        index = index[np.lexsort((-scores, depth, centre[:, 1], centre[:, 0]))]
        chosen = people.select(index)
        quality = _quality(chosen)
        pairs = self._pairs(chosen, camera, colours[index])
        belongs = np.zeros(len(index), bool)
        belongs[[n for _, n in pairs]] = True
        joints_px = chosen.joints_px.astype(float)
        repeated = duplicates(
            chosen.joints_m.astype(float),
            joints_px,
            quality + _BELONGS * np.where(belongs, 1.0, -1.0 * known[index]),
            self.config.duplicate_2d,
            self.config.duplicate_depth,
        )
        visible = chosen.joint_states == JointState.VISIBLE
        part = parts(joints_px, visible, belongs & ~repeated, self.config.duplicate_2d)
        keep = ~repeated & ~part
        if not keep.all():
            index = index[keep]
            pairs = self._pairs(people.select(index), camera, colours[index])
        return index, pairs

    def _associate(
        self,
        people: People,
        camera: Camera,
        keep: np.ndarray,
        pairs: _Pairs,
        known: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Update and start tracks; returns ids (N,) and states (N,) of all people."""
        ids = np.full(len(people), -1, np.int32)
        states = np.full(len(people), int(TrackState.UNTRACKED), np.uint8)
        taken = {n: self._tracks[m] for m, n in pairs}
        for place, n in enumerate(keep):
            row, track = people.select([int(n)]), taken.get(place)
            if track is None and known[n]:
                continue
            if track is None:
                track = self._start(row, camera, people.stamp_ns)
            track.absorb(row, camera, people.stamp_ns, self.config)
            ids[n], states[n] = track.id, int(track.state)
        return ids, states

    def _pairs(self, people: People, camera: Camera, colours: np.ndarray) -> _Pairs:
        if not self._tracks or not len(people):
            return []
        predicted = [t.predict(camera, people.stamp_ns, self.config.coast_s) for t in self._tracks]
        bodies_m, bodies_px = (np.stack(arrays) for arrays in zip(*predicted, strict=True))
        ages = np.array([(people.stamp_ns - track.seen_ns) * 1e-9 for track in self._tracks])
        widening = self.config.speed_m_s * np.clip(ages, 0.0, 1.0)
        distances = np.linalg.norm(finite_mean(bodies_m), axis=1)
        # Of two tracks that claim one person, the one better established should win.
        handicaps = np.array([0.0 if track.confirmed else 0.05 for track in self._tracks])
        handicaps += _UNSEEN * (ages > ages.min())
        worn = np.stack([track.trace.colours for track in self._tracks])
        against = other_colours(worn, colours)
        # Who comes out where somebody was hidden, and in quite other clothes, is somebody else.
        against[(ages > _HIDDEN_S)[:, None] & all_other(worn, colours)] = np.inf
        return assign(
            pose_distance_m(bodies_m, people.joints_m.astype(float), self.config.depth_weight),
            pose_distance_2d(bodies_px, people.joints_px.astype(float)),
            self.config.gate_m + widening + self.config.depth_share * np.nan_to_num(distances),
            self.config.gate_2d + widening / _BODY_M,
            handicaps[:, None] + against,
        )

    def _start(self, row: People, camera: Camera, stamp_ns: int) -> Track:
        joints_m, joints_px = row.joints_m[0].astype(float), row.joints_px[0].astype(float)
        track = Track(self._next_id, row, camera, joints_m, joints_px, stamp_ns, stamp_ns)
        self._next_id += 1
        self._tracks.append(track)
        return track

    def _predicted_row(
        self, track: Track, state: TrackState, people: People, camera: Camera
    ) -> People:
        """Return a track that was not seen as a person of this frame."""
        stamp_ns = max(people.stamp_ns, track.seen_ns)
        joints_m, joints_px = track.predict(camera, stamp_ns, self.config.coast_s)
        if track.row.frame_id != people.frame_id:  # coordinates of another frame mean nothing here
            joints_m, joints_px = np.full_like(joints_m, np.nan), np.full_like(joints_px, np.nan)
        row = unseen_person(people, joints_m, joints_px, self.config.padding)
        return row.replace(
            track_ids=np.array([track.id], np.int32),
            track_states=np.array([int(state)], np.uint8),
            root_sources=track.row.root_sources,
        )


def _quality(people: People) -> np.ndarray:
    """Return (N,): score first, then share of the body in view, then agreement of 2D and 3D."""
    score = np.nan_to_num(people.scores, nan=0.0)
    inside = np.nan_to_num(with_visibility(people).visible_fractions, nan=0.0)
    error = np.nan_to_num(people.reprojection_errors_px, nan=0.0)
    return score + 1e-2 * inside - 1e-5 * np.clip(error, 0.0, 100.0)

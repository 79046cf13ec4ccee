"""People who come back: whoever was LOST some seconds ago, or is still searched for, keeps the id.

A new track is compared with those that were LOST lately and those that are not seen now. It is the
same person when what is seen of the clothes has the same colours, bones have the same lengths, and
nobody had to fly. Somebody who enters the image shows little at first: the question is asked until
the colours of the torso are known, for a second at most. Where two who are gone would fit nobody is
chosen: a new id for a known person is a small error, two people under one id are a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trpose_ros.people import People, TrackState
from trpose_ros.pipeline.appearance import FEATURES, SAME, differences, mixed
from trpose_ros.pipeline.usable import knows
from trpose_ros.skeletons import get_skeleton

_DECIDE_S = 1.0  # after the first look
_SIZE = 1.3  # largest ratio of the lengths of all bones
_NEAR_M = 1.5  # an error of the distance, which nobody walks
_SHARE = 0.1  # of a look in the running means
_MOST = 16  # people who are remembered


@dataclass
class Trace:
    """What a track is known by later."""

    colours: np.ndarray = field(default_factory=lambda: np.full(FEATURES, np.nan))
    bones_m: float = float('nan')  # sum of all bones
    place_m: np.ndarray = field(default_factory=lambda: np.full(3, np.nan))
    decided: bool = False

    def add(self, joints_m: np.ndarray, skeleton: str, colours: np.ndarray) -> None:
        """Take a look: joints (J, 3) m, colours (6,)."""
        self.colours = mixed(self.colours, colours, _SHARE)
        if not knows(skeleton, len(joints_m)):
            return
        joints = joints_m.astype(np.float64)
        parents, children = np.array(get_skeleton(skeleton).bones).T
        bones = float(np.linalg.norm(joints[children] - joints[parents], axis=1).sum())
        if np.isfinite(bones):
            old = self.bones_m if np.isfinite(self.bones_m) else bones
            self.bones_m = old + _SHARE * (bones - old)
            self.place_m = joints.mean(axis=0)


@dataclass(frozen=True, eq=False)
class Gone:
    """Somebody who was LOST, or is not seen."""

    id: int
    seen_ns: int
    trace: Trace


class Returns:
    """Remembers who was LOST."""

    def __init__(self, remember_s: float, speed_m_s: float) -> None:
        """Forget after ``remember_s``; people come back no faster than ``speed_m_s``."""
        self._remember_ns, self._speed_m_s = round(remember_s * 1e9), speed_m_s
        self._gone: list[Gone] = []

    def clear(self) -> None:
        """Forget everybody."""
        self._gone = []

    def add(self, gone: Gone) -> None:
        """Remember somebody, unless nothing is known that could be known again."""
        if self._remember_ns and np.isfinite(gone.trace.colours[:3]).all():
            self._gone = [*self._gone[1 - _MOST :], gone]

    def rename(
        self,
        tracks: list[Any],
        people: People,
        ids: np.ndarray,
        states: np.ndarray,
        colours: np.ndarray,
    ) -> list[Any]:
        """Give young tracks the ids, in place, that these people had before they were not seen.

        ``ids`` (N,) and ``states`` (N,) are those of the people who were seen in ``colours``
        (N, 6). A track that is still searched for is taken out of ``tracks`` when a young one has
        its id. Returns the tracks under the ids that they give up.
        """
        given_up = []
        by_id = {track.id: track for track in tracks}
        unseen = [Gone(t.id, t.seen_ns, t.trace) for t in tracks if _searched(t, people.stamp_ns)]
        for n in np.flatnonzero(ids >= 0):
            track = by_id[int(ids[n])]
            track.trace.add(people.joints_m[n], people.skeleton, colours[n])
            gone = self.take(track.trace, people.stamp_ns, track.first_ns, unseen)
            if gone is None:
                continue
            if gone in unseen:
                unseen.remove(gone)
                tracks.remove(by_id[gone.id])
            if track.first_ns < people.stamp_ns:  # else nobody has heard of it
                given_up.append(replace(track))
            track.id, track.trace, track.confirmed = gone.id, gone.trace, True
            track.state = TrackState.TRACKED
            ids[n], states[n] = gone.id, int(track.state)
        return given_up

    def take(
        self, trace: Trace, stamp_ns: int, first_ns: int, unseen: Sequence[Gone] = ()
    ) -> Gone | None:
        """Return who has come back in a track since ``first_ns``; it is forgotten here then.

        ``unseen`` are people who are not seen but not LOST either, and not known here. Sets
        ``trace.decided`` when there is nothing more to ask.
        """
        if trace.decided:
            return None
        self._gone = [g for g in self._gone if 0 <= stamp_ns - g.seen_ns <= self._remember_ns]
        everybody = [*self._gone, *unseen]
        trace.decided = not everybody or stamp_ns - first_ns > _DECIDE_S * 1e9
        if trace.decided or not np.isfinite(trace.colours[:3]).all():
            return None
        # Somebody who was seen after this one came is somebody else.
        fitting = [
            gone
            for gone in everybody
            if gone.seen_ns < first_ns
            and differences(gone.trace.colours[None], trace.colours[None])[0, 0] <= SAME
            and _fits(gone, trace, (first_ns - gone.seen_ns) * 1e-9 * self._speed_m_s)
        ]
        if len(fitting) != 1:
            return None
        gone = fitting[0]
        self._gone = [other for other in self._gone if other is not gone]
        gone.trace.decided = True
        return gone


def _searched(track: Any, stamp_ns: int) -> bool:
    """Say whether somebody who can be known again is not seen in the frame of a stamp."""
    known = np.isfinite(track.trace.colours[:3]).all()
    return bool(track.confirmed and track.seen_ns < stamp_ns and known)


def _fits(gone: Gone, trace: Trace, way_m: float) -> bool:
    """Say whether size and place agree; what one of them lacks disagrees with nothing."""
    ratio = trace.bones_m / gone.trace.bones_m
    way = float(np.linalg.norm(trace.place_m - gone.trace.place_m))
    return not (ratio > _SIZE or ratio < 1 / _SIZE or way > _NEAR_M + way_m)

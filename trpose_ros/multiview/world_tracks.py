"""People in the world over time: where their joints are expected, and who they are.

A track remembers which tracks of which cameras it was made of: a person keeps the number as long as
one camera knows him, and gets it back when one camera recognises him again. What the distances of a
camera are wrong by is remembered with that camera's track, for times when it sees him alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trpose_ros.multiview.triangulation import Prediction, Solution
from trpose_ros.people import TrackState

_VELOCITY_S = 0.15  # time constant
_COAST_S = 0.2  # a prediction stops after about this time
_SPREAD_M_S = 1.5  # with which what is expected becomes uncertain
_LEAST_SIGMA_M = 0.06  # of what is expected: the measurements are to decide
_FACTOR_S = 1.0  # time constant of the distance factors
_MOST_LINKS = 4096  # tracks of cameras that are remembered
Link = tuple[int, int]  # camera, its track id


@dataclass(eq=False)
class WorldTrack:
    """One person."""

    id: int
    first_ns: int
    seen_ns: int
    joints_m: np.ndarray  # (J, 3), NaN never known
    sigmas_m: np.ndarray  # (J,)
    velocity_m_s: np.ndarray  # (J, 3)
    links: set[Link] = field(default_factory=set)  # of the last time
    confirmed: bool = False
    state: TrackState = TrackState.NEW

    def predict(self, stamp_ns: int) -> Prediction:
        """Return where the joints are expected."""
        elapsed = max(0.0, (stamp_ns - self.seen_ns) * 1e-9)
        reach = _COAST_S * (1.0 - np.exp(-elapsed / _COAST_S))
        sigmas = np.hypot(np.maximum(self.sigmas_m, _LEAST_SIGMA_M), _SPREAD_M_S * elapsed)
        return Prediction(self.joints_m + reach * self.velocity_m_s, sigmas)

    def absorb(self, solution: Solution, stamp_ns: int, confirm_s: float) -> None:
        """Take what was measured."""
        elapsed = (stamp_ns - self.seen_ns) * 1e-9
        if elapsed > 0:
            moved = (solution.joints_m - self.joints_m) / elapsed
            share = 1.0 - np.exp(-elapsed / _VELOCITY_S)
            self.velocity_m_s += share * (np.nan_to_num(moved) - self.velocity_m_s)
        self.joints_m = solution.joints_m
        self.sigmas_m = np.sqrt(np.trace(solution.covariances_m2, axis1=1, axis2=2) / 3.0)
        self.seen_ns = stamp_ns
        self.confirmed |= stamp_ns - self.first_ns >= confirm_s * 1e9
        self.state = TrackState.TRACKED if self.confirmed else TrackState.NEW


class WorldTracks:
    """Everybody who is there, and the numbers of those who were."""

    def __init__(self) -> None:
        self.tracks: list[WorldTrack] = []
        self._next = 0
        self._known: dict[Link, tuple[int, int]] = {}  # number, and when it was so last
        self._factors: dict[Link, float] = {}

    def of(self, link: Link) -> int:
        """Return the number of the present track that a camera's track belonged to last, or -1."""
        number = self._known.get(link, (-1, 0))[0]
        return number if any(track.id == number for track in self.tracks) else -1

    def age_s(self, link: Link, stamp_ns: int) -> float:
        """Return how long ago a camera's track belonged to anybody; infinite when it never did."""
        known = self._known.get(link)
        return float('inf') if known is None else (stamp_ns - known[1]) * 1e-9

    def drop(self, track: WorldTrack) -> None:
        """Let a track go that was another one's person."""
        self.tracks = [one for one in self.tracks if one is not track]

    def factor(self, link: Link) -> float:
        """Return by how much the distances of a camera's track are too short, 1 when not known."""
        return self._factors.get(link, 1.0)

    def learn(self, link: Link, factor: float, elapsed_s: float) -> None:
        """Take a measured factor."""
        if link[1] < 0 or not np.isfinite(factor):
            return
        before = self._factors.get(link)
        share = 1.0 if before is None else 1.0 - np.exp(-max(elapsed_s, 1e-3) / _FACTOR_S)
        self._factors[link] = factor if before is None else before + share * (factor - before)

    def start(self, links: set[Link], joints: int, stamp_ns: int, remember_s: float) -> WorldTrack:
        """Begin a track; it has a former one's number where a camera knows the person."""
        number = -1
        for link in sorted(links):
            old, seen_ns = self._known.get(link, (-1, 0))
            free = all(track.id != old for track in self.tracks)
            if old >= 0 and free and 0 <= stamp_ns - seen_ns <= remember_s * 1e9:
                number = old
                break
        if number < 0:
            number, self._next = self._next, self._next + 1
        nan = np.full((joints, 3), np.nan)
        track = WorldTrack(
            number, stamp_ns, stamp_ns, nan, np.full(joints, np.nan), np.zeros((joints, 3))
        )
        self.tracks.append(track)
        return track

    def link(self, track: WorldTrack, links: set[Link], stamp_ns: int) -> None:
        """Remember which tracks of cameras a person is."""
        track.links = links
        for link in links:
            if link[1] >= 0:
                self._known.pop(link, None)
                self._known[link] = track.id, stamp_ns
        while len(self._known) > _MOST_LINKS:
            oldest = next(iter(self._known))
            self._known.pop(oldest)
            self._factors.pop(oldest, None)

    def remove_lost(self, stamp_ns: int, lost_s: float, lost_new_s: float) -> list[WorldTrack]:
        """Let go whom nobody has seen for long; return them, LOST."""
        gone = [
            track
            for track in self.tracks
            if stamp_ns - track.seen_ns > (lost_s if track.confirmed else lost_new_s) * 1e9
        ]
        for track in gone:
            track.state = TrackState.LOST
        self.tracks = [track for track in self.tracks if track not in gone]
        return gone

    def clear(self) -> None:
        """Forget everybody; numbers go on."""
        self.tracks.clear()
        self._known.clear()
        self._factors.clear()

"""Keypoints: who was seen where in a clip, as a file says it, checked.

One entry is one person in one frame. Frames without anybody are frames all the same, so that what
comes out has as many as what went in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trpose_ros.people import JointState
from trpose_ros.skeletons import get_skeleton

PIXELS, SHARES, SCREEN = 'px', 'shares', 'screen'
UNITS = (PIXELS, SHARES, SCREEN)
_LARGEST_FRAME = 10**9
_LARGEST_NS = 2**62
_LARGEST_PX = 1e6  # beyond it a coordinate is an error
_MOST_VALUES = 200_000_000
_NEAR_ONE = 1.2  # scores up to it are probabilities of a network without a last sigmoid
_SMALL = 2.0  # pixels of a whole clip are never all below it


class KeypointError(ValueError):
    """A file does not hold what is needed; the message names file, value and remedy."""


@dataclass(frozen=True)
class Keypoints:
    """M people in F frames; J joints of ``skeleton``."""

    name: str  # of the file, for messages
    skeleton: str
    frames: np.ndarray  # (F,) int64 numbers, ascending, without repetition
    rows: np.ndarray  # (M,) index into frames, ascending
    joints: np.ndarray  # (M, J, 2) float64 in ``unit``, NaN missing
    scores: np.ndarray  # (M, J) float64 in 0..1, NaN none
    states: np.ndarray  # (M, J) uint8 JointState, as far as the file says it
    ids: np.ndarray  # (M,) int64, -1 none
    unit: str = PIXELS  # or shares of width and height, or screen: x from -1 to 1 over the width
    size: tuple[int, int] | None = None  # width, height, px
    rate_hz: float | None = None
    stamps_ns: np.ndarray | None = None  # (F,) int64
    problems: tuple[str, ...] = ()

    @property
    def most_people(self) -> int:
        """Return the largest number of people in a frame."""
        return int(np.bincount(self.rows).max()) if len(self.rows) else 0

    def told_ids(self) -> np.ndarray | None:
        """Return the ids (M,), None where the file has none; raises KeypointError for bad ones."""
        known = self.ids >= 0
        if not known.any():
            return None
        if not known.all():
            raise KeypointError(
                f'{self.name}: {known.sum()} people have a track id and {(~known).sum()} have '
                'none; give --ignore-ids to tell people apart by where they are'
            )
        pairs = np.stack([self.frames[self.rows], self.ids], axis=1)
        unique, counts = np.unique(pairs, axis=0, return_counts=True)
        if (counts > 1).any():
            frame, track = unique[counts > 1][0]
            raise KeypointError(
                f'{self.name}: track id {track} occurs {counts.max()} times in frame {frame}; '
                'give --ignore-ids to tell people apart by where they are'
            )
        return self.ids


@dataclass
class Collector:
    """What a reader fills, frame by frame, in any order."""

    name: str
    skeleton: str
    unit: str = PIXELS
    size: tuple[int, int] | None = None
    rate_hz: float | None = None
    seen: list[int] = field(default_factory=list)  # all frames, without people too
    stamps: dict[int, int] = field(default_factory=dict)  # frame -> ns
    problems: list[str] = field(default_factory=list)
    _people: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray | None]] = field(
        default_factory=list
    )

    def frame(self, number: int) -> None:
        """Say that there is a frame, whether or not somebody is in it."""
        if abs(number) > _LARGEST_FRAME:
            raise KeypointError(
                f'{self.name}: frame number {number!s:.40} is too large: renumber the frames'
            )
        self.seen.append(number)

    def time(self, number: int, stamp_ns: int) -> None:
        """Say when a frame was."""
        if not 0 <= stamp_ns < _LARGEST_NS:
            raise KeypointError(
                f'{self.name}: {stamp_ns!s:.40} ns is no time; give --rate to count frames instead'
            )
        self.stamps[number] = stamp_ns

    def add(
        self,
        frame: int,
        joints: Any,
        scores: Any = None,
        track: int = -1,
        states: np.ndarray | None = None,
    ) -> None:
        """Take a person: joints (J, 2) or more columns, scores (J,), or None without any."""
        count = get_skeleton(self.skeleton).num_joints
        self.frame(frame)
        where = f'{self.name}, frame {frame}'
        if track >= 2**31:
            raise KeypointError(f'{where}: track id {track!s:.40} is too large: renumber them')
        points = numbers(joints, where)
        if points.ndim != 2 or points.shape[0] != count or points.shape[1] < 2:
            raise KeypointError(
                f'{where}: {self.skeleton} has {count} joints, but the person has an array of '
                f'{points.shape}; name the right order with --skeleton'
            )
        sure = np.full(count, np.nan) if scores is None else numbers(scores, where).ravel()
        if sure.shape != (count,):
            raise KeypointError(f'{where}: {count} joints have {sure.size} scores')
        self._people.append((frame, max(track, -1), points[:, :2].copy(), sure, states))

    def done(self) -> Keypoints:
        """Sort, check and return everything; raises KeypointError."""
        if not self._people:
            raise KeypointError(
                f'{self.name} holds nobody ({len(set(self.seen))} frames); was the detector run '
                'on the right video?'
            )
        order = sorted(range(len(self._people)), key=lambda i: self._people[i][0])
        if order != list(range(len(order))):
            self.problems.append(f'{self.name}: frames were not in order; they were sorted')
        people = [self._people[i] for i in order]
        frames = np.unique(np.array(self.seen, np.int64))
        numbers_ = np.array([p[0] for p in people], np.int64)
        rows = np.searchsorted(frames, numbers_)
        ids = np.array([p[1] for p in people], np.int64)
        joints, scores = np.stack([p[2] for p in people]), np.stack([p[3] for p in people])
        states = np.full(scores.shape, int(JointState.UNKNOWN), np.uint8)
        for i, person in enumerate(people):
            if person[4] is not None:
                states[i] = person[4]
        joints = self._checked(joints)
        scores = self._probabilities(scores)
        stamps = None
        if self.stamps:
            stamps = np.array([self.stamps.get(int(f), -1) for f in frames], np.int64)
            if (stamps < 0).any() or (np.diff(stamps) <= 0).any():
                raise KeypointError(
                    f'{self.name}: times must rise from frame to frame, and every frame needs '
                    'one; give --rate to count frames instead'
                )
        return Keypoints(
            *(self.name, self.skeleton, frames, rows, joints, scores, states, ids),
            unit=self.unit,
            size=self.size,
            rate_hz=self.rate_hz,
            stamps_ns=stamps,
            problems=tuple(self.problems),
        )

    def _checked(self, joints: np.ndarray) -> np.ndarray:
        if joints.size > _MOST_VALUES:
            raise KeypointError(f'{self.name} has {joints.size} numbers, too many: cut it')
        missing = ~np.isfinite(joints).all(axis=2)
        joints[missing] = np.nan
        if missing.all():
            raise KeypointError(f'{self.name}: all {missing.size} joints are NaN: nobody was found')
        far = np.nanmax(np.abs(joints))
        if far > _LARGEST_PX:
            raise KeypointError(f'{self.name}: a joint lies at {far:.3g}: no image is as large')
        if self.unit == PIXELS and far <= _SMALL:
            raise KeypointError(
                f'{self.name}: all coordinates lie within {far:.3g}, which are no pixels; give '
                '--unit shares (of width and height) or --unit screen (x from -1 to 1)'
            )
        if self.unit != PIXELS and np.nanmedian(np.abs(joints)) > _SMALL:
            raise KeypointError(
                f'{self.name}: coordinates up to {far:.3g} are no {self.unit}; give --unit px'
            )
        return joints

    def _probabilities(self, scores: np.ndarray) -> np.ndarray:
        known = np.isfinite(scores)
        most = float(scores[known].max()) if known.any() else 0.0
        if most > _NEAR_ONE or (known & (scores < 0)).any():
            self.problems.append(
                f'{self.name}: scores from {scores[known].min():.3g} to {most:.3g} are no '
                'probabilities and not used'
            )
            return np.full_like(scores, np.nan)
        return np.where(known, np.minimum(scores, 1), np.nan)


def numbers(values: Any, where: str) -> np.ndarray:
    """Return a float64 array, None as NaN; raises KeypointError for anything else."""
    try:
        array = np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise KeypointError(f'{where}: {values!r:.80} are no numbers') from error
    return array


_DIGITS = re.compile(r'(\d+)(?!.*\d)')


def frames_of(names: Sequence[Any]) -> dict[Any, int]:
    """Return the frame number of each name: a number, or the last digits, or the rank."""
    unique = list(dict.fromkeys(names))
    if all(isinstance(n, int) and not isinstance(n, bool) for n in unique):
        return {n: n for n in unique}
    found = [_DIGITS.search(str(n).rpartition('.')[0] or str(n)) for n in unique]
    counted = [int(m[1]) if m and len(m[1]) <= 12 else None for m in found]
    if None not in counted and len(set(counted)) == len(counted):
        return {n: int(c or 0) for n, c in zip(unique, counted, strict=True)}
    return {n: i for i, n in enumerate(sorted(unique, key=str))}

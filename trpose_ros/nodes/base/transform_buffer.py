"""What tf has said about coordinate frames: a tree of transforms, each with its last ten seconds.

For environments without tf2_ros. Between two stamps a transform is interpolated, before the first
and after the last one there is none: nothing is guessed. A frame has one parent; what its
publisher says last counts, also when it moves the frame to another parent or starts time again.
"""

from __future__ import annotations

import bisect
import math
import threading
from dataclasses import dataclass, field

import numpy as np

from trpose_ros.transforms import IDENTITY, Transform, interpolate

KEPT_NS = 10_000_000_000  # as long as tf2
_JUMP_NS = 2_000_000_000  # a stamp so far before the last one: time began again
_MOST_FRAMES = 5000
_MOST_STAMPS = 20_000  # of a frame
_HEAP = 64  # a list forgets its beginning slowly: so many stamps at once
_FARTHEST_M = 1e8
_NAMED = 8  # frames that an error lists
_LENGTH_TOLERANCE = 0.01  # of a quaternion; as tf2


class TransformError(ValueError):
    """No transform; ``reason`` is a short name for it, ``may_come`` whether waiting may help."""

    def __init__(self, reason: str, text: str, may_come: bool = False) -> None:
        super().__init__(text)
        self.reason = reason
        self.may_come = may_come


@dataclass
class _Frame:
    """The transforms of one frame in its parent, by rising stamps; one alone where it is static."""

    parent: str
    static: bool
    stamps_ns: list[int] = field(default_factory=list)
    transforms: list[Transform] = field(default_factory=list)

    def add(self, stamp_ns: int, transform: Transform) -> None:
        """Take one more; what is older than the last ten seconds goes."""
        stamps = self.stamps_ns
        if self.static or (stamps and stamp_ns < stamps[-1] - _JUMP_NS):
            stamps.clear()
            self.transforms.clear()
        at = bisect.bisect_left(stamps, stamp_ns)
        if at < len(stamps) and stamps[at] == stamp_ns:
            self.transforms[at] = transform
            return
        stamps.insert(at, stamp_ns)
        self.transforms.insert(at, transform)
        old = bisect.bisect_left(stamps, stamps[-1] - KEPT_NS)
        old = max(old, len(stamps) - _MOST_STAMPS)
        if old > _HEAP:
            del stamps[:old], self.transforms[:old]

    def at(self, name: str, stamp_ns: int) -> Transform:
        """Return the transform at a time; raises TransformError beyond what is known."""
        stamps = self.stamps_ns
        if self.static:
            return self.transforms[0]
        i = bisect.bisect_left(stamps, stamp_ns)
        if i < len(stamps) and stamps[i] == stamp_ns:
            return self.transforms[i]
        edge = f'the transform of {name!r} in {self.parent!r}'
        if i == len(stamps):
            raise TransformError(
                'future',
                f'{edge} has come up to {(stamp_ns - stamps[-1]) * 1e-9:.3f} s before the time of '
                'the image: raise tf_timeout_s when it comes late; else compare the clocks',
                may_come=True,
            )
        if i == 0:
            raise TransformError(
                'past',
                f'{edge} begins {(stamps[0] - stamp_ns) * 1e-9:.3f} s after the time of the image: '
                'compare the clocks, use_sim_time among them',
            )
        share = (stamp_ns - stamps[i - 1]) / (stamps[i] - stamps[i - 1])
        return interpolate(self.transforms[i - 1], self.transforms[i], share)


class TransformBuffer:
    """Takes transforms as they come, in any thread, and answers for a moment."""

    def __init__(self) -> None:
        self._frames: dict[str, _Frame] = {}
        self._lock = threading.Lock()

    def add(
        self, parent: str, child: str, stamp_ns: int, transform: Transform, static: bool = False
    ) -> None:
        """Take a transform that takes points of ``child`` to ``parent``.

        Raises:
            TransformError: if it cannot be one; it names the value.

        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        transform = _checked(parent, child, transform)
        with self._lock:
            frame = self._frames.get(child)
            if frame is None and len(self._frames) >= _MOST_FRAMES:
                raise TransformError('refused', f'more than {_MOST_FRAMES} frames: {child!r:.80}')
            if frame is None or frame.parent != parent or frame.static != static:
                frame = self._frames[child] = _Frame(parent, static)
            frame.add(stamp_ns, transform)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """Return what takes points of ``source`` to ``target`` at a time.

        Raises:
            TransformError: if there is no such transform; it names the frame or the time.

        """
        target, source = target.lstrip('/'), source.lstrip('/')
        with self._lock:
            self._check_known(target, source)
            above_source, above_target = self._above(source), self._above(target)
            common = next((name for name in above_source if name in above_target), None)
            if common is None:
                raise TransformError(
                    'disconnected',
                    f'{source!r} and {target!r} are not connected: one tree ends at '
                    f'{above_source[-1]!r}, the other at {above_target[-1]!r}; publish a transform '
                    'between the two',
                    may_come=True,
                )
            up = self._climb(above_source, common, stamp_ns)
            return self._climb(above_target, common, stamp_ns).inverse() @ up

    def _check_known(self, *names: str) -> None:
        known = set(self._frames) | {frame.parent for frame in self._frames.values()}
        for name in names:
            if name not in known:
                listed = ', '.join(sorted(known)[:_NAMED])
                more = f' and {len(known) - _NAMED} others' if len(known) > _NAMED else ''
                there = f'there are {listed}{more}' if known else 'nothing has come on /tf'
                raise TransformError(
                    'missing_frame',
                    f'tf knows no frame {name!r}; {there}: publish it, or correct the name',
                    may_come=True,
                )

    def _above(self, name: str) -> list[str]:
        """Return a frame and those above it, up to the one that has no parent."""
        names = [name]
        while (frame := self._frames.get(names[-1])) is not None:
            if frame.parent in names:
                raise TransformError(
                    'circle', f'the parents of {name!r} lead in a circle at {frame.parent!r}'
                )
            names.append(frame.parent)
        return names

    def _climb(self, names: list[str], to: str, stamp_ns: int) -> Transform:
        """Return what takes points of the first of some frames to the one of them called ``to``."""
        total = IDENTITY
        for name in names[: names.index(to)]:
            total = self._frames[name].at(name, stamp_ns) @ total
        return total


def _checked(parent: str, child: str, transform: Transform) -> Transform:
    """Return a transform with a quaternion of length 1; raises TransformError with the reason."""
    edge = f'transform of {child!r:.80} in {parent!r:.80}'
    if not parent or not child or parent == child:
        raise TransformError('refused', f'{edge} refused: it needs two frames that have names')
    values = [*transform.quaternion.tolist(), *transform.translation_m.tolist()]
    length = math.hypot(*values[:4])
    near = all(abs(value) <= _FARTHEST_M for value in values)  # of NaN, too
    if not near or abs(length - 1.0) > _LENGTH_TOLERANCE:
        raise TransformError(
            'refused',
            f'{edge} refused: rotation {values[:4]} must have length 1, translation {values[4:]} '
            f'must be finite and below {_FARTHEST_M:g} m',
        )
    return Transform(np.array(values[:4]) / length, np.array(values[4:]))

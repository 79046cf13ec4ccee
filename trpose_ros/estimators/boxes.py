"""Where people are: sources of boxes for people whom nobody tracks yet; a registry by name.

A box source is made by ``factory(**settings)`` and offers ``boxes(frame) -> (N, 5)``: x, y (upper
left), width, height in pixels, score in 0..1 (NaN: none). A new one registers itself with
``@BOX_SOURCES.register('name')``.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trpose_ros.people import Frame
from trpose_ros.registry import Registry


class BoxSource(Protocol):
    """Finds people in a frame."""

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) float32: x, y, width, height in px, score."""
        ...


_KEPT = 32  # messages that wait for a frame
BOX_SOURCES: Registry[Callable[..., BoxSource]] = Registry(
    'box source', {'detector': 'trpose_ros.estimators.detector'}
)


@BOX_SOURCES.register('image')
class WholeImage:
    """The last resort: one box that is the whole image, without a score."""

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (1, 5): the image's own rectangle."""
        size = (frame.camera.width, frame.camera.height)
        return np.array([[0.0, 0.0, *size, np.nan]], np.float32)


@dataclass(frozen=True)
class StampedBoxes:
    """Boxes that somebody found in the image with a stamp."""

    stamp_ns: int
    rows: np.ndarray  # (N, 5) float32: x, y, width, height px, score
    size: tuple[int, int] = (0, 0)  # width and height of the image they are of; 0: as the frame's


class BoxesByStamp:
    """Boxes found elsewhere, e.g. by another node, given to the frames that they fit best.

    A detector may be slower than the camera or look at other images than are estimated: a frame
    gets the boxes whose stamp is nearest to its own, at most ``max_age_s`` away. Boxes serve one
    frame alone; after that the tracker knows where these people are, and boxes of the past would
    only find them again where they are no longer. Thread-safe: one thread adds, another asks.
    """

    told = True  # asking costs nothing: the pose stage does it in every frame

    def __init__(self, max_age_s: float = 0.5) -> None:
        """Keep boxes for at most ``max_age_s`` of stamps."""
        self.max_age_s = max_age_s
        self.answer_ns = 0  # stamp of the boxes given last
        self.counts = {'received': 0, 'used': 0, 'too_old': 0}
        self._lock = threading.Lock()
        self._waiting: deque[StampedBoxes] = deque(maxlen=_KEPT)

    def add(self, boxes: StampedBoxes) -> None:
        """Take boxes; they wait for a frame."""
        with self._lock:
            self._waiting.append(boxes)
            self.counts['received'] += 1

    def clear(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._waiting.clear()

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) boxes in px of the frame; none when no stamp is near enough."""
        nothing = np.zeros((0, 5), np.float32)
        with self._lock:
            limit_ns = round(self.max_age_s * 1e9)
            late = [b for b in self._waiting if b.stamp_ns < frame.stamp_ns - limit_ns]
            near = [b for b in self._waiting if abs(b.stamp_ns - frame.stamp_ns) <= limit_ns]
            self.counts['too_old'] += len(late)
            best = min(near, key=lambda b: abs(b.stamp_ns - frame.stamp_ns), default=None)
            passed = {id(b) for b in late}
            if best is not None:  # older ones say less about this frame, and nothing about others
                passed |= {id(b) for b in near if b.stamp_ns <= best.stamp_ns}
                self.counts['used'] += 1
                self.answer_ns = best.stamp_ns
            kept = [b for b in self._waiting if id(b) not in passed]
            self._waiting = deque(kept, maxlen=_KEPT)
        if best is None:
            return nothing
        rows = best.rows[np.isfinite(best.rows[:, :4]).all(axis=1)].astype(np.float32)
        if all(best.size):
            ratio = np.array([frame.camera.width, frame.camera.height]) / best.size
            rows[:, :4] = rows[:, :4] * np.tile(ratio, 2)
        return rows

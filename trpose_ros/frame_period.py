"""The time between frames, measured by their stamps: what is short depends on the camera.

One measure serves everybody who waits for something for a number of seconds and must not give up
between two frames of a slow camera or a slow computer. It is the smaller median of the last
intervals, so neither lost frames nor one pause change it; the first interval counts at once,
because a slow stream must be known as one from its second frame on.
"""

from __future__ import annotations

from collections import deque

_MEMORY = 5  # intervals
_LONGEST_S = 2.0  # frames farther apart are single pictures, nothing that people move through


class FramePeriod:
    """Measures one stream of frames; times in seconds, stamps in ns."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._last_ns: int | None = None
        self._intervals_ns: deque[int] = deque(maxlen=_MEMORY)

    def __len__(self) -> int:
        """Return how many intervals are known, at most those that are remembered."""
        return len(self._intervals_ns)

    def reset(self) -> None:
        """Forget all frames."""
        self._last_ns = None
        self._intervals_ns.clear()

    def push(self, stamp_ns: int) -> None:
        """Take a frame. A repeated stamp tells nothing; one before the last starts afresh."""
        if self._last_ns is not None and stamp_ns < self._last_ns:
            self._intervals_ns.clear()
        elif self._last_ns is not None and stamp_ns > self._last_ns:
            self._intervals_ns.append(stamp_ns - self._last_ns)
        self._last_ns = stamp_ns

    @property
    def seconds(self) -> float:
        """The period so far, 0.0 before the second frame; the true one, however long."""
        return _smaller_median(list(self._intervals_ns)) * 1e-9

    def with_frame_at(self, stamp_ns: int) -> float:
        """Return the period, s, as if a frame had this stamp, up to 2 s; 0.0 when unknown."""
        intervals = list(self._intervals_ns)
        if self._last_ns is not None and stamp_ns > self._last_ns:
            intervals = [*intervals, stamp_ns - self._last_ns][-_MEMORY:]
        return min(_smaller_median(intervals) * 1e-9, _LONGEST_S)


def _smaller_median(intervals: list[int]) -> int:
    return sorted(intervals)[(len(intervals) - 1) // 2] if intervals else 0

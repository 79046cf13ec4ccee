"""From stamps to network frames: a lifter was trained at one rate and sees another.

A clock places each observation of a track on the grid of network frames:

* the camera's rate fits (its period is a whole number of network periods within 5 %, judged by
  the median of the last intervals): the observation *is* a network frame. Nothing is
  interpolated, so jitter of stamps does not turn into noise of positions; the grid follows the
  stamps slowly. Frames left out in between (dropped, or a camera at half the rate) are
  interpolated linearly;
* it does not fit: network frames are interpolated linearly at the grid's times, and an
  observation lies between two of them.

In both cases time comes from stamps; no frame is counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

_MEMORY = 15  # intervals that the camera's rate is judged by
_TOLERANCE = 0.05  # of the period; a faster or slower world by this much is accepted
_FIRST_TOLERANCE = 0.1  # further tolerance while few intervals are known
_FOLLOW = 0.25  # share of a stamp's deviation that the grid follows


@dataclass(frozen=True)
class Placement:
    """Network frames that an observation completes, and where it lies itself."""

    shares: tuple[float, ...]  # new network frames: 0 = previous observation, 1 = this one
    position: float  # of the observation, in network frames since the track's first


class FrameClock:
    """Places the observations of one track on the grid of network frames."""

    def __init__(self, rate_hz: float) -> None:
        self.period_s = 1.0 / rate_hz
        self.count = 0  # network frames so far
        self.stamp_ns = 0  # of the last observation
        self._grid_s = 0.0  # time of the last network frame, since the last observation
        self._intervals: deque[float] = deque(maxlen=_MEMORY)

    @property
    def ratio(self) -> float:
        """Median interval between observations, in network periods; NaN before the second."""
        return float(np.median(self._intervals)) if self._intervals else float('nan')

    def fits(self) -> bool:
        """Say whether the observations' rate is the network's, or that divided by an integer."""
        ratio = self.ratio
        whole = max(1.0, np.round(ratio))
        tolerance = _TOLERANCE + _FIRST_TOLERANCE / max(1, len(self._intervals))
        return bool(abs(ratio / whole - 1) <= tolerance)

    def first(self, stamp_ns: int) -> Placement:
        """Place the first observation: network frame 0."""
        self.count, self.stamp_ns, self._grid_s = 1, stamp_ns, 0.0
        self._intervals.clear()
        return Placement((1.0,), 0.0)

    def place(self, stamp_ns: int) -> Placement:
        """Place a later observation; its stamp must be after the last one's."""
        interval = (stamp_ns - self.stamp_ns) * 1e-9
        if interval <= 0:
            raise ValueError(f'stamp {stamp_ns} is not after the last one, {self.stamp_ns}')
        self._intervals.append(interval / self.period_s)
        self.stamp_ns = stamp_ns
        grid_s = self._grid_s - interval  # relative to this observation now
        if self.fits():
            frames = int(np.round(-grid_s / self.period_s))
            shares = tuple((i + 1) / frames for i in range(frames))
            grid_s = (1 - _FOLLOW) * (grid_s + frames * self.period_s)
            position = float(self.count + frames - 1)
        else:
            frames = max(0, int(np.floor(-grid_s / self.period_s + 1e-6)))
            times = grid_s + self.period_s * np.arange(1, frames + 1)
            shares = tuple(float(s) for s in np.clip(1 + times / interval, 0, 1))
            grid_s += frames * self.period_s
            position = self.count + frames - 1 + max(0.0, -grid_s / self.period_s)
            if position - (self.count + frames - 1) < 1e-5:
                position = float(self.count + frames - 1)
        self._grid_s = grid_s
        self.count += frames
        return Placement(shares, position)

    def close(self) -> Placement:
        """Place the last observation on the grid's next frame, if it lies past the last one."""
        self.count += 1
        return Placement((1.0,), float(self.count - 1))

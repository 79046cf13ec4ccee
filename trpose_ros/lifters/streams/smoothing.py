"""Smoothing a lifted motion: each pose becomes a weighted mean of those around it.

A network looks at a window, but answers each frame anew, so its poses tremble by some
millimetres. A mean over the ``side`` poses before and after takes the tremble away and, being
symmetric, does not drag the motion behind. It costs ``side`` frames of future, which the network
can spare: given one frame to smooth, it needs far less future for the same steadiness
(docs/models.md). The weights are those of a Hann window.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class Smoother:
    """Means over a few poses on the grid of network frames.

    Attributes:
        side: poses on each side that take part; 0 leaves every pose as it is.

    """

    def __init__(self, side: int) -> None:
        self.side = side
        self._weights = [hann_weights(reach) for reach in range(side + 1)]

    def __call__(self, poses: Mapping[int, np.ndarray], index: int) -> np.ndarray:
        """Return the smoothed pose of a network frame.

        Args:
            poses: (J, 3) by network frame. ``index`` must be among them; near the beginning of a
                track, where fewer than ``side`` are there before it, as few are taken behind it.
            index: of the network frame.

        """
        reach = 0
        while reach < self.side and {index - reach - 1, index + reach + 1} <= poses.keys():
            reach += 1
        if reach == 0:
            return poses[index]
        around = np.stack([poses[i] for i in range(index - reach, index + reach + 1)])
        weights = self._weights[reach].astype(around.dtype)
        return np.asarray(np.tensordot(weights, around, axes=1))


def hann_weights(side: int) -> np.ndarray:
    """Return (2 * side + 1,) symmetric positive weights of sum 1 that fall towards both ends."""
    steps = np.arange(-side, side + 1)
    weights = 1 + np.cos(np.pi * steps / (side + 1))
    return np.asarray(weights / weights.sum())

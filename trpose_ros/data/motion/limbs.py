"""Arms of one movement on the body of another: poses that nobody recorded, and that people take.

An hour of motion holds few combinations of what arms and legs do. Arms, shoulders included, move
with the upper trunk, so they are carried over in its frame of reference.
"""

from __future__ import annotations

import numpy as np

# Human3.6M order, see skeletons.py.
_HIP, _THORAX, _LEFT, _RIGHT = 0, 8, 11, 14
_ARMS = (11, 12, 13, 14, 15, 16)
_HANDS = (13, 16)
_OTHERS = (1, 2, 3, 4, 5, 6, 9, 10)  # what hands may touch
_APART_M = 0.15


def swap_arms(joints_m: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Give a share of windows (B, T, 17, 3), metres, the arms of other windows of the batch.

    Left alone are windows where a hand is nearer than 0.15 m to the other hand, a leg or the head,
    before or after: there the arms belong to the rest.
    """
    taker = np.flatnonzero(rng.random(len(joints_m)) < share)
    giver = rng.integers(len(joints_m), size=len(taker))
    free = ~_touches(joints_m[giver])
    taker, giver = taker[free], giver[free]
    taken = joints_m[taker].copy()
    frames, others = _trunk(taken), _trunk(joints_m[giver])
    arms = joints_m[giver][:, :, _ARMS] - joints_m[giver][:, :, _THORAX, None]
    arms = arms @ np.swapaxes(others, -1, -2) @ frames  # rows: into the giver's frame, and out
    taken[:, :, _ARMS] = taken[:, :, _THORAX, None] + arms
    good = ~_touches(taken) & ~_touches(joints_m[taker])
    result = joints_m.copy()
    result[taker[good]] = taken[good]
    return result


def _trunk(joints_m: np.ndarray) -> np.ndarray:
    """Return (..., 3, 3) whose rows are the axes of the upper trunk: across, up, forward."""
    up = _unit(joints_m[..., _THORAX, :] - joints_m[..., _HIP, :])
    across = joints_m[..., _LEFT, :] - joints_m[..., _RIGHT, :]
    across = _unit(across - (across * up).sum(axis=-1, keepdims=True) * up)
    return np.stack([across, up, np.cross(across, up)], axis=-2)


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-6)


def _touches(joints_m: np.ndarray) -> np.ndarray:
    """Return (B,) whether a hand is near the other hand, a leg or the head in any frame."""
    hands = joints_m[:, :, _HANDS]
    near = np.linalg.norm(hands[:, :, 0] - hands[:, :, 1], axis=-1) < _APART_M
    gaps = np.linalg.norm(hands[:, :, :, None] - joints_m[:, :, None, _OTHERS], axis=-1)
    return np.asarray(near.any(axis=1) | (gaps < _APART_M).any(axis=(1, 2, 3)))

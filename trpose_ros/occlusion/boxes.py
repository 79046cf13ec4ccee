"""Reference boxes: what the truncation conditions of protocol v1 are measured against."""

from __future__ import annotations

import numpy as np


def reference_boxes(joints_px: np.ndarray, window: int = 25) -> np.ndarray:
    """Return the smoothed reference boxes (T, 4), x y w h, of one person's joints (T, J, 2), px.

    The joints' bounding box is padded by 12 % of its height on top, 6 % at the bottom and 12 % of
    its width on each side; centre and size are then smoothed by a centred mean over ``window``
    frames (fewer at the ends). Frames without joints do not count; NaN where no frame does.
    """
    joints_px = np.asarray(joints_px, dtype=np.float64)
    if joints_px.ndim != 3 or joints_px.shape[2] != 2:
        raise ValueError(f'joints_px must be (T, J, 2), got shape {joints_px.shape}')
    known = np.isfinite(joints_px).all(axis=2)
    low = np.where(known[..., None], joints_px, np.inf).min(axis=1, initial=np.inf)
    high = np.where(known[..., None], joints_px, -np.inf).max(axis=1, initial=-np.inf)
    size = np.where(known.any(axis=1)[:, None], high - low, np.nan)
    low = np.where(np.isfinite(size), low, np.nan)
    low = low - np.stack([0.12 * size[:, 0], 0.12 * size[:, 1]], axis=1)
    size = size * (1.24, 1.18)
    values = np.concatenate([low + size / 2, size], axis=1)
    half, smooth = window // 2, np.full_like(values, np.nan)
    counts = np.isfinite(values[:, 0])
    for t in range(len(values)):
        near = slice(max(0, t - half), t + half + 1)
        if counts[near].any():
            smooth[t] = values[near][counts[near]].mean(axis=0)
    return np.concatenate([smooth[:, :2] - smooth[:, 2:] / 2, smooth[:, 2:]], axis=1)


def union_box(boxes_px: np.ndarray) -> np.ndarray:
    """Return the smallest box (4,) around boxes (T, 4); NaN boxes do not count."""
    boxes = np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    if not len(boxes):
        return np.full(4, np.nan)
    low, high = boxes[:, :2].min(axis=0), (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    return np.concatenate([low, high - low])

"""Lift whole clips, the plain way: one full forward pass per window, nothing reused.

This is what the published evaluations compute, extended by the look-ahead dial. It is the
reference that the streams are held to, and the whole-window side of the benchmarks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from trpose_ros.skeletons import get_skeleton

Forward = Callable[[Tensor], Tensor]


def window_indices(
    frames: int, window: int, target: int, look_ahead: int, step: int = 1
) -> np.ndarray:
    """Return (T, window) frame indices of the window that lifts each frame of a clip.

    The lifted frame is entry ``target`` of its window; entries are ``step`` frames apart. Entries
    before the clip repeat its first frame; entries after the clip, or later than ``look_ahead``
    frames after the lifted one, repeat the last frame allowed.
    """
    now = np.arange(frames)[:, None]
    wanted = now + step * (np.arange(window) - target)
    return np.clip(wanted, 0, np.minimum(now + look_ahead, frames - 1))


@torch.no_grad()
def lift_windows(
    forward: Forward, joints: Tensor, indices: np.ndarray, output: int, flip: bool, batch: int = 32
) -> Tensor:
    """Lift a clip (T, J, 2) window by window to (T, J, 3), the root set to zero.

    ``forward`` maps (B, window, J, 2) to (B, M, J, 3), of which entry ``output`` is kept.
    """
    parts = []
    for rows in torch.from_numpy(indices).split(batch):
        windows = joints[rows]
        pose = forward(windows)[:, output]
        if flip:
            mirrored = forward(mirror_joints(windows))[:, output]
            pose = (pose + mirror_joints(mirrored)) / 2
        parts.append(pose)
    lifted = torch.cat(parts)
    lifted[:, 0] = 0
    return lifted


def mirror_joints(joints: Tensor) -> Tensor:
    """Return (..., 17, C) joints with left and right swapped and x negated."""
    mirrored = joints[..., get_skeleton('h36m_17').mirror.copy(), :].clone()
    mirrored[..., 0] *= -1
    return mirrored


@torch.no_grad()
def lift_chunks(forward: Forward, joints: Tensor, window: int, flip: bool) -> Tensor:
    """Lift a clip (T, J, 2) as MixSTE's evaluation does: disjoint windows, all frames kept.

    The last window is the last ``window`` frames; a shorter clip is extended by its last frame.
    Where two windows overlap the earlier result stays.
    """
    frames = len(joints)
    padded = torch.cat([joints, joints[-1:].expand(max(0, window - frames), -1, -1)])
    starts = list(range(0, max(1, len(padded) - window + 1), window))
    if starts[-1] + window < len(padded):
        starts.append(len(padded) - window)
    lifted = joints.new_full((len(padded), joints.shape[1], 3), torch.nan)
    for start in reversed(starts):
        part = padded[None, start : start + window]
        pose = forward(part)
        if flip:
            pose = (pose + mirror_joints(forward(mirror_joints(part)))) / 2
        lifted[start : start + window] = pose[0]
    lifted[:, 0] = 0
    return lifted[:frames]

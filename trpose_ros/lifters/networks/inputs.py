"""Joints as a lifter's first layer takes them.

The published networks take normalised screen coordinates as they are. In those a person's place and
size in the image differ by far more from window to window than the pose does, and a network first
has to learn to undo both. Networks of our own training may take each frame's joints relative to
its root, enlarged, and divided by a power of the person's size in that frame. Below a power of 1
nothing is lost: the size that is left tells how near somebody is. A training of the same length
comes much further (docs/training.md).
"""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = 1e-3  # half image widths; a person is never as small, joints on one spot are


def from_root(joints: Tensor, times: float, size_power: float) -> Tensor:
    """Return joints (..., J, 2 or 3) less the root, ``times`` as large; 0 = as they are.

    What lies between joints and root is divided by its root mean square over the frame's joints,
    to the power ``size_power``. The root itself, joint 0, stays where it is, and so do marks in the
    third place.
    """
    if not times:
        return joints
    root = joints[..., :1, :2]
    offsets = joints[..., 1:, :2] - root
    if size_power:
        size = offsets.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp_min(_SMALLEST)
        offsets = offsets * size**-size_power
    flat = torch.cat([root, offsets * times], dim=-2)
    return torch.cat([flat, joints[..., 2:]], dim=-1)

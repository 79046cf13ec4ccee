"""Joints as a lifter's first layer takes them.

The published networks take normalised screen coordinates as they are. In those a person's place in
the image differs by far more from window to window than the pose does, and a network first has to
learn to subtract one from the other. Networks of our own training may take each frame's joints
relative to its root, enlarged: a linear map that loses nothing, after which a short training
comes much further (docs/training.md).
"""

from __future__ import annotations

import torch
from torch import Tensor


def from_root(joints: Tensor, times: float) -> Tensor:
    """Return joints (..., J, 2 or 3) less the root, ``times`` as large; 0 = as they are.

    The root itself, joint 0, stays where it is, and so do marks in the third place.
    """
    if not times:
        return joints
    root = joints[..., :1, :2]
    flat = torch.cat([root, (joints[..., 1:, :2] - root) * times], dim=-2)
    return torch.cat([flat, joints[..., 2:]], dim=-1)

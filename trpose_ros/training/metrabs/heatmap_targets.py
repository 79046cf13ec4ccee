"""Cross-entropy of heatmaps: the two cells next to the truth on every axis share the mass.

Their expectation is then the true position, so that it agrees with the soft-argmax.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trpose_ros.metrabs.heatmaps import HeatmapGeometry


def plane_cross_entropy(logits: Tensor, joints_px: Tensor, geometry: HeatmapGeometry) -> Tensor:
    """Return (B, J): cross-entropy of heatmaps (B, J, H, W) with joints (B, J, 2), crop px."""
    cells = (joints_px - geometry.first_px) / geometry.stride
    target = plane_target(cells, logits.shape[-1])
    return -(logits.flatten(2).log_softmax(dim=-1) * target).sum(dim=-1)


def plane_target(cells: Tensor, side: int) -> Tensor:
    """Return (B, J, side * side): bilinear weights of positions (B, J, 2), x and y in cells."""
    x, y = hats(cells[..., 0], side), hats(cells[..., 1], side)
    return (y[..., :, None] * x[..., None, :]).flatten(2)


def hats(position: Tensor, count: int) -> Tensor:
    """Return (..., count): linear weights of the two cells next to a position."""
    cells = torch.arange(count, dtype=position.dtype, device=position.device)
    return (1 - (position.clamp(0, count - 1)[..., None] - cells).abs()).clamp(min=0)

"""Heatmap head and its decoding by soft-argmax.

Sarandi et al., "MeTRAbs: metric-scale truncation-robust heatmaps for absolute 3D human pose
estimation", T-BIOM 2020. One 1x1 convolution predicts, for J joints and D depth bins, J heatmaps
over the image plane (2D, in pixels of the crop) and J volumes whose three axes are millimetres
around the person (3D, up to an unknown shift). Because the volume is metric and not tied to the
crop's borders, a joint outside the image still has a cell: that is the truncation robustness.

Channel order: J 2D heatmaps, then D x J 3D heatmaps with depth outermost and joint innermost.
Coordinates are expectations under the softmax; cells lie at linspace(0, 1, n) on every axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch import nn


@dataclass(frozen=True)
class HeatmapGeometry:
    """How cells map to pixels and millimetres; all that decoding and reconstruction need."""

    proc_side: int = 256  # side of the crop, px
    stride: int = 32
    depth: int = 8  # bins along z
    box_size_mm: float = 2200.0  # side of the metric volume
    centered_stride: bool = True
    legacy_centered_stride_bug: bool = False

    def __post_init__(self) -> None:
        """Validate sizes."""
        if self.stride <= 0 or self.proc_side < 2 * self.stride:
            raise ValueError(
                f'proc_side must be at least two strides, got {self.proc_side} px '
                f'with stride {self.stride}'
            )
        if self.depth < 2 or not self.box_size_mm > 0:
            raise ValueError(
                f'depth must be at least 2 bins and box_size_mm positive, got {self.depth} '
                f'and {self.box_size_mm}'
            )

    @property
    def last_px(self) -> int:
        """Pixel of the last cell, relative to the first one."""
        return (self.proc_side - 1) - (self.proc_side - 1) % self.stride

    @property
    def first_px(self) -> int:
        """Pixel of the first cell.

        The legacy flag repeats a slip of one published checkpoint: half a stride is added in
        decoding although the backbone did not shift its samples.
        """
        half = self.stride // 2
        return half * (int(self.centered_stride) + int(self.legacy_centered_stride_bug))

    @property
    def view_px(self) -> tuple[float, float]:
        """Inclusive pixel range in which a 2D soft-argmax is trusted.

        The expectation cannot leave the grid of cell centres and is pulled inwards near its
        border, so the outer three quarters of a cell do not count as seen.
        """
        offset = 0.0 if self.centered_stride else -(self.stride // 2)
        low = 0.75 * self.stride + offset
        high = self.proc_side - 0.75 * self.stride + offset
        return low, high


class HeatmapHead(nn.Module):
    """The 1x1 convolution from features to the J + D J heatmaps."""

    def __init__(self, channels: int, num_joints: int, depth: int) -> None:
        super().__init__()
        self.conv_final = nn.Conv2d(channels, num_joints * (1 + depth), 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, J + D J, H, W)."""
        return self.conv_final(features)


def decode(logits: Tensor, geometry: HeatmapGeometry) -> tuple[Tensor, Tensor]:
    """Return 2D joints (B, J, 2) in crop pixels and 3D joints (B, J, 3) in mm, origin unknown.

    ``logits`` is (B, J + D J, H, W) in the channel order of the module's docstring; the softmax
    is computed in float32 at least. Raises ValueError when the channels do not divide by 1 + D.
    """
    batch, channels, height, width = logits.shape
    depth = geometry.depth
    if channels % (1 + depth):
        raise ValueError(
            f'{channels} heatmap channels do not divide by 1 + depth = {1 + depth}; '
            'the checkpoint has another depth'
        )
    joints = channels // (1 + depth)
    if logits.dtype != torch.float64:
        logits = logits.float()
    plane = logits[:, :joints].reshape(batch, joints, -1).softmax(dim=-1)
    plane = plane.reshape(batch, joints, height, width)
    volume = logits[:, joints:].reshape(batch, depth, joints, height, width).transpose(1, 2)
    volume = volume.reshape(batch, joints, -1).softmax(dim=-1)
    volume = volume.reshape(batch, joints, depth, height, width)
    flat = volume.sum(dim=2)
    px2d = torch.stack([_expect(plane.sum(2)), _expect(plane.sum(3))], dim=-1)
    px3d = torch.stack([_expect(flat.sum(2)), _expect(flat.sum(3))], dim=-1)
    z = _expect(volume.sum(dim=(3, 4))) * geometry.box_size_mm
    coords2d = px2d * geometry.last_px + geometry.first_px
    xy = (px3d * geometry.last_px + geometry.first_px) * geometry.box_size_mm
    xy = xy / geometry.proc_side
    return coords2d, torch.cat([xy, z[..., None]], dim=-1)


def _expect(marginal: Tensor) -> Tensor:
    """Return the expected position in 0..1 under a marginal (..., n)."""
    cells = torch.linspace(0, 1, marginal.shape[-1], dtype=marginal.dtype, device=marginal.device)
    return (marginal * cells).sum(dim=-1)

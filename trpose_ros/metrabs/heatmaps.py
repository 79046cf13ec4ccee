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
from typing import NamedTuple

import torch
from torch import Tensor, nn


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


class HeatmapSpread(NamedTuple):
    """Standard deviations of the heatmaps as distributions: how sure the network is."""

    px: Tensor  # (B, J) of the 2D heatmap, root of the summed variances of both axes
    mm: Tensor  # (B, J) of the 3D heatmap, root of the summed variances of three axes


def decode(logits: Tensor, geometry: HeatmapGeometry) -> tuple[Tensor, Tensor]:
    """Return 2D joints (B, J, 2) in crop pixels and 3D joints (B, J, 3) in mm, origin unknown.

    ``logits`` is (B, J + D J, H, W) in the channel order of the module's docstring; the softmax
    is computed in float32 at least. Raises ValueError when the channels do not divide by 1 + D.
    """
    return _coordinates(_marginals(logits, geometry.depth), geometry)


def plane_coordinates(plane: Tensor, geometry: HeatmapGeometry) -> Tensor:
    """Return the expected positions (B, J, 2), crop px, of distributions (B, J, H, W)."""
    expected = torch.stack([_expect(plane.sum(2)), _expect(plane.sum(3))], dim=-1)
    return expected * geometry.last_px + geometry.first_px


def decode_with_spread(
    logits: Tensor, geometry: HeatmapGeometry
) -> tuple[Tensor, Tensor, HeatmapSpread]:
    """Return what decode does and the heatmaps' spread."""
    marginals = _marginals(logits, geometry.depth)
    mm_per_px = geometry.box_size_mm / geometry.proc_side
    u, v, x, y, z = (_variance(marginal) for marginal in marginals)
    plane = (x + y) * (geometry.last_px * mm_per_px) ** 2
    spread = HeatmapSpread(
        px=(u + v).sqrt() * geometry.last_px, mm=(plane + z * geometry.box_size_mm**2).sqrt()
    )
    return *_coordinates(marginals, geometry), spread


def _marginals(logits: Tensor, depth: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the distributions (B, J, n) over x and y of the 2D, x, y and z of the 3D heatmaps."""
    batch, channels, height, width = logits.shape
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
    return plane.sum(2), plane.sum(3), flat.sum(2), flat.sum(3), volume.sum(dim=(3, 4))


def _coordinates(marginals: tuple[Tensor, ...], geometry: HeatmapGeometry) -> tuple[Tensor, Tensor]:
    u, v, x, y, z = (_expect(marginal) for marginal in marginals)
    coords2d = torch.stack([u, v], dim=-1) * geometry.last_px + geometry.first_px
    xy = torch.stack([x, y], dim=-1) * geometry.last_px + geometry.first_px
    xy = xy * geometry.box_size_mm / geometry.proc_side
    return coords2d, torch.cat([xy, z[..., None] * geometry.box_size_mm], dim=-1)


def _expect(marginal: Tensor) -> Tensor:
    """Return the expected position in 0..1 under a marginal (..., n)."""
    cells = torch.linspace(0, 1, marginal.shape[-1], dtype=marginal.dtype, device=marginal.device)
    return (marginal * cells).sum(dim=-1)


def _variance(marginal: Tensor) -> Tensor:
    """Return the variance of the position in 0..1 under a marginal (..., n)."""
    cells = torch.linspace(0, 1, marginal.shape[-1], dtype=marginal.dtype, device=marginal.device)
    return (marginal * (cells - _expect(marginal)[..., None]).square()).sum(dim=-1)

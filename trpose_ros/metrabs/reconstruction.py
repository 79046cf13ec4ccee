"""From 2D pixels and root-free metric 3D to absolute 3D in the camera frame.

The network says where each joint appears (2D, crop pixels) and how the body is arranged in
millimetres up to a shift. The shift t is the one that makes the shifted body project onto the 2D
joints: with rays n = K^-1 [c; 1], every joint gives t_a - n_a t_z = n_a r_z - r_a for a = x, y,
a linear system in three unknowns (Sarandi et al., T-BIOM 2020, section III-C). Joints outside the
trusted window get next to no weight, because a 2D soft-argmax saturates at the crop's border.

Conditioning: the t_z column is divided by the RMS of n and the right side by its own RMS before a
ridge of 0.01 is added. The original takes both RMS values over the whole batch, so that one
person's depth depends on who else is in view; here each person is normalised alone unless
``compatible`` asks for the original. The normal matrix is an arrow: eliminating t_x and t_y (its
Cholesky factorisation written out) leaves one division, which needs no library call, is done in
float64 and has finite gradients everywhere.

Bad input has a defined result: a person with a non-finite coordinate or camera becomes NaN
and touches nobody else, and ``solvable`` says for whom depth is determined by the data at all.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from trpose_ros.metrabs.heatmaps import HeatmapGeometry

_TINY_WEIGHT = 1e-4  # row weight of joints outside the window
_RIDGE = 1e-2
_MIN_RMS = 1e-12
_MIN_SPREAD = 1e-3  # standard deviation of the rays below which depth is noise (about 1 px)


class Reconstruction(NamedTuple):
    """Absolute joints and what they rest on."""

    abs_mm: Tensor  # (B, J, 3) camera frame
    in_view: Tensor  # (B, J) bool: the 2D estimate lies in the trusted window
    solvable: Tensor  # (B,) bool: finite, at least two distinct joints in view, in front


def rays_of(coords2d: Tensor, intrinsics: Tensor) -> Tensor:
    """Return (B, J, 2): x / z and y / z of pixels (B, J, 2) under intrinsics (B, 3, 3)."""
    a, b = intrinsics[:, None, 0, 0], intrinsics[:, None, 0, 1]
    c, d = intrinsics[:, None, 1, 0], intrinsics[:, None, 1, 1]
    x = coords2d[..., 0] - intrinsics[:, None, 0, 2]
    y = coords2d[..., 1] - intrinsics[:, None, 1, 2]
    determinant = a * d - b * c
    return torch.stack([(d * x - b * y) / determinant, (a * y - c * x) / determinant], dim=-1)


def in_view_mask(coords2d: Tensor, geometry: HeatmapGeometry) -> Tensor:
    """Return (B, J) bool: which 2D joints (B, J, 2), crop px, lie in the trusted window."""
    low, high = geometry.view_px
    return ((coords2d >= low) & (coords2d <= high)).all(dim=-1)


def reconstruct(
    coords2d: Tensor,
    coords3d_rel: Tensor,
    intrinsics: Tensor,
    geometry: HeatmapGeometry,
    *,
    mix: float | Tensor | None = 0.5,
    weak: bool = False,
    compatible: bool = False,
) -> Reconstruction:
    """Return absolute joints of B people.

    ``coords2d`` (B, J, 2) crop px, ``coords3d_rel`` (B, J, 3) mm, ``intrinsics`` (B, 3, 3) of the
    crops. ``mix`` is the share (number or (B,)) of the metric estimate for joints in view, the
    rest being the 2D ray at the metric depth; None means the ray alone. ``weak`` uses the weak
    perspective model (for the first steps of training), ``compatible`` the original's
    normalisation over the whole batch. Computed in float64, returned in the input's dtype.
    """
    dtype = coords3d_rel.dtype
    finite = torch.isfinite(coords2d).all(dim=-1).all(dim=-1)
    finite &= torch.isfinite(coords3d_rel).all(dim=-1).all(dim=-1)
    finite &= torch.isfinite(intrinsics).all(dim=-1).all(dim=-1)
    finite &= intrinsics[:, 0, 0] * intrinsics[:, 1, 1] != intrinsics[:, 0, 1] * intrinsics[:, 1, 0]
    gate = finite[:, None, None]
    eye = torch.eye(3, dtype=torch.float64, device=coords2d.device)
    camera = torch.where(gate, intrinsics.double(), eye)
    rays = rays_of(torch.where(gate, coords2d.double(), 0.0), camera)
    relative = torch.where(gate, coords3d_rel.double(), 0.0)
    in_view = in_view_mask(coords2d, geometry) & finite[:, None]
    solve = _weak_shift if weak else _full_shift
    shift = solve(rays, relative, in_view, finite if compatible else None)
    metric = relative + shift[:, None]
    ray = torch.cat([rays, torch.ones_like(rays[..., :1])], dim=-1) * metric[..., 2:]
    blended = ray
    if mix is not None:
        share = torch.as_tensor(mix, dtype=torch.float64, device=rays.device).reshape(-1, 1, 1)
        blended = share * metric + (1 - share) * ray
    joints = torch.where(in_view[..., None], blended, metric)
    joints = torch.where(gate, joints, torch.nan)
    return Reconstruction(joints.to(dtype), in_view, finite & _determined(rays, shift, in_view))


def _full_shift(rays: Tensor, relative: Tensor, in_view: Tensor, batch: Tensor | None) -> Tensor:
    """Full perspective: weighted ridge least squares for (t_x, t_y, t_z) per person, (B, 3)."""
    target = rays * relative[..., 2:] - relative[..., :2]  # (B, J, 2)
    ray_rms, target_rms = _rms(rays, batch), _rms(target, batch)  # (B, 1, 1)
    column = rays / ray_rms
    target = target / target_rms
    weight = (in_view.double() + _TINY_WEIGHT).square()[..., None]  # rows are weighted, so squared
    diagonal = weight.sum(dim=1) + _RIDGE  # (B, 1), the same for t_x and t_y
    border = (weight * column).sum(dim=1)  # (B, 2), minus the border of the arrow
    right_xy = (weight * target).sum(dim=1)
    corner = (weight * column.square()).sum(dim=(1, 2)) + _RIDGE
    right_z = -(weight * column * target).sum(dim=(1, 2))
    schur = corner - (border.square() / diagonal).sum(dim=1)
    z = (right_z + (border * right_xy / diagonal).sum(dim=1)) / schur
    xy = (right_xy + border * z[:, None]) / diagonal
    scale = target_rms[:, 0]
    return torch.cat([xy * scale, z[:, None] * scale / ray_rms[:, 0]], dim=1)


def _weak_shift(rays: Tensor, relative: Tensor, in_view: Tensor, batch: Tensor | None) -> Tensor:
    """Weak perspective: depth from the ratio of metric and projected spread, (B, 3)."""
    del batch  # persons are independent in this model
    mask = in_view.double()[..., None]
    count = mask.sum(dim=1).clamp(min=1)  # (B, 1)
    mean_ray = (mask * rays).sum(dim=1) / count
    mean_relative = (mask * relative).sum(dim=1) / count
    spread_3d = _spread(relative[..., :2] - mean_relative[:, None, :2], mask, count)
    spread_2d = _spread(rays - mean_ray[:, None], mask, count)
    depth = spread_3d / spread_2d
    return torch.cat([mean_ray * depth, depth], dim=1) - mean_relative


def _spread(deviation: Tensor, mask: Tensor, count: Tensor) -> Tensor:
    variance = (mask * deviation.square()).sum(dim=(1, 2))[:, None] / count
    return (variance + 1e-10).sqrt().clamp(min=1e-5)


def _rms(values: Tensor, batch: Tensor | None) -> Tensor:
    """RMS per person (B, 1, 1), or over the people marked in ``batch`` for everybody."""
    square = values.square().mean(dim=(1, 2), keepdim=True)
    if batch is not None:
        members = batch.double()[:, None, None]
        square = (square * members).sum() / members.sum().clamp(min=1)
        square = square.expand(len(values), 1, 1)
    return square.clamp(min=_MIN_RMS**2).sqrt()


def _determined(rays: Tensor, shift: Tensor, in_view: Tensor) -> Tensor:
    """Whether the joints in view have some spread and the person comes out in front."""
    mask = in_view.double()[..., None]
    count = mask.sum(dim=1).clamp(min=1)
    mean = (mask * rays).sum(dim=1) / count
    variance = (mask * (rays - mean[:, None]).square()).sum(dim=(1, 2)) / count[:, 0]
    return (in_view.sum(dim=1) >= 2) & (variance > _MIN_SPREAD**2) & torch.isfinite(shift).all(1)

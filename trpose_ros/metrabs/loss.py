"""Training losses of MeTRAbs: supervision only through soft-argmax and reconstruction.

There is no heatmap loss. A batch with 3D labels pays for the pose (mean-centred L1, metres), for
its projection (L1, pixels scaled to metres by the size of the metric volume) and, after a warm-up,
a little for the absolute position. A batch with 2D labels pays for the projection alone.
Means run over valid joints times coordinates. T-BIOM 2020, section III-D; all inputs in mm and px.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.reconstruction import in_view_mask

_NEAR_MM = 1.0  # depth below which a projection has no meaning
_FAR_MM = 10_000.0  # depth errors of people beyond count in proportion
_MAX_STRIDES = 20.0  # a 2D error beyond this is hopeless and would only shake the training


@dataclass(frozen=True)
class LossConfig:
    """Weights and schedule of the losses."""

    projection_weight: float = 1.0
    absolute_weight: float = 0.1
    absolute_from_step: int = 5000  # the absolute loss starts after this step
    min_depth_mm: float = 300.0  # nearer true joints are left out of projected and absolute loss
    weight_2d: float = 0.2  # of the 2D-labelled batch in the total


def project_mm(points_mm: Tensor, intrinsics: Tensor) -> Tensor:
    """Return (B, J, 2) px of camera points (B, J, 3) mm; depth is clipped at 1 mm."""
    normalised = points_mm[..., :2] / points_mm[..., 2:].clamp(min=_NEAR_MM)
    return (
        torch.einsum('bij,bnj->bni', intrinsics[:, :2, :2], normalised)
        + (intrinsics[:, None, :2, 2])
    )


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, J, C) over joints in the mask (B, J) and coordinates; 0 when there are none."""
    mask = mask[..., None].expand_as(values)
    total = torch.where(mask, values, 0.0).sum()
    return total / mask.sum().clamp(min=1)


def loss_3d(
    predicted_mm: Tensor,
    true_mm: Tensor,
    intrinsics: Tensor,
    valid: Tensor,
    step: int,
    geometry: HeatmapGeometry,
    config: LossConfig | None = None,
) -> dict[str, Tensor]:
    """Return {'total', 'relative', 'projected', 'absolute'} of a 3D-labelled batch.

    ``predicted_mm`` and ``true_mm`` (B, J, 3) in the crop camera's frame, ``intrinsics``
    (B, 3, 3), ``valid`` (B, J) bool. True joints that are not valid may hold NaN.
    """
    config = config or LossConfig()
    true_mm = torch.where(valid[..., None], true_mm, 0.0)
    relative = masked_mean(
        (_centred(predicted_mm, valid) - _centred(true_mm, valid)).abs() / 1000, valid
    )
    predicted_px = project_mm(predicted_mm, intrinsics)
    true_px = project_mm(true_mm, intrinsics)
    seen = valid & in_view_mask(predicted_px, geometry)
    seen &= (predicted_px - true_px).norm(dim=-1) < _MAX_STRIDES * geometry.stride
    seen &= (predicted_mm[..., 2] > _NEAR_MM) & (true_mm[..., 2] > config.min_depth_mm)
    metres_per_px = geometry.box_size_mm / 1000 / geometry.proc_side
    projected = masked_mean((predicted_px - true_px).abs() * metres_per_px, seen)
    total = relative + config.projection_weight * projected
    absolute = _absolute(predicted_mm, true_mm, valid & (true_mm[..., 2] > config.min_depth_mm))
    if step > config.absolute_from_step:
        total = total + config.absolute_weight * absolute
    return {'total': total, 'relative': relative, 'projected': projected, 'absolute': absolute}


def _centred(pose_mm: Tensor, valid: Tensor) -> Tensor:
    """Subtract each person's mean over valid joints."""
    weight = valid[..., None].to(pose_mm.dtype)
    mean = (pose_mm * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True).clamp(
        min=1
    )
    return pose_mm - mean


def _absolute(predicted_mm: Tensor, true_mm: Tensor, valid: Tensor) -> Tensor:
    """L1 in metres; the depth error of far people is scaled down to what 10 m would give."""
    difference = (predicted_mm - true_mm).abs() / 1000
    factor = (_FAR_MM / true_mm[..., 2:].abs().clamp(min=_NEAR_MM)).clamp(max=1.0)
    scaled = torch.cat([difference[..., :2], difference[..., 2:] * factor], dim=-1)
    return masked_mean(scaled, valid)


def loss_2d(
    predicted_mm: Tensor,
    true_px: Tensor,
    intrinsics: Tensor,
    valid: Tensor,
    groups: list[list[int]],
    geometry: HeatmapGeometry,
) -> Tensor:
    """Return the projection loss of a 2D-labelled batch.

    ``groups[k]`` are the model's joints whose mean projection is compared with label joint k;
    ``true_px`` (B, K, 2), ``valid`` (B, K) bool.
    """
    predicted_px = project_mm(predicted_mm, intrinsics)
    predicted_px = torch.stack([predicted_px[:, group].mean(dim=1) for group in groups], dim=1)
    true_px = torch.where(valid[..., None], true_px, 0.0)
    metres_per_px = geometry.box_size_mm / 1000 / geometry.proc_side
    seen = valid & in_view_mask(predicted_px, geometry)
    return masked_mean((predicted_px - true_px).abs() * metres_per_px, seen)


def joint_groups(model_joints: list[str], label_joints: list[str]) -> list[list[int]]:
    """Return for every label joint the model's joints whose names start with its name."""
    groups = []
    for label in label_joints:
        group = [i for i, name in enumerate(model_joints) if name.startswith(label)]
        if not group:
            raise ValueError(f'no joint of the model starts with {label!r}; it has {model_joints}')
        groups.append(group)
    return groups

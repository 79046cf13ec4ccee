"""Resampling crops on any torch device, in linear light, against aliasing.

Pixels are made linear (value ^ 2.2), resampled bilinearly from the level of a box-filtered image
pyramid that fits the magnification, and raised to gamma / 2.2 again, so that the brightness
variants of test-time augmentation cost nothing. With ``antialias`` > 1 the crop is rendered that
many times larger and averaged down. Beyond the image is black.

Positions are exact for pinhole cameras; with lens distortion they are computed on a coarse grid
of the crop and interpolated, which stays below a hundredth of a pixel (``exact`` computes all).
This is the reference path and the one for GPUs; warps_cpu.py is the fast one for processors.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trpose_ros.metrabs.crops import CropViews, sampling_positions
from trpose_ros.people import Camera

DISPLAY_GAMMA = 2.2
_LEVELS = 3
_GRID_STEP = 4  # crop px between exactly computed positions


def upload(array: np.ndarray, device: torch.device | str) -> Tensor:
    """Return an array on a device; to a GPU without waiting, through pinned memory."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if torch.device(device).type != 'cuda':
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def pyramid(
    image: np.ndarray, device: torch.device | str = 'cpu', linear: bool = True
) -> list[Tensor]:
    """Return the pyramid of an (H, W, 3) uint8 image: tensors (1, 3, h, w), 0..1.

    In linear light, or with ``linear`` False of the pixel values as they are.
    """
    pixels = upload(image, device)
    levels = [linear_light(pixels) if linear else pixels.permute(2, 0, 1)[None].float() / 255]
    while len(levels) < _LEVELS and min(levels[-1].shape[-2:]) >= 2:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def linear_light(image: Tensor) -> Tensor:
    """Return (1, 3, H, W) float32 in linear light of an (H, W, 3) uint8 image."""
    table = (torch.arange(256, device=image.device, dtype=torch.float32) / 255) ** DISPLAY_GAMMA
    return table[image.long()].permute(2, 0, 1)[None]


def render(
    levels: list[Tensor],
    camera: Camera,
    views: CropViews,
    gammas: np.ndarray,
    antialias: int = 1,
    compatible: bool = False,
    linear: bool = True,
) -> Tensor:
    """Return crops (A, N, 3, S, S) float32 in 0..1.

    ``levels`` from pyramid() with the same ``linear``, ``gammas`` (A,) of the variants.
    ``compatible`` computes all
    positions exactly and repeats the original outside the valid range of a distortion. All crops
    of one pyramid level are one resampling call.
    """
    variants, people = views.magnification.shape
    side = views.side * antialias
    rotation = views.rotation.reshape(-1, 3, 3)
    intrinsics = _enlarged(views.intrinsics.reshape(-1, 3, 3), antialias)
    total = views.magnification.ravel() * antialias
    chosen = np.floor(-np.log2(total)).clip(0, len(levels) - 1).astype(int)
    crops = levels[0].new_zeros((variants * people, 3, side, side))
    for level in np.unique(chosen):
        members = np.flatnonzero(chosen == level)
        grid = _sampling_grid(
            rotation[members],
            intrinsics[members],
            camera,
            int(level),
            levels[level],
            side,
            compatible,
        )
        flat = grid.reshape(1, -1, side, 2)
        drawn = F.grid_sample(levels[level], flat, 'bilinear', 'zeros', align_corners=True)
        drawn = drawn.reshape(3, len(members), side, side).transpose(0, 1)
        crops[upload(members, crops.device)] = drawn
    if antialias > 1:
        crops = F.avg_pool2d(crops, antialias)
    exponent = np.repeat(gammas, people) / (DISPLAY_GAMMA if linear else 1.0)
    if (exponent != 1.0).any():
        power = upload(exponent.astype(np.float32), crops.device)
        crops = crops.clamp(min=0) ** power[:, None, None, None]
    return crops.reshape(variants, people, 3, views.side, views.side)


def _enlarged(intrinsics: np.ndarray, factor: int) -> np.ndarray:
    """Return the intrinsics (K, 3, 3) of crops ``factor`` times as large, corners aligned."""
    result = intrinsics.copy()
    result[:, :2, :2] *= factor
    result[:, :2, 2] = (result[:, :2, 2] + 0.5) * factor - 0.5
    return result


def _sampling_grid(
    rotation: np.ndarray,
    intrinsics: np.ndarray,
    camera: Camera,
    level: int,
    image: Tensor,
    side: int,
    compatible: bool,
) -> Tensor:
    """Return sampling positions (K, side, side, 2) in grid_sample's -1..1."""
    height, width = image.shape[-2:]
    to_unit = 2.0 / np.array([max(width - 1, 1), max(height - 1, 1)])
    shrink, shift = 0.5**level, 0.5 * 0.5**level - 0.5
    if camera.model == 'pinhole' and not camera.distortion.any():
        matrix = camera.matrix.copy()
        matrix[:2] = matrix[:2] * shrink + shift * np.array([0.0, 0.0, 1.0])
        matrix[:2] = matrix[:2] * to_unit[:, None] - np.array([0.0, 0.0, 1.0])
        homography = matrix @ np.linalg.inv(intrinsics @ rotation)
        return _through_homography(homography, side, image.device, compatible)
    step = 1 if compatible else _GRID_STEP
    axis = np.arange(-(-(side - 1) // step) + 1, dtype=np.float64) * step
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    position = np.stack(
        [
            sampling_positions(r, k, camera, grid, compatible)
            for r, k in zip(rotation, intrinsics, strict=True)
        ]
    )
    position = (position * shrink + shift) * to_unit - 1.0
    position = np.nan_to_num(position, nan=-9.0, posinf=9.0, neginf=-9.0).clip(-1e6, 1e6)
    where = upload(position.astype(np.float32), image.device)
    if step == 1:
        return where
    fine = (len(axis) - 1) * step + 1
    where = F.interpolate(
        where.permute(0, 3, 1, 2), (fine, fine), mode='bilinear', align_corners=True
    )
    return where[:, :, :side, :side].permute(0, 2, 3, 1)


def _through_homography(
    homography: np.ndarray, side: int, device: torch.device, compatible: bool
) -> Tensor:
    """Apply (K, 3, 3) to all crop pixels; rays behind the camera look outside the image."""
    matrix = upload(homography.astype(np.float32), device)
    axis = torch.arange(side, dtype=torch.float32, device=device)
    y, x = axis[:, None, None], axis[None, :, None]
    columns = matrix.transpose(1, 2)[:, :, None, None]  # (K, 3, 1, 1, 3): columns of the matrix
    rays = columns[:, 0] * x + columns[:, 1] * y + columns[:, 2]
    depth = rays[..., 2:]
    if not compatible:
        depth = torch.where(depth > 1e-6, depth, torch.nan)
    return (rays[..., :2] / depth).nan_to_num(-9.0, 9.0, -9.0).clamp(-1e6, 1e6)

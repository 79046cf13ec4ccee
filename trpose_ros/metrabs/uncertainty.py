"""How sure MeTRAbs is of a joint: the published networks never say.

What tells on a wrong joint, in millimetres at its distance: the spread of its 2D and of its 3D
heatmap, the disagreement of the two heads, how far it lies outside the part of the crop that the
2D head can reach, how much of the person that part holds and how large it is there (depth rests
on both), the means of spread and disagreement over the person (depth is wrong for all joints at
once), and the distance itself. The log of the standard deviation is linear in the logs of these,
with an offset per joint, once across and once along the line of sight; the weights are those of
largest Gaussian likelihood on rendered people (training/metrabs/uncertainty.py) and are kept in the
header of the network's file. Variants of test-time augmentation are a mixture: their scatter is
added to the mean covariance.

A network without such weights (a published one) has the scatter of its variants alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc

from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.inference import CropPoses

FEATURES = (
    'spread of 2D',
    'spread of 3D',
    'disagreement',
    'outside',
    'share outside',
    'distance',
    "person's spread of 2D",
    "person's spread of 3D",
    "person's disagreement",
    "person's size in view",
)
_FLOOR_MM = 10.0  # differences below this tell nothing
_NEAREST_MM = 100.0
_MIN_SIZE = 0.03  # of a crop side: standard deviation of joints in view
_SIGMA_MM = (3.0, 5000.0)  # range of a standard deviation
_MIN_VARIANTS = 3  # whose scatter is worth stating


@dataclass(frozen=True)
class UncertaintyModel:
    """Weights of the log-linear model; the last J columns are the joints' offsets."""

    across: np.ndarray  # (F + J,) natural log of mm
    along: np.ndarray  # (F + J,)

    def to_json(self) -> str:
        """Return the text for a weights file's header."""
        values = {name: np.round(getattr(self, name), 5).tolist() for name in ('across', 'along')}
        return json.dumps({'features': list(FEATURES)} | values)

    @classmethod
    def from_json(cls, text: str, joints: int) -> UncertaintyModel:
        """Read a header; raises ValueError for other features or another number of joints."""
        values = json.loads(text)
        if values.get('features') != list(FEATURES):
            raise ValueError(f'uncertainty with features {values.get("features")}, not {FEATURES}')
        across, along = (np.array(values[name], np.float64) for name in ('across', 'along'))
        wanted = (len(FEATURES) + joints,)
        if across.shape != wanted or along.shape != wanted:
            raise ValueError(f'uncertainty of shapes {across.shape}, {along.shape}, not {wanted}')
        if not (np.isfinite(across).all() and np.isfinite(along).all()):
            raise ValueError('uncertainty of numbers that are not finite')
        return cls(across, along)

    def sigmas_mm(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return standard deviations across and along the line of sight, (B, J) each.

        ``features`` (B, J, F) from ``features_of``.
        """
        count = len(FEATURES)
        low, high = np.log(_SIGMA_MM)
        logs = [
            features @ weights[:count] + weights[count:] for weights in (self.across, self.along)
        ]
        return np.exp(logs[0].clip(low, high)), np.exp(logs[1].clip(low, high))


def features_of(poses: CropPoses, intrinsics: np.ndarray, geometry: HeatmapGeometry) -> np.ndarray:
    """Return features (B, J, F) of crops with intrinsics (B, 3, 3): natural logs."""
    depth = np.maximum(poses.abs_mm[..., 2].astype(np.float64), _NEAREST_MM)
    focal = np.sqrt(intrinsics[:, 0, 0] * intrinsics[:, 1, 1])[:, None]
    mm_per_px = depth / focal  # (B, J)
    px = poses.abs_mm[..., :2] / depth[..., None]
    px = np.einsum('bij,bnj->bni', intrinsics[:, :2, :2], px) + intrinsics[:, None, :2, 2]
    # A joint in view is the mean of both heads: their distance is twice that to the mean.
    apart = 2 * np.linalg.norm(px - poses.coords2d, axis=-1) * mm_per_px
    low, high = geometry.view_px
    outside = np.linalg.norm(np.maximum(np.maximum(low - px, px - high), 0), axis=-1) * mm_per_px
    hidden = 1.0 - poses.in_view.mean(axis=1, keepdims=True)
    single = [
        np.log(poses.spread_px * mm_per_px + _FLOOR_MM),
        np.log(poses.spread_mm + _FLOOR_MM),
        np.log(np.where(poses.in_view, apart, 0.0) + _FLOOR_MM),
    ]
    columns = [
        *single,
        np.log(outside + 10 * _FLOOR_MM),
        hidden,
        np.log(depth / 1000),
        *(column.mean(axis=1, keepdims=True) for column in single),
        np.log(_size_in_view(poses) / geometry.proc_side + _MIN_SIZE),
    ]
    return np.stack([np.broadcast_to(column, apart.shape) for column in columns], axis=-1)


def _size_in_view(poses: CropPoses) -> np.ndarray:
    """Return (B, 1): root mean square distance of the joints in view from their middle, px."""
    seen = poses.in_view[..., None]
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    middle = np.where(seen, poses.coords2d, 0.0).sum(axis=1, keepdims=True) / count
    square = np.where(seen, (poses.coords2d - middle) ** 2, 0.0).sum(axis=(1, 2))
    return np.sqrt(square / count[:, 0, 0])[:, None]


def covariances_mm2(
    model: UncertaintyModel, features: np.ndarray, joints_mm: np.ndarray
) -> np.ndarray:
    """Return (..., J, 3, 3): ellipsoids along the lines of sight to joints (..., J, 3)."""
    across, along = model.sigmas_mm(features)
    length = np.linalg.norm(joints_mm, axis=-1, keepdims=True)
    sight = joints_mm / np.maximum(length, 1e-9)
    outer = sight[..., :, None] * sight[..., None, :]
    across2, along2 = across[..., None, None] ** 2, along[..., None, None] ** 2
    return across2 * (np.eye(3) - outer) + along2 * outer


def mix_variants(poses_mm: np.ndarray, covariances: np.ndarray | None) -> np.ndarray | None:
    """Return the covariance (N, J, 3, 3) of the mean over variants, poses (A, N, J, 3).

    ``covariances`` (A, N, J, 3, 3) of the variants; None counts their scatter alone, as the same
    in all directions, and gives None for too few variants.
    """
    deviation = poses_mm - poses_mm.mean(axis=0)
    if covariances is not None:
        scatter = (deviation[..., :, None] * deviation[..., None, :]).mean(axis=0)
        return covariances.mean(axis=0) + scatter
    if len(poses_mm) < _MIN_VARIANTS:
        return None
    variance = (deviation**2).sum(axis=(0, -1)) / (len(poses_mm) - 1) / 3
    return np.maximum(variance, _SIGMA_MM[0] ** 2)[..., None, None] * np.eye(3)


def near(covariances: np.ndarray, radius_mm: float = 100.0) -> np.ndarray:
    """Return the probability (...) that the error is below ``radius_mm``: a score in 0..1.

    Of a Gaussian with the same variance in all directions as (..., 3, 3) has on average.
    """
    variance = np.trace(covariances, axis1=-2, axis2=-1) / 3
    return gammainc(1.5, radius_mm**2 / variance / 2)  # chi-squared with three degrees

"""One skeleton out of the rays of several cameras: weighted least squares, joint by joint.

A joint lies where the squared distances to its rays are least, each in units of what the ray's
angle allows at that distance. The single camera's own 3D adds a weak piece of knowledge along its
ray, and the prediction from before a weak one in all directions, so that a joint that one camera
sees, or none, still has a place. Outliers (left and right exchanged, a hand that was taken for
another's) are weighted down: first as Huber does, whose sum has one minimum, then as Cauchy does.

The distance of one camera's 3D is wrong by a factor that all joints of a person have in common
(nobody sees size). Where other cameras say where some joints are, that factor is known, and those
that one camera alone sees are corrected by it: ``depth_factors``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_HUBER = 1.5  # standard deviations
_CAUCHY = 2.0
_ROUNDS = 4
_LAST_ROUNDS = 4
_NEAR_M = 0.1
_START_M = 3.0  # of a joint without any depth
_RIDGE = 1e-4  # 1/m^2: keeps what nobody says anything about solvable
_FACTORS = (0.5, 2.0)
_FEWEST = 4  # joints that say a factor
_RAY_SIGMA_M = 0.12  # of joints that count for that


@dataclass(frozen=True)
class Rays:
    """What V cameras say of one person with J joints; NaN no value."""

    origins_m: np.ndarray  # (V, 3)
    rays: np.ndarray  # (V, J, 3)
    sigmas: np.ndarray  # (V, J) rad
    depths_m: np.ndarray  # (V, J) along the rays
    depth_sigmas_m: np.ndarray  # (V, J)


@dataclass(frozen=True)
class Prediction:
    """Where joints are expected."""

    joints_m: np.ndarray  # (J, 3), NaN unknown
    sigmas_m: np.ndarray  # (J,)


@dataclass(frozen=True)
class Solution:
    """A skeleton, and what it rests on."""

    joints_m: np.ndarray  # (J, 3)
    covariances_m2: np.ndarray  # (J, 3, 3)
    weights: np.ndarray  # (V, J) of each ray: 1 as it is, towards 0 for an outlier, 0 without one
    residuals: np.ndarray  # (V, J) rad between joint and ray
    left_out_m: np.ndarray  # (V, J, 3) the joints without that camera
    left_out_m2: np.ndarray  # (V, J, 3, 3) and their covariances


def triangulate(
    rays: Rays, prediction: Prediction | None = None, begin_m: np.ndarray | None = None
) -> Solution:
    """Return the skeleton; a joint that nobody says anything about has a covariance of metres.

    ``begin_m`` (J, 3) is nearly right already: outliers are told from it at once.
    """
    v, j = rays.sigmas.shape
    known = np.isfinite(rays.sigmas) & np.isfinite(rays.rays).all(axis=-1)
    unit = np.where(known[..., None], rays.rays, 0.0)
    beside = np.eye(3) - unit[..., :, None] * unit[..., None, :]  # (V, J, 3, 3)
    origins = rays.origins_m[:, None]
    depth_info, depth_value = _depth_terms(rays, unit, known)
    prior_info, prior_value = _prior_terms(prediction, j)
    rough = _ROUNDS if begin_m is None else 0
    joints = _begin(rays, unit, known, prediction) if begin_m is None else begin_m
    weights = known.astype(np.float64)
    info = np.zeros((v, j, 3, 3))
    value = np.zeros((v, j, 3))
    for turn in range(rough + _LAST_ROUNDS):
        offset = joints - origins
        distance = np.maximum(np.einsum('vjc,vjc->vj', unit, offset), _NEAR_M)
        sigma = np.where(known, rays.sigmas, 1.0) * distance
        if turn or not rough:
            error = np.linalg.norm(np.einsum('vjcd,vjd->vjc', beside, offset), axis=-1) / sigma
            weights = known * _weights(error, turn >= rough)
        scale = (weights / sigma**2)[..., None, None]
        ray_info = scale * beside
        info = ray_info + depth_info * weights[..., None, None]
        value = np.einsum('vjcd,vjd->vjc', ray_info, np.broadcast_to(origins, unit.shape))
        value = value + depth_value * weights[..., None]
        joints = _solve(info.sum(axis=0) + prior_info, value.sum(axis=0) + prior_value)
    total, right = info.sum(axis=0) + prior_info, value.sum(axis=0) + prior_value
    offset = joints - origins
    distance = np.maximum(np.linalg.norm(offset, axis=-1), _NEAR_M)
    residuals = np.linalg.norm(np.einsum('vjcd,vjd->vjc', beside, offset), axis=-1) / distance
    # The prediction was made with all cameras: it would keep to what a moved one says.
    without = total - prior_info - info + _RIDGE * np.eye(3)
    alone = right - prior_value - value
    return Solution(
        joints,
        np.linalg.inv(total),
        weights,
        np.where(known, residuals, np.nan),
        _solve(without, alone),
        np.linalg.inv(without),
    )


def _weights(error: np.ndarray, last: bool) -> np.ndarray:
    """Return the weights of errors in standard deviations, 0..1."""
    if last:
        return np.asarray(1.0 / (1.0 + (error / _CAUCHY) ** 2))
    return np.asarray(np.minimum(1.0, _HUBER / np.maximum(error, 1e-9)))


def _solve(info: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.solve(info, value[..., None])[..., 0])


def _depth_terms(rays: Rays, unit: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return information (V, J, 3, 3) and its value (V, J, 3) of depths along the rays."""
    usable = known & np.isfinite(rays.depths_m) & np.isfinite(rays.depth_sigmas_m)
    sigma = np.where(usable, rays.depth_sigmas_m, 1.0)
    info = unit[..., :, None] * unit[..., None, :] * (usable / sigma**2)[..., None, None]
    points = rays.origins_m[:, None] + np.where(usable, rays.depths_m, 0.0)[..., None] * unit
    return info, np.einsum('vjcd,vjd->vjc', info, points)


def _prior_terms(prediction: Prediction | None, joints: int) -> tuple[np.ndarray, np.ndarray]:
    info = np.broadcast_to(_RIDGE * np.eye(3), (joints, 3, 3)).copy()
    value = np.zeros((joints, 3))
    if prediction is not None:
        known = np.isfinite(prediction.joints_m).all(axis=-1) & np.isfinite(prediction.sigmas_m)
        strength = np.where(known, 1.0 / np.where(known, prediction.sigmas_m, 1.0) ** 2, 0.0)
        info += strength[:, None, None] * np.eye(3)
        value += strength[:, None] * np.where(known[:, None], prediction.joints_m, 0.0)
    return info, value


def _begin(
    rays: Rays, unit: np.ndarray, known: np.ndarray, prediction: Prediction | None
) -> np.ndarray:
    """Return (J, 3) to begin with: the prediction, or the mean of the cameras' own 3D."""
    depth = np.where(np.isfinite(rays.depths_m), rays.depths_m, _START_M)
    points = rays.origins_m[:, None] + depth[..., None] * unit
    count = np.maximum(known.sum(axis=0), 1)[:, None]
    mean = (points * known[..., None]).sum(axis=0) / count
    if prediction is None:
        return mean
    there = np.isfinite(prediction.joints_m).all(axis=-1, keepdims=True)
    return np.where(there, prediction.joints_m, mean)


def depth_factors(rays: Rays, solution: Solution) -> np.ndarray:
    """Return (V,): by how much each camera's own distances are too short; NaN not known.

    Only joints count that the other cameras place well.
    """
    v = len(rays.origins_m)
    factors = np.full(v, np.nan)
    for k in range(v):
        offset = solution.left_out_m[k] - rays.origins_m[k]
        along = np.einsum('jc,jc->j', rays.rays[k], offset)
        spread = np.einsum('jc,jcd,jd->j', rays.rays[k], solution.left_out_m2[k], rays.rays[k])
        ratio = along / rays.depths_m[k]
        good = np.isfinite(ratio) & (spread < _RAY_SIGMA_M**2) & (solution.weights[k] > 0.3)
        if good.sum() >= _FEWEST:
            factors[k] = np.clip(np.median(ratio[good]), *_FACTORS)
    return factors

"""One person of several cameras as a skeleton: solve, correct distances, say what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trpose_ros.multiview.sights import Sights
from trpose_ros.multiview.triangulation import (
    Prediction,
    Rays,
    Solution,
    depth_factors,
    triangulate,
)
from trpose_ros.people import JointState

Members = Sequence[tuple[int, Sights, int]]  # camera, its sights, the person's row
_KNOWN_DEPTH = 0.04  # share of the distance that stays wrong when a factor is known
_KNOWN_DEPTH_M = 0.06  # and what is wrong with each joint by itself
_HIDDEN_DEPTH_M = 0.15
_COUNTS = 0.2  # weight from which a ray says something
# The best that any camera can say of a joint comes first.
_BEST_FIRST = (
    JointState.VISIBLE,
    JointState.UNKNOWN,
    JointState.OCCLUDED,
    JointState.TRUNCATED,
)


@dataclass(frozen=True)
class Joined:
    """A person at one time."""

    solution: Solution
    factors: np.ndarray  # (V,) of the cameras' distances, NaN not measured now
    states: np.ndarray  # (J,) uint8
    scores: np.ndarray  # (J,)
    error_px: float


def join(
    members: Members,
    factors: Sequence[float],
    scales: Sequence[float],
    prediction: Prediction | None,
) -> Joined:
    """Return what cameras see of one person.

    Args:
        members: who sees the person.
        factors: what their distances were too short by until now; 1 where that is not known.
        scales: of their errors; 1 for a camera that is as good as the others.
        prediction: where the joints are expected.

    """
    rays = _rays(members, np.asarray(factors, np.float64), np.asarray(scales, np.float64))
    solution = triangulate(rays, prediction)
    measured = depth_factors(rays, solution)
    if np.isfinite(measured).any():
        rays = _corrected(rays, measured, members, np.asarray(scales, np.float64))
        solution = triangulate(rays, prediction, solution.joints_m)
    states = np.stack([sights.states[row] for _, sights, row in members])
    scores = np.stack([sights.scores[row] for _, sights, row in members])
    return Joined(
        solution,
        measured * np.asarray(factors),
        _states(states, solution.weights),
        np.where(np.isfinite(scores), scores, -np.inf).max(axis=0, initial=-np.inf),
        _error_px(members, solution),
    )


def _rays(members: Members, factors: np.ndarray, scales: np.ndarray) -> Rays:
    known = factors != 1.0
    depths = np.stack([s.depths_m[row] for _, s, row in members]) * factors[:, None]
    sigmas = np.stack([s.depth_sigmas_m[row] for _, s, row in members])
    return Rays(
        origins_m=np.stack([sights.origin_m for _, sights, _ in members]),
        rays=np.stack([sights.rays[row] for _, sights, row in members]),
        sigmas=np.stack([s.sigmas[row] for _, s, row in members]) * scales[:, None],
        depths_m=depths,
        depth_sigmas_m=np.where(known[:, None], _known_sigmas(members, depths), sigmas)
        * scales[:, None],
    )


def _known_sigmas(members: Members, depths_m: np.ndarray) -> np.ndarray:
    seen = np.stack([sights.states[row] == JointState.VISIBLE for _, sights, row in members])
    return np.hypot(_KNOWN_DEPTH * depths_m, np.where(seen, _KNOWN_DEPTH_M, _HIDDEN_DEPTH_M))


def _corrected(rays: Rays, measured: np.ndarray, members: Members, scales: np.ndarray) -> Rays:
    """Return rays with distances as the other cameras say they are."""
    now = np.isfinite(measured)[:, None]
    depths = rays.depths_m * np.where(now, np.nan_to_num(measured)[:, None], 1.0)
    known = _known_sigmas(members, depths) * scales[:, None]
    sigmas = np.where(now, known, rays.depth_sigmas_m)
    return Rays(rays.origins_m, rays.rays, rays.sigmas, depths, sigmas)


def _states(states: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (J,): the best of what cameras (V, J) say that are no outliers."""
    best = np.full(states.shape[1], JointState.UNOBSERVED, np.uint8)
    for state in reversed(_BEST_FIRST):
        best[((states == state) & (weights > _COUNTS)).any(axis=0)] = state
    return best


def _error_px(members: Members, solution: Solution) -> float:
    focal = np.array([[sights.focal_px] for _, sights, _ in members])
    px = (solution.residuals * focal)[solution.weights > _COUNTS]
    return float(px.mean()) if len(px) else float('nan')

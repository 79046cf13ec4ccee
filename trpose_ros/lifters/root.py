"""Where a lifted skeleton stands: its root fitted to the 2D joints and the intrinsics.

A joint at X relative to the root appears along the ray (u, v, 1); with the root at T that says
X_x + T_x = u (X_z + T_z) and X_y + T_y = v (X_z + T_z): two equations, linear in T, per joint.
Weighted least squares solves them. Their residuals are distances in space at the joint's depth, so
the equations are divided by the depth found before and solved again a few times: then the
distance in the image is what is minimised. The image distance that remains is a health signal: it
is large when the skeleton, the 2D joints or the intrinsics are wrong.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.cameras import pixel_rays, project
from trpose_ros.people import Camera, JointState, People, RootSource

_ROUNDS = 4
_LEAST_JOINTS = 3  # two would do in theory; with noise they give depths of no use
_NEAREST_M = 0.05
_IN_SIGHT = (JointState.UNKNOWN, JointState.VISIBLE)  # others are predictions, not measurements


def fit_root(
    joints_rel_m: np.ndarray,
    joints_px: np.ndarray,
    camera: Camera,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the position of each skeleton's root.

    Args:
        joints_rel_m: (N, J, 3) relative to the root, metres, camera frame.
        joints_px: (N, J, 2) pixels of the original (distorted) image, NaN = missing.
        camera: the intrinsics.
        weights: (N, J) not negative; 0 or NaN leaves a joint out (occluded, cut off, doubtful).

    Returns:
        roots_m: (N, 3) camera frame, metres. NaN where fewer than three joints count, where
            they coincide in the image, or where the fit would put one of them behind the camera.
        errors_px: (N,) weighted root mean square distance in the image of the joints that
            count; NaN where the root is.

    Raises:
        ValueError: shapes do not fit, or a weight is negative.

    """
    joints = np.asarray(joints_rel_m, np.float64)
    pixels = np.asarray(joints_px, np.float64)
    if joints.ndim != 3 or joints.shape[2] != 3 or pixels.shape != (*joints.shape[:2], 2):
        raise ValueError(
            f'fit_root takes (N, J, 3) joints and (N, J, 2) pixels, got {joints.shape} and '
            f'{pixels.shape}'
        )
    weights = np.ones(joints.shape[:2]) if weights is None else np.asarray(weights, np.float64)
    if weights.shape != joints.shape[:2]:
        raise ValueError(f'weights must be {joints.shape[:2]}, got {weights.shape}')
    if (weights < 0).any():
        raise ValueError(f'weights must not be negative, got {np.nanmin(weights)}')
    if len(joints) == 0:
        return np.zeros((0, 3)), np.zeros(0)
    roots, weights = fit_to_rays(joints, pixel_rays(pixels, camera)[..., :2], weights)
    errors = _distances(joints + roots[:, None], pixels, camera, weights)
    return roots, np.where(np.isnan(roots[:, 0]), np.nan, errors)


def fit_to_rays(
    joints: np.ndarray, rays: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return roots (N, 3) for skeletons (N, J, 3) and rays (N, J, 2); see ``fit_root``.

    And the weights (N, J), 0 for joints without a ray or a place.
    """
    usable = np.isfinite(rays).all(axis=2) & np.isfinite(joints).all(axis=2) & (weights > 0)
    weights = np.where(usable, weights, 0)
    rays, joints = np.where(usable[..., None], rays, 0), np.where(usable[..., None], joints, 0)
    roots = _solve(joints, rays, weights)
    placed = joints + roots[:, None]
    behind = (usable & ~(placed[..., 2] > _NEAREST_M)).any(axis=1)
    roots[behind | (usable.sum(axis=1) < _LEAST_JOINTS)] = np.nan
    return roots, weights


def place_roots(people: People, trajectory_m: np.ndarray, camera: Camera) -> People:
    """Give root-relative people (source NONE) an absolute position, where one can be found.

    Args:
        people: with the root at the origin where ``root_sources`` is NONE; others stay as they are.
        trajectory_m: (N, 3) roots of the lifter's trajectory model, NaN where it has none; they
            come before the fit.
        camera: intrinsics of the frame.

    Returns:
        People with sources TRAJECTORY or FIT and the image distance of the result; people with
        fewer than three joints in sight stay relative.

    """
    relative = people.root_sources == RootSource.NONE
    relative &= np.isfinite(people.joints_m).all(axis=2).any(axis=1)
    if not relative.any():
        return people
    rows = np.flatnonzero(relative)
    joints = people.joints_m[rows].astype(np.float64)
    pixels = people.joints_px[rows].astype(np.float64)
    weights = np.isin(people.joint_states[rows], _IN_SIGHT).astype(np.float64)
    roots, errors = fit_root(joints, pixels, camera, weights)
    given = np.asarray(trajectory_m, np.float64)[rows]
    known = np.isfinite(given).all(axis=1)
    if known.any():
        roots[known] = given[known]
        errors[known] = _distances(joints + roots[:, None], pixels, camera, weights)[known]
    placed = np.isfinite(roots).all(axis=1)
    rows, chosen = rows[placed], np.where(known, RootSource.TRAJECTORY, RootSource.FIT)[placed]
    joints_m, sources = people.joints_m.copy(), people.root_sources.copy()
    distances = people.reprojection_errors_px.copy()
    joints_m[rows] = (joints + roots[:, None])[placed]
    sources[rows], distances[rows] = chosen, errors[placed]
    return people.replace(joints_m=joints_m, root_sources=sources, reprojection_errors_px=distances)


def _distances(
    joints_m: np.ndarray, pixels: np.ndarray, camera: Camera, weights: np.ndarray
) -> np.ndarray:
    """Return (N,) weighted root mean square image distances; NaN where no joint counts."""
    apart = np.linalg.norm(project(joints_m, camera) - pixels, axis=2)
    usable = np.isfinite(apart) & (weights > 0)
    weights = np.where(usable, weights, 0)
    total = weights.sum(axis=1)
    square = np.where(usable, weights * apart**2, 0).sum(axis=1)
    return np.sqrt(square / np.where(total > 0, total, np.nan))


def _solve(joints: np.ndarray, rays: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return (N, 3) roots by least squares, reweighted by depth; NaN where it is singular."""
    count = len(joints)
    system = np.zeros((*joints.shape[:2], 2, 3))
    system[..., 0, 0] = system[..., 1, 1] = 1
    system[..., 2] = -rays
    wanted = rays * joints[..., 2:] - joints[..., :2]  # (N, J, 2)
    roots = np.full((count, 3), np.nan)
    depth = np.ones(joints.shape[:2])
    for _ in range(_ROUNDS):
        share = weights / depth**2
        normal = np.einsum('nj,njab,njac->nbc', share, system, system)
        right = np.einsum('nj,njab,nja->nb', share, system, wanted)
        size = np.einsum('nbb->n', normal)
        regular = np.linalg.det(normal) > 1e-12 * np.maximum(size, 1e-30) ** 3
        roots = np.full((count, 3), np.nan)
        roots[regular] = np.linalg.solve(normal[regular], right[regular][..., None])[..., 0]
        found = joints[..., 2] + roots[:, 2:]
        depth = np.maximum(np.where(np.isfinite(found), found, 1), _NEAREST_M)
    return roots

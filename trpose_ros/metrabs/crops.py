"""Crop geometry: a virtual camera that turns to the person and looks at it straight on.

For every box the camera is rotated so that its axis passes through the box centre and its x axis
is horizontal with respect to gravity, and zoomed so that the box fills the crop. The crop is thus
what a pinhole camera would have seen: the perspective distortion of people at the image border is
gone, and the lens distortion with it (T-BIOM 2020, section III-E). Aspect ratio and skew of the
real intrinsics survive; the principal point is the crop's centre.

An augmentation variant turns the virtual camera about its axis, mirrors it, or zooms it.
Everything here is numpy in float64: a few numbers per person. Resampling is in warps.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros import cameras
from trpose_ros.metrabs.augmentation import AugmentationTable
from trpose_ros.people import Camera

_UP_DEGENERATE = 1e-4  # sine of the angle between viewing and up direction
_FIXED_POINT_STEPS = 5
_MIN_BOX_PX = 1.0
_SHARES = (0.75, 0.5, 0.25, 0.1)  # of the way from a box's centre to a point without a ray
_ORIGINAL_COEFFICIENTS = 12  # of a lens that the original knows


@dataclass(frozen=True)
class BoxView:
    """Virtual cameras of N boxes before augmentation."""

    rotation: np.ndarray  # (N, 3, 3): camera frame -> view frame
    scale: np.ndarray  # (N,): crop side / person size in px, as seen by the view at focal K
    problem: tuple[str, ...]  # (N,) '' or why the box has no view


@dataclass(frozen=True)
class CropViews:
    """Virtual cameras of A variants of N boxes."""

    rotation: np.ndarray  # (A, N, 3, 3): camera frame -> crop frame, mirroring included
    intrinsics: np.ndarray  # (A, N, 3, 3) of the crops
    magnification: np.ndarray  # (A, N): crop px per image px near the centre
    side: int  # crop side, px


def box_views(
    boxes_px: np.ndarray,
    camera: Camera,
    side: int,
    up: np.ndarray | None = None,
    compatible: bool = False,
) -> BoxView:
    """Return the virtual camera of every box (N, 4): x, y (upper left), width, height in px.

    ``up`` (3,) is the direction against gravity in the camera frame, default (0, -1, 0).
    ``compatible`` undistorts with the original's five fixed-point steps instead of exactly, where
    it knows the lens. A box that reaches beyond the end of a lens counts by what of it has rays,
    and as symmetrical about its centre. Boxes that have no view (not finite, no
    area, no point with a ray) get a reason in ``problem`` and harmless numbers.
    """
    boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
    up = np.array([0.0, -1.0, 0.0]) if up is None else np.asarray(up, np.float64)
    finite = np.asarray(np.isfinite(boxes).all(axis=1))
    area = (boxes[:, 2:] >= _MIN_BOX_PX).all(axis=1) if not compatible else finite
    x, y, w, h = np.where(finite[:, None], boxes, 1.0).T
    points = np.stack(  # centre, top, right, bottom, left: (N, 5, 2)
        [
            np.stack([x + w / 2, y + h / 2], axis=-1),
            np.stack([x + w / 2, y], axis=-1),
            np.stack([x + w, y + h / 2], axis=-1),
            np.stack([x + w / 2, y + h], axis=-1),
            np.stack([x, y + h / 2], axis=-1),
        ],
        axis=1,
    )
    rays, shares = _rays_inside(points, camera, compatible)  # (N, 5, 3), (N, 5)
    rotation, size = _turn_to(rays, shares, camera, up)
    seen = np.isfinite(rotation).all(axis=(1, 2)) & np.isfinite(size) & (size > 0)
    problem = np.where(~finite, 'box_not_finite', np.where(~area, 'box_empty', ''))
    problem = np.where((problem == '') & ~seen, 'box_without_view', problem)
    fine = problem == ''
    return BoxView(
        rotation=np.where(fine[:, None, None], rotation, np.eye(3)),
        scale=np.where(fine, side / np.where(fine, size, 1.0), 1.0),
        problem=tuple(str(p) for p in problem),
    )


def _rays(points: np.ndarray, camera: Camera, compatible: bool) -> np.ndarray:
    if compatible and _known_to_original(camera):
        inverse = np.linalg.inv(camera.matrix)
        normalised = points @ inverse[:2, :2].T + inverse[:2, 2]
        normalised = undistort_fixed_point(normalised, camera.distortion)
    else:
        normalised = cameras.undistort_points(points, camera)
    return np.concatenate([normalised, np.ones_like(normalised[..., :1])], axis=-1)


def _rays_inside(
    points: np.ndarray, camera: Camera, compatible: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return rays (N, 5, 3) of a centre and four edge points, and their shares (N, 5) of the way.

    An edge point beyond the end of a lens is taken nearer to the centre, until it has a ray.
    """
    rays = _rays(points, camera, compatible)
    shares = np.ones(points.shape[:2])
    for share in _SHARES:
        missing = ~np.isfinite(rays).all(axis=-1)
        missing[:, 0] = False
        if not missing.any():
            break
        nearer = points[:, :1] + share * (points - points[:, :1])
        rays[missing] = _rays(nearer[missing], camera, compatible)
        shares[missing] = share
    return rays, shares


def _known_to_original(camera: Camera) -> bool:
    """Say whether the original has a formula for this lens: neither a fisheye nor a tilt."""
    return camera.model == 'pinhole' and not camera.distortion[_ORIGINAL_COEFFICIENTS:].any()


def _turn_to(
    rays: np.ndarray, shares: np.ndarray, camera: Camera, up: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (N, 3, 3) and sizes (N,) px of the boxes as their views see them."""
    with np.errstate(invalid='ignore', divide='ignore'):
        rays = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
        forward = np.where(np.isfinite(rays[:, 0]), rays[:, 0], _mean_direction(rays[:, 1:]))
        right = np.cross(forward, up / np.linalg.norm(up))
        length = np.linalg.norm(right, axis=-1, keepdims=True)
        right = np.where(length < _UP_DEGENERATE, _any_right(forward), right)
        right = right / np.linalg.norm(right, axis=-1, keepdims=True)
        down = np.cross(forward, right)
        rotation = np.stack([right, down, forward], axis=1)  # rows are the new axes
        turned = np.einsum('nij,npj->npi', rotation, rays[:, 1:])
        turned = np.where(turned[..., 2:] > 1e-6, turned, np.nan)
        px = turned[..., :2] / turned[..., 2:] @ camera.matrix[:2, :2].T / shares[:, 1:, None]
    return rotation, np.fmax(_extent(px[:, 0], px[:, 2]), _extent(px[:, 1], px[:, 3]))


def _mean_direction(rays: np.ndarray) -> np.ndarray:
    """Return the mean (N, 3) of the unit rays (N, P, 3) that there are, NaN without any."""
    total = np.nan_to_num(rays).sum(axis=1)
    return total / np.linalg.norm(total, axis=-1, keepdims=True)


def _extent(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return distances (N,) of opposite points (N, 2); twice that to the centre for one alone."""
    half = 2 * np.fmax(np.linalg.norm(one, axis=-1), np.linalg.norm(other, axis=-1))
    whole = np.linalg.norm(one - other, axis=-1)
    return np.where(np.isfinite(whole), whole, half)


def _any_right(forward: np.ndarray) -> np.ndarray:
    """Return a right direction for views along the up axis (a ceiling camera looking down).

    Gravity says nothing there, so the crop is kept aligned with the image: right is the camera's
    x axis made orthogonal to the view, or its z axis for a view along x.
    """
    x_axis, z_axis = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    along = np.abs(forward[:, :1]) > 0.9
    start = np.where(along, z_axis, x_axis)
    return start - forward * (start * forward).sum(axis=-1, keepdims=True)


def crop_views(view: BoxView, camera: Camera, side: int, table: AugmentationTable) -> CropViews:
    """Return the virtual cameras of all variants of all boxes."""
    magnification = table.scale[:, None] * view.scale  # (A, N)
    intrinsics = np.zeros((*magnification.shape, 3, 3))
    intrinsics[..., :2, :2] = camera.matrix[:2, :2] * magnification[..., None, None]
    intrinsics[..., :2, 2] = side / 2
    intrinsics[..., 2, 2] = 1.0
    cosine, sine = np.cos(table.angle_rad), np.sin(table.angle_rad)
    turn = np.zeros((len(table), 3, 3))
    turn[:, 0, 0], turn[:, 0, 1] = cosine, sine  # rotation by minus the angle
    turn[:, 1, 0], turn[:, 1, 1] = -sine, cosine
    turn[:, 2, 2] = 1.0
    turn[table.flip, 0] *= -1
    return CropViews(turn[:, None] @ view.rotation, intrinsics, magnification, side)


def sampling_positions(
    rotation: np.ndarray,
    intrinsics: np.ndarray,
    camera: Camera,
    grid_px: np.ndarray,
    compatible: bool = False,
) -> np.ndarray:
    """Return the image pixels (..., 2) that crop pixels (..., 2) of one view look at.

    NaN where the ray points behind the camera. ``compatible`` applies the distortion polynomial
    beyond the radius where it folds back, as the original does for the lenses that it knows.
    """
    homography = np.linalg.inv(intrinsics @ rotation)
    rays = grid_px @ homography[:, :2].T + homography[:, 2]
    if compatible and _known_to_original(camera):
        normalised = rays[..., :2] / rays[..., 2:]
        normalised = distort_polynomial(normalised, camera.distortion)
        return normalised @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]
    depth = np.where(rays[..., 2:] > 1e-6, rays[..., 2:], np.nan)
    return cameras.distort_points(rays[..., :2] / depth, camera)


def distort_polynomial(normalised: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Apply OpenCV's model (k1 k2 p1 p2 k3 k4 k5 k6 s1..s4, up to 12 values) to (..., 2)."""
    k = np.zeros(_ORIGINAL_COEFFICIENTS)
    given = np.asarray(coefficients, np.float64)[:_ORIGINAL_COEFFICIENTS]
    k[: len(given)] = given
    x, y = normalised[..., 0], normalised[..., 1]
    r2 = x * x + y * y
    radial = 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4]))
    radial = radial / (1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7])))
    dx = 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x) + r2 * (k[8] + r2 * k[9])
    dy = k[2] * (r2 + 2 * y * y) + 2 * k[3] * x * y + r2 * (k[10] + r2 * k[11])
    return np.stack([x * radial + dx, y * radial + dy], axis=-1)


def undistort_fixed_point(normalised: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Undo distort_polynomial by the original's five fixed-point steps (inexact far out)."""
    k = np.zeros(_ORIGINAL_COEFFICIENTS)
    given = np.asarray(coefficients, np.float64)[:_ORIGINAL_COEFFICIENTS]
    k[: len(given)] = given
    target = np.asarray(normalised, np.float64)
    point = target
    for _ in range(_FIXED_POINT_STEPS):
        x, y = point[..., 0], point[..., 1]
        r2 = x * x + y * y
        shrink = 1 + r2 * (k[5] + r2 * (k[6] + r2 * k[7]))
        shrink = shrink / (1 + r2 * (k[0] + r2 * (k[1] + r2 * k[4])))
        dx = 2 * k[2] * x * y + k[3] * (r2 + 2 * x * x) + r2 * (k[8] + r2 * k[9])
        dy = k[2] * (r2 + 2 * y * y) + 2 * k[3] * x * y + r2 * (k[10] + r2 * k[11])
        point = np.stack([(target[..., 0] - dx) * shrink, (target[..., 1] - dy) * shrink], -1)
    return point

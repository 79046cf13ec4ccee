"""Finds the camera that an annotation was made with, from its 2D and 3D joints.

Some data sets publish both and forget the camera. With camera-frame 3D the intrinsics are a
linear problem, one axis at a time: u z = f x + c z. With world 3D the whole camera follows by
direct linear transformation and a refinement that adds lens distortion.
"""

from __future__ import annotations

import cv2
import numpy as np

from trpose_ros.data.samples import DataError
from trpose_ros.people import Camera


def fit_intrinsics(
    joints_px: np.ndarray,
    joints_m: np.ndarray,
    width: int,
    height: int,
    where: str,
    limit_px: float = 5.0,
) -> Camera:
    """Return the pinhole camera that projects camera-frame joints (..., 3) to pixels (..., 2).

    Raises DataError when there are fewer than 8 joints or the median error exceeds limit_px.
    """
    px = np.asarray(joints_px, np.float64).reshape(-1, 2)
    points = np.asarray(joints_m, np.float64).reshape(-1, 3)
    good = np.isfinite(px).all(axis=1) & np.isfinite(points).all(axis=1) & (points[:, 2] > 1e-3)
    px, points = px[good], points[good]
    if len(px) < 8:
        raise DataError(f'{where}: {len(px)} joints with 2D and 3D do not determine a camera')
    plane = points[:, :2] / points[:, 2:]
    matrix = np.eye(3)
    for axis in range(2):
        keep = np.ones(len(px), bool)
        for _ in range(3):  # least squares, twice more without gross outliers
            design = np.column_stack([plane[keep, axis], np.ones(keep.sum())])
            focal, centre = np.linalg.lstsq(design, px[keep, axis], rcond=None)[0]
            error = np.abs(plane[:, axis] * focal + centre - px[:, axis])
            keep = error <= max(3 * float(np.median(error)), 1e-6)
        matrix[axis, axis], matrix[axis, 2] = focal, centre
    found = plane * (matrix[0, 0], matrix[1, 1]) + matrix[:2, 2]
    error_px = float(np.median(np.linalg.norm(found - px, axis=1)))
    if not (error_px <= limit_px and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DataError(
            f'{where}: no pinhole camera projects the 3D joints onto the 2D joints (median error '
            f'{error_px:.1f} px); check that both belong to the same frames and camera'
        )
    return Camera(width, height, matrix)


def fit_camera(
    joints_px: np.ndarray,
    world_m: np.ndarray,
    width: int,
    height: int,
    where: str,
    limit_px: float = 3.0,
) -> tuple[Camera, np.ndarray]:
    """Return the camera and its (4, 4) world-to-camera matrix from world joints and pixels.

    joints_px (..., 2) and world_m (..., 3) must spread over some decimetres in all directions.
    Raises DataError when they do not determine a camera or the median error exceeds limit_px.
    """
    px = np.asarray(joints_px, np.float64).reshape(-1, 2)
    points = np.asarray(world_m, np.float64).reshape(-1, 3)
    good = np.isfinite(px).all(axis=1) & np.isfinite(points).all(axis=1)
    good &= ((px > 0) & (px < (width, height))).all(axis=1)
    px, points = px[good], points[good]
    step = max(1, len(px) // 400)
    px, points = px[::step].copy(), points[::step].copy()  # OpenCV wants them contiguous
    if len(px) < 30:
        raise DataError(f'{where}: {len(px)} joints inside the image do not determine a camera')
    matrix = _linear_camera(px, points)
    # Refinement, focal lengths and centre from the linear solution; two radial, two tangential.
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_K3
    try:
        _, matrix, distortion, turns, shifts = cv2.calibrateCamera(
            [points.astype(np.float32)],
            [px.astype(np.float32)],
            (width, height),
            matrix,
            np.zeros(5),
            flags=flags,
        )
    except cv2.error as error:
        raise DataError(f'{where}: the camera cannot be found from the joints ({error})') from error
    found = cv2.projectPoints(points, turns[0], shifts[0], matrix, distortion)[0].reshape(-1, 2)
    error_px = float(np.median(np.linalg.norm(found - px, axis=1)))
    if not error_px <= limit_px:
        raise DataError(
            f'{where}: 2D and 3D are {error_px:.1f} px apart with the best camera; the '
            'ground-truth 2D of the same takes is needed'
        )
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(turns[0])[0]
    pose[:3, 3] = shifts[0].ravel()
    if np.median(points @ pose[2, :3] + pose[2, 3]) <= 0:
        raise DataError(
            f'{where}: only a camera with the people behind it fits, so the 3D joints are '
            'mirrored; check the order and the signs of their axes'
        )
    return Camera(width, height, matrix, distortion.ravel()[:5]), pose


def _linear_camera(px: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the intrinsic matrix of the direct linear transformation (skew dropped)."""
    centre, scale = points.mean(axis=0), points.std() + 1e-9
    middle, spread = px.mean(axis=0), px.std() + 1e-9
    world = np.column_stack([(points - centre) / scale, np.ones(len(points))])
    image = (px - middle) / spread
    zero = np.zeros_like(world)
    design = np.concatenate(
        [
            np.hstack([world, zero, -image[:, :1] * world]),
            np.hstack([zero, world, -image[:, 1:] * world]),
        ]
    )
    projection = np.linalg.svd(design, full_matrices=False)[2][-1].reshape(3, 4)
    undo = np.array([[spread, 0, middle[0]], [0, spread, middle[1]], [0, 0, 1]])
    left = undo @ projection[:, :3] / scale
    # RQ decomposition by QR of the reversed transpose.
    _, r = np.linalg.qr(left[::-1].T)
    upper = r.T[::-1, ::-1]
    upper = upper @ np.diag(np.sign(np.diag(upper)))
    upper = upper / upper[2, 2]
    return np.array([[upper[0, 0], 0, upper[0, 2]], [0, upper[1, 1], upper[1, 2]], [0, 0, 1.0]])

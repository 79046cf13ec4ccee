"""Pinhole and fisheye cameras: pixels, rays, distortion, normalised screens, crops.

Conventions: camera optical frame (x right, y down, z forward), metres; the centre of the upper
left pixel is (0, 0). Normalised coordinates are x/z, y/z. Distortion follows OpenCV: radial,
rational, tangential, thin prism and tilt (k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty), and the
equidistant fisheye of Kannala and Brandt (PAMI 2006).

A polynomial fitted inside the image says nothing outside: beyond a certain radius it folds back,
and a point far outside the view would land inside the image. Truncated people make that real, so
beyond the fold the distortion goes on linearly here; in front of it the numbers are OpenCV's.
Undistortion is OpenCV's, then Newton's method on that same map until it has converged; a pixel that
no ray reaches becomes NaN.
"""

from __future__ import annotations

import dataclasses
import math
from functools import lru_cache

import numpy as np

from trpose_ros.people import Camera

_TOLERANCE = 1e-10  # normalised coordinates: far below a thousandth of a pixel
_STEPS = 40  # of Newton's method
_LOST = 1e-3  # farther from its target, a point has no ray to it
_FAR = 1e4  # normalised coordinates beyond are no answer of OpenCV's but its failure
_NEAR_M = 1e-6  # closer than this, or behind the camera, a point has no projection


def camera_from_fov(width: int, height: int, fov_deg: float = 55.0, assumed: bool = True) -> Camera:
    """Return a camera without distortion whose larger side spans ``fov_deg``.

    The rule and the 55 degrees are those of MeTRAbs for images without calibration: f = larger
    side / (2 tan(fov / 2)), principal point (w/2, h/2). Raises ValueError for an angle outside
    (0, 180).
    """
    if not 0.0 < fov_deg < 180.0:
        raise ValueError(f'field of view must lie between 0 and 180 degrees, got {fov_deg}')
    focal = max(width, height) / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
    matrix = np.array([[focal, 0.0, width / 2.0], [0.0, focal, height / 2.0], [0.0, 0.0, 1.0]])
    return shared(Camera(width=width, height=height, matrix=matrix, assumed=assumed))


def shared(camera: Camera) -> Camera:
    """Return the one object, read-only, of all cameras with these fields; it keeps the newest.

    What is computed from a camera is kept as long as the next image has the same object, and
    cameras come anew with every image: as a CameraInfo, and cut out of another one.
    """
    return _shared(
        camera.width,
        camera.height,
        camera.matrix.tobytes(),
        camera.distortion.tobytes(),
        camera.model,
        camera.assumed,
    )


@lru_cache(maxsize=64)
def _shared(
    width: int, height: int, matrix: bytes, distortion: bytes, model: str, assumed: bool
) -> Camera:
    return Camera(
        width=width,
        height=height,
        matrix=np.frombuffer(matrix).reshape(3, 3),
        distortion=np.frombuffer(distortion),
        model=model,
        assumed=assumed,
    )


def project(points_m: np.ndarray, camera: Camera) -> np.ndarray:
    """Project points (..., 3), m, to pixels (..., 2); NaN at or behind the camera plane."""
    points_m = np.asarray(points_m, dtype=np.float64)
    z = points_m[..., 2:3]
    z = np.where(z > _NEAR_M, z, np.nan)
    return distort_points(points_m[..., :2] / z, camera)


def pixel_rays(px: np.ndarray, camera: Camera) -> np.ndarray:
    """Return the viewing rays (..., 3) of pixels (..., 2), undistorted, with z = 1."""
    normalised = undistort_points(px, camera)
    return np.concatenate([normalised, np.ones_like(normalised[..., :1])], axis=-1)


def unproject(px: np.ndarray, depth_m: np.ndarray | float, camera: Camera) -> np.ndarray:
    """Return the points (..., 3), m, at pixels (..., 2) and depths (...) along the z axis."""
    return pixel_rays(px, camera) * np.asarray(depth_m, dtype=np.float64)[..., None]


def distort_points(normalised: np.ndarray, camera: Camera) -> np.ndarray:
    """Map normalised coordinates (..., 2) to pixels (..., 2): distortion, then intrinsics."""
    normalised = np.asarray(normalised, dtype=np.float64)
    distorted = _distort(normalised, camera, fold_radius(camera))
    return distorted @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]


def undistort_points(px: np.ndarray, camera: Camera) -> np.ndarray:
    """Map pixels (..., 2) to normalised coordinates (..., 2); NaN where no ray leads."""
    px = np.asarray(px, dtype=np.float64)
    target = (px - camera.matrix[:2, 2]) @ np.linalg.inv(camera.matrix[:2, :2]).T
    if not camera.distortion.any() and camera.model == 'pinhole':
        return target
    shape = target.shape
    return _invert(target.reshape(-1, 2), camera, fold_radius(camera)).reshape(shape)


def normalise_screen(px: np.ndarray, width: float, height: float) -> np.ndarray:
    """Map pixels (..., 2) to screen coordinates: x to [-1, 1], y by the same factor.

    x' = 2x/w - 1, y' = 2y/w - h/w, the input convention of the lifters (Pavllo et al. 2019).
    """
    return np.asarray(px) * (2.0 / width) - np.array([1.0, height / width], _float_type(px))


def denormalise_screen(screen: np.ndarray, width: float, height: float) -> np.ndarray:
    """Undo normalise_screen: (..., 2) back to pixels."""
    offset = np.array([1.0, height / width], _float_type(screen))
    return (np.asarray(screen) + offset) * (width / 2.0)


def _float_type(values: np.ndarray) -> np.dtype:
    return np.result_type(np.asarray(values).dtype, np.float32)


def crop_camera(
    camera: Camera,
    x: float,
    y: float,
    width: float,
    height: float,
    scale: float | tuple[float, float] = 1.0,
) -> Camera:
    """Return the camera of a sub-image, optionally resized; distortion is unchanged.

    (x, y) is the upper left pixel of the crop and width, height its size, all in px of
    ``camera``; the result is ``round(width * scale)`` wide, and high by the second of two scales. A
    resize maps pixel areas (pixel
    centres at half integers), as cv2.resize does. Raises ValueError for an empty crop.
    """
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    new_width, new_height = round(width * across), round(height * down)
    if not (width > 0 and height > 0 and new_width > 0 and new_height > 0):
        raise ValueError(
            f'a crop must keep at least one pixel, got {width} x {height} at scale {scale}'
        )
    scales = np.array([new_width / width, new_height / height])
    matrix = camera.matrix.copy()
    matrix[:2, :2] *= scales[:, None]
    matrix[:2, 2] = (camera.matrix[:2, 2] - (x, y) + 0.5) * scales - 0.5
    return shared(dataclasses.replace(camera, width=new_width, height=new_height, matrix=matrix))


_MODELS = {
    '': 'pinhole',
    'none': 'pinhole',
    'pinhole': 'pinhole',
    'plumb_bob': 'pinhole',
    'radtan': 'pinhole',
    'rational_polynomial': 'pinhole',
    'thin_prism': 'pinhole',
    'equidistant': 'fisheye',
    'fisheye': 'fisheye',
}


def camera_from_info_fields(
    width: int, height: int, k: np.ndarray, d: np.ndarray, distortion_model: str
) -> Camera:
    """Return the camera that the fields of a sensor_msgs/CameraInfo describe.

    k (9,) row by row, d in OpenCV order, distortion_model as in ROS. Raises ValueError with the
    remedy for an uncalibrated (all zero), NaN or otherwise impossible calibration, and for an
    unknown distortion model. Where all of d is zero, every model but a fisheye's is a pinhole.
    """
    k = np.asarray(k, dtype=np.float64).ravel()
    if k.size != 9:
        raise ValueError(f'CameraInfo.k must have 9 entries, got {k.size}')
    if not np.isfinite(k).all() or k[0] <= 0 or k[4] <= 0:
        raise ValueError(
            f'CameraInfo is not calibrated: fx = {k[0]}, fy = {k[4]} must be positive and all of '
            f'k finite; calibrate the camera, or do not publish camera_info so that a field of '
            f'view is assumed'
        )
    d = np.asarray(d, dtype=np.float64).ravel()
    model = _MODELS.get(distortion_model.strip().lower())
    if not d.any() and model != 'fisheye':
        d, model = d[:0] if d.size not in (4, 5, 8, 12, 14) else d, 'pinhole'
    if model is None:
        raise ValueError(
            f'unknown distortion model {distortion_model!r:.80}; known are '
            f'{", ".join(repr(name) for name in _MODELS)}'
        )
    return shared(
        Camera(
            width=int(width),
            height=int(height),
            matrix=k.reshape(3, 3),
            distortion=d,
            model=model,
        )
    )


def camera_to_info_fields(camera: Camera) -> dict:
    """Return width, height, k (9,), d and distortion_model: camera_from_info_fields' arguments."""
    rational = camera.distortion.size > 5
    pinhole = 'rational_polynomial' if rational else 'plumb_bob'
    d = camera.distortion
    if camera.model == 'fisheye':
        d = np.zeros(4) if d.size == 0 else d
    elif d.size in (0, 4):  # ROS takes five for plumb_bob
        d = np.concatenate([d, np.zeros(5 - d.size)])
    return {
        'width': camera.width,
        'height': camera.height,
        'k': camera.matrix.ravel().copy(),
        'd': d.copy(),
        'distortion_model': 'equidistant' if camera.model == 'fisheye' else pinhole,
    }


def fold_radius(camera: Camera) -> float:
    """Return the undistorted radius (angle for fisheye, rad) where the distortion folds back.

    It is the smallest positive root of the derivative of the radial curve, or of its denominator;
    infinite where the curve grows for ever. Tangential terms are ignored: they are small.
    """
    return _fold_radius(camera.model, tuple(_padded(camera)))


@lru_cache(maxsize=64)
def _fold_radius(model: str, d: tuple[float, ...]) -> float:
    if model == 'fisheye':
        # theta (1 + k1 theta^2 + ...): the derivative in s = theta^2
        roots = _positive_roots(np.array([9 * d[3], 7 * d[2], 5 * d[1], 3 * d[0], 1.0]))
        return min(math.sqrt(roots[0]) if roots else math.inf, math.pi / 2)
    num, den = np.array([d[4], d[1], d[0], 1.0]), np.array([d[7], d[6], d[5], 1.0])
    s = np.array([1.0, 0.0])  # r^2
    slope = np.polyadd(
        np.polymul(num, den),
        2 * np.polymul(s, _determinant(np.polyder(num), den, num, np.polyder(den))),
    )
    roots = sorted(_positive_roots(slope) + _positive_roots(den))
    return math.sqrt(roots[0]) if roots else math.inf


def _determinant(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.polysub(np.polymul(a, b), np.polymul(c, d))


def _positive_roots(coefficients: np.ndarray) -> list[float]:
    """Return the positive real roots of a polynomial, ascending; coefficients highest first."""
    scale = np.abs(coefficients).max()
    coefficients = np.where(np.abs(coefficients) < 1e-14 * scale, 0.0, coefficients)
    roots = np.roots(coefficients)
    real = roots[np.abs(roots.imag) <= 1e-9 * np.maximum(1.0, np.abs(roots.real))].real
    return sorted(float(root) for root in real if root > 0)


def _padded(camera: Camera) -> np.ndarray:
    d = np.zeros(14)
    d[: camera.distortion.size] = camera.distortion
    return d


def _distort(points: np.ndarray, camera: Camera, limit: float) -> np.ndarray:
    """Distort normalised points (..., 2); beyond ``limit`` the map is continued linearly."""
    radius = np.hypot(points[..., 0], points[..., 1])
    if camera.model == 'fisheye':
        return points * _fisheye_factor(radius, _padded(camera), limit)[..., None]
    d = camera.distortion
    if not d.any():
        return points
    shrink = np.ones_like(radius)
    np.divide(limit, radius, out=shrink, where=radius > limit)
    return _pinhole_distort(points * shrink[..., None], _padded(camera)) / shrink[..., None]


def _fisheye_factor(radius: np.ndarray, d: np.ndarray, limit: float) -> np.ndarray:
    theta = np.arctan(radius)
    s = np.minimum(theta, limit) ** 2
    bent = theta * (1.0 + s * (d[0] + s * (d[1] + s * (d[2] + s * d[3]))))
    factor = np.ones_like(radius)
    np.divide(bent, radius, out=factor, where=radius > 1e-12)
    return factor


def _pinhole_distort(points: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Apply OpenCV's pinhole model with all 14 coefficients to points (..., 2)."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = d[:12]
    x, y = points[..., 0], points[..., 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    out = np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + r2 * (s1 + s2 * r2),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + r2 * (s3 + s4 * r2),
        ],
        axis=-1,
    )
    if d[12] == 0.0 and d[13] == 0.0:
        return out
    tilted = out @ _tilt(d[12], d[13])[:, :2].T + _tilt(d[12], d[13])[:, 2]
    return tilted[..., :2] / tilted[..., 2:]


def _tilt(tau_x: float, tau_y: float) -> np.ndarray:
    """Return the homography (3, 3) of a tilted sensor (Scheimpflug), angles in rad."""
    cx, sx, cy, sy = math.cos(tau_x), math.sin(tau_x), math.cos(tau_y), math.sin(tau_y)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cx, sx], [0.0, -sx, cx]])
    about_y = np.array([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])
    rotation = about_y @ about_x
    onto_plane = np.array(
        [
            [rotation[2, 2], 0.0, -rotation[0, 2]],
            [0.0, rotation[2, 2], -rotation[1, 2]],
            [0.0, 0.0, 1.0],
        ]
    )
    return onto_plane @ rotation


def _invert(target: np.ndarray, camera: Camera, limit: float) -> np.ndarray:
    """Solve distort(x) = target (M, 2) by Newton steps that may only shrink the residual.

    They begin where OpenCV ends, which is nearly always there. For the others the way leads from
    the image centre outwards in growing shares of the target, so that the branch found is the
    physical one even for strong distortion; a point that is lost on that way has no ray.
    """
    out = np.full_like(target, np.nan)
    rows = np.flatnonzero(np.isfinite(target).all(axis=1))
    if rows.size == 0:
        return out
    start = _opencv_undistorted(target[rows], camera)
    solution, residual, proper = _newton(start, target[rows], camera, limit)
    good = _solved(residual, target[rows], _TOLERANCE) & proper
    out[rows[good]] = solution[good]
    rows = rows[~good]
    solution = np.zeros((rows.size, 2))
    for share in np.linspace(0.0, 1.0, 33)[1:]:
        if rows.size == 0:
            return out
        solution, residual, proper = _newton(solution, target[rows] * share, camera, limit)
        kept = _solved(residual, target[rows], _LOST)
        rows, solution, residual, proper = (a[kept] for a in (rows, solution, residual, proper))
    good = _solved(residual, target[rows], _TOLERANCE) & proper
    out[rows[good]] = solution[good]
    return out


def _solved(residual: np.ndarray, target: np.ndarray, tolerance: float) -> np.ndarray:
    return np.asarray(residual <= tolerance * np.maximum(1.0, np.abs(target).max(axis=1)))


def _opencv_undistorted(target: np.ndarray, camera: Camera) -> np.ndarray:
    """Return OpenCV's answer for distorted normalised points (M, 2), the points where it has none.

    It is quick, and exact for the usual lens; for a strong one it may have given up on the way.
    """
    import cv2  # not with the package, which is imported in no time

    points, unit = np.ascontiguousarray(target)[:, None], np.eye(3)
    try:
        if camera.model == 'fisheye':
            found = cv2.fisheye.undistortPoints(points, unit, _padded(camera)[:4])
        else:
            found = cv2.undistortPoints(points, unit, camera.distortion)
    except cv2.error:
        return target.copy()
    found = found[:, 0]
    usable = np.asarray(np.isfinite(found).all(axis=1) & (np.abs(found) < _FAR).all(axis=1))
    return np.where(usable[:, None], found, target)


def _newton(
    start: np.ndarray, target: np.ndarray, camera: Camera, limit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return solution (M, 2), residual (M,) and whether the map keeps orientation there (M,)."""
    x, step_size = start.copy(), 1e-6
    goal = 1e-3 * _TOLERANCE * np.maximum(10.0, np.abs(target).max(axis=1, initial=0.0))
    error = _distort(x, camera, limit) - target
    residual = np.hypot(error[:, 0], error[:, 1])
    for _ in range(_STEPS):
        if (residual <= goal).all():
            break
        jacobian = _jacobian(x, camera, limit, step_size)
        det = jacobian[:, 0, 0] * jacobian[:, 1, 1] - jacobian[:, 0, 1] * jacobian[:, 1, 0]
        det = np.where(np.abs(det) < 1e-12, 1e-12, det)
        step = np.stack(
            [
                jacobian[:, 1, 1] * error[:, 0] - jacobian[:, 0, 1] * error[:, 1],
                jacobian[:, 0, 0] * error[:, 1] - jacobian[:, 1, 0] * error[:, 0],
            ],
            axis=1,
        )
        step /= det[:, None]
        moved = False
        for damping in (1.0, 0.5, 0.25, 0.0625, 0.01):
            trial = x - damping * step
            trial_error = _distort(trial, camera, limit) - target
            trial_residual = np.hypot(trial_error[:, 0], trial_error[:, 1])
            better = trial_residual < residual
            x[better], error[better] = trial[better], trial_error[better]
            residual = np.where(better, trial_residual, residual)
            step[better] = 0.0  # these have taken their step in this round
            moved = moved or bool(better.any())
            if (better | (residual <= goal)).all():
                break
        if not moved:
            break
    jacobian = _jacobian(x, camera, limit, step_size)
    return x, residual, np.linalg.det(jacobian) > 0


def _jacobian(x: np.ndarray, camera: Camera, limit: float, step: float) -> np.ndarray:
    """Return d distort / d x (M, 2, 2) by central differences."""
    columns = [
        (_distort(x + offset, camera, limit) - _distort(x - offset, camera, limit)) / (2 * step)
        for offset in (np.array([step, 0.0]), np.array([0.0, step]))
    ]
    return np.stack(columns, axis=-1)

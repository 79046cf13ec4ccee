"""Resampling crops on a processor: one OpenCV call per crop, against aliasing.

The image is shrunk by the largest whole factor that the magnification of the crop allows (area
averaging, shared by all people who need the same factor), and the crop is drawn from it
bilinearly: at most two source pixels per crop pixel remain, and nothing aliases. Lens distortion
is computed on a coarse grid of the crop and interpolated. Networks trained here see pixel values
as they are; published ones expect averages in linear light (``linear_light``).
"""

from __future__ import annotations

import cv2
import numpy as np

from trpose_ros.metrabs.crops import CropViews, sampling_positions
from trpose_ros.people import Camera

DISPLAY_GAMMA = 2.2
_GRID_STEP = 4
_FAR_PX = -1e4  # a position that is certainly outside
_LINEAR = ((np.arange(256) / 255.0) ** DISPLAY_GAMMA).astype(np.float32)


def render(
    image: np.ndarray,
    camera: Camera,
    views: CropViews,
    gammas: np.ndarray,
    linear_light: bool = False,
) -> np.ndarray:
    """Return crops (A, N, S, S, 3): uint8, or float32 in 0..1 with ``linear_light``.

    ``image`` (H, W, 3) uint8, ``gammas`` (A,) exponent per variant (1 leaves values alone).
    Black beyond the image.
    """
    variants, people = views.magnification.shape
    dtype = np.float32 if linear_light else np.uint8
    crops = np.zeros((variants, people, views.side, views.side, 3), dtype)
    shrunk: dict[int, np.ndarray] = {}
    for a in range(variants):
        for n in range(people):
            factor = _shrink_factor(views.magnification[a, n], image)
            if factor not in shrunk:
                shrunk[factor] = _shrink(image, factor, linear_light)
            _draw(crops[a, n], shrunk[factor], factor, camera, views, a, n)
        crops[a] = _apply_gamma(crops[a], float(gammas[a]))
    return crops


def _shrink_factor(magnification: float, image: np.ndarray) -> int:
    return int(np.clip(np.floor(1.0 / magnification), 1, max(1, min(image.shape[:2]) // 2)))


def _shrink(image: np.ndarray, factor: int, linear_light: bool) -> np.ndarray:
    if linear_light:
        image = cv2.LUT(image, _LINEAR)
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _draw(
    crop: np.ndarray,
    source: np.ndarray,
    factor: int,
    camera: Camera,
    views: CropViews,
    a: int,
    n: int,
) -> None:
    """Fill ``crop`` (S, S, 3) with what variant a of person n sees."""
    rotation, intrinsics, side = views.rotation[a, n], views.intrinsics[a, n], views.side
    if camera.model == 'pinhole' and not camera.distortion.any():
        homography = camera.matrix @ np.linalg.inv(intrinsics @ rotation)
        corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]], np.float64)
        if (corners @ homography[2] > 1e-6).all():
            to_shrunk = np.diag([1 / factor, 1 / factor, 1.0])
            to_shrunk[:2, 2] = 0.5 / factor - 0.5
            cv2.warpPerspective(
                source,
                to_shrunk @ homography,
                (side, side),
                dst=crop,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            )
            return
    positions = _positions(rotation, intrinsics, camera, side)
    positions = ((positions + 0.5) / factor - 0.5).astype(np.float32)
    # Two maps: with one map of two channels OpenCV 5.0 reads beyond the memory of the image.
    x, y = (np.ascontiguousarray(positions[..., axis]) for axis in (0, 1))
    cv2.remap(source, x, y, cv2.INTER_LINEAR, dst=crop)


def _positions(
    rotation: np.ndarray, intrinsics: np.ndarray, camera: Camera, side: int
) -> np.ndarray:
    """Return image pixels (side, side, 2) of all crop pixels, interpolated where smooth."""
    count = -(-side // _GRID_STEP) + 2  # one more on each side
    axis = (np.arange(count) - 1.0) * _GRID_STEP + (_GRID_STEP - 1) / 2
    coarse = sampling_positions(
        rotation, intrinsics, camera, np.stack(np.meshgrid(axis, axis), axis=-1)
    )
    if np.isfinite(coarse).all():
        fine = cv2.resize(coarse, None, fx=_GRID_STEP, fy=_GRID_STEP)
        return fine[_GRID_STEP : _GRID_STEP + side, _GRID_STEP : _GRID_STEP + side]
    axis = np.arange(side, dtype=np.float64)
    exact = sampling_positions(
        rotation, intrinsics, camera, np.stack(np.meshgrid(axis, axis), axis=-1)
    )
    return np.nan_to_num(exact, nan=_FAR_PX, posinf=-_FAR_PX, neginf=_FAR_PX)


def _apply_gamma(crops: np.ndarray, gamma: float) -> np.ndarray:
    if crops.dtype == np.float32:
        return cv2.pow(crops.reshape(-1), gamma / DISPLAY_GAMMA).reshape(crops.shape)
    if gamma == 1.0:
        return crops
    table = np.rint(255.0 * (np.arange(256) / 255.0) ** gamma).astype(np.uint8)
    return cv2.LUT(crops.reshape(-1), table).reshape(crops.shape)

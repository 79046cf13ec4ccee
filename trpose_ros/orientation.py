"""Turning pictures and their cameras upright, by the orientation that a camera wrote down.

The eight values of EXIF are a transposition (from 5 on), then a flip in x, in y or in both. An
image and a camera turned by the same value still fit each other: a point in space, turned
likewise, falls on the turned pixel.
"""

from __future__ import annotations

import cv2
import numpy as np

from trpose_ros.people import Camera

# orientation: transpose first, then flip x, then flip y
_STEPS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def upright_image(image: np.ndarray, orientation: int) -> np.ndarray:
    """Return the upright image of stored pixels (H, W, C); the same array where nothing turns."""
    transpose, flip_x, flip_y = _STEPS[orientation]
    if transpose:
        image = np.asarray(cv2.transpose(image))
    if flip_x or flip_y:
        image = np.asarray(cv2.flip(image, -1 if flip_x and flip_y else 1 if flip_x else 0))
    return image


def upright_camera(camera: Camera, orientation: int) -> Camera:
    """Return the camera of the upright image, where ``camera`` is that of the stored pixels.

    Raises ValueError for a lens with a tilted sensor (OpenCV's last two coefficients), for which
    there is no camera of the same kind.
    """
    transpose, flip_x, flip_y = _STEPS[orientation]
    if orientation == 1:
        return camera
    d = camera.distortion
    if camera.model == 'pinhole' and d.size == 14 and d[12:].any():
        raise ValueError(
            f'a picture of orientation {orientation} cannot be turned together with a camera '
            'whose sensor is tilted (tau_x, tau_y); store it upright, without the EXIF tag'
        )
    width, height = camera.width, camera.height
    matrix = camera.matrix.copy()
    if transpose:
        width, height = height, width
        swap = [1, 0, 2]
        matrix, d = matrix[swap][:, swap], _transposed(d, camera.model)
    if flip_x:
        matrix = _flipped(matrix, 0, width)
        d = _mirrored(d, camera.model, 0)
    if flip_y:
        matrix = _flipped(matrix, 1, height)
        d = _mirrored(d, camera.model, 1)
    return Camera(width, height, matrix, d, camera.model, camera.assumed)


def _flipped(matrix: np.ndarray, axis: int, size: int) -> np.ndarray:
    """Mirror one pixel axis and the same axis in space."""
    sign = np.eye(3)
    sign[axis, axis] = -1.0
    matrix = sign @ matrix @ sign
    matrix[axis, 2] = size - 1 + matrix[axis, 2]  # pixel centres are integers
    return matrix


# Tangential p1, p2 = d[2], d[3]; thin prism s1, s2 along x and s3, s4 along y = d[8:12].


def _transposed(d: np.ndarray, model: str) -> np.ndarray:
    if model != 'pinhole' or d.size == 0:
        return d
    order = np.arange(d.size)
    order[[2, 3]] = [3, 2]
    if d.size >= 12:
        order[8:12] = [10, 11, 8, 9]
    return d[order]


def _mirrored(d: np.ndarray, model: str, axis: int) -> np.ndarray:
    if model != 'pinhole' or d.size == 0:
        return d
    d = d.copy()
    d[3 - axis] *= -1.0
    if d.size >= 12:
        d[8 + 2 * axis : 10 + 2 * axis] *= -1.0
    return d

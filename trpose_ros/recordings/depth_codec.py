"""Depth images as distances: (H, W) float32, m along the camera's z axis, NaN where there is none.

16UC1 holds millimetres, 32FC1 metres (REP 118). Zero, infinity, NaN and the largest 16-bit value
mean that nothing was measured.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from trpose_ros.recordings.picture_headers import ImageError

_DTYPES = {'16UC1': ('u2', 0.001), 'mono16': ('u2', 0.001), '32FC1': ('f4', 1.0)}
_FARTHEST_M = 200.0  # half of an image beyond this has another unit
_MOST_PIXELS = 1 << 26


def read_depth(message: Any, scale: float = 1.0) -> np.ndarray:
    """Return a sensor_msgs/Image as distances; ``scale`` is for cameras with a unit of their own.

    Raises:
        ImageError: for another encoding, a wrong step or length, or distances that cannot be m.

    """
    encoding, width, height = message.encoding, int(message.width), int(message.height)
    if encoding not in _DTYPES:
        raise ImageError(
            f'depth has encoding {encoding!r:.80}: 16UC1 (mm) and 32FC1 (m) are known; let the '
            'driver publish one of them, uncompressed'
        )
    kind, unit_m = _DTYPES[encoding]
    dtype = np.dtype(('>' if message.is_bigendian else '<') + kind)
    step, data = int(message.step), np.frombuffer(message.data, np.uint8)
    if width < 1 or height < 1 or width * height > _MOST_PIXELS:
        raise ImageError(f'depth of {width}x{height} pixels cannot be')
    if step < width * dtype.itemsize or data.size < step * height:
        raise ImageError(
            f'depth of {width}x{height} {encoding} has a step of {step} and {data.size} bytes, '
            f'needs {width * dtype.itemsize} and {width * dtype.itemsize * height}'
        )
    rows = data[: step * height].reshape(height, step)[:, : width * dtype.itemsize]
    raw = np.ascontiguousarray(rows).view(dtype).reshape(height, width)
    with np.errstate(invalid='ignore', over='ignore'):  # NaN in the image is no mistake
        depth = raw.astype(np.float32) * np.float32(unit_m * scale)
        nothing = ~np.isfinite(depth) | (depth <= 0)
    if kind == 'u2':
        nothing |= raw == np.iinfo(np.uint16).max
    depth[nothing] = np.nan
    measured = depth[~nothing]
    if measured.size and float(np.median(measured)) > _FARTHEST_M:
        raise ImageError(
            f'depth of {float(np.median(measured)):.0f} m: {encoding} is taken for '
            f'{"millimetres" if kind == "u2" else "metres"}; correct the driver, or depth_scale'
        )
    return depth


def misfit(depth_m: np.ndarray, size: tuple[int, int]) -> str:
    """Say why a depth image cannot be that of an image of a size (width, height); '' if it can.

    An aligned one has its shape, in any resolution.
    """
    height, width = depth_m.shape
    if abs(width * size[1] - size[0] * height) <= max(width, height, *size):
        return ''
    return (
        f'depth is {width}x{height}, the image {size[0]}x{size[1]}: take the topic that is aligned '
        'to the colour image'
    )

"""Weights as bytes: half the size of half precision, for files that ship.

A large matrix or kernel is kept as int8 with one scale for each of its outputs (axis 0), the
symmetric quantisation that inference engines use; it is only a way to store it, networks compute
with the floats that come back. The error of a weight is at most 0.4 % of the largest of its output;
what that does to a network is measured again and stands in its card.

Pointwise convolutions are packed from a larger size on: in the first blocks of a mobile network
they are few numbers that see every pixel, where int8 costs most and saves least (MoveNet Thunder's
heatmaps change by 0.03 at most instead of 0.06, for 4 % more bytes).
"""

from __future__ import annotations

import numpy as np

INT8 = 'int8 per output'  # value of ``packing`` in the header of such a file
_SCALE = '.int8_scale'
_SMALLEST = 4096  # smaller tensors are left as they are
_SMALLEST_POINTWISE = 40_000  # of 1x1 kernels


def pack(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors with the large floating ones as int8, and their scales beside them."""
    packed = {}
    for name, value in tensors.items():
        smallest = _SMALLEST_POINTWISE if value.shape[2:] == (1, 1) else _SMALLEST
        if value.dtype.kind != 'f' or value.ndim < 2 or len(value) < 2 or value.size < smallest:
            packed[name] = value
            continue
        rows = value.reshape(len(value), -1).astype(np.float32)
        scale = np.abs(rows).max(axis=1) / 127
        whole = np.rint(rows / np.where(scale > 0, scale, 1)[:, None])
        packed[name] = whole.astype(np.int8).reshape(value.shape)
        packed[name + _SCALE] = scale.astype(np.float32)
    return packed


def unpack(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return what ``pack`` was given, in single precision where it was packed."""
    scales = {name for name in tensors if name.endswith(_SCALE)}
    plain = {}
    for name, value in tensors.items():
        if name in scales:
            continue
        if name + _SCALE in scales:
            scale = tensors[name + _SCALE]
            if value.ndim == 0 or scale.shape != (len(value),):
                raise ValueError(f'{name} has {value.shape} values and {scale.shape} scales')
            scale = scale.reshape(-1, *[1] * (value.ndim - 1))
            value = value.astype(np.float32) * scale
        plain[name] = value
    return plain

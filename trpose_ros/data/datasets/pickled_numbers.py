"""Reads pickles that hold nothing but numbers.

Several data sets come as Python pickles, by themselves (3DPW) or inside npz archives (the object
arrays of VideoPose3D's format). A pickle is a program: loading one from the internet with the
standard loader runs whatever its author wrote. These are read by trpose_ros.weights.pickles, which
knows numpy arrays, numbers, strings and plain containers, nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from trpose_ros.archives import ARCHIVE_ERRORS, ARRAY_ERRORS, checked_members, read_member
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.weights.pickles import read_numbers, reason


def unpickle(stream: BinaryIO | io.BytesIO, name: str) -> Any:
    """Return the one object of a pickle stream; ``name`` is for the message.

    Raises DataError when the stream is damaged or holds anything but arrays, numbers, strings,
    lists, tuples, sets and dictionaries.
    """
    try:
        return read_numbers(stream)
    except pickle.UnpicklingError as error:
        raise DataError(
            f'{name} cannot be read as a pickle of arrays: {error}; obtain the file again from '
            'its publisher (nothing of it was executed)'
        ) from error


def load_pickle(path: Path) -> Any:
    """Return the content of a pickle file of arrays; raises MissingDataError or DataError."""
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    with path.open('rb') as stream:
        return unpickle(stream, str(path))


def load_npz(path: Path) -> dict[str, Any]:
    """Return all arrays of an npz archive; object arrays of one element become that element.

    Raises MissingDataError, or DataError when the archive is damaged or not an npz.
    """
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    content: dict[str, Any] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, member in checked_members(archive).items():
                key = name.removesuffix('.npy')
                stream = io.BytesIO(read_member(archive, member))
                content[key] = _read_npy(stream, f'{path} ({key[:80]})')
    except (*ARCHIVE_ERRORS, OSError, MemoryError, ValueError) as error:
        raise DataError(
            f'{path} is not a readable npz archive ({error}); obtain the file again'
        ) from error
    return content


def _read_npy(stream: io.BytesIO, name: str) -> Any:
    try:
        version = npy_format.read_magic(stream)
        read = {
            (1, 0): npy_format.read_array_header_1_0,
            (2, 0): npy_format.read_array_header_2_0,
        }[version if version < (3, 0) else (2, 0)]
        shape, _, dtype = read(stream)
        if not dtype.hasobject:
            stream.seek(0)
            return npy_format.read_array(stream, allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise DataError(
            f'{name} is not a numpy array ({reason(error)}); obtain the file again'
        ) from error
    value = unpickle(stream, name)
    if not isinstance(value, np.ndarray) or value.size != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f'{name} does not hold the array of shape {shape} that it announces')
    return value.reshape(()).item() if value.size == 1 else value

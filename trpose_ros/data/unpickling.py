"""Reads pickles that hold nothing but numbers.

Several data sets come as Python pickles, by themselves (3DPW) or inside npz archives (the object
arrays of VideoPose3D's format). A pickle is a program: loading one from the internet with the
standard loader runs whatever its author wrote. The loader here knows numpy arrays, numbers,
strings and plain containers, nothing else; any other name in the file is refused before it is
looked up. Files written by Python 2 and by numpy before 2.0 are understood.
"""

from __future__ import annotations

import _codecs
import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy_format

from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import MissingDataError


def _reconstruct(kind: Any, shape: Any, dtype: Any) -> np.ndarray:
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f'an array of type {kind!r} is not a plain numpy array')
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype, value: Any = None) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise pickle.UnpicklingError(f'a numpy scalar of type {dtype!r} is not a number')
    if isinstance(value, str):
        value = value.encode('latin1')  # Python 2 wrote bytes
    return np.frombuffer(value, dtype=dtype, count=1)[0]


def _no_bytes() -> bytes:
    """Return what protocols 0 to 2 call to make an empty byte string, as of an empty array."""
    return b''


_MULTIARRAY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_NUMERIC = ('numpy.core.numeric', 'numpy._core.numeric')
_ALLOWED: dict[tuple[str, str], Any] = {
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
    ('collections', 'OrderedDict'): collections.OrderedDict,
    ('_codecs', 'encode'): _codecs.encode,  # how protocol 2 writes bytes
    **{(module, 'bytes'): _no_bytes for module in ('__builtin__', 'builtins')},
    **{(module, '_reconstruct'): _reconstruct for module in _MULTIARRAY},
    **{(module, 'scalar'): _scalar for module in _MULTIARRAY},
    **{(module, '_frombuffer'): _frombuffer for module in _NUMERIC},
}


class _NumbersOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f'it names {module}.{name}, which is not an array, a number or a container'
            )
        return _ALLOWED[module, name]


# Whatever a damaged or hostile stream makes the machine stumble over.
_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    ImportError,
    IndexError,
    KeyError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnicodeDecodeError,
    ValueError,
)


def unpickle(stream: io.BufferedIOBase | io.BytesIO, name: str) -> Any:
    """Return the one object of a pickle stream; ``name`` is for the message.

    Raises DataError when the stream is damaged or holds anything but arrays, numbers, strings,
    lists, tuples, sets and dictionaries.
    """
    try:
        return _NumbersOnly(stream, encoding='latin1').load()
    except _BROKEN as error:
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
            for member in archive.namelist():
                with archive.open(member) as stream:
                    key = member.removesuffix('.npy')
                    content[key] = _read_npy(io.BytesIO(stream.read()), f'{path} ({key})')
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
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
    except (ValueError, KeyError, TypeError, EOFError, MemoryError) as error:
        raise DataError(f'{name} is not a numpy array ({error}); obtain the file again') from error
    value = unpickle(stream, name)
    if not isinstance(value, np.ndarray) or value.size != int(np.prod(shape, dtype=np.int64)):
        raise DataError(f'{name} does not hold the array of shape {shape} that it announces')
    return value.reshape(()).item() if value.size == 1 else value

"""Unpickling that cannot execute anything: numpy arrays, numbers, strings, plain containers.

A pickle is a program: loading one from the internet with the standard loader runs whatever its
author wrote. The loader here refuses any other name in the file before it is looked up. Files
written by Python 2 and by numpy before 2.0 are understood.
"""

from __future__ import annotations

import _codecs
import collections
import io
import pickle
from typing import Any

import numpy as np


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


class NumbersOnly(pickle.Unpickler):
    """The unpickler itself; subclasses may know further harmless names."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a name of the stream means; raise UnpicklingError for all others."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f'it names {module}.{name}, which is not an array, a number or a container'
            )
        return _ALLOWED[module, name]


# Whatever a damaged or hostile stream makes the machine stumble over.
BROKEN = (
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


def read_numbers(stream: io.BufferedIOBase | io.BytesIO) -> Any:
    """Return the one object of a pickle stream.

    Raises pickle.UnpicklingError when the stream is damaged or holds anything but arrays,
    numbers, strings, lists, tuples, sets and dictionaries.
    """
    try:
        return NumbersOnly(stream, encoding='latin1').load()
    except BROKEN as error:
        raise pickle.UnpicklingError(str(error)) from error

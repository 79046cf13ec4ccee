"""Read what torch.save wrote, without PyTorch's unpickler: nothing in a file can be executed.

Two containers are known: the zip archives of PyTorch 1.6 and later, and the older sequence of
pickles with raw storages behind them, in which most published checkpoints come. The pickles may
name tensors, numpy arrays and plain containers. The state of a random generator, which checkpoints
carry along, is recognised and dropped, whatever version of numpy wrote it. Any other name in the
file is refused before it is looked up.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.archives import ARCHIVE_ERRORS, checked_members
from trpose_ros.weights import WeightsError
from trpose_ros.weights.pickles import (
    BROKEN,
    Allowance,
    Name,
    NumbersOnly,
    Resolver,
    StandIn,
    reason,
    sizes,
)

_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the older container
_BFLOAT16 = 'bfloat16'
_DTYPES: dict[str, str] = {
    'DoubleStorage': '<f8',
    'FloatStorage': '<f4',
    'HalfStorage': '<f2',
    'BFloat16Storage': _BFLOAT16,
    'LongStorage': '<i8',
    'IntStorage': '<i4',
    'ShortStorage': '<i2',
    'CharStorage': '<i1',
    'ByteStorage': '<u1',
    'BoolStorage': '?',
}
_RANDOM_MODULES = (
    'numpy.random',
    'numpy.random.mtrand',
    'numpy.random._pickle',
    'numpy.random._mt19937',
)
_RANDOM_NAMES = ('__RandomState_ctor', '__randomstate_ctor', '__bit_generator_ctor', 'MT19937')


class Dropped(StandIn):
    """Stands for something that was in the file and means nothing here."""

    __slots__ = ()

    def set_state(self, state: Any, allowance: Allowance) -> None:
        """Drop that, too."""

    def value(self, resolve: Callable[[Any], Any]) -> Dropped:
        """Return itself: users see that something was there."""
        return self


@dataclass
class _Storage(StandIn):
    """A run of numbers; ``data`` is filled in when the container has been read so far."""

    dtype: str
    count: int
    data: np.ndarray | None = None


@dataclass
class _View(StandIn):
    """A tensor: a strided view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    allowance: Allowance

    def value(self, resolve: Callable[[Any], Any]) -> np.ndarray:
        """Return a copy of the numbers; the file's sizes are not trusted."""
        data = self.storage.data
        if data is None:
            raise pickle.UnpicklingError('a tensor has no numbers in the file')
        if len(self.shape) != len(self.strides):
            raise pickle.UnpicklingError(f'a tensor of shape {self.shape} has other strides')
        count = math.prod(self.shape)
        spans = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in spans)
        if count and (last >= len(data) or count > len(data)):
            raise pickle.UnpicklingError('a tensor reaches beyond its numbers: the file is damaged')
        if count == 0:
            return np.zeros(self.shape, data.dtype)
        width = data.itemsize
        self.allowance.take(count * width)
        view = np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, tuple(width * step for step in self.strides)
        )
        return np.array(view)


def _rebuild(
    allowance: Allowance, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
) -> _View:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError('a tensor without a storage')
    (start,) = sizes((offset,))
    return _View(storage, start, sizes(shape), sizes(strides), allowance)


def _rebuild_parameter(_: Allowance, view: Any, *__: Any) -> Any:
    return view


def _size(_: Allowance, values: Any = ()) -> tuple[int, ...]:
    return sizes(values)


def _dropped(_: Allowance, *__: Any) -> Dropped:
    return Dropped()


_TENSORS: dict[tuple[str, str], Any] = {
    ('torch._utils', '_rebuild_tensor'): _rebuild,
    ('torch._utils', '_rebuild_tensor_v2'): _rebuild,
    ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
    ('torch', 'Size'): _size,
}


class _Reader(NumbersOnly):
    """Unpickles one object of a container; storages are looked up by their keys."""

    def __init__(
        self, stream: io.BytesIO, allowance: Allowance, storages: dict[str, _Storage]
    ) -> None:
        super().__init__(stream, allowance)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TENSORS:
            return Name(f'{module}.{name}', _TENSORS[module, name])
        if module in ('torch', 'torch.cuda') and name in _DTYPES:
            return name
        if module in _RANDOM_MODULES and name in _RANDOM_NAMES:
            return Name(f'{module}.{name}', _dropped)
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or not 5 <= len(pid) <= 6:
            raise pickle.UnpicklingError('a strange description of a storage')
        kind, storage_type, key, _, count, *rest = pid
        if not isinstance(storage_type, str) or storage_type not in _DTYPES or kind != 'storage':
            raise pickle.UnpicklingError('an unknown kind of storage')
        if (rest and rest[0] is not None) or not isinstance(key, (str, int)):
            raise pickle.UnpicklingError('a storage that is part of another one')
        (number,) = sizes((count,))
        return self._storages.setdefault(str(key), _Storage(_DTYPES[storage_type], number))


def read_torch_file(path: str | Path) -> Any:
    """Return the object that torch.save wrote, tensors as numpy arrays.

    Generators of random numbers come back as ``Dropped``; bfloat16 becomes float32.

    Raises:
        WeightsError: the file is missing, damaged, no such file, or names anything but tensors,
            arrays, numbers and containers. Nothing in it has been executed.

    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f'checkpoint {path} does not exist')
    try:
        with path.open('rb') as stream:
            zipped = stream.read(4) == b'PK\x03\x04'
        return _read_zip(path) if zipped else _read_sequence(path)
    except (*BROKEN, OSError, *ARCHIVE_ERRORS, struct.error) as error:
        raise WeightsError(
            f'{path} is no checkpoint that can be read safely ({reason(error)}); it is damaged, of '
            'another kind, or would execute code. Nothing was executed: obtain it again from its '
            'publisher'
        ) from error


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        members = checked_members(archive, stored_only=True)  # as torch.save writes
        names = list(members)
        pickles = [name for name in names if name.endswith('/data.pkl') or name == 'data.pkl']
        if len(pickles) != 1:
            raise pickle.UnpicklingError('the archive holds no data.pkl')
        folder = pickles[0].removesuffix('data.pkl')
        order = f'{folder}byteorder'
        if order in names and archive.read(order).strip() != b'little':
            raise pickle.UnpicklingError('numbers are not little-endian')
        storages: dict[str, _Storage] = {}
        allowance = Allowance(path.stat().st_size)
        content = _Reader(io.BytesIO(archive.read(pickles[0])), allowance, storages).load()
        for key, storage in storages.items():
            storage.data = _numbers(archive.read(f'{folder}data/{key}'), storage)
    return Resolver(allowance).resolve(content)


def _read_sequence(path: Path) -> Any:
    stream = io.BytesIO(path.read_bytes())
    allowance = Allowance(path.stat().st_size)
    storages: dict[str, _Storage] = {}

    def read() -> Any:
        return _Reader(stream, allowance, storages).load()

    if read() != _MAGIC:
        raise pickle.UnpicklingError('the file was not written by torch.save')
    read()  # version of the container
    system = read()
    if isinstance(system, dict) and system.get('little_endian') is False:
        raise pickle.UnpicklingError('numbers are not little-endian')
    content = read()
    keys = read()
    if not isinstance(keys, list) or not all(isinstance(key, (str, int)) for key in keys):
        raise pickle.UnpicklingError('the file has no list of its storages')
    for key in keys:
        (count,) = struct.unpack('<q', stream.read(8))
        storage = storages.get(str(key))
        if storage is None or storage.count != count:
            raise pickle.UnpicklingError(f'storage {key} has {count} numbers, not as announced')
        width = 2 if storage.dtype == _BFLOAT16 else np.dtype(storage.dtype).itemsize
        storage.data = _numbers(stream.read(count * width), storage)
    return Resolver(allowance).resolve(content)


def _numbers(raw: bytes, storage: _Storage) -> np.ndarray:
    if storage.dtype == _BFLOAT16:
        data = (np.frombuffer(raw, '<u2').astype(np.uint32) << 16).view(np.float32)
    else:
        data = np.frombuffer(raw, storage.dtype)
    if len(data) != storage.count:
        raise pickle.UnpicklingError(
            f'a storage has {len(data)} of {storage.count} numbers: the file is cut off'
        )
    return data

"""Zip archives from elsewhere, npz files among them, looked at before they are unpacked.

A zip archive of 3 MB can become 3 GB, one whose members overlap far more. The sizes that it
announces are compared with its own first, and never more is unpacked than was announced.
"""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

_RATIO = 100  # that a packed archive may grow by; arrays of data sets grow by 10 at most
_SPARE_BYTES = 64 << 20  # what the smallest archive may become
_MOST_MEMBERS = 100_000

# What zipfile raises for a damaged, encrypted or unknown archive.
ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError),
    *(struct.error, OverflowError, IndexError),
)

# What numpy raises for an npy file whose header or length is damaged.
ARRAY_ERRORS = (
    *(ValueError, TypeError, KeyError, EOFError, OverflowError, RecursionError, MemoryError),
    *(SyntaxError, tokenize.TokenError),
)


def checked_members(
    archive: zipfile.ZipFile, *, stored_only: bool = False
) -> dict[str, zipfile.ZipInfo]:
    """Return the members of an archive by name.

    ``stored_only`` refuses packed members, for formats that never have them. Raises
    zipfile.BadZipFile for an archive that is encrypted, packed in a way whose memory cannot be
    bounded, or that would become far larger than it is.
    """
    members = {info.filename: info for info in archive.infolist()}
    known = (zipfile.ZIP_STORED,) if stored_only else (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if len(members) > _MOST_MEMBERS:
        raise zipfile.BadZipFile(f'it has {len(members)} members, more than {_MOST_MEMBERS}')
    for info in members.values():
        if info.flag_bits & 1:
            raise zipfile.BadZipFile('it is encrypted: unpack it with its password first')
        if info.compress_type not in known:
            raise zipfile.BadZipFile(
                f'{info.filename[:80]!r} is packed in a way that no such file is'
            )
    whole = _size(archive)
    most = whole if stored_only else _RATIO * whole + _SPARE_BYTES
    announced = sum(info.file_size for info in members.values())
    if announced > most:
        raise zipfile.BadZipFile(
            f'it would become {announced / 1e6:.0f} MB from {whole / 1e6:.2g} MB: no data need that'
        )
    return members


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a checked member, never more bytes than it announced."""
    with archive.open(info) as stream:
        return stream.read(info.file_size)


def load_arrays(source: Path | BinaryIO) -> dict[str, np.ndarray]:
    """Return the plain arrays of an npz archive by name.

    Raises ValueError for a damaged or oversized archive and for objects in it, OSError when it
    cannot be opened.
    """
    if isinstance(source, Path):
        with source.open('rb') as stream:
            return load_arrays(stream)
    try:
        with zipfile.ZipFile(source) as archive:
            members = checked_members(archive)
            return {
                name.removesuffix('.npy'): _array(read_member(archive, info))
                for name, info in members.items()
            }
    except (*ARCHIVE_ERRORS, *ARRAY_ERRORS, OSError) as error:
        raise ValueError(f'it is no readable npz archive: {error!s:.200}') from error


def _array(data: bytes) -> np.ndarray:
    """Return the array of an npy file; it may not be larger than the file."""
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return np.asarray(array)


def pack_arrays(path: Path, *wanted: str) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file that this package once wrote.

    Raises ValueError, naming the file, when it is damaged or lacks one of ``wanted``; OSError when
    it cannot be opened.
    """
    try:
        arrays = load_arrays(path)
    except ValueError as error:
        raise ValueError(f'{path}: {error}; delete it, or restore it from a copy') from error
    if lacking := [name for name in wanted if name not in arrays]:
        raise ValueError(f'{path} lacks {lacking}: it is of another kind, or of an older version')
    return arrays


def mapped_array(path: Path) -> np.ndarray:
    """Return the one array of an npy file, which stays on the disk; raises as ``pack_arrays``."""
    try:
        return np.lib.format.open_memmap(path, mode='r')
    except ARRAY_ERRORS as error:
        raise ValueError(f'{path} is no readable npy file ({error}); delete it') from error


def _size(archive: zipfile.ZipFile) -> int:
    stream = archive.fp
    assert stream is not None
    place = stream.tell()
    size = stream.seek(0, 2)
    stream.seek(place)
    return size

"""Unpacking what a recording holds packed (zstd, LZ4), in bounded memory.

A hundred kilobytes of zstd can mean gigabytes. What comes out is limited before it is made: by the
size that the file announces where it does, and by what sensors' data can shrink to at all.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import lz4.frame
from rosbags.rosbag2 import storage_mcap

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_RATIO = 100  # of data that shrink very well
_SPARE_BYTES = 256 << 20  # an image of 64 megapixels, alone, may shrink to nothing
_STEP = 1 << 20
_BLOCK = 4096  # of packed data; what lies before a damaged block is kept
ERRORS = (zstd.ZstdError, EOFError, RuntimeError)  # lz4 raises the last


class TooLargeError(Exception):
    """Packed data would become far more than any recording needs."""


def most_bytes(packed: int) -> int:
    """Return how large ``packed`` bytes may become."""
    return _RATIO * packed + _SPARE_BYTES


def unpacked_part(data: bytes, compression: str, size: int) -> tuple[bytes, str]:
    """Return what of packed data can be unpacked, and what went wrong (empty: nothing).

    ``size`` is what the file announces; more is not unpacked.
    """
    if compression == '':
        return data, ''
    if compression not in ('zstd', 'lz4'):
        return b'', f'compression {compression[:40]!r} is not known'
    if size > most_bytes(len(data)):
        return b'', f'{len(data)} bytes of {compression} announce {size}: no data shrink like that'
    decompressor = _decompressor(compression)
    parts: list[bytes] = []
    left = size
    source = io.BytesIO(data)
    try:
        while left >= 0 and not decompressor.eof:
            block = source.read(_BLOCK) if decompressor.needs_input else b''
            if not block and decompressor.needs_input:
                break
            part = decompressor.decompress(block, min(_STEP, left + 1))
            left -= len(part)
            parts.append(part)
    except ERRORS as error:
        return b''.join(parts), f'{compression} data is damaged ({error})'
    whole = b''.join(parts)
    if left < 0:
        return whole[:size], f'{compression} data is more than the {size} bytes it announces'
    return whole, ''


def unpack_message(data: bytes | memoryview) -> bytes:
    """Return the bytes of a message that was packed by itself; raises what ERRORS names."""
    decompressor, most = zstd.ZstdDecompressor(), most_bytes(len(data))
    whole = decompressor.decompress(data, most + 1)
    if len(whole) > most:
        raise TooLargeError(f'{len(data)} bytes would become more than {most}')
    if not decompressor.eof:
        raise EOFError('zstd data is cut off')
    return whole


def unpack_file(source: Path, target: Path) -> str:
    """Unpack a zstd file as far as possible; return what went wrong, empty when nothing did."""
    decompressor = zstd.ZstdDecompressor()
    left = most_bytes(source.stat().st_size)
    with source.open('rb') as packed, target.open('wb') as plain:
        while block := packed.read(_STEP):
            try:
                while not decompressor.eof:
                    part = decompressor.decompress(block, _STEP)
                    block = b''
                    left -= len(part)
                    if left < 0:
                        return 'it would become far larger than recordings do; the rest is left out'
                    plain.write(part)
                    if decompressor.needs_input:
                        break
            except (zstd.ZstdError, EOFError) as error:
                return f'zstd stream is damaged ({error})'
            if decompressor.eof and (decompressor.unused_data or block):
                return 'data after the end of the zstd stream is ignored'
    return '' if decompressor.eof else 'zstd stream is cut off'


def _decompressor(compression: str) -> zstd.ZstdDecompressor | lz4.frame.LZ4FrameDecompressor:
    return zstd.ZstdDecompressor() if compression == 'zstd' else lz4.frame.LZ4FrameDecompressor()


def _chunk(compression: str, data: bytes, size: int) -> bytes:
    whole, problem = unpacked_part(data, compression, size)
    if problem:
        raise TooLargeError(problem)
    return whole


# rosbags unpacks the whole of a chunk and compares its size afterwards: here the limit comes first.
storage_mcap.DECOMPRESSORS.update(
    zstd=lambda data, size: _chunk('zstd', data, size),
    lz4=lambda data, size: _chunk('lz4', data, size),
)

"""Size and orientation of a picture file, from its header alone.

Nothing is decoded: a few hundred bytes say how much memory the picture would take, and how the
camera was held (the EXIF tag "orientation", 0x0112). JPEG (ITU-T T.81, EXIF 2.3), PNG (with its
eXIf chunk), WebP (RFC 9649), TIFF 6.0 and BigTIFF, BMP and netpbm (P1 to P6) are known.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

MAX_MEGAPIXELS = 64.0  # of a picture that is decoded without another word
_BYTES_PER_PIXEL = 16  # of the largest file that a picture of its size can need: 16-bit RGBA, twice
# A block of 8 x 8 takes one bit of a JPEG at least; a PNG can have 8 pixels in a byte, and its
# compression ends at 1032:1. A header that says more belongs to another, or to no, picture.
_PIXELS_PER_BYTE = {'JPEG': 1024, 'PNG': 8256}
_MOST_SCANS = 100  # of a progressive JPEG, ten are usual; each is a pass over all pixels
_MOST_PARTS = 100_000  # segments or chunks of one file
_MOST_FILL = 4096  # bytes between two segments of a JPEG
_NETPBM_BYTES = 4096  # within which a netpbm header ends, comments and all
_ORIENTATION, _WIDTH, _HEIGHT = 0x0112, 0x0100, 0x0101  # tags of TIFF


class ImageError(ValueError):
    """An image that cannot be decoded; the message names the value and the remedy."""


@dataclass(frozen=True)
class PictureHeader:
    """What a header says. ``width`` and ``height`` are those of the stored pixels."""

    kind: str  # 'JPEG', 'PNG', 'WebP', 'TIFF', 'BMP' or 'netpbm'
    width: int
    height: int
    orientation: int = 1  # of EXIF, 1..8; 1 is upright

    @property
    def upright_size(self) -> tuple[int, int]:
        """Return width and height of the picture when it is upright."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)


def read_header(file: BinaryIO) -> PictureHeader:
    """Read the header of an open file from its beginning.

    Raises ImageError for a file that is no picture, is cut off or contradicts itself; the message
    is what follows the file's name in a sentence.
    """
    head = file.read(16)
    file.seek(0)
    try:
        for starts, reader in _READERS:
            if head.startswith(starts):
                header = reader(file)
                break
        else:
            raise ImageError(f'is no picture (first bytes {head[:8].hex() or "none"})')
    except (struct.error, IndexError, OverflowError) as error:
        raise ImageError('is cut off in its header') from error
    if header.width <= 0 or header.height <= 0:
        raise ImageError(f'is empty by its header: {header.width}x{header.height}')
    return header


def largest_bytes(header: PictureHeader, max_megapixels: float) -> int:
    """Return what a file of this size, or of the largest that is decoded, has at most."""
    pixels = min(header.width * header.height, int(1e6 * max_megapixels))
    return _BYTES_PER_PIXEL * pixels + (1 << 26)


def check_size(
    header: PictureHeader, data: bytes | np.ndarray, max_megapixels: float, limit: str
) -> None:
    """Raise ImageError for data (bytes, or an array of them) that would decode to too much.

    More than ``max_megapixels`` (millions of pixels), which ``limit`` names, or more than the
    data can hold, or far more data than pixels.
    """
    pixels, size = header.width * header.height, len(data)
    words = f'{header.width}x{header.height} px'
    if pixels > 1e6 * max_megapixels:
        raise ImageError(
            f'has {words}, {pixels / 1e6:.0f} megapixels, and the limit is {max_megapixels:g}: '
            f'shrink it, or raise the limit with {limit}'
        )
    if pixels > size * _PIXELS_PER_BYTE.get(header.kind, pixels):
        raise ImageError(f'says {words} and has {size} bytes: it is cut off or damaged')
    if size > largest_bytes(header, max_megapixels):
        raise ImageError(
            f'has {size / 1e6:.0f} MB for {words}, more than any picture of that size; is '
            'something else appended to it?'
        )
    if header.kind == 'JPEG' and bytes(data).count(b'\xff\xda') > _MOST_SCANS:
        raise ImageError(f'has more than {_MOST_SCANS} scans, as no camera writes; save it again')


def _jpeg(file: BinaryIO) -> PictureHeader:
    size: tuple[int, ...] | None = None
    orientation = 1
    file.read(2)
    for _ in range(_MOST_PARTS):
        marker = _take(file, 2)
        for _ in range(_MOST_FILL):
            if marker[1] != 0xFF:
                break
            marker = marker[1:] + _take(file, 1)
        if marker[0] != 0xFF or marker[1] == 0xFF:
            raise ImageError('has a damaged JPEG header')
        kind = marker[1]
        if kind in (0xD9, 0xDA):  # the end, or the first scan: what counts stands before it
            break
        if kind == 0x01 or 0xD0 <= kind <= 0xD8:  # without a length
            continue
        length = struct.unpack('>H', _take(file, 2))[0] - 2
        if length < 0:
            raise ImageError('has a damaged JPEG header')
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            frame = _take(file, length)
            size = struct.unpack('>HH', frame[1:5])[::-1]
        elif kind == 0xE1 and orientation == 1:
            orientation = _exif(_take(file, length))
        else:
            file.seek(length, io.SEEK_CUR)
    if size is None:
        raise ImageError('is cut off before its size')
    return PictureHeader('JPEG', size[0], size[1], orientation)


def _png(file: BinaryIO) -> PictureHeader:
    """Walk all chunks: none may reach beyond the file, the last one is IEND."""
    end = file.seek(0, io.SEEK_END)
    file.seek(8)
    size: tuple[int, ...] | None = None
    orientation = 1
    for _ in range(_MOST_PARTS):
        length, name = struct.unpack('>I4s', _take(file, 8))
        if file.tell() + length + 4 > end:
            break
        if name == b'IHDR':
            size = struct.unpack('>II', _take(file, 8))
            length -= 8
        elif name == b'eXIf':
            orientation = _exif(_take(file, length))
            length = 0
        elif name == b'IEND':
            if size is None:
                break
            return PictureHeader('PNG', size[0], size[1], orientation)
        file.seek(length + 4, io.SEEK_CUR)
    raise ImageError('is cut off')


def _webp(file: BinaryIO) -> PictureHeader:
    end = file.seek(0, io.SEEK_END)
    file.seek(4)
    length, kind = struct.unpack('<I4s', _take(file, 8))
    if kind != b'WEBP':
        raise ImageError(f'is no picture (a RIFF file of kind {kind!r})')
    if length + 8 > end:
        raise ImageError('is cut off')
    size: tuple[int, ...] | None = None
    orientation = 1
    for _ in range(_MOST_PARTS):
        if file.tell() >= length:
            break
        name, bytes_ = struct.unpack('<4sI', _take(file, 8))
        begin = file.tell()
        if name == b'VP8X':
            raw = _take(file, 10)
            size = (_three_bytes(raw[4:7]) + 1, _three_bytes(raw[7:10]) + 1)
        elif name == b'VP8 ' and size is None:
            raw = _take(file, 10)
            size = tuple(side & 0x3FFF for side in struct.unpack('<HH', raw[6:10]))
        elif name == b'VP8L' and size is None:
            bits = struct.unpack('<I', _take(file, 5)[1:5])[0]
            size = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif name == b'EXIF':
            orientation = _exif(_take(file, min(bytes_, end)))
        file.seek(begin + bytes_ + bytes_ % 2)
    if size is None:
        raise ImageError('holds no image')
    return PictureHeader('WebP', size[0], size[1], orientation)


def _bmp(file: BinaryIO) -> PictureHeader:
    raw = _take(file, 26)
    if struct.unpack('<I', raw[14:18])[0] == 12:  # OS/2
        return PictureHeader('BMP', *struct.unpack('<HH', raw[18:22]))
    width, height = struct.unpack('<ii', raw[18:26])
    return PictureHeader('BMP', width, abs(height))  # negative: the first row is the upper one


def _netpbm(file: BinaryIO) -> PictureHeader:
    text = re.sub(rb'#[^\r\n]*', b'', file.read(_NETPBM_BYTES))
    found = re.match(rb'P[1-6]\s+(\d{1,9})\s+(\d{1,9})\s', text)
    if found is None:
        raise ImageError('has a damaged netpbm header')
    return PictureHeader('netpbm', int(found[1]), int(found[2]))


def _tiff(file: BinaryIO) -> PictureHeader:
    tags = _tiff_tags(file)
    if _WIDTH not in tags or _HEIGHT not in tags:
        raise ImageError('does not say its size')
    return PictureHeader('TIFF', tags[_WIDTH], tags[_HEIGHT], _valid(tags.get(_ORIENTATION, 1)))


def _exif(data: bytes) -> int:
    """Return the orientation of an EXIF block, 1 where it says nothing of use."""
    data = data.removeprefix(b'Exif\0\0')
    if data[:4] not in _TIFF_STARTS:
        return 1
    try:
        return _valid(_tiff_tags(io.BytesIO(data)).get(_ORIENTATION, 1))
    except (ImageError, struct.error):
        return 1


def _tiff_tags(file: BinaryIO) -> dict[int, int]:
    """Return the tags of the first directory that hold one short or long number."""
    head = _take(file, 4)
    order = '<' if head[:2] == b'II' else '>'
    big = struct.unpack(order + 'H', head[2:4])[0] == 43
    if big:
        _take(file, 4)  # size of offsets
    offset = struct.unpack(order + ('Q' if big else 'I'), _take(file, 8 if big else 4))[0]
    if offset >= 1 << 62:
        raise ImageError('is cut off in its header')
    file.seek(offset)
    count = struct.unpack(order + ('Q' if big else 'H'), _take(file, 8 if big else 2))[0]
    tags = {}
    entry = struct.Struct(order + ('HHQ8s' if big else 'HHI4s'))
    for _ in range(min(count, 65535)):
        tag, kind, number, value = entry.unpack(_take(file, entry.size))
        if number == 1 and kind in (3, 4):
            tags[tag] = struct.unpack_from(order + ('H' if kind == 3 else 'I'), value)[0]
    return tags


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise ImageError('is cut off in its header')
    return data


def _three_bytes(data: bytes) -> int:
    return int.from_bytes(data, 'little')


def _valid(orientation: int) -> int:
    return orientation if 1 <= orientation <= 8 else 1


_TIFF_STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
_READERS = (
    (b'\xff\xd8\xff', _jpeg),
    (b'\x89PNG\r\n\x1a\n', _png),
    (b'RIFF', _webp),
    (_TIFF_STARTS, _tiff),
    (b'BM', _bmp),
    (tuple(b'P%d' % kind for kind in range(1, 7)), _netpbm),
)

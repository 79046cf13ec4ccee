"""Reading one picture file: upright, RGB, 8 bits, in bounded memory.

What OpenCV decodes is decoded (JPEG of any colour space, PNG, WebP, TIFF, BMP, netpbm): grey
becomes RGB, 16 bits become 8, an alpha channel is left out, of several pages the first one counts.
The size is known from the header before anything is decoded.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.orientation import upright_image
from trpose_ros.recordings.opencv_quiet import quiet
from trpose_ros.recordings.picture_headers import (
    MAX_MEGAPIXELS,
    ImageError,
    PictureHeader,
    check_size,
    largest_bytes,
    read_header,
)


@dataclass(frozen=True)
class Picture:
    """A picture as one sees it, and what its header said."""

    image: np.ndarray  # (H, W, 3) uint8 RGB, upright
    header: PictureHeader


def is_picture(path: Path) -> bool:
    """Say whether a file begins as a picture that can be read; False for what is no file."""
    try:
        if not path.is_file():
            return False
        with path.open('rb') as file:
            read_header(file)
    except (OSError, ImageError):
        return False
    return True


def read_picture(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Read a picture file.

    Raises ImageError when it is no picture, damaged, or has more than ``max_megapixels`` (millions
    of pixels); OSError when it cannot be opened. The message of an ImageError goes on after the
    file's name.
    """
    data, header = _checked(path, max_megapixels)
    return Picture(_decode(data, header), header)


def _checked(path: Path, max_megapixels: float) -> tuple[bytes, PictureHeader]:
    """Return what a file holds and its header, when that can be a picture of bounded size."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
        raise ImageError('is no file')
    with path.open('rb') as file:
        header = read_header(file)
        file.seek(0)
        # One byte more than any picture of that size has, not the gigabytes behind it.
        data = file.read(largest_bytes(header, max_megapixels) + 1)
    check_size(header, data, max_megapixels, '--max-megapixels')
    return data, header


def read_stored(path: Path) -> np.ndarray:
    """Return the pixels of a picture file as OpenCV gives them: grey, BGR or BGRA, of any depth.

    For pictures whose alpha channel means something. Raises as ``read_picture``.
    """
    return _pixels(*_checked(path, MAX_MEGAPIXELS), cv2.IMREAD_UNCHANGED)


def _pixels(data: bytes, header: PictureHeader, how: int) -> np.ndarray:
    image = None
    try:
        with quiet():  # the decoders' complaints say less than the message below
            image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except (cv2.error, MemoryError):
        pass
    if image is None:
        raise ImageError(
            f'cannot be decoded ({header.kind}, {len(data)} bytes): it is cut off, damaged or of a '
            'rare kind; save it as JPEG or PNG'
        )
    return np.asarray(image)


def _decode(data: bytes, header: PictureHeader) -> np.ndarray:
    image = _pixels(data, header, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    # OpenCV turns TIFF whatever it is told; the others are turned here, in every version alike.
    if header.kind != 'TIFF':
        image = upright_image(image, header.orientation)
    if image.shape[1::-1] != header.upright_size:
        raise ImageError(
            f'has {image.shape[1]}x{image.shape[0]} px, not {header.upright_size[0]}x'
            f'{header.upright_size[1]} as its header says'
        )
    return np.asarray(image)

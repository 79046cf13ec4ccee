"""Raw and compressed camera images as RGB arrays.

The wire knows images by an encoding name, a row length in bytes (``step``) and a byte order; the
stages know one thing only: (H, W, 3) uint8 RGB. ``rgb8`` is a view of the buffer, everything else
one vectorised pass. cv_bridge does the same where it is installed; its binaries are compiled
against one numpy and C++ runtime, so the common encodings are decoded here.

Encodings as in sensor_msgs/image_encodings. 16-bit values are scaled to 8 bits by the bits that a
camera uses of them (10, 12, 14 or all 16: ``Stream``) and rounded; YUV is ITU-R BT.601 as in
OpenCV.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np

from trpose_ros.recordings.picture_headers import (
    MAX_MEGAPIXELS,
    ImageError,
    check_size,
    read_header,
)


class UnknownEncodingError(ImageError):
    """An encoding that this module does not know."""


@dataclass(frozen=True)
class _Layout:
    """Channels per pixel, their type and the OpenCV conversion to RGB (None: already RGB)."""

    channels: int
    dtype: str
    to_rgb: int | None


class Stream:
    """What is known of one camera's images: the bits it uses, and whether they are black.

    Infrared cameras send 10 to 14 bits in 16: divided by all of them the image would be black. The
    bits are those that the brightest pixel so far needs; they only ever grow.
    """

    def __init__(self) -> None:
        self.bits = 0  # of 16, used so far; 0: no such image yet
        self._dark = 0  # nearly black images, one after the other

    def top(self, brightest: int) -> float:
        """Return the value that becomes white in a 16-bit image with this brightest pixel."""
        self.bits = max(self.bits, next(b for b in _DEPTHS if brightest < 1 << b))
        return float((1 << self.bits) - 1)

    def look(self, image: np.ndarray) -> None:
        """Take note of a decoded image."""
        nearly_black = image[::8, ::8].max(initial=0) <= _BLACK
        self._dark = self._dark + 1 if nearly_black else 0

    def notes(self) -> dict[str, str]:
        """Return what a user should know, by topic: 'bits', 'dark'."""
        notes = {}
        if 0 < self.bits < 16:
            notes['bits'] = f'16-bit images use only {self.bits} bits: they are scaled by these'
        if self._dark >= DARK_ROW:
            notes['dark'] = (
                f'the last {self._dark} images are nearly black: nobody can be found in them; '
                'look at exposure, light, lens cap and the bits of the encoding'
            )
        return notes


def _layouts() -> dict[str, _Layout]:
    layouts = {
        'rgb': (3, None),
        'bgr': (3, cv2.COLOR_BGR2RGB),
        'rgba': (4, cv2.COLOR_RGBA2RGB),
        'bgra': (4, cv2.COLOR_BGRA2RGB),
        'mono': (1, cv2.COLOR_GRAY2RGB),
        # OpenCV names a Bayer pattern by its second row, ROS by its first.
        'bayer_rggb': (1, cv2.COLOR_BayerBG2RGB),
        'bayer_bggr': (1, cv2.COLOR_BayerRG2RGB),
        'bayer_gbrg': (1, cv2.COLOR_BayerGR2RGB),
        'bayer_grbg': (1, cv2.COLOR_BayerGB2RGB),
    }
    table = {}
    for name, (channels, to_rgb) in layouts.items():
        table[f'{name}8'] = _Layout(channels, 'u1', to_rgb)
        table[f'{name}16'] = _Layout(channels, 'u2', to_rgb)
    # OpenCV's own names, as drivers without a colour space send them: one grey, three BGR.
    table['8UC1'] = table['mono8']
    table['8UC3'] = table['bgr8']
    for name in ('yuv422', 'uyvy'):
        table[name] = _Layout(2, 'u1', cv2.COLOR_YUV2RGB_UYVY)
    for name in ('yuv422_yuy2', 'yuyv'):
        table[name] = _Layout(2, 'u1', cv2.COLOR_YUV2RGB_YUY2)
    return table


_LAYOUTS = _layouts()
ENCODINGS = tuple(_LAYOUTS)
# Planes: all of Y, then chroma at half the size, interleaved or one plane after the other.
_PLANAR = {
    'nv12': cv2.COLOR_YUV2RGB_NV12,
    'nv21': cv2.COLOR_YUV2RGB_NV21,
    'i420': cv2.COLOR_YUV2RGB_I420,
    'yv12': cv2.COLOR_YUV2RGB_YV12,
}
ENCODINGS += tuple(_PLANAR)
_DEPTHS = (8, 10, 12, 14, 16)  # bits
_BLACK = 16  # of 255: the brightest pixel of an image in which nobody is found
DARK_ROW = 10
_BAYER_MIN = 3  # pixels; OpenCV interpolates with neighbours on both sides


def decode_image(
    data: np.ndarray | bytes | bytearray | memoryview,
    *,
    encoding: str,
    width: int,
    height: int,
    step: int,
    big_endian: bool = False,
    stream: Stream | None = None,
) -> np.ndarray:
    """Return a raw image as (H, W, 3) uint8 RGB; a view of ``data`` for rgb8.

    Args:
        data: ``step * height`` bytes, any bytes-like object.
        encoding: one of ``ENCODINGS``.
        width: pixels.
        height: pixels.
        step: bytes per row, padding included.
        big_endian: byte order of 16-bit encodings.
        stream: what is known of this camera's images; without it 16 bits are all used.

    Raises:
        UnknownEncodingError: names the encoding and the known ones.
        ImageError: for an empty image, a step or length that does not fit, a width that the
            encoding cannot have.

    """
    if encoding in _PLANAR:
        return _from_planes(data, encoding, width, height, step)
    if encoding not in _LAYOUTS:
        raise UnknownEncodingError(
            f'image encoding {encoding!r:.80} is not supported; supported are '
            f'{", ".join(ENCODINGS)}'
        )
    layout = _LAYOUTS[encoding]
    pixels = _pixels(data, layout, encoding, width, height, step)
    if layout.dtype == 'u2':
        pixels = _to_eight_bits(pixels, big_endian, stream)
    if layout.to_rgb is None:
        return pixels
    return cv2.cvtColor(pixels, layout.to_rgb)


def _pixels(
    data: object, layout: _Layout, encoding: str, width: int, height: int, step: int
) -> np.ndarray:
    """View the buffer as (H, W, C) (or (H, W) with one channel), rows ``step`` bytes apart."""
    if width <= 0 or height <= 0:
        raise ImageError(f'image is empty: {width}x{height}; check the camera driver')
    buffer = np.frombuffer(data, np.uint8)  # type: ignore[call-overload]
    itemsize = np.dtype(layout.dtype).itemsize
    row = width * layout.channels * itemsize
    if step < row:
        raise ImageError(
            f'image step {step} is too small: {width} pixels of {encoding} take {row} bytes; '
            'check the camera driver'
        )
    if buffer.size != step * height:
        raise ImageError(
            f'image data has {buffer.size} bytes, but step * height is {step} * {height} = '
            f'{step * height}; the image was cut off, or the camera driver is wrong'
        )
    if layout.channels == 2 and width % 2:  # two pixels share a chroma pair
        raise ImageError(f'{encoding} image must have an even width, got {width}')
    if encoding.startswith('bayer') and min(width, height) < _BAYER_MIN:
        raise ImageError(f'{encoding} image must be at least 3x3, got {width}x{height}')
    shape: tuple[int, ...] = (height, width, layout.channels)
    strides: tuple[int, ...] = (step, layout.channels * itemsize, itemsize)
    if layout.channels == 1:
        shape, strides = shape[:2], strides[:2]
    return np.ndarray(shape, layout.dtype, buffer, strides=strides)


def _to_eight_bits(pixels: np.ndarray, big_endian: bool, stream: Stream | None) -> np.ndarray:
    native = pixels.view(pixels.dtype.newbyteorder('>' if big_endian else '<')).astype(np.uint16)
    top = 65535.0 if stream is None else stream.top(int(native.max()))
    return cv2.convertScaleAbs(native, alpha=255.0 / top)


def _from_planes(data: object, encoding: str, width: int, height: int, step: int) -> np.ndarray:
    """Decode YUV 4:2:0; ``step`` is that of the rows of Y."""
    if width <= 0 or height <= 0 or width % 2 or height % 2:
        raise ImageError(f'{encoding} image must have even sides, got {width}x{height}')
    if step < width or step % 2:
        raise ImageError(
            f'image step {step} does not fit: {width} pixels of {encoding} take {width} bytes in a '
            'row of Y, half as many in one of chroma; check the camera driver'
        )
    buffer = np.frombuffer(data, np.uint8)  # type: ignore[call-overload]
    if buffer.size != step * height * 3 // 2:
        raise ImageError(
            f'image data has {buffer.size} bytes, but {encoding} takes step * height * 3 / 2 = '
            f'{step * height * 3 // 2}; the image was cut off, or the camera driver is wrong'
        )
    if step == width or encoding.startswith('nv'):
        planes = buffer.reshape(-1, step)[:, :width]
    else:
        luma, chroma = np.split(buffer, [step * height])
        small = chroma.reshape(-1, step // 2)[:, : width // 2]
        planes = np.concatenate([luma.reshape(-1, step)[:, :width].ravel(), small.ravel()]).reshape(
            -1, width
        )
    return cv2.cvtColor(np.ascontiguousarray(planes), _PLANAR[encoding])


def decode_compressed(
    data: np.ndarray | bytes | bytearray | memoryview,
    form: str,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> np.ndarray:
    """Return a JPEG, PNG, WebP or TIFF image as (H, W, 3) uint8 RGB.

    ``form`` is the format field of a CompressedImage ('jpeg', 'png', or the longer words of
    image_transport); only depth images are told by it, the codec is told by the data. Raises
    ImageError for data that are empty, cut off, corrupt, of another kind, or whose header says
    more than ``max_megapixels`` (millions of pixels) or more than the data can hold.
    """
    buffer = np.frombuffer(data, np.uint8)
    if 'compressedDepth' in form:
        raise ImageError(f'compressed image is a depth image ({form!r:.80}); give a colour image')
    if buffer.size == 0:
        raise ImageError('compressed image is empty; check the camera driver')
    complete = _is_complete(buffer, form)
    image = None
    if complete:
        try:
            header = read_header(io.BytesIO(buffer.tobytes()))
            check_size(header, buffer, max_megapixels, 'the parameter max_megapixels')
        except ImageError as error:
            raise ImageError(f'compressed image ({buffer.size} bytes) {error}') from error
        # The orientation tag of a photograph must not turn an image that has intrinsics.
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ImageError(
            f'compressed image (format {form!r:.80}, {buffer.size} bytes) is '
            f'{"corrupt" if complete else "cut off"}; check the connection to the camera'
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _is_complete(buffer: np.ndarray, form: str) -> bool:
    """Whether an image has its end; raises ImageError for what is no image that is read here."""
    head = buffer[:12].tobytes()
    tail = buffer[-512:].tobytes()
    if tail.endswith(b'\0'):  # a driver that sends the whole of its buffer
        tail = buffer.tobytes().rstrip(b'\0')[-512:]
    if head.startswith(b'\xff\xd8'):
        return b'\xff\xd9' in tail
    if head.startswith(b'\x89PNG'):
        return b'IEND' in tail
    if head.startswith(b'RIFF') and head.endswith(b'WEBP'):
        return buffer.size >= 8 + int.from_bytes(head[4:8], 'little')
    if head[:4] in (b'II*\0', b'MM\0*'):
        return True  # a TIFF has no end; OpenCV says whether it is whole
    raise ImageError(
        f'compressed image (format {form!r:.80}, first bytes {head[:8].hex()}) is none of JPEG, '
        'PNG, WebP, TIFF; set the camera driver to one of them'
    )


def encode_compressed(image: np.ndarray, form: str = 'jpeg', quality: int = 90) -> bytes:
    """Return an (H, W, 3) uint8 RGB image as 'jpeg' or 'png' bytes."""
    extensions = {'jpeg': '.jpg', 'png': '.png'}
    if form not in extensions:
        raise ImageError(f'compressed format must be one of {list(extensions)}, got {form!r}')
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if form == 'jpeg' else []
    _, data = cv2.imencode(extensions[form], cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return data.tobytes()

"""The image codec against an independent, slow, per-pixel reference."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.recordings.image_codec import (
    DARK_ROW,
    ENCODINGS,
    ImageError,
    Stream,
    UnknownEncodingError,
    decode_compressed,
    decode_image,
    encode_compressed,
)

ORDERS = {
    'rgb': (0, 1, 2),
    'bgr': (2, 1, 0),
    'rgba': (0, 1, 2, None),
    'bgra': (2, 1, 0, None),
}


def pack(image, encoding, padding, big_endian, rng):
    """Write an RGB image (values of the encoding's depth) byte by byte, with padded rows."""
    name, bits = encoding.rstrip('0123456789'), 16 if encoding.endswith('16') else 8
    rows = []
    for line in image:
        row = bytearray()
        for pixel in line:
            for channel in ORDERS[name]:
                value = 99 if channel is None else int(pixel[channel])
                row += value.to_bytes(bits // 8, 'big' if big_endian else 'little')
        rows.append(bytes(row) + rng.bytes(padding))
    return b''.join(rows), len(rows[0])


images = st.tuples(st.integers(1, 7), st.integers(1, 5), st.integers(0, 2**31))


@given(images, st.sampled_from(['rgb8', 'bgr8', 'rgba8', 'bgra8']), st.integers(0, 5))
def test_eight_bit_colour_comes_back_exactly(image, encoding, padding):
    width, height, seed = image
    rng = np.random.default_rng(seed)
    expected = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    data, step = pack(expected, encoding, padding, False, rng)
    got = decode_image(data, encoding=encoding, width=width, height=height, step=step)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


@given(
    images,
    st.sampled_from(['rgb16', 'bgr16', 'rgba16', 'bgra16']),
    st.integers(0, 5),
    st.booleans(),
)
def test_sixteen_bit_colour_is_rounded_to_eight(image, encoding, padding, big_endian):
    width, height, seed = image
    rng = np.random.default_rng(seed)
    wide = rng.integers(0, 65536, (height, width, 3))
    data, step = pack(wide, encoding, padding, big_endian, rng)
    got = decode_image(
        data, encoding=encoding, width=width, height=height, step=step, big_endian=big_endian
    )
    np.testing.assert_array_equal(got, np.floor(wide / 257 + 0.5))


@given(images, st.sampled_from([8, 16]), st.integers(0, 3), st.booleans())
def test_grey_fills_three_channels(image, bits, padding, big_endian):
    width, height, seed = image
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 2**bits, (height, width))
    order = 'big' if big_endian else 'little'
    rows = [b''.join(int(v).to_bytes(bits // 8, order) for v in line) for line in grey]
    data = b''.join(row + b'\xee' * padding for row in rows)
    got = decode_image(
        data,
        encoding=f'mono{bits}',
        width=width,
        height=height,
        step=len(rows[0]) + padding,
        big_endian=big_endian,
    )
    expected = grey if bits == 8 else np.floor(grey / 257 + 0.5)
    np.testing.assert_array_equal(got, np.repeat(expected[..., None], 3, axis=2))


def bt601(y, u, v):
    """Limited-range BT.601 to RGB in floating point."""
    y, u, v = 1.164 * (y - 16.0), u - 128.0, v - 128.0
    rgb = np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u])
    return np.clip(rgb, 0, 255)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**31),
    st.sampled_from(['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv']),
    st.integers(0, 3),
)
def test_yuv_of_both_byte_orders(half_width, height, seed, encoding, padding):
    rng = np.random.default_rng(seed)
    luma = rng.integers(16, 236, (height, half_width, 2))
    chroma = rng.integers(16, 241, (height, half_width, 2))
    pairs = np.empty((height, half_width, 4), np.uint8)
    luma_first = encoding in ('yuv422_yuy2', 'yuyv')
    pairs[..., 0::2], pairs[..., 1::2] = (luma, chroma) if luma_first else (chroma, luma)
    rows = pairs.reshape(height, -1)
    padded = np.concatenate([rows, np.full((height, padding), 7, np.uint8)], axis=1)
    got = decode_image(
        padded.tobytes(),
        encoding=encoding,
        width=2 * half_width,
        height=height,
        step=padded.shape[1],
    )
    expected = bt601(luma, chroma[..., :1], chroma[..., 1:]).transpose(1, 2, 3, 0)
    assert np.abs(got - expected.reshape(height, -1, 3)).max() <= 2.0  # OpenCV's fixed point


@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('padding', [0, 3])
def test_bayer_reads_the_colour_of_each_site(pattern, bits, big_endian, padding):
    # A smooth ramp per channel: interpolation is exact for it away from the border.
    y, x = np.mgrid[:10, :12]
    channels = {'r': 40 + 8 * x, 'g': 60 + 9 * y, 'b': 200 - 7 * x - 3 * y}
    sites = np.empty((10, 12), np.int64)
    for i, name in enumerate(pattern):
        sites[i // 2 :: 2, i % 2 :: 2] = channels[name][i // 2 :: 2, i % 2 :: 2]
    scale = 257 if bits == 16 else 1
    order = 'big' if big_endian else 'little'
    data = b''.join(
        b''.join(int(v * scale).to_bytes(bits // 8, order) for v in line) + bytes(padding)
        for line in sites
    )
    got = decode_image(
        data,
        encoding=f'bayer_{pattern}{bits}',
        width=12,
        height=10,
        step=12 * bits // 8 + padding,
        big_endian=big_endian,
    )
    expected = np.stack([channels[name] for name in 'rgb'], axis=-1)
    assert np.abs(got.astype(int) - expected)[2:-2, 2:-2].max() <= 1


def test_rgb8_is_a_view_of_the_message():
    data = np.arange(2 * 16, dtype=np.uint8)
    got = decode_image(data, encoding='rgb8', width=5, height=2, step=16)
    assert np.shares_memory(got, data)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'width': 0}, 'empty'),
        ({'height': 0}, 'empty'),
        ({'step': 11}, 'step 11 is too small'),
        ({'height': 3}, 'step \\* height'),
        ({'height': 1}, 'step \\* height'),
        ({'encoding': 'yuyv', 'width': 3}, 'even width'),
        ({'encoding': 'bayer_rggb8'}, 'at least 3x3'),
    ],
)
def test_contradictions_are_named(change, words):
    fields = {'encoding': 'rgb8', 'width': 4, 'height': 2, 'step': 12} | change
    with pytest.raises(ImageError, match=words):
        decode_image(bytes(24), **fields)


def test_an_unknown_encoding_is_named():
    with pytest.raises(UnknownEncodingError, match="'32FC1'"):
        decode_image(bytes(4), encoding='32FC1', width=1, height=1, step=4)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_every_encoding_of_every_small_size_decodes_or_explains(encoding):
    planar = encoding in ('nv12', 'nv21', 'i420', 'yv12')
    for width in range(1, 5):
        for height in range(1, 5):
            step = 8 * width
            try:
                got = decode_image(
                    bytes(step * height * 3 // 2 if planar else step * height),
                    encoding=encoding,
                    width=width,
                    height=height,
                    step=step,
                )
            except ImageError:
                assert width % 2 or (height % 2 if planar else min(width, height) < 3)
            else:
                assert got.shape == (height, width, 3)
                assert got.dtype == np.uint8


@pytest.fixture
def photo():
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(small, (64, 48), interpolation=cv2.INTER_CUBIC)


def test_png_is_lossless_and_jpeg_is_close(photo):
    np.testing.assert_array_equal(decode_compressed(encode_compressed(photo, 'png'), 'png'), photo)
    jpeg = decode_compressed(encode_compressed(photo), 'rgb8; jpeg compressed bgr8')
    assert np.abs(jpeg.astype(int) - photo).mean() < 5


@pytest.mark.parametrize('form', ['jpeg', 'png'])
@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.99])
def test_a_cut_off_compressed_image_is_refused(photo, form, share):
    data = encode_compressed(photo, form)
    with pytest.raises(ImageError, match=r'cut off|empty'):
        decode_compressed(data[: int(len(data) * share)], form)


def test_corrupt_and_foreign_data_are_refused(photo, capfd):
    png = bytearray(encode_compressed(photo, 'png'))
    png[len(png) // 2] ^= 0xFF
    with pytest.raises(ImageError, match='corrupt'):
        decode_compressed(bytes(png), 'png')
    jpeg = bytearray(encode_compressed(photo))
    jpeg[2:60] = bytes(58)
    with pytest.raises(ImageError, match='is no picture'):
        decode_compressed(bytes(jpeg), 'jpeg')
    with pytest.raises(ImageError, match='none of JPEG, PNG'):
        decode_compressed(b'BM' + bytes(100), 'bmp')
    with pytest.raises(ImageError, match='depth'):
        decode_compressed(b'\x89PNG', '16UC1; compressedDepth png')
    with pytest.raises(ImageError, match='one of'):
        encode_compressed(photo, 'webp')
    capfd.readouterr()  # libpng and libjpeg complain on stderr as well


# -- bits, planes, padding --------------------------------------------------------------------


def grey16(values):
    return {
        'encoding': 'mono16',
        'width': values.shape[1],
        'height': values.shape[0],
        'step': 2 * values.shape[1],
    }, values.astype('<u2').tobytes()


@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_sixteen_bit_images_are_scaled_by_the_bits_that_the_camera_uses(bits):
    values = np.array([[0, 2**bits // 2, 2**bits - 1]])
    fields, data = grey16(values)
    stream = Stream()
    got = decode_image(data, stream=stream, **fields)
    assert got[0, :, 0].tolist() == [0, 128, 255]
    assert stream.bits == bits
    assert ('bits' in stream.notes()) == (bits < 16)


def test_the_bits_of_a_stream_only_grow():
    stream = Stream()
    for brightest, expected in ((900, 10), (3000, 12), (100, 12), (65535, 16), (5, 16)):
        fields, data = grey16(np.array([[brightest]]))
        decode_image(data, stream=stream, **fields)
        assert stream.bits == expected


def test_a_stream_that_stays_black_is_noted_until_it_is_light():
    stream, black = Stream(), np.full((48, 64, 3), 3, np.uint8)
    for _ in range(DARK_ROW - 1):
        stream.look(black)
    assert stream.notes() == {}
    stream.look(black)
    assert 'nearly black' in stream.notes()['dark']
    black[0, 0] = 90
    stream.look(black)
    assert stream.notes() == {}


def planes(photo, encoding, padding):
    height, width = photo.shape[:2]
    flat = cv2.cvtColor(photo, cv2.COLOR_RGB2YUV_I420).ravel()
    luma, u, v = np.split(flat, [width * height, width * height * 5 // 4])
    luma = luma.reshape(height, width)
    u, v = (c.reshape(height // 2, width // 2) for c in (u, v))
    if encoding.startswith('nv'):
        pair = (u, v) if encoding == 'nv12' else (v, u)
        rows = [luma, np.stack(pair, 2).reshape(height // 2, width)]
        rows = [np.pad(r, ((0, 0), (0, padding)), constant_values=9) for r in rows]
    else:
        pair = (u, v) if encoding == 'i420' else (v, u)
        rows = [np.pad(luma, ((0, 0), (0, padding)), constant_values=9)]
        rows += [np.pad(c, ((0, 0), (0, padding // 2)), constant_values=9) for c in pair]
    return b''.join(r.tobytes() for r in rows), cv2.cvtColor(
        flat.reshape(-1, width), cv2.COLOR_YUV2RGB_I420
    )


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'i420', 'yv12'])
@pytest.mark.parametrize('padding', [0, 4])
@pytest.mark.parametrize('size', [(2, 2), (12, 8)])
def test_planes_of_yuv(encoding, padding, size):
    width, height = size
    photo = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    data, expected = planes(photo, encoding, padding)
    fields = {'encoding': encoding, 'width': width, 'height': height, 'step': width + padding}
    np.testing.assert_array_equal(decode_image(data, **fields), expected)
    assert encoding in ENCODINGS
    for change, words in (
        ({'width': width + 1}, 'even sides'),
        ({'height': 0}, 'even sides'),
        ({'step': width - 1}, 'does not fit'),
        ({'height': height + 2}, 'cut off'),
    ):
        with pytest.raises(ImageError, match=words):
            decode_image(data, **(fields | change))


@pytest.mark.parametrize('form', ['jpeg', 'png'])
@pytest.mark.parametrize('zeros', [1, 511, 100_000])
def test_zeros_behind_an_image_are_no_damage(form, zeros):
    photo = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)
    data = encode_compressed(photo, form)
    expected = decode_compressed(data, form)
    np.testing.assert_array_equal(decode_compressed(data + bytes(zeros), form), expected)
    with pytest.raises(ImageError, match='cut off'):
        decode_compressed(data[:-40] + bytes(zeros), form)


@pytest.mark.parametrize('suffix', ['.webp', '.tiff'])
def test_webp_and_tiff(suffix):
    photo = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if suffix == '.webp' else []
    data = cv2.imencode(suffix, photo[..., ::-1], options)[1].tobytes()
    np.testing.assert_array_equal(decode_compressed(data, suffix[1:]), photo)
    with pytest.raises(ImageError, match=r'cut off|corrupt'):
        decode_compressed(data[: len(data) // 2], suffix[1:])


# --- headers that lie -------------------------------------------------------------------------


def picture(width, height, form='jpeg'):
    return bytearray(encode_compressed(np.full((height, width, 3), 90, np.uint8), form))


def with_jpeg_size(data, width, height):
    at = data.index(b'\xff\xc0') + 5
    data[at : at + 4] = height.to_bytes(2, 'big') + width.to_bytes(2, 'big')
    return bytes(data)


def test_a_small_message_does_not_become_gigabytes(monkeypatch):
    """631 bytes whose header said 20000 x 20000 took a node to 4.5 GB."""
    monkeypatch.setattr(cv2, 'imdecode', None)  # nothing is decoded
    with pytest.raises(ImageError, match='20000x20000 px, 400 megapixels, and the limit is 64'):
        decode_compressed(with_jpeg_size(picture(16, 16), 20000, 20000), 'jpeg')
    with pytest.raises(ImageError, match=r'says 8000x8000 px and has .* bytes: it is cut'):
        decode_compressed(with_jpeg_size(picture(16, 16), 8000, 8000), 'jpeg')
    large = bytes(picture(200, 100, 'png'))
    with pytest.raises(ImageError, match=r'limit is 0\.01.*max_megapixels'):
        decode_compressed(large, 'png', max_megapixels=0.01)
    with pytest.raises(ImageError, match='is empty by its header: 0x16'):
        decode_compressed(with_jpeg_size(picture(16, 16), 0, 16), 'jpeg')


def test_chunks_of_a_png_lie_within_it(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', None)
    for place in range(4):
        data = picture(40, 30, 'png')
        data[data.index(b'IDAT') - 4 + place] ^= 0x80
        with pytest.raises(ImageError, match='is cut off'):
            decode_compressed(bytes(data), 'png')


def test_a_jpeg_of_a_thousand_scans_is_refused(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', None)
    data = bytes(picture(16, 16))
    at = data.index(b'\xff\xda')
    with pytest.raises(ImageError, match='more than 100 scans'):
        decode_compressed(data[:at] + data[at:-2] * 1000 + data[-2:], 'jpeg')


@pytest.mark.parametrize('form', ['jpeg', 'png'])
@pytest.mark.parametrize('grey', [0, 128, 255])
def test_plain_pictures_are_no_bombs(form, grey):
    """The smallest files that there are: one grey all over."""
    image = np.full((1200, 1600, 3), grey, np.uint8)
    for quality in (1, 100):
        got = decode_compressed(encode_compressed(image, form, quality), form)
        assert np.abs(got.astype(int) - grey).max() <= 4


def test_a_long_format_is_cut_in_the_message():
    with pytest.raises(ImageError) as caught:
        decode_compressed(b'GIF89a', 'x' * 1_000_000)
    assert len(str(caught.value)) < 300

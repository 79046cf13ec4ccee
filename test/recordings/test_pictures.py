"""One picture file: its header, its pixels upright, and whatever is wrong with it."""

from __future__ import annotations

import io
import os
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trpose_ros.cameras import distort_points
from trpose_ros.orientation import upright_camera, upright_image
from trpose_ros.people import Camera
from trpose_ros.recordings.image_codec import ImageError
from trpose_ros.recordings.picture_headers import read_header
from trpose_ros.recordings.pictures import is_picture, read_picture

WIDTH, HEIGHT = 60, 40
FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'PPM')
# EXIF says where the first row and the first column of the stored pixels lie when upright.
UPRIGHT_XY = {
    1: lambda c, r: (c, r),
    2: lambda c, r: (WIDTH - 1 - c, r),
    3: lambda c, r: (WIDTH - 1 - c, HEIGHT - 1 - r),
    4: lambda c, r: (c, HEIGHT - 1 - r),
    5: lambda c, r: (r, c),
    6: lambda c, r: (HEIGHT - 1 - r, c),
    7: lambda c, r: (HEIGHT - 1 - r, WIDTH - 1 - c),
    8: lambda c, r: (r, WIDTH - 1 - c),
}


def quarters():
    """Four colours: which way an image lies can be seen."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:20, :30], image[:20, 30:] = (250, 10, 10), (10, 250, 10)
    image[20:, :30], image[20:, 30:] = (10, 10, 250), (240, 240, 240)
    return image


def encoded(form, mode='RGB', orientation=None, image=None, **options):
    picture = Image.fromarray(quarters() if image is None else image).convert(mode)
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options['exif'] = exif
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def header_of(data):
    return read_header(io.BytesIO(data))


def noise(height=200, width=300):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize('form', FORMATS)
def test_size_is_known_from_the_header(form):
    header = header_of(encoded(form))
    assert (header.width, header.height, header.orientation) == (WIDTH, HEIGHT, 1)


@pytest.mark.parametrize(
    ('form', 'options'),
    [
        ('JPEG', {'progressive': True, 'comment': b'x' * 500}),
        ('WEBP', {'lossless': True}),
        ('WEBP', {'lossless': True, 'orientation': 6}),
        ('TIFF', {'compression': 'tiff_lzw'}),
        ('TIFF', {'big_tiff': True, 'orientation': 6}),
        ('PNG', {'mode': 'P'}),
    ],
)
def test_rarer_headers(form, options):
    header = header_of(encoded(form, **options))
    assert (header.width, header.height) == (WIDTH, HEIGHT)
    assert header.orientation == options.get('orientation', 1)


def test_netpbm_with_comments_and_bmp_from_top_to_bottom():
    assert header_of(b'P5 # a\n# b\n12\t7\n255\n').width == 12
    bmp = bytearray(encoded('BMP'))
    bmp[22:26] = struct.pack('<i', -HEIGHT)
    assert header_of(bytes(bmp)).height == HEIGHT


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
def test_picture_is_upright_whatever_the_camera_wrote(tmp_path, form, orientation):
    path = tmp_path / f'turned.{form.lower()}'
    path.write_bytes(encoded(form, orientation=orientation, quality=95))
    picture = read_picture(path)
    assert picture.header.orientation == orientation
    assert picture.image.shape[1::-1] == picture.header.upright_size
    for column, row in ((5, 5), (50, 5), (5, 35), (50, 35)):
        x, y = UPRIGHT_XY[orientation](column, row)
        np.testing.assert_allclose(picture.image[y, x], quarters()[row, column], atol=12)


@pytest.mark.parametrize('orientation', [0, 9, 65535])
def test_orientation_that_does_not_exist_turns_nothing(tmp_path, orientation):
    path = tmp_path / 'odd.jpg'
    path.write_bytes(encoded('JPEG', orientation=orientation))
    assert read_picture(path).header.orientation == 1


LENSES = [
    ('pinhole', []),
    ('pinhole', [0.1, -0.05, 0.01, -0.02, 0.03]),
    ('pinhole', [0.1, -0.05, 0.01, -0.02, 0.03, 0.1, 0.01, 0.0, 0.02, -0.01, 0.03, 0.015]),
    ('fisheye', [0.05, -0.01, 0.002, 0.0]),
]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('lens', LENSES, ids=lambda lens: f'{lens[0]}{len(lens[1])}')
@settings(max_examples=12)
@given(
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(25.0, 35.0),
    st.floats(15.0, 25.0),
    st.floats(-3.0, 3.0),
)
def test_camera_turns_with_its_picture(orientation, lens, x, y, cx, cy, skew):
    model, distortion = lens
    matrix = np.array([[70.0, skew, cx], [0.0, 75.0, cy], [0.0, 0.0, 1.0]])
    camera = Camera(WIDTH, HEIGHT, matrix, np.array(distortion), model, assumed=True)
    turned = upright_camera(camera, orientation)
    assert (turned.width, turned.height) == ((WIDTH, HEIGHT), (HEIGHT, WIDTH))[orientation >= 5]
    assert turned.assumed
    # A ray turns like a pixel, about the middle: sizes cancel in differences.
    turn = UPRIGHT_XY[orientation]
    direction = np.array(turn(x, y), float) - turn(0.0, 0.0)
    expected = turn(*distort_points(np.array([x, y]), camera))
    np.testing.assert_allclose(distort_points(direction, turned), expected, atol=1e-9)


def test_camera_with_a_tilted_sensor_is_not_turned():
    distortion = np.zeros(14)
    distortion[12] = 0.02
    camera = Camera(WIDTH, HEIGHT, np.diag([70.0, 70.0, 1.0]), distortion)
    assert upright_camera(camera, 1) is camera
    with pytest.raises(ValueError, match='tilted'):
        upright_camera(camera, 6)


def test_upright_image_leaves_the_stored_pixels_alone():
    image = quarters()
    assert upright_image(image, 1) is image
    upright_image(image, 3)
    np.testing.assert_array_equal(image, quarters())


def picture_of(tmp_path, data, name='picture.png', **options):
    path = tmp_path / name
    path.write_bytes(data)
    return read_picture(path, **options)


def test_sixteen_bits_become_eight(tmp_path):
    image = (quarters().astype(np.uint16) * 257)[..., ::-1]
    picture = picture_of(tmp_path, cv2.imencode('.png', image)[1].tobytes())
    np.testing.assert_array_equal(picture.image, quarters())
    grey = np.full((HEIGHT, WIDTH), 0x8034, np.uint16)
    picture = picture_of(tmp_path, cv2.imencode('.tif', grey)[1].tobytes())
    assert abs(int(picture.image[0, 0, 0]) - 0x80) <= 1
    assert picture.image.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ('form', 'mode'),
    [
        ('PNG', 'RGBA'),
        ('PNG', 'P'),
        ('WEBP', 'RGBA'),
        ('JPEG', 'CMYK'),
        ('TIFF', 'CMYK'),
        ('TIFF', 'RGBA'),
    ],
)
def test_colour_spaces(tmp_path, form, mode):
    picture = picture_of(tmp_path, encoded(form, mode, quality=95))
    np.testing.assert_allclose(picture.image[10, 10], quarters()[10, 10], atol=50)
    np.testing.assert_allclose(picture.image[30, 50], quarters()[30, 50], atol=50)


@pytest.mark.parametrize(
    ('form', 'mode'), [('PNG', 'L'), ('PNG', 'LA'), ('PNG', '1'), ('JPEG', 'L'), ('PPM', 'L')]
)
def test_grey_pictures_are_grey_in_three_channels(tmp_path, form, mode):
    image = picture_of(tmp_path, encoded(form, mode)).image
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (image == image[..., :1]).all()
    assert image[30, 50, 0] > 200


def test_image_of_one_pixel(tmp_path):
    image = np.full((1, 1, 3), 77, np.uint8)
    assert picture_of(tmp_path, encoded('PNG', image=image)).image.tolist() == [[[77, 77, 77]]]


@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize('share', [0.0005, 0.02, 0.5, 0.98])
def test_picture_that_was_cut_off(tmp_path, capfd, form, share):
    data = encoded(form, image=noise())
    with pytest.raises(ImageError, match=r'cut off|is no picture|decoded|damaged'):
        picture_of(tmp_path, data[: round(len(data) * share)])
    assert capfd.readouterr().err == ''  # the decoders' own words go nowhere


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'\xff',
        b'no picture at all',
        b'\xff\xd8\xff',
        b'\xff\xd8\xff\xe0\x00\x00',
        b'\xff\xd8\xff' + b'\xff' * 9000,
        b'\x89PNG\r\n\x1a\n',
        b'RIFF\x04\x00\x00\x00WAVE',
        b'RIFF\x04\x00\x00\x00WEBP',
        b'II*\x00\xff\xff\xff\xff',
        b'MM\x00+\x00\x08\x00\x00' + b'\xff' * 8,
        b'BM' + bytes(20),
        b'P6 0 0 255\n',
        b'P6 99999999999 1 255\n',
    ],
    ids=range(14),
)
def test_file_that_is_no_picture(tmp_path, data):
    with pytest.raises(ImageError):
        picture_of(tmp_path, data)
    assert not is_picture(tmp_path / 'picture.png')


@given(st.sampled_from(FORMATS), st.integers(0, 400), st.binary(min_size=1, max_size=12))
def test_damaged_headers_end_in_a_message_or_a_size(form, place, bytes_):
    data = bytearray(encoded(form, orientation=6 if form not in ('BMP', 'PPM') else None))
    data[place : place + len(bytes_)] = bytes_
    try:
        header = header_of(bytes(data))
    except ImageError:
        return
    assert header.width > 0
    assert header.height > 0
    assert 1 <= header.orientation <= 8


def claimed_size(form, width, height):
    """A small file whose header claims another size."""
    data = bytearray(encoded(form))
    if form == 'JPEG':
        place = data.index(b'\xff\xc0') + 5
        data[place : place + 4] = struct.pack('>HH', height, width)
    elif form == 'PNG':
        data[16:24] = struct.pack('>II', width, height)
    else:
        data[18:26] = struct.pack('<ii', width, height)
    return bytes(data)


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'BMP'])
def test_picture_beyond_the_limit_is_refused_before_it_is_decoded(tmp_path, monkeypatch, form):
    def never(*_):
        raise AssertionError('decoded')

    monkeypatch.setattr(cv2, 'imdecode', never)
    with pytest.raises(ImageError, match=r'20000x20000 px, 400 megapixels.*--max-megapixels'):
        picture_of(tmp_path, claimed_size(form, 20000, 20000))


def test_limit_is_a_parameter(tmp_path):
    data = encoded('PNG')
    with pytest.raises(ImageError, match=r'limit is 0\.002'):
        picture_of(tmp_path, data, max_megapixels=0.002)
    assert picture_of(tmp_path, data, max_megapixels=0.0024).image.shape == (HEIGHT, WIDTH, 3)


def test_header_that_claims_more_than_the_file_holds(tmp_path):
    with pytest.raises(ImageError, match='cannot be decoded'):
        picture_of(tmp_path, claimed_size('PNG', 600, 400))


def test_file_that_is_far_larger_than_its_picture(tmp_path):
    path = tmp_path / 'fat.jpg'
    path.write_bytes(encoded('JPEG'))
    os.truncate(path, 80 << 20)  # a sparse file
    with pytest.raises(ImageError, match='more than any picture'):
        read_picture(path)


def test_floating_point_tiff_is_refused_and_not_guessed(tmp_path):
    data = cv2.imencode('.tif', quarters().astype(np.float32) / 255)[1].tobytes()
    with pytest.raises(ImageError, match='cannot be decoded'):
        picture_of(tmp_path, data)


def test_pipe_is_not_opened(tmp_path):
    path = tmp_path / 'pipe.jpg'
    os.mkfifo(path)
    with pytest.raises(ImageError, match='is no file'):
        read_picture(path)
    assert not is_picture(path)

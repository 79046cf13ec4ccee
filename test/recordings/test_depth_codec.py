"""Depth images of every unit, order and kind of damage: distances, or a reason."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.recordings.depth_codec import misfit, read_depth
from trpose_ros.recordings.image_codec import ImageError


def message(values, encoding='16UC1', big=False, padding=0, **changes):
    values = np.asarray(values)
    kind = {'16UC1': 'u2', 'mono16': 'u2', '32FC1': 'f4'}.get(encoding, 'u1')
    rows = values.astype(('>' if big else '<') + kind)
    rows = rows.view(np.uint8).reshape(len(values), -1)
    rows = np.concatenate([rows, np.full((len(values), padding), 7, np.uint8)], axis=1)
    fields = {
        'encoding': encoding,
        'height': len(values),
        'width': values.shape[1],
        'step': rows.shape[1],
        'is_bigendian': big,
        'data': rows.tobytes(),
    }
    return SimpleNamespace(**{**fields, **changes})


@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from(['16UC1', 'mono16', '32FC1']),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_every_layout_gives_the_same_distances(height, width, encoding, big, padding, seed):
    rng = np.random.default_rng(seed)
    mm = rng.integers(1, 60000, (height, width))
    values = mm if encoding != '32FC1' else mm * 0.001
    depth = read_depth(message(values, encoding, big, padding))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, mm * 0.001, rtol=1e-6)


def test_what_was_not_measured_is_nan():
    mm = read_depth(message([[0, 65535, 1000]]))
    np.testing.assert_array_equal(mm, np.array([[np.nan, np.nan, 1]], np.float32))
    metres = read_depth(message([[0.0, np.nan, np.inf, -1.0, 1.5]], '32FC1'))
    np.testing.assert_array_equal(metres[0, :4], [np.nan] * 4)
    assert metres[0, 4] == 1.5
    assert np.isnan(read_depth(message([[0, 0]]))).all()


def test_another_unit_is_scaled_or_named():
    np.testing.assert_allclose(read_depth(message([[12000]]), scale=0.25), [[3.0]])
    with pytest.raises(ImageError, match=r'2500 m: 32FC1 is taken for metres'):
        read_depth(message([[2500.0, 2400.0, 2600.0]], '32FC1'))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'encoding': 'rgb8'}, "encoding 'rgb8'"),
        ({'encoding': '16UC1; compressedDepth png'}, 'uncompressed'),
        ({'step': 3}, 'step of 3'),
        ({'data': b'123'}, 'and 3 bytes'),
        ({'width': 0}, '0x2'),
        ({'height': 1 << 30}, 'cannot be'),
    ],
)
def test_what_cannot_be_depth_is_named(changes, words):
    with pytest.raises(ImageError, match=words):
        read_depth(message([[1, 2], [3, 4]], **changes))


@pytest.mark.parametrize(
    ('shape', 'fits'),
    [
        ((480, 640), True),
        ((240, 320), True),
        ((120, 160), True),
        ((241, 321), True),
        ((480, 848), False),
        ((640, 480), False),
        ((480, 720), False),
    ],
)
def test_an_aligned_image_has_the_shape_of_the_image(shape, fits):
    assert (misfit(np.zeros(shape), (640, 480)) == '') == fits

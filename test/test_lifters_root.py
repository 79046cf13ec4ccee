"""The root fit: exact on exact data, robust to what is left out, honest about failure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import camera_from_fov
from trpose_ros.cameras import project
from trpose_ros.lifters.root import fit_root
from trpose_ros.people import Camera


def _skeletons(rng, count):
    joints = rng.normal(0, 0.35, (count, 17, 3))
    joints[:, 0] = 0
    return joints


def _cameras():
    matrix = np.array([[600.0, 0, 320], [0, 610, 235], [0, 0, 1]])
    return [
        camera_from_fov(640, 480, 60.0),
        Camera(640, 480, matrix, np.array([-0.2, 0.05, 0.001, -0.002, 0.0])),
        Camera(640, 480, matrix, np.array([0.01, -0.003, 0.001, 0.0]), 'fisheye'),
    ]


@pytest.mark.parametrize('camera', _cameras(), ids=['pinhole', 'radial', 'fisheye'])
def test_exact_projections_give_the_exact_root(camera):
    rng = np.random.default_rng(0)
    joints = _skeletons(rng, 40)
    roots = rng.uniform([-0.5, -0.5, 2.5], [0.5, 0.5, 7], (40, 3))
    pixels = project(joints + roots[:, None], camera)
    got, errors = fit_root(joints, pixels, camera)
    np.testing.assert_allclose(got, roots, atol=1e-5)
    assert errors.max() < 1e-3


@given(st.integers(0, 10_000))
def test_joints_left_out_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    camera = _cameras()[0]
    joints = _skeletons(rng, 3)
    roots = rng.uniform([-1, -1, 2.5], [1, 1, 6], (3, 3))
    pixels = project(joints + roots[:, None], camera)
    weights = np.ones((3, 17))
    weights[0, :8] = 0
    pixels[0, :8] += 500  # nonsense, but without weight
    weights[1, 3] = np.nan
    pixels[2, 5:] = np.nan  # missing
    got, errors = fit_root(joints, pixels, camera, weights)
    np.testing.assert_allclose(got, roots, atol=1e-6)
    assert errors.max() < 1e-4


def test_error_tells_a_wrong_skeleton_and_noise_is_averaged():
    rng = np.random.default_rng(1)
    camera = _cameras()[0]
    joints = _skeletons(rng, 100)
    roots = rng.uniform([-1, -1, 3], [1, 1, 5], (100, 3))
    pixels = project(joints + roots[:, None], camera) + rng.normal(0, 2, (100, 17, 2))
    got, errors = fit_root(joints, pixels, camera)
    assert 1.8 < errors.mean() < 2.9  # sqrt(2) * 2 px, less what the fit takes up
    assert np.abs(got[:, :2] - roots[:, :2]).mean() < 0.03
    assert np.abs(got[:, 2] - roots[:, 2]).mean() < 0.15
    _, wrong = fit_root(joints[::-1], pixels, camera)
    assert np.nanmedian(wrong) > 10 * errors.mean()


def test_too_little_to_go_by_is_nan_and_never_raises():
    camera = _cameras()[0]
    joints = _skeletons(np.random.default_rng(2), 4)
    pixels = project(joints + [0, 0, 3], camera)
    pixels[0, 2:] = np.nan  # two joints
    pixels[1] = np.nan
    pixels[2] = 100.0  # all in one point
    roots, errors = fit_root(joints, pixels, camera)
    assert np.isnan(roots[:3]).all()
    assert np.isnan(errors[:3]).all()
    np.testing.assert_allclose(roots[3], [0, 0, 3], atol=1e-6)
    # A point reflection looks the same from the other side: the exact fit is behind the camera.
    behind, _ = fit_root(-joints[3:], pixels[3:], camera)
    assert np.isnan(behind).all()
    empty, none = fit_root(np.zeros((0, 17, 3)), np.zeros((0, 17, 2)), camera)
    assert empty.shape == (0, 3)
    assert none.shape == (0,)


def test_bad_shapes_and_weights_are_named():
    camera = _cameras()[0]
    with pytest.raises(ValueError, match=r'\(2, 17, 3\)'):
        fit_root(np.zeros((1, 17, 2)), np.zeros((2, 17, 3)), camera)
    with pytest.raises(ValueError, match='weights must be'):
        fit_root(np.zeros((1, 17, 3)), np.zeros((1, 17, 2)), camera, np.ones(17))
    with pytest.raises(ValueError, match='negative'):
        fit_root(np.zeros((1, 17, 3)), np.zeros((1, 17, 2)), camera, -np.ones((1, 17)))

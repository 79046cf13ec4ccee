"""Cameras: OpenCV is the judge of every distortion model; inverses hold; crops shift rays."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import (
    camera_from_fov,
    camera_from_info_fields,
    camera_to_info_fields,
    crop_camera,
    denormalise_screen,
    distort_points,
    fold_radius,
    normalise_screen,
    pixel_rays,
    project,
    undistort_points,
    unproject,
)
from trpose_ros.people import Camera

REFERENCE = np.load(Path(__file__).parent / 'reference' / 'geometry_and_eval.npz')
MATRIX = np.array([[610.0, 0, 322.5], [0, 605, 241.5], [0, 0, 1]])
DISTORTIONS = {
    'none': [],
    'four': [-0.2, 0.05, 0.001, -0.0005],
    'plumb_bob': [-0.21, 0.24, -0.001, -0.0014, -0.003],
    'rational': [0.5, -2.1, 1e-4, -2e-4, 1.2, 0.38, -1.9, 1.15],
    'thin_prism': [-0.2, 0.1, 1e-3, -1e-3, 0.01, 0.02, 0.01, 0.0, 2e-3, -1e-3, 1e-3, 5e-4],
    'tilted': [-0.2, 0.1, 1e-3, -1e-3, 0.01, 0.02, 0.01, 0, 2e-3, -1e-3, 1e-3, 5e-4, 0.02, -0.01],
}


def camera(name):
    if name == 'fisheye':
        return Camera(640, 480, MATRIX, np.array([-0.02, 0.005, -0.003, 0.0006]), 'fisheye')
    return Camera(640, 480, MATRIX, np.array(DISTORTIONS[name]))


MODELS = [*DISTORTIONS, 'fisheye']


def points(count=200, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.uniform(1, 8, (count, 1))
    return (
        np.concatenate(
            [
                rng.uniform(-0.5, 0.5, (count, 1)),
                rng.uniform(-0.4, 0.4, (count, 1)),
                np.ones((count, 1)),
            ],
            axis=1,
        )
        * z
    )


@pytest.mark.parametrize('name', MODELS)
def test_projection_is_opencvs(name):
    cam, world = camera(name), points()
    if name == 'fisheye':
        expected, _ = cv2.fisheye.projectPoints(
            world[:, None], np.zeros(3), np.zeros(3), cam.matrix, cam.distortion
        )
    else:
        d = cam.distortion if cam.distortion.size else None
        expected, _ = cv2.projectPoints(world, np.zeros(3), np.zeros(3), cam.matrix, d)
    np.testing.assert_allclose(project(world, cam), expected[:, 0], atol=1e-8)


@pytest.mark.parametrize('name', MODELS)
def test_pixels_rays_and_back(name):
    cam = camera(name)
    px = np.stack(np.meshgrid(np.arange(0, 640, 40.0), np.arange(0, 480, 40.0)), -1)
    rays = pixel_rays(px, cam)
    assert rays.shape == (12, 16, 3)
    np.testing.assert_allclose(project(3.0 * rays, cam), px, atol=1e-6)
    depth = np.linspace(1, 5, px[..., 0].size).reshape(px.shape[:-1])
    world = unproject(px, depth, cam)
    np.testing.assert_allclose(world[..., 2], depth)
    np.testing.assert_allclose(project(world, cam), px, atol=1e-6)


def test_undistortion_is_opencvs():
    cam = camera('plumb_bob')
    px = np.random.default_rng(1).uniform((0, 0), (640, 480), (100, 2))
    expected = cv2.undistortPoints(
        px[:, None], cam.matrix, cam.distortion, criteria=(3, 200, 1e-14)
    )
    np.testing.assert_allclose(undistort_points(px, cam), expected[:, 0], atol=1e-8)


def test_nothing_behind_the_camera_has_a_projection():
    out = project(np.array([[0, 0, -1.0], [0, 0, 0], [1, 1, np.nan], [0.1, 0, 1]]), camera('four'))
    assert np.isnan(out[:3]).all()
    assert np.isfinite(out[3]).all()
    assert project(np.zeros((0, 17, 3)), camera('four')).shape == (0, 17, 2)
    assert undistort_points(np.zeros((0, 2)), camera('four')).shape == (0, 2)


@given(st.floats(0.01, 20), st.floats(0, 2 * np.pi), st.sampled_from(MODELS))
def test_points_far_outside_the_view_never_fold_back_into_the_image(radius, angle, name):
    cam = camera(name)
    direction = np.array([np.cos(angle), np.sin(angle)])
    near = distort_points(direction * radius, cam)
    far = distort_points(direction * radius * 1.5, cam)
    assert np.isfinite(far).all()
    inside = ((far > -0.5) & (far < (cam.width - 0.5, cam.height - 0.5))).all()
    if inside:  # then so is what lies nearer to the axis, in the same direction
        assert ((near > -0.5) & (near < (cam.width - 0.5, cam.height - 0.5))).all()
    if name != 'tilted':  # a tilted sensor has a horizon, and the distances end there
        centre = cam.matrix[:2, 2]  # a pixel of slack: tangential terms bend the way a little
        assert np.linalg.norm(far - centre) >= np.linalg.norm(near - centre) - 1.0


def test_fold_radius_by_hand():
    # r - 0.3 r^3 stops growing where 1 = 0.9 r^2
    cam = Camera(640, 480, MATRIX, np.array([-0.3, 0, 0, 0, 0.0]))
    assert fold_radius(cam) == pytest.approx(np.sqrt(1 / 0.9))
    assert fold_radius(camera('none')) == np.inf
    assert fold_radius(Camera(640, 480, MATRIX, np.array([0.3, 0, 0, 0, 0.0]))) == np.inf


def test_screen_coordinates_against_published_numbers():
    px = np.random.default_rng(1).uniform(0, 1000, (5, 17, 2))
    screen = normalise_screen(px, 1000, 1002)
    np.testing.assert_allclose(screen, REFERENCE['normalize_screen'], atol=1e-12)
    back = denormalise_screen(normalise_screen(px, 1280, 720), 1280, 720)
    np.testing.assert_allclose(back, REFERENCE['image_coordinates'], atol=1e-9)
    np.testing.assert_allclose(
        normalise_screen(np.array([[0.0, 0], [640, 480]]), 640, 480), [[-1, -0.75], [1, 0.75]]
    )
    assert normalise_screen(px.astype(np.float32), 10, 10).dtype == np.float32


def test_linear_projection_against_published_numbers():
    intrinsics, world = REFERENCE['h36m_intrinsics'], REFERENCE['world_to_camera']
    for values, there, expected in zip(
        intrinsics, world, REFERENCE['project_to_2d_linear'], strict=True
    ):
        fx, fy, cx, cy = values[:4].astype(float)
        cam = Camera(2, 2, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]))
        ratio = there[..., :2] / there[..., 2:]
        near = (there[..., 2] > 0) & (np.abs(ratio) < 1).all(-1)  # the published one clamps
        assert near.any()
        np.testing.assert_allclose(project(there, cam)[near], expected[near], atol=1e-5)


def test_field_of_view():
    cam = camera_from_fov(640, 480, 90.0)
    assert cam.matrix[0, 0] == pytest.approx(320.0)
    assert cam.assumed
    assert camera_from_fov(480, 640, 90.0).matrix[1, 1] == pytest.approx(320.0)
    for bad in (0.0, 180.0, float('nan')):
        with pytest.raises(ValueError, match='field of view'):
            camera_from_fov(640, 480, bad)


@pytest.mark.parametrize('name', MODELS)
def test_a_crop_sees_the_same_rays(name):
    cam, world = camera(name), points()
    crop = crop_camera(cam, 100, 50, 300, 200)
    assert (crop.width, crop.height) == (300, 200)
    np.testing.assert_allclose(project(world, crop), project(world, cam) - (100, 50), atol=1e-9)
    half = crop_camera(cam, 0, 0, 640, 480, 0.5)
    expected = (project(world, cam) + 0.5) / 2 - 0.5  # pixel areas, as cv2.resize maps them
    np.testing.assert_allclose(project(world, half), expected, atol=1e-9)
    with pytest.raises(ValueError, match='at least one pixel'):
        crop_camera(cam, 0, 0, 0, 10)


@pytest.mark.parametrize('name', MODELS)
def test_camera_info_and_back(name):
    cam = camera(name)
    fields = camera_to_info_fields(cam)
    back = camera_from_info_fields(**fields)
    np.testing.assert_array_equal(back.matrix, cam.matrix)
    world = points()
    np.testing.assert_array_equal(project(world, back), project(world, cam))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'k': np.zeros(9)}, 'not calibrated'),
        ({'k': np.full(9, np.nan)}, 'not calibrated'),
        ({'k': np.zeros(8)}, '9 entries'),
        ({'distortion_model': 'magic'}, "unknown distortion model 'magic'"),
        ({'d': np.ones(7)}, 'distortion takes'),
        ({'width': 0}, 'size must be positive'),
    ],
)
def test_bad_camera_info_is_refused_with_the_remedy(changes, message):
    with pytest.raises(ValueError, match=message):
        camera_from_info_fields(**(camera_to_info_fields(camera('plumb_bob')) | changes))


@pytest.mark.parametrize('model', ['pinhole', 'fisheye'])
def test_undistortion_under_an_absurd_calibration_has_an_end(model, monkeypatch):
    from trpose_ros import cameras

    calls = []
    distort = cameras._distort
    monkeypatch.setattr(
        cameras, '_distort', lambda *arguments: calls.append(1) or distort(*arguments)
    )
    rng = np.random.default_rng(0)
    for scale in (1.0, 50.0, 1e6):
        matrix = np.array([[1e-3 * scale, 0, 320.0], [0, 3e4, 240.0], [0, 0, 1]])
        cam = Camera(640, 480, matrix, rng.normal(0, scale, 4), model)
        out = undistort_points(np.array([[0, 0], [640, 0], [0, 480], [320, 240.0]]), cam)
        found = np.isfinite(out).all(axis=1)
        np.testing.assert_allclose(
            distort_points(out[found], cam),
            np.array([[0, 0], [640, 0], [0, 480], [320, 240.0]])[found],
            rtol=1e-6,
            atol=1e-3,
        )
    assert len(calls) < 3 * 33 * 40 * 9 / 4


@pytest.mark.parametrize('name', [name for name in MODELS if name != 'none'])
def test_undistortion_of_usual_lenses_is_left_to_opencv(name, monkeypatch):
    from trpose_ros import cameras

    calls = []
    distort = cameras._distort
    monkeypatch.setattr(
        cameras, '_distort', lambda *arguments: calls.append(1) or distort(*arguments)
    )
    px = np.random.default_rng(1).uniform((0, 0), (640, 480), (100, 2))
    undistort_points(px, camera(name))
    assert len(calls) <= 1 + 4 * 6 + 4  # from the pixels themselves these are more

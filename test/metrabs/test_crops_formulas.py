"""Crops and their resampling by formula: in an image of its own coordinates a crop shows them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from trpose_ros.cameras import camera_from_fov, crop_camera, distort_points, pixel_rays, project
from trpose_ros.metrabs import warps, warps_cpu
from trpose_ros.metrabs.augmentation import AugmentationTable
from trpose_ros.metrabs.crops import (
    CropViews,
    box_views,
    crop_views,
    distort_polynomial,
    sampling_positions,
    undistort_fixed_point,
)
from trpose_ros.people import Camera

SIDE = 32
MATRIX = np.array([[150.0, 2.0, 118.5], [0, 140.0, 90.5], [0, 0, 1]])
PLAIN = Camera(240, 180, MATRIX)
BENT = Camera(240, 180, MATRIX, [-0.2, 0.05, 0.002, -0.001, 0.01])
FISHEYE = Camera(240, 180, MATRIX, [0.02, -0.01, 0.003, 0.001], 'fisheye')
TWELVE = np.array([-0.2, 0.05, 2e-3, -1e-3, 0.01, 0.03, -0.02, 0.005, 1e-3, -2e-3, 3e-3, 4e-3])
Y, X = np.mgrid[:180, :240]
PICTURE = np.stack([X, Y, np.full_like(X, 7)], axis=-1).astype(np.uint8)  # shows its coordinates
GRID = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1).astype(float)


def table(*rows):
    """Return variants (scale, angle, gamma, flip)."""
    scale, angle, gamma, flip = (np.array(column) for column in zip(*rows, strict=True))
    return AugmentationTable(scale, angle, gamma, flip)


def views_of(camera, magnification, angles=(0.1, -0.15, 0.2)):
    """Return a view turned a little from the camera's axis, magnified by this."""
    rotation, _ = cv2.Rodrigues(np.array(angles, float))
    intrinsics = np.diag([*(magnification * np.diag(camera.matrix)[:2]), 1.0])
    intrinsics[:2, 2] = SIDE / 2
    return CropViews(
        rotation[None, None], intrinsics[None, None], np.full((1, 1), magnification), SIDE
    )


# -- the virtual cameras ----------------------------------------------------------------------


@pytest.mark.parametrize('count', [4, 5, 8, 12])
def test_the_polynomial_is_opencvs_and_its_five_steps_too(count):
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 2))
    k = TWELVE[:count]
    solid = np.concatenate([points, np.ones((40, 1))], axis=1)
    expected = cv2.projectPoints(solid, np.zeros(3), np.zeros(3), np.eye(3), k)[0][:, 0]
    np.testing.assert_allclose(distort_polynomial(points, k), expected, atol=1e-12)
    criteria = (cv2.TERM_CRITERIA_COUNT, 5, 0.0)
    five = cv2.undistortPoints(points[:, None], np.eye(3), k, criteria=criteria)
    np.testing.assert_allclose(undistort_fixed_point(points, k), five[:, 0], atol=1e-9)


def test_a_box_at_the_principal_point_is_seen_straight():
    camera = Camera(240, 180, [[150.0, 0, 120], [0, 150, 90], [0, 0, 1]])
    boxes = [[100, 60, 40, 60], [80, 75, 80, 30], [119.5, 89.5, 1.0, 1.0]]
    view = box_views(np.array(boxes), camera, SIDE)
    np.testing.assert_allclose(view.rotation, np.tile(np.eye(3), (3, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(view.scale, [SIDE / 60, SIDE / 80, SIDE])
    assert view.problem == ('', '', '')


@pytest.mark.parametrize('compatible', [False, True])
def test_a_box_aside_is_turned_to_and_its_extents_are_those_of_the_view(compatible):
    box = np.array([150.0, 20, 40, 70])
    view = box_views(box[None], BENT, SIDE, up=np.array([0.1, -2.0, 0.3]), compatible=compatible)
    x, y, w, h = box
    points = [(x + w / 2, y + h / 2), (x + w / 2, y), (x + w, y + h / 2), (x + w / 2, y + h)]
    rays = pixel_rays(np.array([*points, (x, y + h / 2)]), BENT)
    forward = rays[0] / np.linalg.norm(rays[0])
    right = np.cross(forward, [0.1, -2.0, 0.3])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    turned = rays[1:] @ rotation.T
    px = turned[:, :2] / turned[:, 2:] @ MATRIX[:2, :2].T
    size = max(np.linalg.norm(px[0] - px[2]), np.linalg.norm(px[1] - px[3]))
    tolerance = 1e-4 if compatible else 1e-9  # five steps are not exact
    np.testing.assert_allclose(view.rotation[0], rotation, atol=tolerance)
    np.testing.assert_allclose(view.scale[0], SIDE / size, rtol=10 * tolerance)


def test_why_a_box_has_no_view():
    boxes = [[np.nan, 0, 9, 9], [9, 9, 0.99, 50], [9, 9, 50, 0.99], [9, 9, 1, 1]]
    view = box_views(np.array(boxes), PLAIN, SIDE)
    assert view.problem == ('box_not_finite', 'box_empty', 'box_empty', '')
    np.testing.assert_array_equal(view.rotation[:3], np.tile(np.eye(3), (3, 1, 1)))
    np.testing.assert_array_equal(view.scale[:3], 1.0)
    assert box_views(np.array(boxes), PLAIN, SIDE, compatible=True).problem[1:] == ('', '', '')


def test_variants_turn_mirror_and_zoom():
    view = box_views(np.array([[100.0, 60, 40, 60], [20, 30, 50, 90]]), PLAIN, SIDE)
    views = crop_views(view, PLAIN, SIDE, table((1.0, 0.0, 1, False), (0.8, 0.3, 1, True)))
    np.testing.assert_allclose(views.magnification, [view.scale, 0.8 * view.scale])
    np.testing.assert_array_equal(views.rotation[0], view.rotation)
    c, s = np.cos(0.3), np.sin(0.3)
    turn = np.array([[-c, -s, 0], [-s, c, 0], [0, 0, 1]])  # by minus the angle, mirrored
    np.testing.assert_allclose(views.rotation[1], turn @ view.rotation, atol=1e-12)
    for n in range(2):
        k = views.intrinsics[1, n]
        np.testing.assert_allclose(k[:2, :2], MATRIX[:2, :2] * 0.8 * view.scale[n])
        np.testing.assert_array_equal(k[:, 2], [SIDE / 2, SIDE / 2, 1])
    assert views.side == SIDE


@pytest.mark.parametrize('compatible', [False, True])
@pytest.mark.parametrize('camera', [PLAIN, BENT, FISHEYE], ids=['plain', 'bent', 'fisheye'])
def test_positions_are_projections_of_the_rays_of_the_crop(camera, compatible):
    views = views_of(camera, 0.7)
    rotation, intrinsics = views.rotation[0, 0], views.intrinsics[0, 0]
    homogeneous = np.concatenate([GRID, np.ones((SIDE, SIDE, 1))], axis=-1)
    rays = homogeneous @ np.linalg.inv(intrinsics).T @ rotation
    found = sampling_positions(rotation, intrinsics, camera, GRID, compatible)
    np.testing.assert_allclose(found, project(rays, camera), atol=1e-8)


def test_rays_behind_the_camera_look_at_nothing():
    views = views_of(PLAIN, 0.7, (0, np.pi, 0))
    found = sampling_positions(views.rotation[0, 0], views.intrinsics[0, 0], PLAIN, GRID)
    assert np.isnan(found).all()


# -- resampling -------------------------------------------------------------------------------

CAMERAS = pytest.mark.parametrize('camera', [PLAIN, BENT], ids=['plain', 'bent'])
# Magnifications of all levels and shrink factors, and what is left over by them.
MAGNIFICATIONS = pytest.mark.parametrize('magnification', [1.3, 1.0, 0.51, 0.5, 0.34, 0.26, 0.2])


def inside(positions, margin):
    """Return which positions have so many px of the image around them."""
    return ((positions > margin) & (positions < np.array([239, 179]) - margin)).all(axis=-1)


def positions_of(camera, views):
    return sampling_positions(views.rotation[0, 0], views.intrinsics[0, 0], camera, GRID)


@CAMERAS
@MAGNIFICATIONS
@pytest.mark.parametrize('antialias', [1, 2])
@pytest.mark.parametrize('compatible', [False, True])
def test_a_crop_of_coordinates_shows_where_it_looks(camera, magnification, antialias, compatible):
    views = views_of(camera, magnification)
    levels = warps.pyramid(PICTURE, linear=False)
    drawn = warps.render(levels, camera, views, np.ones(1), antialias, compatible, linear=False)
    drawn = drawn[0, 0].permute(1, 2, 0).numpy() * 255
    positions = positions_of(camera, views)
    used = inside(positions, 8)
    assert used.sum() > 100
    atol = 0.02 if compatible or camera is PLAIN else 0.05 / magnification  # between exact ones
    np.testing.assert_allclose(drawn[..., :2][used], positions[used], atol=atol)
    np.testing.assert_allclose(drawn[..., 2][used], 7, atol=1e-3)


@CAMERAS
@MAGNIFICATIONS
def test_a_crop_of_coordinates_on_a_processor(camera, magnification):
    views = views_of(camera, magnification)
    factor = warps_cpu._shrink_factor(magnification, PICTURE)
    source = warps_cpu._shrink(PICTURE.astype(np.float32), factor, False)
    drawn = np.zeros((SIDE, SIDE, 3), np.float32)
    warps_cpu._draw(drawn, source, factor, camera, views, 0, 0)
    positions = positions_of(camera, views)
    used = inside(positions, 8)
    atol = 0.06 / magnification  # OpenCV counts in 32nds of a pixel
    np.testing.assert_allclose(drawn[..., :2][used], positions[used], atol=atol)
    found = warps_cpu._positions(views.rotation[0, 0], views.intrinsics[0, 0], camera, SIDE)
    np.testing.assert_allclose(found[used], positions[used], atol=atol)


def random_picture():
    return np.random.default_rng(0).integers(0, 256, (180, 240, 3), np.uint8)


@pytest.mark.parametrize(('magnification', 'block'), [(1.0, 1), (0.5, 2), (0.25, 4)])
@pytest.mark.parametrize('linear', [False, True])
@pytest.mark.parametrize('gamma', [1.0, 0.8])
def test_a_smaller_crop_holds_the_means_of_blocks(magnification, block, linear, gamma):
    """Nothing aliases: where crop pixels are blocks of the image they are their means."""
    middle = block * 22 + (block - 1) / 2
    camera = Camera(240, 180, [[100.0, 0, middle], [0, 100, middle], [0, 0, 1]])
    views = views_of(camera, magnification, (0, 0, 0))
    image = random_picture()
    values = image / 255.0
    values = values**2.2 if linear else values
    rows, columns = 180 // block, 240 // block
    means = values[: rows * block, : columns * block]
    means = means.reshape(rows, block, columns, block, 3).mean(axis=(1, 3))
    expected = means[22 - 16 : 22 + 16, 22 - 16 : 22 + 16] ** (gamma / 2.2 if linear else gamma)
    levels = warps.pyramid(image, linear=linear)
    drawn = warps.render(levels, camera, views, np.array([gamma]), linear=linear)
    atol = 0.02 if linear else 2e-4  # a power makes the weights' rounding large where it is dark
    np.testing.assert_allclose(drawn[0, 0].permute(1, 2, 0), expected, atol=atol)
    quick = warps_cpu.render(image, camera, views, np.array([gamma]), linear)[0, 0]
    if linear:
        np.testing.assert_allclose(quick, expected, atol=atol)
    else:  # means and powers are rounded
        assert quick.dtype == np.uint8
        np.testing.assert_allclose(quick / 255, expected, atol=(1.2 + (gamma < 1) * 30) / 255)
        means = np.rint(255 * means[6:38, 6:38])
        again = np.rint(255 * (means / 255) ** gamma)
        assert np.abs(quick - again).mean() < 0.7


def test_each_crop_gets_its_own_view_and_gamma():
    camera = camera_from_fov(240, 180)
    boxes = np.array([[20.0, 20, 60, 80], [120, 60, 90, 100], [60, 10, 30, 30]])
    variants = table((1.0, 0.0, 1.0, False), (0.9, 0.4, 0.7, True))
    view = box_views(boxes, camera, SIDE)
    views = crop_views(view, camera, SIDE, variants)
    image = random_picture()
    levels = warps.pyramid(image)
    drawn = warps.render(levels, camera, views, variants.gamma)
    quick = warps_cpu.render(image, camera, views, variants.gamma)
    assert drawn.shape == (2, 3, 3, SIDE, SIDE)
    assert quick.shape == (2, 3, SIDE, SIDE, 3)
    for a in range(2):
        for n in range(3):
            one = CropViews(
                views.rotation[a : a + 1, n : n + 1],
                views.intrinsics[a : a + 1, n : n + 1],
                views.magnification[a : a + 1, n : n + 1],
                SIDE,
            )
            gamma = variants.gamma[a : a + 1]
            alone = warps.render(levels, camera, one, gamma)[0, 0]
            np.testing.assert_allclose(drawn[a, n], alone, atol=1e-6)
            alone = warps_cpu.render(image, camera, one, gamma)[0, 0]
            np.testing.assert_array_equal(quick[a, n], alone)


def test_small_images_are_not_shrunk_to_nothing():
    image = random_picture()[:3, :5]
    assert len(warps.pyramid(image)) == 2
    assert [level.shape[-2:] for level in warps.pyramid(random_picture())] == [
        (180, 240),
        (90, 120),
        (45, 60),
    ]
    assert warps_cpu._shrink_factor(0.01, image) == 1
    assert [warps_cpu._shrink_factor(m, PICTURE) for m in (3, 1, 0.51, 0.5, 0.3, 1e-9)] == [
        *(1, 1, 1, 2, 3, 90)
    ]


def test_a_cropped_camera_looks_at_the_same_place():
    part = crop_camera(BENT, 30, 20, 120, 100)
    rays = np.random.default_rng(0).uniform(-0.3, 0.3, (9, 2))
    np.testing.assert_allclose(
        distort_points(rays, part), distort_points(rays, BENT) - (30, 20), atol=1e-9
    )

"""Crops that reach beyond the image are black there: no memory is read that is not image."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA

from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import box_views, crop_views, sampling_positions
from trpose_ros.metrabs.warps_cpu import render
from trpose_ros.people import Camera

SIDE = 128
BENT = Camera(640, 480, CAMERA.matrix, np.array([-0.3, 0.1, 0.001, -0.002, 0.0]))


@pytest.mark.parametrize('camera', [CAMERA, BENT], ids=['pinhole', 'distorted'])
@pytest.mark.parametrize(
    'box',
    [
        [100.0, -300.0, 200.0, 600.0],  # half above the image
        [500.0, 300.0, 400.0, 500.0],
        [126.7, -565.4, 428.9, 1139.5],
        [72.1, -1036.1, 542.1, 1638.1],  # so large that a corner looks behind the camera
        [-4000.0, -9000.0, 9000.0, 18000.0],
    ],
)
def test_black_beyond_the_image(camera, box):
    views = box_views(np.array([box]), camera, SIDE)
    crops = crop_views(views, camera, SIDE, augmentation_table(1))
    image = np.full((480, 640, 3), 200, np.uint8)
    drawn = [render(image, camera, crops, np.ones(1))[0, 0] for _ in range(3)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    grid = np.stack(np.meshgrid(*[np.arange(SIDE, dtype=float)] * 2), axis=-1)
    at = sampling_positions(crops.rotation[0, 0], crops.intrinsics[0, 0], camera, grid)
    factor = max(1.0, 1.0 / crops.magnification[0, 0])
    air = 2 * factor + 2  # px of the image that a crop pixel may mix, and the coarse grid
    inside = ((at > -air) & (at < np.array([640, 480]) + air)).all(axis=-1)
    assert drawn[0][~inside].max(initial=0) == 0
    well_inside = ((at > air) & (at < np.array([640, 480]) - air)).all(axis=-1)
    assert drawn[0][well_inside].min(initial=255) >= 199

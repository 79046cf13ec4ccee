"""Triangulation: exact rays, one ray, outliers, what others know of a distance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.multiview.triangulation import Prediction, Rays, depth_factors, triangulate

JOINTS = np.array([[0.0, 0.0, 1.0], [0.2, 0.1, 1.5], [-0.3, 0.2, 0.4], [0.1, -0.2, 0.1]])
ORIGINS = np.array([[3.0, 0, 1], [0, 3.0, 1.2], [-3.0, 0.5, 1.1], [0.2, -3.0, 1.3]])


def rays(origins=ORIGINS, joints=JOINTS, sigma=0.01, depth_sigma=0.4, factor=1.0):
    offset = joints - origins[:, None]
    depth = np.linalg.norm(offset, axis=-1)
    full = np.full(depth.shape, sigma)
    return Rays(
        origins.copy(), offset / depth[..., None], full, depth / factor, depth * 0 + depth_sigma
    )


@pytest.mark.parametrize('views', [1, 2, 4])
def test_exact_rays_give_exact_joints(views):
    solution = triangulate(rays(ORIGINS[:views]))
    np.testing.assert_allclose(solution.joints_m, JOINTS, atol=5e-4)
    assert (solution.weights > 0.99).all()


def test_nobody_sees_nothing_is_known():
    one = rays()
    one.rays[:, 1], one.sigmas[:, 1], one.depths_m[:, 1] = np.nan, np.nan, np.nan
    solution = triangulate(one)
    assert np.isfinite(solution.joints_m).all()
    assert solution.covariances_m2[1, 0, 0] > 100
    np.testing.assert_allclose(solution.joints_m[[0, 2, 3]], JOINTS[[0, 2, 3]], atol=5e-4)
    assert (solution.weights[:, 1] == 0).all()


def test_a_prediction_places_what_nobody_sees_and_hardly_moves_the_rest():
    one = rays()
    one.sigmas[:, 1] = np.nan
    expected = Prediction(JOINTS + 0.1, np.full(4, 0.1))
    solution = triangulate(one, expected)
    np.testing.assert_allclose(solution.joints_m[1], JOINTS[1] + 0.1, atol=1e-3)
    assert np.linalg.norm(solution.joints_m[0] - JOINTS[0]) < 0.03
    assert np.sqrt(solution.covariances_m2[1, 0, 0]) == pytest.approx(0.1, rel=0.01)


def test_one_camera_alone_is_uncertain_along_its_ray():
    solution = triangulate(rays(ORIGINS[:1], depth_sigma=0.3))
    direction = JOINTS[0] - ORIGINS[0]
    direction /= np.linalg.norm(direction)
    spread = solution.covariances_m2[0]
    assert np.sqrt(direction @ spread @ direction) == pytest.approx(0.3, rel=0.05)
    assert np.sqrt(np.trace(spread) - direction @ spread @ direction) < 0.06


def test_an_outlier_of_four_counts_next_to_nothing():
    one = rays()
    aside = JOINTS[2] + [0.3, 0.3, 0.4] - ORIGINS[1]
    one.rays[1, 2] = aside / np.linalg.norm(aside)
    solution = triangulate(one)
    assert solution.weights[1, 2] < 0.1
    assert np.linalg.norm(solution.joints_m[2] - JOINTS[2]) < 0.02
    assert solution.residuals[1, 2] > 0.05
    # without that camera the joint lies where it is, and is as sure
    assert np.linalg.norm(solution.left_out_m[1, 2] - JOINTS[2]) < 1e-3


def test_what_others_see_corrects_a_distance():
    one = rays(factor=1.25)  # every camera thinks that people are nearer than they are
    factors = depth_factors(one, triangulate(one))
    np.testing.assert_allclose(factors, 1.25, atol=0.03)
    alone = rays(ORIGINS[:1], factor=1.25)
    assert np.isnan(depth_factors(alone, triangulate(alone))).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_rotated_and_moved_world_gives_rotated_and_moved_joints(seed):
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    shift = rng.normal(size=3) * 0.01  # the ridge pulls to the origin, by next to nothing
    noisy = rays()
    noise = noisy.rays + 0.01 * rng.normal(size=noisy.rays.shape)
    unit = noise / np.linalg.norm(noise, axis=-1, keepdims=True)
    first = Rays(noisy.origins_m, unit, *[noisy.sigmas, noisy.depths_m, noisy.depth_sigmas_m])
    second = Rays(
        first.origins_m @ turn.T + shift,
        unit @ turn.T,
        *[noisy.sigmas, noisy.depths_m, noisy.depth_sigmas_m],
    )
    one, other = triangulate(first), triangulate(second)
    np.testing.assert_allclose(other.joints_m, one.joints_m @ turn.T + shift, atol=1e-5)
    np.testing.assert_allclose(other.weights, one.weights, atol=1e-4)

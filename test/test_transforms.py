"""Transforms: inverse, composition, interpolation, and people seen from another frame."""

import numpy as np
import pytest
from doubles import make_people
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.people import RootSource
from trpose_ros.transforms import (
    IDENTITY,
    Transform,
    interpolate,
    people_seen_from,
    quaternion_of,
)

SEEDS = st.integers(0, 2**32 - 1)


def random_transform(rng, scale=3.0):
    quaternion = rng.normal(size=4)
    return Transform(quaternion / np.linalg.norm(quaternion), rng.normal(size=3) * scale)


def applied(transform, points):
    return points @ transform.rotation.T + transform.translation_m


def angle(a, b):
    return 2 * np.arccos(min(1.0, abs(float(a.quaternion @ b.quaternion))))


def test_a_quarter_turn_about_z_takes_x_to_y():
    turn = Transform(np.array([0, 0, np.sqrt(0.5), np.sqrt(0.5)]), np.array([1.0, 0, 0]))
    np.testing.assert_allclose(applied(turn, np.array([1.0, 0, 0])), [1, 1, 0], atol=1e-15)
    np.testing.assert_array_equal(applied(IDENTITY, np.array([1.0, 2, 3])), [1, 2, 3])


@given(SEEDS)
def test_a_transform_and_its_inverse_undo_each_other(seed):
    rng = np.random.default_rng(seed)
    transform, points = random_transform(rng), rng.normal(size=(5, 3))
    back = transform.inverse()
    np.testing.assert_allclose(applied(back, applied(transform, points)), points, atol=1e-12)
    for both in (back @ transform, transform @ back):
        np.testing.assert_allclose(both.rotation, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(both.translation_m, 0, atol=1e-12)


@given(SEEDS)
def test_composition_is_one_after_the_other_and_associative(seed):
    rng = np.random.default_rng(seed)
    a, b, c = (random_transform(rng) for _ in range(3))
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose(applied(a @ b, points), applied(a, applied(b, points)), atol=1e-12)
    left, right = (a @ b) @ c, a @ (b @ c)
    np.testing.assert_allclose(left.rotation, right.rotation, atol=1e-12)
    np.testing.assert_allclose(left.translation_m, right.translation_m, atol=1e-12)


@given(SEEDS)
def test_a_rotation_comes_back_from_its_matrix(seed):
    transform = random_transform(np.random.default_rng(seed))
    again = Transform(quaternion_of(transform.rotation), np.zeros(3))
    np.testing.assert_allclose(again.rotation, transform.rotation, atol=1e-12)


@given(SEEDS, st.floats(0, 1))
def test_interpolation_turns_at_constant_speed_on_the_shorter_way(seed, share):
    rng = np.random.default_rng(seed)
    a, b = random_transform(rng), random_transform(rng)
    between = interpolate(a, b, share)
    whole = angle(a, b)
    # arccos near 1 loses half of the digits.
    assert angle(a, between) == pytest.approx(share * whole, abs=1e-6)
    assert angle(between, b) == pytest.approx((1 - share) * whole, abs=1e-6)
    moved = a.translation_m + share * (b.translation_m - a.translation_m)
    np.testing.assert_allclose(between.translation_m, moved)
    opposite = Transform(-b.quaternion, b.translation_m)  # the same rotation
    np.testing.assert_allclose(
        interpolate(a, opposite, share).rotation, between.rotation, atol=1e-9
    )


@given(SEEDS)
def test_interpolation_ends_at_its_ends_and_knows_equal_ones(seed):
    rng = np.random.default_rng(seed)
    a, b = random_transform(rng), random_transform(rng)
    for share, end in ((0.0, a), (1.0, b)):
        np.testing.assert_allclose(interpolate(a, b, share).rotation, end.rotation, atol=1e-12)
    np.testing.assert_allclose(interpolate(a, a, 0.3).rotation, a.rotation, atol=1e-12)


@given(SEEDS)
def test_people_move_with_their_covariances_and_their_image_stays(seed):
    rng = np.random.default_rng(seed)
    transform = random_transform(rng)
    factors = rng.normal(size=(2, 17, 3, 3)) * 0.1
    people = make_people(
        5,
        [[0, 0.2, 4.0], [1, 0.2, 3.0]],
        covariances_m2=factors @ factors.swapaxes(-1, -2),
        root_sources=np.array([RootSource.FIT, RootSource.NONE]),
    )
    seen = people_seen_from(people, 'map', transform)
    assert (seen.frame_id, seen.stamp_ns) == ('map', 5)
    expected = applied(transform, people.joints_m[0].astype(np.float64))
    np.testing.assert_allclose(seen.joints_m[0], expected, atol=1e-9)
    # Joints relative to the root are turned alone.
    relative = people.joints_m[1].astype(np.float64) @ transform.rotation.T
    np.testing.assert_allclose(seen.joints_m[1], relative, atol=1e-9)
    # The spread along a direction is that along the direction turned with it.
    direction = rng.normal(size=3)
    before = np.einsum('i,njik,k->nj', direction, people.covariances_m2, direction)
    turned = transform.rotation @ direction
    after = np.einsum('i,njik,k->nj', turned, seen.covariances_m2, turned)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(seen.joints_px, people.joints_px)


def test_a_frame_far_away_costs_no_digits():
    people = make_people(5, root_sources=np.array([RootSource.FIT]))
    far = Transform(IDENTITY.quaternion, np.array([5e6, -3e6, 200.0]))
    seen = people_seen_from(people, 'utm', far)
    moved = seen.joints_m - far.translation_m
    np.testing.assert_allclose(moved, people.joints_m, atol=1e-8)


def test_unknown_covariances_and_joints_stay_unknown():
    people = make_people(5, root_sources=np.array([RootSource.FIT]))
    people.joints_m[0, 3] = np.nan
    seen = people_seen_from(people, 'map', random_transform(np.random.default_rng(1)))
    assert np.isnan(seen.joints_m[0, 3]).all()
    assert np.isfinite(np.delete(seen.joints_m[0], 3, axis=0)).all()
    assert np.isnan(seen.covariances_m2).all()

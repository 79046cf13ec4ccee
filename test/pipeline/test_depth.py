"""Depth puts people where they stand: with holes, noise, edges, and things in front of them."""

import numpy as np
import pytest
from depth_bodies import WALL_M, bodies_depth
from doubles import CAMERA, STANDING, FakeLifter, make_people
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.cameras import project
from trpose_ros.evaluation.depth_gain import as_measured
from trpose_ros.people import JointState, RootSource, TrackState, concatenate
from trpose_ros.pipeline.depth import (
    DepthConfig,
    DepthPlacing,
    depth_factor,
    inside_m,
    read_at_joints,
)
from trpose_ros.pipeline.fusion import Fusion
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.standing import Standing, StandingConfig
from trpose_ros.pipeline.turning import turn_people
from trpose_ros.skeletons import SKELETONS

SIZE = CAMERA.width, CAMERA.height
FOCAL = float(CAMERA.matrix[0, 0])
STEP_NS = 33_333_333


def estimate(true_m, stamp_ns=0, scale=1.15, noise=0.0, seed=0, track=3, **arrays):
    """Return people as an estimator sees them: too large and too far by one factor, and noisy."""
    rng = np.random.default_rng(seed)
    given = {
        'track_ids': np.array([track]),
        'track_states': np.array([TrackState.TRACKED]),
        'root_sources': np.array([RootSource.FUSED]),
        'joint_states': np.full((1, 17), JointState.VISIBLE),
        'covariances_m2': np.tile(np.eye(3) * 0.01, (1, 17, 1, 1)),
    }
    people = make_people(stamp_ns, **{**given, **arrays})
    guess = scale * (true_m + rng.normal(size=true_m.shape) * noise)
    return people.replace(
        joints_m=guess[None].astype(np.float32),
        joints_px=project(true_m[None], CAMERA).astype(np.float32),
    )


def surface(people, depth):
    return read_at_joints(depth, people.joints_px, SIZE, FOCAL)


def error_m(people, true_m):
    return float(np.linalg.norm(people.joints_m[0, 0] - true_m[0]))


@pytest.mark.parametrize('distance_m', [1.5, 3.0, 4.5])
@pytest.mark.parametrize('scale', [0.75, 0.9, 1.0, 1.1, 1.35])
def test_a_person_goes_where_the_depth_image_shows_him(distance_m, scale):
    true = STANDING + np.array([0.1, 0.0, distance_m])
    people = estimate(true, scale=scale)
    placed = DepthPlacing().place(people, surface(people, bodies_depth(true)))
    assert placed.root_sources.tolist() == [RootSource.DEPTH]
    assert error_m(placed, true) < 0.03 * distance_m
    assert error_m(placed, true) <= error_m(people, true) + 0.02
    # Along the rays: the image stays.
    rays = placed.joints_m / placed.joints_m[..., 2:]
    np.testing.assert_allclose(rays, people.joints_m / people.joints_m[..., 2:], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.8, 1.3))
def test_noise_holes_and_flying_points_leave_it_far_better_than_the_guess(seed, scale):
    rng = np.random.default_rng(seed)
    true = STANDING + np.array([rng.uniform(-0.5, 0.5), 0.0, rng.uniform(1.5, 4)])
    placing, before, after = DepthPlacing(), [], []
    depth = bodies_depth(true)
    for t in range(6):
        people = estimate(true, t * STEP_NS, scale, 0.02, seed + t)
        placed = placing.place(people, surface(people, as_measured(depth, rng)))
        before.append(error_m(people, true))
        after.append(error_m(placed, true))
    assert np.mean(after) < max(0.5 * np.mean(before), 0.08)


def test_what_was_measured_once_fades_while_there_is_nothing_to_measure():
    true = STANDING + np.array([0.0, 0.0, 3.0])
    placing, nothing = DepthPlacing(), np.full((1, 17), np.nan)
    first = estimate(true, 0)
    errors = [error_m(placing.place(first, surface(first, bodies_depth(true))), true)]
    for t in (1, 15, 30, 300):
        later = estimate(true, t * STEP_NS)
        kept = placing.place(later, nothing)
        assert kept.root_sources.tolist() == [RootSource.FUSED]  # not measured now
        errors.append(error_m(kept, true))
    assert errors[1] < 0.1
    assert errors == sorted(errors)
    assert errors[-1] == pytest.approx(error_m(first, true), rel=0.01)
    other = estimate(true, 21 * STEP_NS, track=9)
    assert placing.place(other, nothing).joints_m.tolist() == other.joints_m.tolist()


@pytest.mark.parametrize('end', ['lost', 'reset'])
def test_a_track_that_ended_leaves_nothing(end):
    true = STANDING + np.array([0.0, 0.0, 3.0])
    placing, nothing = DepthPlacing(), np.full((1, 17), np.nan)
    first, later = estimate(true, 0), estimate(true, 2 * STEP_NS)
    placing.place(first, surface(first, bodies_depth(true)))
    if end == 'lost':
        placing.place(estimate(true, STEP_NS, track_states=np.array([TrackState.LOST])), nothing)
    else:
        placing.reset()
    assert placing.place(later, nothing).joints_m.tolist() == later.joints_m.tolist()


def test_the_correction_follows_an_estimate_that_changes():
    true = STANDING + np.array([0.0, 0.0, 3.0])
    placing, depth = DepthPlacing(DepthConfig(0.3)), bodies_depth(true)
    for t in range(40):
        scale = 1.2 if t < 20 else 1.0
        people = estimate(true, t * STEP_NS, scale)
        placed = placing.place(people, surface(people, depth))
    assert error_m(placed, true) < 0.08


@pytest.mark.parametrize(
    'spoil',
    ['a wall in front', 'only the wall behind', 'three joints', 'nothing', 'chaos', 'all hidden'],
)
def test_depth_that_does_not_fit_the_estimate_changes_nothing(spoil):
    true = STANDING + np.array([0.0, 0.0, 3.0])
    people = estimate(true)
    values = surface(people, bodies_depth(true))
    rng = np.random.default_rng(0)
    if spoil == 'a wall in front':
        values[:] = 1.0
    elif spoil == 'only the wall behind':
        values[:] = WALL_M
    elif spoil == 'three joints':
        values[0, 3:] = np.nan
    elif spoil == 'nothing':
        values[:] = np.nan
    elif spoil == 'chaos':
        values[:] = rng.uniform(2, 5, values.shape)
    else:
        people.joint_states[:] = JointState.OCCLUDED
    placed = DepthPlacing().place(people, values)
    np.testing.assert_array_equal(placed.joints_m, people.joints_m)
    np.testing.assert_array_equal(placed.covariances_m2, people.covariances_m2)
    assert placed.root_sources.tolist() == [RootSource.FUSED]


def test_a_few_joints_that_show_the_wall_or_a_thing_in_front_do_not_count():
    true = STANDING + np.array([0.0, 0.0, 3.0])
    people = estimate(true)
    values = surface(people, bodies_depth(true))
    values[0, [13, 16]] = WALL_M
    values[0, [3, 6]] = 1.2
    assert error_m(DepthPlacing().place(people, values), true) < 0.09


def test_somebody_behind_another_is_not_drawn_to_that_one():
    front, rear = STANDING + np.array([0.0, 0, 2.5]), STANDING * 1.05 + np.array([0.1, 0, 3.2])
    depth = np.minimum(bodies_depth(front), bodies_depth(rear))
    people = concatenate(estimate(front, scale=1.1), estimate(rear, scale=1.0, track=9))
    values = surface(people, depth)
    placed = DepthPlacing().place(people, values)
    assert placed.root_sources.tolist()[0] == RootSource.DEPTH
    assert error_m(placed, front) < 0.09
    rear_m = np.linalg.norm(placed.joints_m[1, 0] - rear[0])
    assert rear_m < 0.1
    # Two side by side do not keep each other from it.
    aside = STANDING + np.array([1.0, 0, 2.5])
    both = np.minimum(bodies_depth(front), bodies_depth(aside))
    people = concatenate(estimate(front), estimate(aside, track=9))
    placed = DepthPlacing().place(people, surface(people, both))
    assert placed.root_sources.tolist() == [RootSource.DEPTH] * 2


def test_somebody_without_a_place_of_his_own_gets_none():
    true = STANDING + np.array([0.0, 0.0, 3.0])
    people = estimate(true, root_sources=np.array([RootSource.NONE]))
    values = surface(people, bodies_depth(true))
    placed = DepthPlacing().place(people, values)
    assert placed.joints_m.tolist() == people.joints_m.tolist()
    nobody = people.select([])
    assert len(DepthPlacing().place(nobody, values[:0])) == 0


def test_depth_is_read_where_the_joint_is_whatever_the_size_of_the_image():
    depth = np.full((120, 160), 3.0, np.float32)
    depth[60:, :] = 2.0
    px = np.array([[[320.0, 100.0], [320.0, 400.0], [320.0, 240.0], [-5.0, 100.0]]])
    px = np.concatenate([px, [[[639.0, 479.0], [640.0, 479.0], [np.nan, 5.0], [1e9, 5.0]]]])
    got = read_at_joints(depth, px, SIZE, FOCAL)
    np.testing.assert_array_equal(got[0, :2], [3, 2])
    assert np.isnan(got[0, 2:]).all()  # on the edge; outside
    assert np.isnan(got[1]).all()  # too little of the surroundings at a corner
    full = np.full((480, 640), 3.0, np.float32)
    np.testing.assert_array_equal(read_at_joints(full, px[:, :2], SIZE, FOCAL)[0], [3, 3])
    full[100, 320] = np.nan  # a hole in the middle alone does not matter
    np.testing.assert_array_equal(read_at_joints(full, px[:, :1], SIZE, FOCAL)[0], [3])
    full[80:120, 300:340] = np.nan
    assert np.isnan(read_at_joints(full, px[:, :1], SIZE, FOCAL)).all()
    assert read_at_joints(full, px[:0], SIZE, FOCAL).shape == (0, 4)


def test_the_gate_widens_with_the_uncertainty_of_the_estimate():
    joints, inside = STANDING + np.array([0, 0, 3.0]), np.zeros(17)
    far = joints[:, 2] * 1.7
    assert depth_factor(joints, far, inside, 0.0) is None
    log_factor, variance = depth_factor(joints, far, inside, 0.2)
    assert log_factor == pytest.approx(np.log(1.7))
    assert variance == pytest.approx((0.03 / 5.1) ** 2, rel=0.1)


@pytest.mark.parametrize('name', sorted(SKELETONS))
def test_every_skeleton_has_joints_that_lie_inside(name):
    assert np.isfinite(inside_m(name)).sum() >= 10


def stage(lifter=None, rotate_deg=0, **standing):
    config = LiftStageConfig(rotate_deg=rotate_deg)
    known = Standing(StandingConfig(**standing))
    return LiftStage(lifter=lifter, fusion=Fusion(), config=config, standing=known)


@pytest.mark.parametrize('rotate_deg', [0, 90, 180, 270])
def test_the_stage_reads_depth_in_the_image_however_the_camera_is_mounted(rotate_deg):
    true = STANDING + np.array([0.1, 0.0, 3.0])
    people, depth = estimate(true), bodies_depth(true)
    back = turn_people(people, -rotate_deg % 360)
    turned = np.rot90(depth, rotate_deg // 90)  # counterclockwise
    (placed,) = stage(rotate_deg=rotate_deg).push(back, None, np.ascontiguousarray(turned))
    assert placed.root_sources.tolist() == [RootSource.DEPTH]
    assert error_m(turn_people(placed, rotate_deg), true) < 0.09


def test_depth_of_a_frame_is_kept_for_its_skeleton_and_counts_more_than_the_height():
    true = STANDING + np.array([0.1, 0.0, 3.0])
    lifter, depth = FakeLifter(look_ahead=2), bodies_depth(true)
    found, bare = [], []
    deep, flat = stage(lifter, person_height_m=2.3), stage(FakeLifter(look_ahead=2))
    for t in range(8):
        people = estimate(true, (t + 1) * STEP_NS)
        found += deep.push(people, CAMERA, depth)
        bare += flat.push(people, CAMERA)
    assert len(found) == 6
    assert {int(p.root_sources[0]) for p in found} == {RootSource.DEPTH}
    assert max(error_m(p, true) for p in found) < 0.15
    assert min(error_m(p, true) for p in bare) > 0.3


def test_without_depth_the_height_counts_as_before():
    true = STANDING + np.array([0.1, 0.0, 3.0])
    people = estimate(true)
    (placed,) = stage(person_height_m=1.5).push(people)
    expected = Standing(StandingConfig(person_height_m=1.5)).place(people)
    np.testing.assert_array_equal(placed.joints_m, expected.joints_m)

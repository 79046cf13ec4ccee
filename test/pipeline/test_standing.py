"""The floor and a known height put people where they stand; without either nothing moves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_people import moving_person

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.standing import Floor, Standing, StandingConfig, stature_m
from trpose_ros.pipeline.turning import turn_people

SECOND_NS = 1_000_000_000
CAMERA_M, PITCH_DEG, ROLL_DEG = 1.4, 12.0, -5.0
FLOOR = StandingConfig(CAMERA_M, PITCH_DEG, ROLL_DEG)


def standing_person(depth_m=3.0):
    """Return (17, 3) joints of a person on the floor, true ones, in the camera's frame."""
    world = moving_person(1, 'h36m_17', 3)[0]  # z up
    world = world - [*world[0, :2], world[[3, 6], 2].min() - 0.09]
    pitch, roll = math.radians(PITCH_DEG), math.radians(ROLL_DEG)
    level = np.array([[0, -1.0, 0], [0, 0, -1], [1, 0, 0]])  # forward is world x
    nod = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    lean = [[math.cos(roll), math.sin(roll), 0], [-math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    return (world + np.array([depth_m, 0.4, -CAMERA_M])) @ (np.array(lean) @ nod @ level).T


def people(joints, stamp_ns=0, track=4, **changes):
    camera = camera_from_fov(640, 480, 70)
    values = {
        'track_states': np.array([TrackState.TRACKED], np.uint8),
        'root_sources': np.array([RootSource.ESTIMATOR], np.uint8),
        'joint_states': np.full((1, 17), JointState.VISIBLE, np.uint8),
        'covariances_m2': np.tile(np.eye(3), (1, 17, 1, 1)).astype(np.float32),
    }
    return People.build(
        stamp_ns=stamp_ns,
        frame_id='camera',
        skeleton='h36m_17',
        width=640,
        height=480,
        joints_px=project(joints[None], camera),
        joints_m=joints[None],
        track_ids=np.array([track]),
        **(values | changes),
    )


def error(placed, true):
    return float(np.linalg.norm(placed.joints_m[0] - true, axis=-1).mean())


def test_the_direction_to_the_floor_is_that_of_the_camera():
    true = standing_person()
    heights = CAMERA_M - true @ FLOOR.down
    world = moving_person(1, 'h36m_17', 3)[0]
    np.testing.assert_allclose(heights, world[:, 2] - world[[3, 6], 2].min() + 0.09, atol=1e-6)
    assert np.linalg.norm(FLOOR.down) == pytest.approx(1.0)


@given(st.floats(0.75, 1.35))
def test_the_floor_takes_back_most_of_a_wrong_size(factor):
    true = standing_person()
    placed = Standing(FLOOR).place(people(true * factor))
    left = math.log(float(placed.joints_m[0, 0, 2] / true[0, 2]))
    # The rest is the estimator's own guess, by the variances: feet lie far from the horizon here.
    assert abs(left) <= 0.35 * abs(math.log(factor)) + 1e-4
    scale = float(placed.joints_m[0, 0, 2] / (true[0, 2] * factor))
    np.testing.assert_allclose(placed.joints_m[0], true * factor * scale, rtol=1e-5)
    np.testing.assert_allclose(placed.covariances_m2[0, 3], np.eye(3) * scale**2, rtol=1e-5)


@pytest.mark.parametrize('factor', [0.8, 1.25])
def test_a_known_height_takes_back_most_of_a_wrong_size(factor):
    true = standing_person()
    known = StandingConfig(person_height_m=stature_m(true, 'h36m_17'))
    placed = Standing(known).place(people(true * factor))
    assert error(placed, true) < 0.25 * error(people(true * factor), true)
    both = StandingConfig(CAMERA_M, PITCH_DEG, ROLL_DEG, known.person_height_m)
    assert error(Standing(both).place(people(true * factor)), true) < error(placed, true)


def test_a_low_camera_is_trusted_less_than_a_high_one():
    joints = np.tile([0.0, 0.0, 4.0], (17, 1))
    changes = []
    for height in (0.4, 1.0, 2.0):
        joints[[3, 6], 1] = (height - 0.09) / 1.2  # the floor says that all is 1.2 times as far
        placed = Standing(StandingConfig(height)).place(people(joints))
        changes.append(float(placed.joints_m[0, 0, 2]) / 4)
    assert 1 < changes[0] < changes[1] < changes[2] < 1.2


@pytest.mark.parametrize(
    'changes',
    [
        {'joint_states': np.full((1, 17), JointState.OCCLUDED, np.uint8)},
        {'joint_states': np.full((1, 17), JointState.TRUNCATED, np.uint8)},
        {'root_sources': np.array([RootSource.NONE], np.uint8)},
    ],
)
def test_unseen_feet_and_people_without_a_place_move_nobody(changes):
    given_people = people(standing_person() * 1.2, **changes)
    placed = Standing(FLOOR).place(given_people)
    np.testing.assert_array_equal(placed.joints_m, given_people.joints_m)


@pytest.mark.parametrize(
    'joints',
    [
        np.full((17, 3), np.nan),
        np.zeros((17, 3)),
        np.tile([0.0, -1.0, 3.0], (17, 1)),  # feet above the horizon
        standing_person() * 5,  # a factor of five is a mistake
    ],
)
def test_nonsense_moves_nobody(joints):
    config = StandingConfig(CAMERA_M, PITCH_DEG, ROLL_DEG, 1.8)
    given_people = people(joints)
    placed = Standing(config).place(given_people)
    np.testing.assert_array_equal(placed.joints_m, given_people.joints_m)


def test_nothing_known_changes_nothing():
    given_people = people(standing_person() * 1.3)
    assert Standing().place(given_people) is given_people


def test_a_track_keeps_its_size_while_its_feet_are_hidden_and_one_that_ended_does_not():
    true = standing_person()
    standing = Standing(FLOOR)
    seen = standing.place(people(true * 1.2))
    hidden = {'joint_states': np.full((1, 17), JointState.OCCLUDED, np.uint8)}
    later = standing.place(people(true * 1.2, SECOND_NS, **hidden))
    np.testing.assert_allclose(later.joints_m, seen.joints_m, rtol=1e-6)
    stranger = standing.place(people(true * 1.2, SECOND_NS, track=5, **hidden))
    np.testing.assert_allclose(stranger.joints_m[0], true * 1.2, rtol=1e-6)
    lost = {'track_states': np.array([TrackState.LOST], np.uint8)}
    standing.place(people(true * 1.2, 2 * SECOND_NS, **lost))
    after = standing.place(people(true * 1.2, 3 * SECOND_NS, **hidden))
    np.testing.assert_allclose(after.joints_m[0], true * 1.2, rtol=1e-6)


@pytest.mark.parametrize('rate_hz', [1, 30, 120])
def test_one_wrong_frame_is_averaged_away(rate_hz):
    true, standing = standing_person(), Standing(FLOOR)
    step = SECOND_NS // rate_hz
    count = max(4, rate_hz)
    for t in range(count):
        steady = standing.place(people(true * 1.2, t * step))
    jump = true * 1.2
    jump[[3, 6]] *= 1.2
    after = standing.place(people(jump, count * step))
    moved = abs(math.log(float(after.joints_m[0, 0, 2] / steady.joints_m[0, 0, 2])))
    assert moved < 0.6 * math.log(1.2) / (1 + min(rate_hz, 10) / 3)
    # A stamp that repeats says nothing new; one that goes back begins again.
    again = standing.place(people(jump, count * step))
    np.testing.assert_array_equal(again.joints_m, after.joints_m)
    begun = standing.place(people(true * 1.2, 0))
    np.testing.assert_allclose(begun.joints_m, steady.joints_m, rtol=1e-3)


@pytest.mark.parametrize(
    ('hidden', 'known'), [([], True), ([3], True), ([3, 6], False), ([9], False)]
)
def test_a_height_counts_where_trunk_head_and_a_leg_are_seen(hidden, known):
    true = standing_person()
    states = np.full((1, 17), JointState.VISIBLE, np.uint8)
    states[0, hidden] = JointState.OCCLUDED
    given_people = people(true * 1.2, joint_states=states)
    config = StandingConfig(person_height_m=stature_m(true, 'h36m_17'))
    placed = Standing(config).place(given_people)
    assert (error(placed, true) < 0.8 * error(given_people, true)) == known


def test_statures_are_lengths_whatever_the_posture():
    joints = standing_person()
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    assert stature_m(joints @ turn.T + 5, 'h36m_17') == pytest.approx(stature_m(joints, 'h36m_17'))
    assert 1.3 < stature_m(joints, 'h36m_17') < 2.1
    assert math.isnan(stature_m(np.zeros((17, 3)), 'coco_17'))


@pytest.mark.parametrize('turn', [0, 90, 270])
def test_the_lift_stage_places_people_without_a_lifter_too(turn):
    from trpose_ros.pipeline.lift_stage import LiftStageConfig
    from trpose_ros.pipeline.turning import turn_people

    true = standing_person()
    upright = people(true * 1.2)
    mounted = turn_people(upright, -turn % 360)
    config = LiftStageConfig(rotate_deg=turn)
    [placed] = LiftStage(lifter=None, config=config, standing=Standing(FLOOR)).push(mounted)
    expected = turn_people(Standing(FLOOR).place(upright), -turn % 360)
    np.testing.assert_allclose(placed.joints_m, expected.joints_m, rtol=1e-5)
    [plain] = LiftStage(lifter=None, config=config).push(mounted)
    assert plain is mounted


@pytest.mark.parametrize('rotate_deg', [0, 90, 180, 270])
def test_a_floor_of_the_moment_counts_in_the_frame_of_the_image(rotate_deg):
    """As from settings of the upright camera, with the camera mounted in any of four ways."""
    true = standing_person()
    seen = turn_people(people(1.2 * true), -rotate_deg % 360)
    stage = LiftStage(lifter=None, config=LiftStageConfig(rotate_deg=rotate_deg))
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    down = np.linalg.matrix_power(quarter, rotate_deg // 90).T @ FLOOR.down
    asked = []

    def floor_at(stamp_ns, frame_id):
        asked.append((stamp_ns, frame_id))
        return Floor(CAMERA_M, down)

    stage.floor_at = floor_at
    (placed,) = stage.push(seen, camera_from_fov(seen.width, seen.height, 70))
    expected = Standing(FLOOR).place(people(1.2 * true))
    np.testing.assert_allclose(
        turn_people(placed, rotate_deg).joints_m, expected.joints_m, rtol=1e-5, atol=1e-6
    )
    assert asked == [(0, 'camera')]


def test_while_the_floor_is_not_known_the_last_correction_goes_on():
    true = standing_person()
    stage, floors = LiftStage(lifter=None), [FLOOR.floor, None]
    stage.floor_at = lambda stamp_ns, frame_id: floors.pop(0)
    first, second = (
        stage.push(people(1.2 * true, stamp_ns=t * SECOND_NS), camera_from_fov(640, 480, 70))[0]
        for t in (1, 2)
    )
    assert error(first, true) < 0.5 * error(people(1.2 * true), true)
    np.testing.assert_allclose(second.joints_m, first.joints_m, rtol=1e-5)

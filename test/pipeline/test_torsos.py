"""Torsos and velocities: position, facing, and slopes that noise does not bend."""

import numpy as np
import pytest
from doubles import STANDING, make_people
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.people import RootSource, TrackState
from trpose_ros.pipeline.torsos import (
    Velocities,
    placed,
    slopes,
    torso_orientations,
    torso_pose,
    torso_positions,
)
from trpose_ros.skeletons import SKELETONS, get_skeleton
from trpose_ros.transforms import Transform

H36M = 'h36m_17'
# The stand-in looks into the camera (its nose lies towards it) and stands upright in it: x forward
# is -z of the camera, y left is +x, z up is -y.
FACING = np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]])


def person(stamp_ns, root_m=(0.0, 0.2, 4.0), track=3, source=RootSource.FUSED, **arrays):
    return make_people(
        stamp_ns,
        root_m,
        track_ids=np.array([track]),
        root_sources=np.array([source]),
        track_states=np.array([TrackState.TRACKED]),
        **arrays,
    )


def test_a_person_who_looks_at_the_camera_faces_it():
    people = person(0)
    (turn,) = torso_orientations(people.joints_m, H36M)
    axes = Transform(turn, np.zeros(3)).rotation
    np.testing.assert_allclose(axes, FACING, atol=0.05)
    position = torso_positions(people.joints_m, H36M)[0]
    np.testing.assert_allclose(position, [0, 0.2 - 0.24, 4.0], atol=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_torsos_turn_with_the_person(seed):
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    motion = Transform(quaternion / np.linalg.norm(quaternion), rng.normal(size=3))
    joints = (STANDING @ motion.rotation.T + motion.translation_m)[None]
    before = Transform(torso_orientations(STANDING[None], H36M)[0], np.zeros(3)).rotation
    after = Transform(torso_orientations(joints, H36M)[0], np.zeros(3)).rotation
    np.testing.assert_allclose(after, motion.rotation @ before, atol=1e-9)
    moved = torso_positions(STANDING[None], H36M)[0] @ motion.rotation.T + motion.translation_m
    np.testing.assert_allclose(torso_positions(joints, H36M)[0], moved, atol=1e-9)


def test_without_a_corner_the_root_is_the_position_and_there_is_no_orientation():
    joints = np.stack([STANDING, STANDING])
    joints[1, 11] = np.nan
    turns, positions = torso_orientations(joints, H36M), torso_positions(joints, H36M)
    assert np.isfinite(turns[0]).all()
    assert np.isnan(turns[1]).all()
    np.testing.assert_array_equal(positions[1], STANDING[0])
    assert torso_pose(positions[1], turns[1]) is None
    assert torso_pose(positions[0], turns[0]) is not None


@pytest.mark.parametrize('fault', ['a point', 'a line', 'nothing'])
def test_what_is_no_torso_has_no_orientation(fault):
    joints = STANDING[None].copy()
    if fault == 'a point':
        joints[:] = 1.0
    elif fault == 'a line':
        joints[0, :, 0] = joints[0, :, 1]
        joints[0, :, 2] = 0
        joints[0, [1, 14], :2] += 1e-5  # nearly along the trunk
    else:
        joints[:] = np.nan
    assert np.isnan(torso_orientations(joints, H36M)).all()


@pytest.mark.parametrize('name', sorted(SKELETONS))
def test_every_skeleton_has_torsos(name):
    joints = np.random.default_rng(0).normal(size=(2, get_skeleton(name).num_joints, 3))
    assert np.isfinite(torso_positions(joints, name)).all()
    assert np.isfinite(torso_orientations(joints, name)).all()
    assert torso_orientations(joints[:0], name).shape == (0, 4)


def test_somebody_without_a_place_of_his_own_is_nowhere():
    people = make_people(
        0,
        np.zeros((4, 3)),
        root_sources=np.array([RootSource.NONE, *[RootSource.FIT] * 3]),
        track_states=np.array([2, 2, TrackState.LOST, TrackState.SEARCHING]),
    )
    assert placed(people).tolist() == [False, True, False, True]


@given(st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_the_slope_of_a_line_is_exact_whatever_is_missing(seed, count):
    rng = np.random.default_rng(seed)
    times, speed = np.sort(rng.uniform(0, 1, count)), rng.normal(size=(4, 3))
    values = 1e6 + times[:, None, None] * speed
    missing = rng.random(values.shape) < 0.3
    values[missing] = np.nan
    got = slopes(times, values, 0.0)
    enough = (~missing).sum(axis=0) >= 3
    assert (np.isfinite(got) == enough).all()
    span = np.where(missing, np.nan, times[:, None, None] * np.ones(values.shape))
    wide = enough & (np.nanmax(np.where(enough, span, 0), axis=0) > 0.1)
    wide &= np.nanmax(np.where(enough, span, 0), 0) - np.nanmin(np.where(enough, span, 0), 0) > 0.1
    np.testing.assert_allclose(got[wide], speed[wide], atol=1e-6)


def run(velocities, count, speed=(0.5, 0.0, -1.0), noise=0.0, start=0, **changes):
    rng, found = np.random.default_rng(0), []
    for i in range(start, start + count):
        moved = person(i * 33_333_333, np.array([0, 0.2, 4]) + np.array(speed) * i / 30, **changes)
        moved = moved.replace(joints_m=moved.joints_m + rng.normal(size=(1, 17, 3)) * noise)
        found.append(velocities.push(moved)[0])
    return np.array(found)


def test_velocities_are_unknown_at_first_and_then_those_of_the_person():
    found = run(Velocities(0.3), 12)
    assert np.isnan(found[:3]).all()  # three positions within 0.09 s at least
    np.testing.assert_allclose(found[4:], np.tile([0.5, 0, -1.0], (8, 17, 1)), atol=1e-4)


def test_noise_of_a_centimetre_is_a_few_centimetres_a_second():
    steady, short = run(Velocities(0.3), 60, noise=0.01), run(Velocities(0.1), 60, noise=0.01)
    spread = np.nanstd(steady - [0.5, 0, -1.0]), np.nanstd(short - [0.5, 0, -1.0])
    assert spread[0] < 0.05
    assert spread[1] > 2 * spread[0]


def test_velocities_start_again_after_a_gap_a_jump_and_in_another_frame():
    velocities = Velocities(0.3)
    assert np.isfinite(run(velocities, 8)[-1]).all()
    assert np.isnan(run(velocities, 1, start=60)).all()  # 1.7 s later
    assert np.isfinite(run(velocities, 8, start=61)[-1]).all()
    assert np.isnan(run(velocities, 1)).all()  # earlier
    run(velocities, 8, start=1)
    other = person(9 * 33_333_333).replace(frame_id='map')
    assert np.isnan(velocities.push(other)).all()


def test_a_skeleton_without_a_place_or_an_id_has_no_velocity():
    assert np.isnan(run(Velocities(0.3), 12, source=RootSource.NONE)).all()
    assert np.isnan(run(Velocities(0.3), 12, track=-1)).all()
    twice = Velocities(0.3)
    run(twice, 8)
    again = run(twice, 1, start=7)  # the same moment again
    np.testing.assert_allclose(again, np.tile([0.5, 0, -1.0], (1, 17, 1)), atol=1e-4)

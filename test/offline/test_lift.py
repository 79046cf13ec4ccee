"""Lifting a file: the numbers of the live stream, ids, trust, and what a file must state."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from made_people import moving_person
from streams import make

from trpose_ros.cameras import camera_from_fov, normalise_screen, project
from trpose_ros.keypoints.arrays import from_array
from trpose_ros.keypoints.clip import KeypointError
from trpose_ros.offline.lift import MAX_WAIT_S, LiftOptions, camera_of, lift, pixels_of, stamps_of
from trpose_ros.people import JointState, RootSource
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig

T, SIZE = 14, (640, 480)
CAMERA = camera_from_fov(*SIZE)
GIVEN = LiftOptions(size=SIZE, rate_hz=50.0)
STEP_NS = 20_000_000


def stage(look_ahead=2):
    waiting = LiftStageConfig(max_wait_s=MAX_WAIT_S)
    return LiftStage(lifter=make('videopose3d', look_ahead), config=waiting)


def pixels(seed=0, x=0.0, frames=T):
    body = moving_person(frames, 'h36m_17', seed, root_m=(x, 0, 4.0)).astype(float)
    return project(body, CAMERA)


def keypoints(array):
    return from_array('made', np.asarray(array), 'h36m_17', 'px')


def relative(result):
    return np.stack([p.joints_m - p.joints_m[:, :1] for p in result.frames])


def test_the_numbers_are_those_of_the_live_stream():
    points = pixels()
    result = lift(keypoints(points), stage(), GIVEN)
    live, expected = make('videopose3d', 2), []
    for t, joints in enumerate(points.astype(np.float32)):
        screen = normalise_screen(joints[None].astype(float), *SIZE)
        expected += live.push(t * STEP_NS, np.array([0]), screen)
    expected += live.flush()
    assert [p.stamp_ns for p in result.frames] == [t * STEP_NS for t in range(T)]
    lifted = np.stack([r.joints_m for r in expected])
    np.testing.assert_allclose(relative(result)[:, 0], lifted, atol=1e-5)
    assert result.facts['licence'] == ''
    assert result.facts['weights_id'].endswith('test')
    assert result.facts['intrinsics_assumed']
    assert (result.skeletons, result.tracks) == (T, 1)


def test_the_root_is_fitted_to_the_image():
    result = lift(keypoints(pixels()), stage(), GIVEN)
    sources = {int(s) for p in result.frames for s in p.root_sources}
    assert sources <= {RootSource.FIT, RootSource.NONE}
    known = dataclasses.replace(GIVEN, calibration=camera_from_fov(*SIZE, 70.0, assumed=False))
    assert not lift(keypoints(pixels()), stage(), known).facts['intrinsics_assumed']


@pytest.mark.parametrize('frames', [1, 2])
def test_short_clips_and_frames_without_anybody(frames):
    points = pixels(frames=frames + 1)
    points[0] = np.nan
    result = lift(keypoints(points), stage(), GIVEN)
    assert [len(p) for p in result.frames] == [0] + [1] * frames
    assert result.skeletons == frames


def test_people_without_ids_are_associated_over_time():
    both = np.stack([pixels(0, -0.9), pixels(1, 0.9)])
    both[:, 5] = np.nan  # nobody is found in one frame
    shuffled = [np.roll(both[:, t], t % 2, axis=0) for t in range(T)]
    points = keypoints(np.stack(shuffled))
    result = lift(points, stage(), dataclasses.replace(GIVEN, ignore_ids=True))
    assert result.tracks == 2
    alone = lift(keypoints(both[0]), stage(), GIVEN)
    ids = [p.track_ids.tolist() for p in result.frames]
    assert ids[5] == []
    first = [int(p.track_ids[t % 2]) for t, p in enumerate(result.frames) if t != 5]
    assert len(set(first)) == 1
    for t in (0, 4, 6, T - 1):
        row = ids[t].index(first[0])
        np.testing.assert_allclose(
            relative_of(result.frames[t], row), relative_of(alone.frames[t], 0), atol=1e-5
        )


def relative_of(people, row):
    return people.joints_m[row] - people.joints_m[row, :1]


def test_single_takes_the_largest():
    small, large = pixels(0), 320 + 2 * (pixels(1) - 320)
    points = keypoints(np.stack([small, large], axis=1))
    result = lift(points, stage(), dataclasses.replace(GIVEN, single=True))
    assert result.tracks == 1
    np.testing.assert_allclose(result.frames[3].joints_px[0], large[3], rtol=1e-5)


def test_scores_become_states():
    scores = np.full((T, 17, 1), 0.9)
    scores[:, 3], scores[:, 4] = 0.2, 0.0
    points = pixels()
    points[:, 5, 0] = 700  # outside the image
    result = lift(keypoints(np.concatenate([points, scores], axis=2)), stage(), GIVEN)
    people = result.frames[4]
    assert people.joint_states[0, 2] == JointState.VISIBLE
    assert people.joint_states[0, 3] == JointState.OCCLUDED
    assert people.joint_states[0, 5] == JointState.TRUNCATED
    assert np.isnan(people.joints_px[0, 4]).all()
    assert np.isfinite(people.joints_m).all()


def test_long_gaps_lose_no_frame():
    points = pixels()
    many = np.full((400, 17, 2), np.nan)
    places = np.r_[0:3, 390:400]  # 77 s apart, longer than the stage waits
    many[places] = points[: len(places)]
    result = lift(keypoints(many), stage(), dataclasses.replace(GIVEN, rate_hz=5.0))
    assert len(result.frames) == 400
    found = [t for t, p in enumerate(result.frames) if len(p) and np.isfinite(p.joints_m).all()]
    assert found == places.tolist()


def test_units():
    points = pixels()
    made = keypoints(points)
    shares = dataclasses.replace(made, unit='shares', joints=(points + 0.5) / SIZE)
    screen = dataclasses.replace(made, unit='screen', joints=normalise_screen(points, *SIZE))
    for other in (shares, screen):
        np.testing.assert_allclose(pixels_of(other, CAMERA), points, atol=1e-6)


def test_what_a_file_must_state():
    made = keypoints(pixels())
    with pytest.raises(KeypointError, match='give --size 1920x1080'):
        lift(made, stage(), LiftOptions(rate_hz=50.0))
    with pytest.raises(KeypointError, match='does not state its rate: give --rate'):
        lift(made, stage(), LiftOptions(size=SIZE))
    with pytest.raises(KeypointError, match='the file says 320x240, --size says 640x480'):
        camera_of(dataclasses.replace(made, size=(320, 240)), GIVEN)
    with pytest.raises(KeypointError, match=r'around \(.*\) px, outside images of 64x48'):
        lift(made, stage(), dataclasses.replace(GIVEN, size=(64, 48)))
    with pytest.raises(ValueError, match='--rate must lie in'):
        LiftOptions(rate_hz=float('nan'))
    with pytest.raises(ValueError, match='--size must lie in'):
        LiftOptions(size=(0, 480))
    with pytest.raises(ValueError, match="lifter 'none' lifts nothing"):
        lift(made, LiftStage(lifter=None), GIVEN)
    timed = dataclasses.replace(made, stamps_ns=np.arange(T) * 7)
    assert stamps_of(timed, LiftOptions()).tolist() == (np.arange(T) * 7).tolist()
    assert stamps_of(timed, GIVEN)[1] == STEP_NS

"""A part of a tracked person is not a second person."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, make_people

from trpose_ros.people import JointState, TrackState, concatenate
from trpose_ros.pipeline.association import parts
from trpose_ros.pipeline.tracking import Tracker

PLACE = (0.0, 0.2, 4.0)
UPPER = [7, 8, 9, 10, 11, 14]  # spine, neck, head, shoulders: what is seen of the part


def seen(people, joints):
    states = np.full(people.joint_states.shape, int(JointState.OCCLUDED), np.uint8)
    states[:, joints] = JointState.VISIBLE
    return people.replace(joint_states=states)


def half(stamp_ns, score, nearer=0.6):
    """What an estimator makes of the upper half of the person: small, near, crouching."""
    whole = make_people(stamp_ns, PLACE, scores=np.array([score]))
    joints_m, joints_px = whole.joints_m.copy(), whole.joints_px.copy()
    hidden = [k for k in range(17) if k not in UPPER]
    joints_m *= nearer
    joints_px[:, hidden, 1] -= 0.6 * (joints_px[:, hidden, 1] - joints_px[:, 7:8, 1])
    return seen(whole.replace(joints_m=joints_m, joints_px=joints_px), UPPER)


def show(tracker, *rows):
    people = rows[0]
    for row in rows[1:]:
        people = concatenate(people, row)
    out = tracker.update(people, CAMERA)
    alive = out.track_states != TrackState.LOST
    return out.track_ids[alive].tolist(), out.track_states[alive].tolist()


@pytest.mark.parametrize('score', [0.2, 0.9])  # of the part; the whole has 0.5
@pytest.mark.parametrize('first', [True, False])
def test_a_part_takes_nothing_from_the_whole(score, first):
    tracker = Tracker()
    for k in range(1, 40):
        stamp = k * STEP_NS
        whole = make_people(stamp, PLACE, scores=np.array([0.5]))
        rows = [seen(whole, range(17))]
        if k > 10:
            rows.insert(0 if first else 1, half(stamp, score))
        ids, states = show(tracker, *rows)
    assert (ids, states) == ([0], [TrackState.TRACKED])


def test_the_estimate_that_belongs_to_a_track_outlives_a_better_one_that_does_not():
    """The box of a part may give the same pose in the image, at a distance that fits no track."""
    tracker = Tracker()
    for k in range(1, 30):
        whole = make_people(k * STEP_NS, PLACE, scores=np.array([0.5]))
        better = make_people(k * STEP_NS, PLACE, scores=np.array([0.9]))
        better = better.replace(joints_m=better.joints_m * 0.8)
        rows = [whole] if k < 10 else [better, whole]
        ids, states = show(tracker, *rows)
        assert ids == [0]
    assert states == [TrackState.TRACKED]


def test_somebody_beside_or_behind_is_no_part():
    tracker = Tracker()
    for k in range(1, 10):
        people = make_people(k * STEP_NS, [PLACE, (0.45, 0.2, 4.6)])
        ids, _ = show(tracker, seen(people, UPPER))
    assert ids == [0, 1]


def test_an_estimate_that_leaps_out_of_its_own_track_is_nobody():
    tracker = Tracker()
    for k in range(1, 40):
        leapt = 10 <= k < 14
        people = make_people(k * STEP_NS, (0.0, 0.2, 9.0) if leapt else PLACE)
        out = tracker.update(people, CAMERA, origins=np.array([0 if k > 1 else -1]))
        assert out.track_ids.tolist() == [0]
        if leapt:
            assert out.track_states.tolist() == [TrackState.SEARCHING]
    assert out.track_states.tolist() == [TrackState.TRACKED]
    # found by somebody who looked at the image it begins a track
    out = tracker.update(make_people(41 * STEP_NS, (1.0, 0.2, 9.0)), CAMERA, origins=np.array([-1]))
    assert out.track_ids.tolist() == [1, 0]


def test_parts_by_hand():
    whole = make_people(0, PLACE).joints_px.astype(float)
    poses = np.concatenate([whole, half(0, 0.5).joints_px.astype(float), whole + 80.0])
    visible = np.ones((3, 17), bool)
    visible[1] = [k in UPPER for k in range(17)]
    tracked = np.array([True, False, False])
    assert parts(poses, visible, tracked, 0.1).tolist() == [False, True, False]
    assert not parts(poses, visible, np.zeros(3, bool), 0.1).any()  # nobody is tracked
    assert not parts(poses, np.zeros((3, 17), bool), tracked, 0.1).any()  # nothing is seen
    visible[1, UPPER[2:]] = False  # two joints are anybody's
    assert not parts(poses, visible, tracked, 0.1).any()
    assert parts(poses[:0], visible[:0], tracked[:0], 0.1).shape == (0,)
    poses[0] = np.nan
    assert not parts(poses, visible, tracked, 0.1).any()

"""Scenes with truth, and how ids last in them; nothing is rendered and no network runs here."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import STEP_NS, FakeBoxes, FakeEstimator, blank, make_people

from trpose_ros.evaluation.identities import counted, follow, table, truncated
from trpose_ros.people import JointState
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig
from trpose_ros.pipeline.tracking import Tracker

HERE, THERE = (-0.8, 0.2, 4.0), (0.8, 0.2, 4.0)


def shown(k, places, seen=17):
    """Return a blank frame with true people of whom ``seen`` joints can be seen."""
    frame = blank(10**9 + k * STEP_NS)
    people = make_people(frame.stamp_ns, np.array(places).reshape(-1, 3))
    states = np.full(people.joint_states.shape, int(JointState.OCCLUDED), np.uint8)
    states[:, :seen] = JointState.VISIBLE
    people = people.replace(joint_states=states, track_ids=np.arange(len(people), dtype=np.int32))
    return frame, people, counted(people)


def stage(*places, boxes=((200.0, 100.0, 100.0, 300.0), (400.0, 100.0, 100.0, 300.0))):
    return PoseStage(
        estimator=FakeEstimator(places),
        box_source=FakeBoxes([(*box, 0.9) for box in boxes[: len(places)]]),
        tracker=Tracker(),
        config=PoseStageConfig(),
        clock=None,
    )


def test_two_who_are_followed_from_the_first_frame_on():
    result = follow(stage(HERE, THERE), [shown(k, [HERE, THERE]) for k in range(20)], 'two')
    assert (result.ids, result.frames) == (2, 20)
    assert (result.identity.idf1, result.identity.switches) == (1.0, 0)


def test_somebody_where_nobody_is_counts_and_somebody_hidden_does_not():
    nobody = follow(stage(HERE), [shown(k, []) for k in range(5)], 'nobody')
    assert nobody.identity.false_people == 5
    hidden = follow(stage(HERE), [shown(k, [HERE], seen=3) for k in range(5)], 'hidden')
    assert (hidden.identity.false_people, hidden.identity.misses) == (0, 0)
    assert np.isnan(hidden.identity.idf1)
    missed = follow(stage(HERE), [shown(k, [HERE, THERE]) for k in range(5)], 'missed')
    assert missed.identity.misses == 5
    assert missed.identity.idf1 == pytest.approx(2 * 5 / 15)


def test_what_a_condition_hides_does_not_count_as_seen():
    drawn = [shown(k, [HERE])[:2] for k in range(6)]
    clear = list(truncated(drawn, 'none', 'd|s|a|0'))
    assert all((truth.joint_states == JointState.VISIBLE).all() for _, truth, _ in clear)
    middle = list(truncated(drawn, 'fixed_middle', 'd|s|a|0'))
    for frame, truth, counts in middle:
        seen = (truth.joint_states == JointState.VISIBLE)[0]
        assert 4 <= seen.sum() < 17
        assert counts.tolist() == [True]
        x, y = np.rint(truth.joints_px[0]).astype(int).T
        assert (frame.image[y[~seen], x[~seen]] == 0).all()
        assert (frame.image[y[seen], x[seen]] != 0).all()


def test_the_table_has_a_line_per_scene_and_the_sums():
    results = [
        follow(stage(HERE), [shown(k, [HERE]) for k in range(5)], 'first'),
        follow(stage(HERE), [shown(k, []) for k in range(5)], 'second'),
    ]
    lines = list(table(results))
    assert len(lines) == 4
    assert lines[1].split() == ['first', '5', '1.000', '0', '0', '0', '0', '1']
    assert lines[-1].split()[-4:] == ['0', '5', '0', '2']
    assert list(table([]))[1:] == []

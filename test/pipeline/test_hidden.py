"""People who are hidden altogether: nothing is made up, and who comes out again is known."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, FakeBoxes, FakeEstimator, blank, make_people
from test_returning import BLUE, HERE, RED, THERE, UNSEEN, Story

from trpose_ros.people import JointState, TrackState
from trpose_ros.pipeline.appearance import FEATURES, all_other
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig
from trpose_ros.pipeline.tracking import Tracker, TrackerConfig

OTHER = BLUE + 60  # torso and thighs
NEAR, ASIDE = 0.0, 0.5  # m; the second one is within all gates


def body(step, seen, aside_m=0.0, otherwise=JointState.OCCLUDED):
    """Return one person of whom ``seen`` joints are seen."""
    people = make_people(10**9 + step * STEP_NS, (aside_m, 0.2, 4.0))
    states = np.full(people.joint_states.shape, int(otherwise), np.uint8)
    states[:, :seen] = JointState.VISIBLE
    return people.replace(joint_states=states)


def state_after(people, origin=0, confirmed=True):
    """Return the state of a track of which ``people`` are the next estimate."""
    tracker = Tracker(TrackerConfig(confirm_s=0.0 if confirmed else 9.0))
    tracker.update(body(0, 17), CAMERA)
    out = tracker.update(people, CAMERA, origins=np.array([origin]))
    return TrackState(out.track_states[0]).name


@pytest.mark.parametrize(
    ('seen', 'aside_m', 'state'),
    [
        (0, NEAR, 'SEARCHING'),
        (1, NEAR, 'TRACKED'),
        (3, NEAR, 'TRACKED'),
        (3, ASIDE, 'SEARCHING'),
        (4, ASIDE, 'TRACKED'),
    ],
)
def test_a_body_of_which_nothing_is_seen_is_no_measurement(seen, aside_m, state):
    assert state_after(body(1, seen, aside_m)) == state
    unsure = body(1, seen, aside_m, otherwise=JointState.UNKNOWN)  # not every estimator says
    assert state_after(unsure) == 'TRACKED'


def test_new_people_and_those_of_a_box_source_may_be_hidden():
    assert state_after(body(1, 0), confirmed=False) == 'NEW'
    assert state_after(body(1, 0), origin=-1) == 'TRACKED'
    assert state_after(body(1, 0), origin=77) == 'TRACKED'


def test_who_comes_out_far_from_where_the_search_is_keeps_the_id():
    story = Story()
    story.show((HERE, RED))
    assert story.show(seconds=0.5) == [0]  # still searched for
    assert story.show(((2.3, 0.2, 4.0), RED)) == [0]
    assert story.show(((2.3, 0.2, 4.0), RED), (HERE, OTHER)) == [0, 2]


def test_who_comes_out_there_in_other_clothes_is_somebody_else():
    for hidden_s, ids in ((0.1, [0]), (0.5, [0, 1])):
        story = Story()
        story.show((HERE, RED))
        story.show(seconds=hidden_s)
        assert story.show((HERE, OTHER), seconds=0.1) == ids
    for same in (slice(0, 3), slice(3, 6)):  # the other half of the body is hidden, or cut off
        worn = OTHER.copy()
        worn[same] = RED[same]
        story = Story()
        story.show((HERE, RED))
        story.show(seconds=0.5)
        assert story.show((HERE, worn), seconds=0.1) == [0]


def test_two_who_change_places_behind_something_keep_their_ids():
    story = Story()
    story.show((HERE, RED), (THERE, OTHER))
    story.show(seconds=1.2)
    story.show((HERE, OTHER), (THERE, RED))
    people = make_people(10**9 + (story.step + 1) * STEP_NS, np.array([HERE, THERE]))
    out = story.tracker.update(people, CAMERA, np.stack([OTHER, RED]))
    assert out.track_ids.tolist() == [1, 0]


def test_all_parts_that_are_known_have_other_colours():
    half = np.where(np.arange(FEATURES) < 3, RED, np.nan)
    worn = np.stack([RED, half, UNSEEN])
    seen = np.stack([RED, RED + 60, np.where(np.arange(FEATURES) < 3, RED, RED + 60)])
    expected = [[False, True, False], [False, True, False], [False, False, False]]
    assert all_other(worn, seen).tolist() == expected
    assert all_other(worn[:0], seen).shape == (0, 3)


def test_while_nobody_is_seen_every_frame_is_searched_and_nobody_is_given_up_for_that():
    source = FakeBoxes([(260.0, 150.0, 120.0, 320.0, 0.9)])
    source.sure_score = 0.3
    stage = PoseStage(
        estimator=FakeEstimator(),
        box_source=source,
        tracker=Tracker(),
        config=PoseStageConfig(detect_every_s=0.5),
        clock=None,
    )
    for k in range(8):
        stage.process(blank(10**9 + k * STEP_NS))
    assert len(source.asked) == 1
    stage.estimator.roots_m = np.zeros((0, 3))
    source.rows = source.rows[:0]
    for k in range(8, 16):
        people = stage.process(blank(10**9 + k * STEP_NS))
        assert people.track_states.tolist() == [TrackState.SEARCHING]
    assert len(source.asked) == 1 + 7  # whom nobody has missed yet is not searched for

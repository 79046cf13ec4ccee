"""Searches for people: who is new, who is still there, and who is given up."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import STEP_NS, FakeBoxes, FakeEstimator, blank, make_people

from trpose_ros.cameras import unproject
from trpose_ros.estimators.detector import PersonDetector
from trpose_ros.people import TrackState
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig
from trpose_ros.pipeline.tracking import Tracker

NEAR, FAR = (0.0, 0.2, 4.0), (0.0, 0.4, 16.0)  # the far one stands before the near one's knees
NEAR_BOX, FAR_BOX = (260.0, 150.0, 120.0, 320.0), (300.0, 220.0, 40.0, 70.0)
SEARCHES = 4


class Boxes(FakeBoxes):
    """A box source that knows how sure it is; ``show`` changes what it sees."""

    sure_score = 0.35

    def show(self, *boxes):
        self.rows = np.array([(*box, score) for box, score in boxes], np.float32).reshape(-1, 5)


class BySize(FakeEstimator):
    """Sees the far body in a small box and the near one in a large box."""

    far = FAR

    def estimate(self, frame, boxes_px):
        self.calls.append(np.array(boxes_px))
        roots = [self.far if box[3] < 150 else NEAR for box in boxes_px]
        return make_people(frame.stamp_ns, np.array(roots).reshape(-1, 3), frame.camera)


def stage_with(*boxes, estimator=None, source=Boxes):
    shown = source(np.zeros((0, 5)))
    Boxes.show(shown, *boxes)
    stage = PoseStage(
        estimator=estimator or BySize(),
        box_source=shown,
        tracker=Tracker(),
        config=PoseStageConfig(detect_every_s=0.0),  # a search in every frame
        clock=None,
    )
    stage.shown = shown
    return stage


def step(stage, count=1):
    """Show blank frames; return ids by state name in the last one."""
    for _ in range(count):
        stage.k = getattr(stage, 'k', 0) + 1
        people = stage.process(blank(10**9 + stage.k * STEP_NS))
    found: dict[str, list[int]] = {}
    for track_id, state in zip(people.track_ids.tolist(), people.track_states, strict=True):
        found.setdefault(TrackState(state).name, []).append(track_id)
    return found


def test_weak_boxes_begin_nothing():
    stage = stage_with((NEAR_BOX, 0.3))
    assert step(stage, 10) == {}


def test_weak_boxes_are_enough_to_go_on():
    stage = stage_with((NEAR_BOX, 0.9))
    step(stage)
    stage.shown.show((NEAR_BOX, 0.2))
    assert step(stage, 60) == {'TRACKED': [0]}


def test_a_track_that_is_never_found_again_ends_once():
    stage = stage_with((NEAR_BOX, 0.9))
    step(stage)
    stage.shown.show()
    assert step(stage, SEARCHES - 1) in ({'NEW': [0]}, {'TRACKED': [0]})
    assert step(stage) == {'LOST': [0]}
    assert step(stage, 5) == {}


def test_one_box_between_starts_the_count_anew():
    stage = stage_with((NEAR_BOX, 0.9))
    step(stage)
    for _ in range(4):
        stage.shown.show()
        step(stage, SEARCHES - 1)
        stage.shown.show((NEAR_BOX, 0.16))
        assert step(stage) == {'TRACKED': [0]}


def test_sources_that_do_not_say_how_sure_they_are_end_nothing():
    stage = stage_with((NEAR_BOX, 0.1), source=FakeBoxes)
    step(stage)
    Boxes.show(stage.shown)
    assert step(stage, 60) == {'TRACKED': [0]}


def test_a_piece_of_a_body_gives_way_to_the_body():
    stage = stage_with((FAR_BOX, 0.9))
    assert step(stage, 10) == {'TRACKED': [0]}
    stage.shown.show((NEAR_BOX, 0.9))
    found = step(stage)
    assert found == {'NEW': [1], 'LOST': [0]}
    assert len(stage.estimator.calls[-1]) == 1
    assert step(stage, 10) == {'TRACKED': [1]}


def test_somebody_small_before_somebody_large_stays():
    stage = stage_with((FAR_BOX, 0.9))
    step(stage, 10)
    stage.shown.show((NEAR_BOX, 0.9), (FAR_BOX, 0.2))
    assert step(stage, 20) == {'TRACKED': [0]}  # as before: a box around a tracked body is known


def test_somebody_far_behind_may_come_out_again_for_a_while():
    stage = stage_with(estimator=BySize())
    for x in np.linspace(2.0, 0.0, 20):  # walks behind the near one
        stage.estimator.far = (x, 0.4, 16.0)
        shift = 35.0 * x
        far_box = (FAR_BOX[0] + shift, *FAR_BOX[1:])
        stage.shown.show((NEAR_BOX, 0.9), (far_box, 0.8))
        assert 'LOST' not in (found := step(stage))
    assert sorted(found['TRACKED']) == [0, 1]
    stage.shown.show((NEAR_BOX, 0.9))
    assert sorted(step(stage, SEARCHES - 1)['TRACKED']) == [0, 1]
    found = step(stage)
    assert (len(found['TRACKED']), len(found['LOST'])) == (1, 1)


class InEveryBox(FakeEstimator):
    """Sees a body of the box's height in the middle of every box, as networks do."""

    def estimate(self, frame, boxes_px):
        self.calls.append(np.array(boxes_px))
        middles, heights = boxes_px[:, :2] + boxes_px[:, 2:] / 2, boxes_px[:, 3]
        roots = unproject(middles, frame.camera.matrix[0, 0] * 2.0 / heights, frame.camera)
        return make_people(frame.stamp_ns, roots, frame.camera)


def walk_past(period_ns, speed_px_s=180.0, others=()):
    """Let one person walk to the right, found in each frame; return ids by state, each frame."""
    stage, found = stage_with(estimator=InEveryBox()), []
    for k in range(round(3.0e9 / period_ns)):
        box = (20.0 + speed_px_s * k * period_ns * 1e-9, 120.0, 110.0, 260.0)
        stage.shown.show((box, 0.9), *others)
        people = stage.process(blank(10**9 + k * period_ns))
        found.append((people.track_ids.tolist(), len(stage.estimator.calls[-1])))
    return found


@pytest.mark.parametrize('period_ns', [10**9, 5 * 10**8, 3 * 10**8])
def test_somebody_who_leaves_the_box_between_two_frames_is_one_person(period_ns):
    assert set(map(str, walk_past(period_ns))) == {'([0], 1)'}


def test_who_stands_beside_keeps_the_box_that_is_found():
    other = ((500.0, 100.0, 110.0, 260.0), 0.8)
    found = walk_past(10**9, others=[other])
    assert [sorted(ids) for ids, _ in found] == [[0, 1]] * 3
    assert [boxes for _, boxes in found] == [2, 2, 2]


@pytest.mark.parametrize(('period_ns', 'boxes'), [(STEP_NS, 2), (10**9, 1)])
def test_whom_nobody_finds_is_looked_for_when_frames_are_close(period_ns, boxes):
    stage = stage_with(((100.0, 120.0, 110.0, 260.0), 0.9), estimator=InEveryBox())
    stage.process(blank(10**9))
    stage.shown.show(((400.0, 120.0, 110.0, 260.0), 0.9))
    stage.process(blank(10**9 + period_ns))
    assert len(stage.estimator.calls[-1]) == boxes


def test_full_house_is_searched_all_the_same():
    stage = stage_with(*((NEAR_BOX, 0.9),), estimator=FakeEstimator([NEAR]))
    stage.config = PoseStageConfig(detect_every_s=0.0, max_people=1)
    step(stage)
    stage.shown.show()
    assert step(stage, SEARCHES) == {'LOST': [0]}


def test_doubted_tracks_go_on_when_they_are_seen():
    tracker = Tracker()
    tracker.update(make_people(10**9), blank(0).camera)
    tracker.doubt(np.array([0]))
    people = tracker.update(make_people(10**9 + STEP_NS), blank(0).camera)
    assert people.track_ids.tolist() == [0]
    people = tracker.update(make_people(10**9 + 2 * STEP_NS, np.zeros((0, 3))), blank(0).camera)
    assert people.track_states.tolist() == [TrackState.SEARCHING]
    tracker.doubt(np.array([0, 77]))
    people = tracker.update(make_people(10**9 + 3 * STEP_NS, np.zeros((0, 3))), blank(0).camera)
    assert people.track_states.tolist() == [TrackState.LOST]
    assert len(tracker) == 0


@pytest.mark.parametrize('name', ['threshold', 'sure_score', 'most_overlap'])
def test_shares_out_of_range_are_named(name):
    with pytest.raises(ValueError, match=f'{name} lies in 0..1, got 1.5'):
        PersonDetector(**{name: 1.5})

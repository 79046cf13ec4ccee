"""A second look: pieces of bodies are found out, everybody else is left as they are."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, FakeBoxes, FakeEstimator, blank, make_people
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import unproject
from trpose_ros.people import JointState, TrackState
from trpose_ros.pipeline import tracking
from trpose_ros.pipeline.association import assign
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig, body_box
from trpose_ros.pipeline.predicted_boxes import padded_box
from trpose_ros.pipeline.second_look import SUSPICIOUS, disagreement, look_again
from trpose_ros.pipeline.tracking import Tracker, TrackerConfig

BODY_M = (0.0, 0.2, 4.0)
_TRUE_PX = make_people(0, BODY_M).joints_px[0]
WHOLE = body_box(_TRUE_PX, np.full(4, np.nan))
HEAD = np.array([*WHOLE[:3], 0.3 * WHOLE[3]], np.float32)  # with shoulders
SHIFT = np.array([300, 0, 0, 0], np.float32)
PX, PIECE_PX, BAD_PX = 2.0, 8.0, 50.0  # by which 2D and 3D differ
HIDDEN = 10  # joints of a piece


class Literal(FakeEstimator):
    """Makes a whole body of a box that is much smaller than the true one, as networks do."""

    piece_px, whole_px, hidden, whole_hidden = PIECE_PX, PX, HIDDEN, 0

    def estimate(self, frame, boxes_px):
        self.calls.append(np.array(boxes_px))
        boxes = np.asarray(boxes_px, float).reshape(-1, 4)
        small = boxes[:, 3] < 0.5 * WHOLE[3]
        depth = frame.camera.matrix[0, 0] * 2.106 / boxes[:, 3]  # as tracks are padded
        roots = unproject(boxes[:, :2] + boxes[:, 2:] / 2, depth, frame.camera) - [0, 0.09, 0]
        roots[~small] = BODY_M
        people = make_people(
            frame.stamp_ns,
            roots,
            frame.camera,
            boxes_px=boxes,
            reprojection_errors_px=np.where(small, self.piece_px, self.whole_px),
        )
        states = np.full(people.joint_states.shape, int(JointState.VISIBLE), np.uint8)
        states[small, : self.hidden] = JointState.OCCLUDED
        states[~small, : self.whole_hidden] = JointState.OCCLUDED
        return people.replace(joint_states=states)


def stage_with(*boxes, estimator=None, **config):
    return PoseStage(
        estimator=estimator or Literal(),
        box_source=FakeBoxes([(*box, 0.9) for box in boxes]),
        tracker=Tracker(),
        config=PoseStageConfig(**config),
        clock=None,
    )


def looked_at(estimator, *boxes):
    people = estimator.estimate(blank(0), np.array(boxes))
    estimator.calls.clear()
    return people


def test_nobody_and_nobody_doubtful_cost_nothing():
    estimator = Literal()
    for boxes in ([], [WHOLE], [HEAD, WHOLE]):
        people = looked_at(estimator, *boxes)
        same, replaced = look_again(estimator, blank(0), people, np.zeros(len(people), bool))
        assert same is people
        assert not replaced.any()
        assert estimator.calls == []


def test_a_piece_is_replaced_in_its_place_by_its_body():
    estimator = Literal()
    people = looked_at(estimator, WHOLE, HEAD, WHOLE + SHIFT)
    assert (disagreement(people) > SUSPICIOUS).tolist() == [False, True, False]
    found, replaced = look_again(estimator, blank(0), people, disagreement(people) > SUSPICIOUS)
    assert replaced.tolist() == [False, True, False]
    assert [len(boxes) for boxes in estimator.calls] == [1, 1]  # of the doubtful one alone
    np.testing.assert_array_equal(found.joints_m[[0, 2]], people.joints_m[[0, 2]])
    np.testing.assert_allclose(found.joints_px[1], _TRUE_PX, atol=1e-3)
    x, y, width, height = estimator.calls[0][0]
    assert (x + width / 2, height) == pytest.approx((HEAD[0] + HEAD[2] / 2, 3.5 * HEAD[3]))
    assert y <= HEAD[1]


@pytest.mark.parametrize(
    ('whole_px', 'whole_hidden', 'taken'),
    [(PX, 0, True), (PX, HIDDEN, True), (PX, HIDDEN + 1, False), (BAD_PX, 0, False)],
)
def test_what_is_not_clearly_better_is_not_taken(whole_px, whole_hidden, taken):
    """It agrees better by far, and no fewer of its joints are seen."""
    estimator = Literal()
    people = looked_at(estimator, HEAD)
    estimator.whole_px, estimator.whole_hidden = whole_px, whole_hidden
    found, replaced = look_again(estimator, blank(0), people, np.ones(1, bool))
    assert (found is people) != taken
    assert replaced.tolist() == [taken]


def test_a_body_elsewhere_is_somebody_else():
    estimator = Literal()
    beside = HEAD + np.array([200, 0, 0, 0], np.float32)
    people = looked_at(estimator, beside)
    _, replaced = look_again(estimator, blank(0), people, np.ones(1, bool))
    assert not replaced.any()


def test_an_answer_without_anybody_changes_nothing():
    estimator = Literal()
    people = looked_at(estimator, HEAD)
    estimator.estimate = lambda frame, boxes: make_people(0, np.zeros((0, 3)))
    found, replaced = look_again(estimator, blank(0), people, np.ones(1, bool))
    assert found is people
    assert not replaced.any()


@given(st.lists(st.sampled_from(['head', 'whole', 'nan']), max_size=4), st.data())
def test_who_is_not_doubtful_stays_bit_for_bit(kinds, data):
    boxes = {'head': HEAD, 'whole': WHOLE, 'nan': np.full(4, np.nan, np.float32)}
    estimator = Literal()
    people = looked_at(estimator, *[boxes['whole' if k == 'nan' else k] for k in kinds])
    asked = np.array([boxes[k] for k in kinds], np.float32).reshape(-1, 4)
    people = people.replace(boxes_px=asked)
    doubtful = np.array([data.draw(st.booleans()) for _ in kinds], bool)
    found, replaced = look_again(estimator, blank(0), people, doubtful)
    assert len(found) == len(people)
    assert not (replaced & ~doubtful).any()
    np.testing.assert_array_equal(found.joints_m[~replaced], people.joints_m[~replaced])


def test_the_first_crop_of_a_new_person_is_mended_at_once():
    stage = stage_with(HEAD)
    people = stage.process(blank(10**9))
    assert len(people) == 1
    np.testing.assert_allclose(people.joints_px[0], _TRUE_PX, atol=1e-3)
    people = stage.process(blank(10**9 + STEP_NS))
    assert people.track_ids.tolist() == [0]
    assert len(stage.estimator.calls) == 4  # and the next frame needs one look, as always


def test_a_track_that_went_wrong_keeps_its_id_and_is_looked_at_now_and_then():
    stage = stage_with(HEAD)
    stage.estimator.whole_px = BAD_PX  # no second look is better
    for k in range(31):
        people = stage.process(blank(10**9 + k * STEP_NS))
    assert people.track_ids.tolist() == [0]
    extra = len(stage.estimator.calls) - 31
    assert extra == 2 * 3  # new, one frame later, and half a second after that
    stage.estimator.whole_px = PX
    for k in range(31, 50):
        people = stage.process(blank(10**9 + k * STEP_NS))
        assert people.track_ids.tolist() == [0]
    np.testing.assert_allclose(people.joints_px[0], _TRUE_PX, atol=1e-3)
    assert people.track_states.tolist() == [TrackState.TRACKED]
    assert people.joints_m[0, :, 2].mean() == pytest.approx(4.0, abs=0.1)


def test_estimators_that_do_not_say_how_well_they_agree_are_asked_once():
    stage = stage_with(HEAD)
    stage.estimator.piece_px = np.nan
    stage.process(blank(10**9))
    assert len(stage.estimator.calls) == 1


@pytest.mark.parametrize('mended', [True, False])
def test_a_mended_track_goes_on_from_its_new_body(mended):
    tracker = Tracker(TrackerConfig(confirm_s=0.0))
    tracker.update(make_people(10**9, (0.0, 0.6, 12.0)), CAMERA, origins=np.array([-1]))
    here = make_people(10**9 + STEP_NS, BODY_M)
    out = tracker.update(here, CAMERA, origins=np.array([0]), mended=np.array([mended]))
    states = dict(zip(out.track_ids.tolist(), out.track_states.tolist(), strict=True))
    assert states == {0: TrackState.TRACKED if mended else TrackState.SEARCHING}
    if mended:  # where it was before says nothing: neither speed nor distance of the box
        _, boxes = tracker.predict_boxes(CAMERA, 10**9 + 2 * STEP_NS)
        np.testing.assert_allclose(boxes[0], padded_box(here.joints_px[0], 0.15), atol=1e-3)


def test_mending_nobody_or_somebody_unknown_is_harmless():
    tracker = Tracker()
    for origins in ([-1], [77]):
        out = tracker.update(
            make_people(10**9), CAMERA, origins=np.array(origins), mended=np.array([True])
        )
        assert out.track_ids.tolist() == [0]


def test_poses_and_tracks_are_compared_once_a_frame(monkeypatch):
    calls = []
    monkeypatch.setattr(tracking, 'assign', lambda *a: calls.append(1) or assign(*a))
    tracker = Tracker()
    two = [BODY_M, (1.5, 0.2, 4.0)]
    for k in range(3):
        tracker.update(make_people(10**9 + k * STEP_NS, np.array(two)), CAMERA)
    assert len(calls) == 2  # nobody was tracked before the first frame
    repeated = np.array([*two, BODY_M])
    out = tracker.update(make_people(10**9 + 3 * STEP_NS, repeated), CAMERA)
    assert sorted(out.track_ids.tolist()) == [0, 1]
    assert len(calls) == 4  # again without whom repeats another

"""A track goes on by its joints, and a found box is known by whose joints it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from doubles import CAMERA, STEP_NS, FakeEstimator, blank, make_people
from test_pose_stage_searches import NEAR, NEAR_BOX, SEARCHES, BySize, stage_with, step

from trpose_ros.people import JointState
from trpose_ros.pipeline.joint_evidence import TrackedJoints
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.skeletons import convert

LEGS = [11, 12, 13, 14, 15, 16]  # coco_17


@dataclass
class Found:
    boxes: np.ndarray
    joints_px: np.ndarray
    joint_scores: np.ndarray


class Sight:
    """A box source that sees joints: evidence per joint, and people whose joints are given."""

    def __init__(self, evidence=0.0, found=None):
        self.evidence = np.broadcast_to(evidence, 17).astype(float)
        self.found = found

    def joint_evidence(self, joints_px):
        return np.where(np.isfinite(joints_px).all(-1), self.evidence, np.nan)

    def found_people(self):
        return self.found


def body(visible=slice(None)):
    people = make_people(0, NEAR)
    seen = np.zeros((1, 17), bool)
    seen[:, visible] = True
    return people.joints_px.astype(float), seen


def seen(source, visible=slice(None)):
    (answer,) = TrackedJoints(*body(visible), 'h36m_17', source).seen
    return bool(answer)


def test_a_body_is_seen_when_enough_of_its_visible_joints_are():
    assert seen(Sight(0.6))
    assert not seen(Sight(0.05))  # nobody: the estimator invents
    assert not seen(object())  # a source that sees no joints says nothing
    legs = np.zeros(17)
    legs[LEGS] = 0.6
    assert seen(Sight(legs), [1, 2, 3, 4, 5, 6])  # whatever the hidden ones look like
    assert not seen(Sight(0.6), [0, 7, 8, 9])  # hips, knees, ankles, arms are all hidden
    legs[13:] = 0
    assert not seen(Sight(legs))
    assert not seen(Sight(0.6), [1, 4])  # two joints are no evidence


def test_nobody_and_bodies_without_joints():
    empty = TrackedJoints(np.zeros((0, 0, 2)), np.zeros((0, 0), bool), 'h36m_17', Sight(0.9))
    assert empty.seen.shape == (0,)
    assert empty.held_by(np.zeros((2, 4))).shape == (2, 0)
    assert empty.held_by(np.zeros((0, 4))).shape == (0, 0)
    strange = TrackedJoints(*body(), 'ghum_35', Sight(0.9))  # a skeleton that nobody knows
    assert not strange.seen.any()
    nan = TrackedJoints(np.full((1, 17, 2), np.nan), np.ones((1, 17), bool), 'h36m_17', Sight(0.9))
    assert not nan.seen.any()


def found_at(shift_px, names=slice(None), score=0.9):
    joints = convert(make_people(0, NEAR).joints_px.astype(float), 'h36m_17', 'coco_17')
    scores = np.zeros((1, 17))
    scores[:, names] = score
    return Found(np.array([[*NEAR_BOX, 0.9]]), joints + shift_px, scores)


def test_a_part_of_a_body_has_the_bodys_joints():
    box = np.array(NEAR_BOX)

    def held(found):
        joints = TrackedJoints(*body(), 'h36m_17', Sight(found=found))
        return joints.held_by(box[None]).tolist() == [[True]]

    assert held(found_at(0.0))
    assert held(found_at(5.0, LEGS))
    assert not held(found_at(150.0))  # somebody beside
    assert not held(found_at(0.0, LEGS[:2]))  # two joints are no evidence
    assert not held(Found(np.zeros((0, 5)), np.zeros((0, 17, 2)), np.zeros((0, 17))))


def test_a_track_with_joints_and_no_box_goes_on_and_one_without_ends():
    class Seeing(BySize):
        def estimate(self, frame, boxes_px):
            people = super().estimate(frame, boxes_px)
            states = np.full(people.joint_states.shape, int(JointState.VISIBLE), np.uint8)
            return people.replace(joint_states=states)

    stage = stage_with((NEAR_BOX, 0.9), estimator=Seeing())
    stage.shown.joint_evidence = Sight(0.6).joint_evidence
    step(stage)
    stage.shown.show()
    assert step(stage, 10 * SEARCHES) == {'TRACKED': [0]}
    stage.shown.joint_evidence = Sight(0.05).joint_evidence
    step(stage, SEARCHES - 1)
    assert step(stage) == {'LOST': [0]}


def test_a_box_beside_a_track_that_holds_its_joints_is_no_new_person():
    stage = stage_with((NEAR_BOX, 0.9))
    step(stage, 5)
    away = (20.0, 20.0, 40.0, 60.0)
    stage.shown.show((NEAR_BOX, 0.9), (away, 0.9))
    joints = found_at(0.0)
    both = np.array([[*NEAR_BOX, 0.9], [*away, 0.9]], np.float32)
    pair = Found(both, joints.joints_px.repeat(2, 0), joints.joint_scores.repeat(2, 0))
    stage.shown.found_people = lambda: pair
    calls = len(stage.estimator.calls)
    step(stage, 3)
    assert [len(call) for call in stage.estimator.calls[calls:]] == [1, 1, 1]
    pair.joints_px[1] += 300.0
    step(stage)
    assert len(stage.estimator.calls[-1]) == 2


def test_two_who_stand_close_are_two_although_one_box_covers_the_other():
    beside = (NEAR[0] + 0.5, *NEAR[1:])
    shift = make_people(0, beside).joints_px - make_people(0, NEAR).joints_px
    stage = stage_with((NEAR_BOX, 0.9), estimator=FakeEstimator([NEAR, beside]))
    step(stage, 5)
    other = (NEAR_BOX[0] + 40.0, *NEAR_BOX[1:])
    boxes = np.array([[*NEAR_BOX, 0.9], [*other, 0.8]], np.float32)
    own = found_at(0.0)
    both = Found(
        boxes,
        np.concatenate([own.joints_px, own.joints_px + shift]),
        own.joint_scores.repeat(2, 0),
    )
    stage.shown.found_people = lambda: both
    stage.shown.show((NEAR_BOX, 0.9), (other, 0.8))
    assert sum(map(len, step(stage, 5).values())) == 2
    assert step(stage) == {'TRACKED': [0, 1]}


def test_expected_joints_are_those_of_the_prediction():
    tracker = Tracker()
    people = make_people(10**9, NEAR)
    states = np.full((1, 17), int(JointState.OCCLUDED), np.uint8)
    states[0, :5] = JointState.VISIBLE
    out = tracker.update(people.replace(joint_states=states), CAMERA)
    joints_px, visible = tracker.expected(out.track_ids, CAMERA, 10**9 + STEP_NS)
    np.testing.assert_allclose(joints_px, people.joints_px, atol=1e-3)
    assert visible.sum() == 5
    size = np.linalg.norm(np.ptp(people.joints_px[0], axis=0))
    for share, count in ((0.01, 5), (0.05, 0)):  # what disagrees with itself was not seen
        error = np.array([share * size], np.float32)
        tracker.update(people.replace(joint_states=states, reprojection_errors_px=error), CAMERA)
        assert tracker.expected(out.track_ids, CAMERA, 10**9)[1].sum() == count
    none = tracker.expected(np.zeros(0, int), blank(0).camera, 10**9)
    assert none[0].shape == (0, 0, 2)
    assert none[1].shape == (0, 0)

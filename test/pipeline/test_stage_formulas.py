"""The two stages at their edges: times, shares and counts, number by number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from doubles import (
    CAMERA,
    STANDING,
    STEP_NS,
    FakeBoxes,
    FakeEstimator,
    FakeLifter,
    blank,
    make_people,
)

from trpose_ros.cameras import project
from trpose_ros.lifters import Lifted
from trpose_ros.people import JointState, Provenance, RootSource, TrackState
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig, screen_joints
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig, _parts_of_others, body_box
from trpose_ros.pipeline.tracking import Tracker

S = 10**9
BOX = [250.0, 120.0, 140.0, 320.0, 0.9]


def stage_of(source, estimator=None, **config):
    return PoseStage(
        estimator=estimator or FakeEstimator(),
        box_source=source,
        tracker=Tracker(),
        config=PoseStageConfig(**config),
        clock=None,
    )


# -- pose stage -------------------------------------------------------------------------------


def test_boxes_are_looked_for_again_after_exactly_the_time():
    source = FakeBoxes([BOX])
    stage = stage_of(source, detect_every_s=0.5)
    for at_ns in (S, S + S // 2 - 1, S + S // 2, 2 * S - 1, 2 * S):
        stage.process(blank(at_ns))
    assert source.asked == [S, S + S // 2, 2 * S]
    stage.reset()
    stage.process(blank(2 * S + 1))
    assert source.asked[-1] == 2 * S + 1


class Told(FakeBoxes):
    """Boxes of a topic, of an image that is a little older perhaps."""

    told = True
    answer_ns = 0

    def boxes(self, frame):
        self.frames = [*getattr(self, 'frames', []), frame]
        return super().boxes(frame)


def test_who_is_told_is_asked_in_every_frame_and_of_the_image_as_it_came():
    source = Told([[0.0, 0.0, 40.0, 30.0, 0.9]])
    stage = stage_of(source, FakeEstimator([]), detect_every_s=3600.0, rotate_deg=90)
    frames = [blank(S + k) for k in range(3)]
    for frame in frames:
        stage.process(frame)
    assert [frame is given for frame, given in zip(frames, source.frames, strict=True)] == [
        True
    ] * 3
    # The upper left corner of the image is the upper right one of the turned one.
    np.testing.assert_allclose(stage.estimator.calls[0], [[449, 0, 30, 40]])


def test_a_box_of_an_older_image_is_compared_with_who_was_tracked_there():
    estimator, source = FakeEstimator([(-1.2, 0.2, 4.0)]), Told(np.zeros((0, 5)))
    stage = stage_of(source, estimator)
    first = project(np.array([-1.2, 0.2, 4.0]), CAMERA)
    old = np.array([[first[0] - 70, first[1] - 160, 140, 320, 0.9]], np.float32)
    source.rows = old
    for k in range(40):  # walks to the right, 2 m/s
        source.answer_ns = S + k * STEP_NS
        estimator.roots_m[0, 0] = -1.2 + 0.066 * k
        stage.process(blank(S + k * STEP_NS))
        source.rows = np.zeros((0, 5), np.float32)
    source.rows, source.answer_ns = old, S + STEP_NS // 3  # that of the first image
    people = stage.process(blank(S + 40 * STEP_NS))
    assert len(stage.estimator.calls[-1]) == 1  # nobody new
    assert people.track_ids.tolist() == [0]
    source.answer_ns = S + 41 * STEP_NS  # a box of now: somebody stands there
    stage.process(blank(S + 41 * STEP_NS))
    assert len(stage.estimator.calls[-1]) == 2


@pytest.mark.parametrize(('share', 'known'), [(0.49, False), (0.51, True)])
def test_a_found_box_is_known_by_the_share_of_the_smaller_one(share, known):
    tracked = np.array([[100.0, 50, 80, 200], [900, 900, 10, 10]])
    stage = stage_of(FakeBoxes([BOX]), overlap=0.5)
    low = np.array([100 + 80 - 40 * share, 50.0, 40, 100], np.float32)  # sticks out to the right
    assert stage._covered(low, tracked).tolist() == [known, False]
    high = np.array([100, 50 + 200 - 100 * share, 40, 100], np.float32)
    assert stage._covered(high, tracked).tolist() == [known, False]
    beside = np.array([181.0, 251, 40, 100], np.float32)  # both sides negative: no area
    assert stage._covered(beside, tracked).tolist() == [False, False]


@pytest.mark.parametrize(
    ('inner', 'score', 'part'),
    [
        ((20, 0, 50, 100), 0.4, True),
        ((61, 0, 50, 100), 0.4, False),  # 39 of 50 lie inside: less than four fifths
        ((59, 0, 50, 100), 0.4, True),
        ((20, 121, 50, 100), 0.4, False),
        ((20, 0, 50, 100), 0.81, False),  # the whole is less than half as sure
        ((20, 0, 50, 100), 0.79, True),
    ],
)
def test_parts_lie_in_a_larger_box_that_is_about_as_sure(inner, score, part):
    found = np.array([(0.0, 0, 100, 200, 0.4), (*inner, score)])
    assert _parts_of_others(found).tolist() == [False, part]
    assert _parts_of_others(found[::-1]).tolist() == [part, False]
    assert _parts_of_others(found[[0, 0]]).tolist() == [False, False]  # alike: neither
    assert _parts_of_others(found[:0]).shape == (0,)


def test_a_body_box_has_a_tenth_of_air():
    joints = np.array([(10.0, 20), (50, 220), (np.nan, 1), (30, 900), (2, np.nan)])
    fallback = np.array([1.0, 2, 3, 4])
    x, y, w, h = body_box(joints[:3], fallback)
    np.testing.assert_allclose((x, y, w, h), (-10, 0, 80, 240))
    np.testing.assert_allclose(body_box(joints[[0, 0]], fallback), (9.9, 19.9, 0.2, 0.2), rtol=1e-5)
    assert body_box(joints[[0, 4]], fallback) is fallback
    assert body_box(joints, fallback).dtype == np.float32


@pytest.mark.parametrize(
    ('size', 'looks'), [((640, 480), 2), ((628, 471), 2), ((627, 480), 1), ((640, 470), 1)]
)
def test_a_box_of_98_percent_of_the_image_is_looked_at_twice(size, looks):
    stage = stage_of(FakeBoxes([[0.0, 0.0, *size, 0.9]]))
    stage.process(blank(S))
    assert len(stage.estimator.calls) == looks
    if looks == 2:
        px = project(STANDING + np.array([0, 0.2, 4]), CAMERA)
        np.testing.assert_allclose(stage.estimator.calls[1], [body_box(px, None)], rtol=1e-5)


def test_nobody_in_the_whole_image_leaves_the_box():
    stage = stage_of(FakeBoxes([[0.0, 0.0, 640.0, 480.0, 0.9]]), FakeEstimator([]))
    assert len(stage.process(blank(S))) == 0
    np.testing.assert_array_equal(stage.estimator.calls[1], [[0, 0, 640, 480]])


def test_a_source_may_know_the_body_of_its_box():
    class Knows(FakeBoxes):
        def body_box(self, box):
            return box + np.array([1, 2, 3, 4])

    stage = stage_of(Knows([BOX]))
    stage.process(blank(S))
    np.testing.assert_allclose(stage.estimator.calls, [[[251, 122, 143, 324]]])


def test_tracked_people_come_first_and_all_are_counted():
    roots = [(-1.2, 0.2, 4.0), (0.0, 0.2, 4.0), (1.2, 0.2, 4.0)]
    px = project(np.array(roots), CAMERA)
    boxes = [
        (x - 70, y - 160, 140, 320, score)
        for (x, y), score in zip(px, (0.5, 0.9, 0.7), strict=True)
    ]
    source = FakeBoxes(boxes[:1])
    stage = stage_of(source, FakeEstimator(roots), detect_every_s=0.0, max_people=2)
    stage.process(blank(S))
    source.rows = np.array(boxes, np.float32)
    people = stage.process(blank(S + STEP_NS))
    assert len(stage.estimator.calls[-1]) == 2
    np.testing.assert_allclose(stage.estimator.calls[-1][1], boxes[1][:4], rtol=1e-5)  # the surest
    assert people.track_ids.tolist() == [0, 1]
    stage.config = dataclasses.replace(stage.config, max_people=1)
    stage.process(blank(S + 2 * STEP_NS))
    assert len(stage.estimator.calls[-1]) == 1


# -- lift stage -------------------------------------------------------------------------------


def seen_people(stamp_ns, ids=(0,), **changes):
    roots = np.array([(0.5 * i, 0.2, 4.0) for i in range(len(ids))]).reshape(-1, 3)
    states = np.full(len(ids), TrackState.TRACKED)
    return make_people(stamp_ns, roots, track_ids=ids, track_states=states, **changes)


@pytest.mark.parametrize(('later_ns', 'released'), [(0, 0), (1, 1)])
def test_a_frame_waits_for_the_delay_and_the_patience(later_ns, released):
    lifter = FakeLifter(3)
    lifter.skip, lifter.delay_s = {0}, 0.1
    stage = LiftStage(lifter=lifter, config=LiftStageConfig(max_wait_s=0.15))
    assert stage.delay_s == 0.1
    assert stage.push(seen_people(S), CAMERA) == []
    out = stage.push(seen_people(S + 250_000_000 + later_ns), CAMERA)
    assert [p.stamp_ns for p in out] == [S] * released


def test_a_lifter_that_went_past_a_frame_is_not_waited_for():
    class Skips(FakeLifter):
        def _answer(self, stamp_ns, track_ids):
            return [] if stamp_ns == S else super()._answer(stamp_ns, track_ids)

    stage = LiftStage(lifter=Skips(1), config=LiftStageConfig(max_wait_s=60.0))
    out = [p for k in range(3) for p in stage.push(seen_people(S + k), CAMERA)]
    assert [p.stamp_ns for p in out] == [S, S + 1]
    assert np.isnan(out[0].covariances_m2).all()  # as the estimator gave it
    assert np.isfinite(out[1].covariances_m2).all()


def test_each_person_gets_what_was_lifted_for_it():
    class Wide(FakeLifter):
        def _answer(self, stamp_ns, track_ids):
            return [Lifted(i, stamp_ns, STANDING * (1 + 0.1 * i)) for i in track_ids]

    stage = LiftStage(lifter=Wide(0))
    people = seen_people(S, (2, 1))
    (out,) = stage.push(people, CAMERA)
    for row, track_id in enumerate((2, 1)):
        own = people.joints_m[row] - people.joints_m[row, 0]
        expected = people.joints_m[row, 0] + 0.5 * (own + STANDING * (1 + 0.1 * track_id))
        states = (people.joint_states[row] == JointState.TRUNCATED).any()
        assert not states
        np.testing.assert_allclose(out.joints_m[row], expected, atol=1e-5)


def test_the_lifters_own_root_places_whom_the_estimator_does_not():
    class Rooted(FakeLifter):
        def _answer(self, stamp_ns, track_ids):
            root = np.array([0.0, 0.2, 4.0])
            return [Lifted(i, stamp_ns, STANDING.copy(), root) for i in track_ids]

    people = seen_people(S, joint_states=np.full((1, 17), JointState.OCCLUDED))
    people = people.replace(joints_m=np.full_like(people.joints_m, np.nan))
    (out,) = LiftStage(lifter=Rooted(0)).push(people, CAMERA)
    assert out.root_sources[0] != RootSource.NONE
    root = out.joints_m[0, 0].astype(float)
    assert root[2] > 1
    prior = 0.15**2 * np.eye(3)
    expected = prior + 0.1**2 * np.outer(root, root)
    np.testing.assert_allclose(out.covariances_m2[0], np.tile(expected, (17, 1, 1)), rtol=1e-4)


@pytest.mark.parametrize('estimator_id', ['', 'e-weights'])
@pytest.mark.parametrize(('said', 'camera'), [(False, False), (True, False), (False, True)])
def test_provenance_of_a_lifted_frame(estimator_id, said, camera):
    provenance = Provenance('e', weights_id=estimator_id, intrinsics_assumed=said)
    people = seen_people(S).replace(provenance=provenance)
    (out,) = LiftStage(lifter=FakeLifter(0)).push(
        people, dataclasses.replace(CAMERA, assumed=camera)
    )
    found = out.provenance
    assert (found.estimator, found.lifter) == ('e', 'fake_lifter')
    assert found.weights_id == ('e-weights+' if estimator_id else '') + 'lifter-weights'
    assert (found.window_length, found.lookahead) == (9, 0)
    assert found.intrinsics_assumed == (said or camera)


def test_joints_of_which_nothing_is_measured_are_not_lifted():
    lifter = FakeLifter(0)
    stage = LiftStage(lifter=lifter)
    people = seen_people(S, (0, 1, 2, -1))
    px, states = people.joints_px.copy(), np.zeros((4, 17), np.uint8)
    px[0, 1:], states[0, 0] = np.nan, JointState.UNOBSERVED  # what is finite was not observed
    px[1] = np.nan
    stage.push(people.replace(joints_px=px, joint_states=states), CAMERA)
    assert lifter.seen == [(S, [2])]
    np.testing.assert_allclose(
        lifter.joints[0][0], screen_joints(people.select([2]), CAMERA)[0], atol=1e-6
    )
    x, y = people.joints_px[2, 5]
    np.testing.assert_allclose(lifter.joints[0][0][5], (x / 320 - 1, y / 320 - 0.75), atol=1e-6)


def test_a_turned_stage_lifts_upright_people_and_gives_them_back():
    lifter = FakeLifter(0)
    stage = LiftStage(lifter=lifter, config=LiftStageConfig(rotate_deg=180))
    people = seen_people(S)
    (out,) = stage.push(people, CAMERA)
    upright = (319.5 * 2 - people.joints_px[0, 0, 0], 239.5 * 2 - people.joints_px[0, 0, 1])
    np.testing.assert_allclose(
        lifter.joints[0][0][0], (upright[0] / 320 - 1, upright[1] / 320 - 0.75), atol=1e-5
    )
    np.testing.assert_allclose(out.joints_px, people.joints_px, atol=1e-3)
    np.testing.assert_allclose(out.joints_m[0, 0], people.joints_m[0, 0], atol=1e-5)

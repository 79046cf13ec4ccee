"""The box that an occlusion moves with: the last one while it is fresh, else the whole image."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import FakeBoxes, FakeEstimator, FakeLifter, blank, make_people

from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder
from trpose_ros.people import TrackState
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.pipeline.pipeline import Pipeline, PoseStage
from trpose_ros.pipeline.pose_stage import body_box
from trpose_ros.pipeline.reference_box import box_for, tracked_box
from trpose_ros.pipeline.tracking import Tracker

BOX = np.array([10.0, 20, 30, 40])
S = 10**9


@pytest.mark.parametrize(
    ('at_s', 'fresh'), [(5.0, True), (5.03, True), (7.0, True), (7.1, False), (605.0, False)]
)
def test_a_box_is_the_reference_while_it_is_fresh(at_s, fresh):
    box = box_for(round(at_s * S), (5 * S, BOX))
    assert (box is not None) == fresh
    assert not fresh or (box == BOX).all()


def test_no_box_of_later_people_or_of_nobody():
    assert box_for(5 * S, None) is None
    assert box_for(5 * S - 1, (5 * S, BOX)) is None
    assert box_for(5 * S, (5 * S, np.full(4, np.nan))) is None


def test_the_first_person_who_is_not_lost_counts_in_px_of_the_whole_image():
    states = np.array([TrackState.LOST, TrackState.SEARCHING, TrackState.TRACKED])
    roots = np.array([(-0.5, 0.2, 4.0), (0.0, 0.2, 4.0), (0.5, 0.2, 4.0)])
    people = make_people(0, roots, track_ids=np.arange(3), track_states=states)
    expected = body_box(people.joints_px[1], people.boxes_px[1]) + np.array([7, 5, 0, 0])
    np.testing.assert_allclose(tracked_box(people, (7, 5)), expected, rtol=1e-6)
    assert np.isnan(tracked_box(people.select([0]))).all()
    assert np.isnan(tracked_box(people.select([]))).all()


def test_offline_takes_the_whole_image_after_the_person_has_left():
    source = FakeBoxes([[250.0, 120.0, 140.0, 320.0, 0.9]])
    pipeline = Pipeline(
        pose=PoseStage(estimator=FakeEstimator(), box_source=source, tracker=Tracker(), clock=None),
        lift=LiftStage(lifter=FakeLifter(0)),
        occluder=make_occluder(OcclusionConfig('fixed_lower'), 'a|b|c|d'),
    )
    hidden = [
        pipeline.process(blank(round(s * S))).occlusion.rectangles_px
        for s in (1, 1.03, 600, 600.03)
    ]
    whole, person, whole_again, person_again = hidden
    assert whole[:, 2].max() > 600  # across the image
    assert person[:, 3].max() < whole[:, 3].max() or person[:, 2].max() < 400
    np.testing.assert_array_equal(whole, whole_again)
    assert not np.array_equal(person_again, whole_again)

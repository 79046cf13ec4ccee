"""The sheet of photographs: what is hidden, what is drawn, and which networks it asks for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from doubles import FakeBoxes, FakeEstimator

from trpose_ros.demo import photograph_sheet as sheet
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.occlusion.occluder import FIVE
from trpose_ros.people import with_visibility
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStage
from trpose_ros.pipeline.stills import StillPipeline, reference_box
from trpose_ros.pipeline.tracking import Tracker

BOX = [60.0, 20.0, 300.0, 900.0, 0.9]  # goes on below the photograph


class Near(FakeEstimator):
    """Sees somebody whose legs are below the photograph."""

    def __init__(self):
        super().__init__([(-0.045, 0.31, 0.85)])

    def estimate(self, frame, boxes_px):
        return with_visibility(super().estimate(frame, boxes_px).replace(boxes_px=boxes_px))


def pipeline(boxes=(BOX,)):
    pose = PoseStage(
        estimator=Near(),
        box_source=FakeBoxes(np.array(boxes).reshape(-1, 5)),
        tracker=Tracker(),
        clock=None,
    )
    return StillPipeline(PipelineConfig(), pose=pose)


def tile_of(page, row, column, part):
    """One part of a tile of the page."""
    height = sheet._TITLE_PX + sheet._PHOTO_PX + sheet._GAP_PX + sheet._SPACE_PX
    top, left = 8 + row * (height + 8), 8 + column * (sheet._WIDTH_PX + 8)
    begin = sheet._TITLE_PX if part == 'photo' else height - sheet._SPACE_PX
    size = sheet._PHOTO_PX if part == 'photo' else sheet._SPACE_PX
    return page[top + begin : top + begin + size, left : left + sheet._WIDTH_PX].astype(int)


def test_shipped_photographs_are_drawn_under_every_condition(tmp_path):
    conditions = ('none', *FIVE)
    stages = pipeline()
    sheet.write_photographs(tmp_path / 'a.png', {}, conditions, pipeline=stages)
    assert stages.pose.estimator.closed
    # Two looks at the untouched photograph, one at the other where the body was.
    calls = [call.round(2).tolist() for call in stages.pose.estimator.calls]
    assert len(calls) == 2 * 6 * 3
    assert all(calls[k] == calls[0] for k in range(0, len(calls), 3))
    assert all(calls[k] == calls[1] for k in range(1, len(calls), 3))
    assert all(calls[k] == calls[1] for k in range(2, len(calls), 3))
    page = cv2.imread(str(tmp_path / 'a.png'))[..., ::-1]
    assert page.shape[1] > 6 * sheet._WIDTH_PX
    truncated = np.array([235, 60, 200])
    for row in range(2):
        clean = tile_of(page, row, 0, 'photo')
        assert clean[20:200].std() > 40  # a photograph, and no empty space
        legs = np.abs(clean[300:380] - truncated).sum(axis=2) < 60
        assert legs.any()  # what the photograph has cut off is on the canvas
        for column in range(1, 6):
            hidden = (tile_of(page, row, column, 'photo') == 0).all(axis=2)
            assert hidden.sum() > (clean == 0).all(axis=2).sum() + 2000
            space = tile_of(page, row, column, 'space')
            assert (np.abs(space - truncated).sum(axis=2) < 60).any()


def test_nobody_found_leaves_the_photograph_alone(tmp_path):
    sheet.write_photographs(tmp_path / 'a.png', {}, ('none',), pipeline=pipeline([]))
    page = cv2.imread(str(tmp_path / 'a.png'))[..., ::-1]
    assert tile_of(page, 0, 0, 'photo').std() > 40


def test_occlusion_is_measured_against_what_is_in_the_picture():
    people = Near().estimate(_frame(), np.array([BOX[:4]], np.float32))
    np.testing.assert_allclose(reference_box(people), [60.0, 20.0, 300.0, 511.5 - 20.0])
    assert reference_box(people.select([])) is None


def _frame():
    from trpose_ros.recordings.picture_source import open_pictures

    return next(open_pictures(sheet.SAMPLES).frames()).frame


def test_networks_are_those_of_the_parameters():
    config = sheet.pipeline_config(
        {'model': 'm', 'boxes': 'image', 'num_aug': 3, 'look_ahead': 2, 'estimator': 'other'}
    )
    assert (config.estimator.model, config.estimator.num_aug) == ('m', 3)
    assert (config.pose.boxes, config.estimator_name) == ('image', 'other')
    assert sheet.pipeline_config({}).estimator == EstimatorConfig()
    with pytest.raises(ValueError, match='num_aug'):
        sheet.pipeline_config({'num_aug': 99})

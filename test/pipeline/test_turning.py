"""Cameras mounted turned: the networks see the upright image, results are of the image."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, FakeBoxes, FakeEstimator, FakeLifter, blank, make_people

from trpose_ros.cameras import project
from trpose_ros.estimators.boxes import BoxesByStamp, StampedBoxes
from trpose_ros.people import Camera, Edge, with_visibility
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.pipeline.turning import Turned, turn_boxes, turn_people

LENS = Camera(640, 480, CAMERA.matrix + np.eye(3)[0] * 7, [-0.2, 0.05, 0.002, -0.001, 0.01])
CLOCKWISE = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
BOX = np.float32([[240, 90, 160, 320]])


def everybody(camera=LENS, seed=0):
    rng = np.random.default_rng(seed)
    spread = rng.normal(0, 0.02, (2, 17, 3, 3))
    people = make_people(
        1, [(0.0, 0.2, 4.0), (-1.8, 0.9, 3.0)], camera, covariances_m2=spread @ spread.mT
    )
    return with_visibility(people.replace(boxes_px=rng.uniform(0, 300, (2, 4)).astype(np.float32)))


@pytest.mark.parametrize('angle', [90, 180, 270])
def test_a_turned_camera_sees_turned_people_in_turned_pixels(angle):
    people, turned = everybody(), Turned(angle)
    camera, moved = turned.camera(LENS), turned.people(people)
    assert (moved.width, moved.height) == (camera.width, camera.height)
    np.testing.assert_allclose(project(moved.joints_m, camera), moved.joints_px, atol=2e-3)
    assert turned.camera(LENS) is camera
    dot = np.zeros((480, 640, 3), np.uint8)
    dot[100, 200] = 255
    frame = turned.frame(dataclasses.replace(blank(1, LENS), image=dot))
    np.testing.assert_array_equal(frame.image, cv2.rotate(dot, CLOCKWISE[angle]))
    there = np.argwhere(frame.image[..., 0])[0, ::-1]
    box = turn_boxes(np.float32([[200, 100, 0, 0]]), angle, 640, 480)
    np.testing.assert_array_equal(box[0, :2], there)


@pytest.mark.parametrize('angle', [0, 90, 180, 270])
def test_there_and_back(angle):
    people, turned = everybody(), Turned(angle)
    back = turned.back(turned.people(people))
    assert (back.width, back.height) == (640, 480)
    for name in ('joints_m', 'covariances_m2', 'cut_edges', 'joint_states'):
        np.testing.assert_array_equal(getattr(back, name), getattr(people, name))
    np.testing.assert_allclose(back.joints_px, people.joints_px, atol=1e-3)
    np.testing.assert_allclose(back.boxes_px, people.boxes_px, atol=1e-3)


def test_covariances_edges_and_unknown_values_turn_along():
    people = everybody().select(np.array([0]))
    spread = np.zeros((1, 17, 3, 3), np.float32)
    spread[..., 0, 0], spread[..., 0, 2], spread[..., 2, 0] = 4.0, 1.0, 1.0
    people = people.replace(covariances_m2=spread, cut_edges=np.uint8([Edge.LEFT | Edge.BOTTOM]))
    turned = turn_people(people, 90)
    np.testing.assert_array_equal(turned.covariances_m2[0, 0], [[0, 0, 0], [0, 4, 1], [0, 1, 0]])
    assert turned.cut_edges[0] == Edge.TOP | Edge.LEFT
    assert turn_people(people, 180).cut_edges[0] == Edge.RIGHT | Edge.TOP
    assert turn_people(people, 270).cut_edges[0] == Edge.BOTTOM | Edge.RIGHT
    joints = people.joints_m.copy()
    joints[0, 3, 0] = np.nan
    lame = turn_people(people.replace(joints_m=joints), 90)
    assert np.isnan(lame.joints_m[0, 3]).tolist() == [False, True, False]
    np.testing.assert_array_equal(lame.boxes_px[0, 2:], people.boxes_px[0, [3, 2]])
    nobody = turn_people(people.select(np.zeros(0, int)), 90)
    assert nobody.joints_px.shape == (0, 17, 2)


def test_a_tilted_sensor_cannot_be_turned_and_says_so():
    tilted = Camera(640, 480, CAMERA.matrix, [0.0] * 12 + [0.02, 0.01])
    with pytest.raises(ValueError, match='tilted'):
        Turned(180).camera(tilted)


def stage(box_source, angle):
    return PoseStage(
        estimator=FakeEstimator(),
        box_source=box_source,
        tracker=Tracker(),
        config=PoseStageConfig(rotate_deg=angle),
        clock=None,
    )


@pytest.mark.parametrize('angle', [0, 90, 180, 270])
@pytest.mark.parametrize('told', [False, True])
def test_stages_find_in_the_turned_image_what_they_find_in_the_upright_one(angle, told):
    upright = Turned(-angle % 360)  # what the mounting does to the image
    camera = upright.camera(CAMERA)
    if told:
        source = BoxesByStamp()
        rows = turn_boxes(BOX, -angle % 360, 640, 480)
        size = (camera.width, camera.height)
        source.add(StampedBoxes(1, np.c_[rows, np.ones(1)].astype(np.float32), size))
    else:
        source = FakeBoxes(np.c_[BOX, np.ones(1)])
    pose = stage(source, angle)
    lift = LiftStage(lifter=FakeLifter(0), config=LiftStageConfig(rotate_deg=angle))
    for k in range(2):
        people = pose.process(blank(1 + k * STEP_NS, camera))
        expected = upright.people(make_people(1 + k * STEP_NS))
        assert (people.width, people.height) == (camera.width, camera.height)
        np.testing.assert_allclose(people.joints_m, expected.joints_m, atol=1e-6)
        np.testing.assert_allclose(people.joints_px, expected.joints_px, atol=1e-3)
        (lifted,) = lift.push(people, camera)
        assert (lifted.width, lifted.height) == (camera.width, camera.height)
        np.testing.assert_allclose(project(lifted.joints_m, camera), people.joints_px, atol=1.0)
        np.testing.assert_allclose(lifted.joints_m, expected.joints_m, atol=0.02)
    assert people.track_ids.tolist() == [0]


@pytest.mark.parametrize('config', [PoseStageConfig, LiftStageConfig])
def test_other_angles_are_refused(config):
    with pytest.raises(ValueError, match='rotate_deg must be one of'):
        config(rotate_deg=45)

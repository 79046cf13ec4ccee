"""The box source 'detector': boxes in image pixels, tiles, people found twice, weights."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from doubles import blank
from drawn_figure import figure
from hypothesis import given
from hypothesis import strategies as st
from movenet_stand_in import small_movenet

import trpose_ros
from trpose_ros import weights
from trpose_ros.cameras import camera_from_fov
from trpose_ros.estimators.boxes import BOX_SOURCES
from trpose_ros.estimators.detector import (
    FoundPeople,
    PersonDetector,
    letterbox,
    overlaps,
    parts,
    suppressed,
)
from trpose_ros.movenet.network import MoveNetConfig, MoveNetMaps
from trpose_ros.people import Camera, Frame
from trpose_ros.pipeline.pipeline import PipelineConfig, box_settings
from trpose_ros.pipeline.pose_stage import PoseStageConfig


class OnePerson(torch.nn.Module):
    """A network that is sure of one person, its box x, y, w, h in cells of 4 px of its input."""

    def __init__(self, box, side=256):
        super().__init__()
        self.config = MoveNetConfig(1.5, 'multi', side)
        self.backbone = torch.nn.Identity()
        self.box = box

    def forward(self, images):
        height, width = images.shape[2] // 4, images.shape[3] // 4
        x, y, w, h = self.box
        at = (min(int(y + h / 2), height - 1), min(int(x + w / 2), width - 1))
        centre = torch.zeros(1, height, width)
        centre[0, at[0], at[1]] = 0.9
        heat = torch.zeros(1, 17, height, width)
        heat[0, :, at[0], at[1]] = 0.8  # all joints in the middle
        none = torch.zeros(1, 17, 2, height, width)
        size, offset = torch.zeros(1, 2, height, width), torch.zeros(1, 2, height, width)
        size[0, :, at[0], at[1]] = torch.tensor([h, w])
        offset[0, :, at[0], at[1]] = torch.tensor([y + h / 2 - at[0], x + w / 2 - at[1]])
        return MoveNetMaps(centre, heat, none, none, size, offset)


@pytest.fixture(scope='module')
def detector():
    return BOX_SOURCES['detector']()


@pytest.mark.parametrize(('width', 'height'), [(640, 480), (480, 640), (1920, 1080), (100, 50)])
def test_boxes_come_back_in_pixels_of_the_image(width, height):
    scale = 256 / max(width, height)
    found = PersonDetector(network=OnePerson([8.0, 6.0, 16.0, 10.0])).find(
        np.zeros((height, width, 3), np.uint8)
    )
    # Pixel areas: x = 32 px of the input is the border between pixels 31 and 32.
    wanted = np.array([32, 24, 64, 40]) / scale - [0.5, 0.5, 0, 0]
    assert np.allclose(found.boxes[0, :4], wanted, atol=0.02)
    assert found.boxes[0, 4] == pytest.approx(0.9 * 0.8, abs=1e-4)
    assert np.allclose(found.joints_px[0], np.array([64, 44]) / scale - 0.5, atol=0.02)
    assert np.allclose(found.joint_scores, 0.8)
    assert found.boxes.dtype == found.joints_px.dtype == found.joint_scores.dtype == np.float32


def test_boxes_are_cut_at_the_image():
    detector = PersonDetector(network=OnePerson([-10.0, -10.0, 40.0, 40.0], 64))
    (box,) = detector.find(np.zeros((48, 64, 3), np.uint8)).boxes
    assert np.allclose(box[:4], [-0.5, -0.5, 64, 48])


def test_any_image_size_works_and_people_are_limited():
    detector = PersonDetector(network=small_movenet('multi'), threshold=1.0)
    for width, height in ((1, 1), (7, 300), (64, 48)):
        camera = Camera(width, height, np.array([[50.0, 0, 0], [0, 50, 0], [0, 0, 1]]))
        frame = Frame(np.zeros((height, width, 3), np.uint8), 0, camera)
        boxes = detector.boxes(frame)
        assert boxes.shape == (0, 5)
        assert boxes.dtype == np.float32
    most = PersonDetector(network=small_movenet('multi'), threshold=0.0, most_people=3)
    assert len(most.boxes(blank(0))) <= 3


@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (33, 1000), (1, 1)])
def test_letterbox_keeps_the_aspect_and_pads_to_multiples(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    padded, scale = letterbox(image, 256)
    assert padded.shape[0] % 32 == 0
    assert padded.shape[1] % 32 == 0
    assert max(round(shape[0] * scale), round(shape[1] * scale)) == 256
    assert (padded[0, 0] == 200).all()


@given(width=st.integers(1, 4000), height=st.integers(1, 4000), tiles=st.integers(1, 8))
def test_tiles_cover_the_image_and_overlap(width, height, tiles):
    whole, *rest = parts(width, height, tiles)
    assert whole == (0, 0, width, height)
    assert len(rest) == (tiles**2 if tiles > 1 else 0)
    for axis, side in ((0, width), (1, height)):
        spans = sorted({(part[axis], part[axis] + part[axis + 2]) for part in rest})
        assert all(0 <= a < b <= side for a, b in spans)
        reached = 0
        for a, b in spans:
            assert a <= max(reached - 0.2 * (b - a), 0) + 1
            reached = b
        assert not spans or reached == side


def test_a_tile_shows_whom_the_whole_image_does_not(detector):
    crowd = np.full((480, 640, 3), 150, np.uint8)
    for i in range(8):
        place = (40 + 300 * (i // 4), 20 + 155 * (i % 4))
        crowd[place[0] : place[0] + 56, place[1] : place[1] + 48] = figure(48, 56, share=0.9)
    closer = PersonDetector(tiles=3)
    few, many = detector.find(crowd).boxes, closer.find(crowd).boxes
    assert (few[:, 4] > detector.sure_score).sum() < (many[:, 4] > closer.sure_score).sum() == 8


def test_boxes_that_end_where_a_tile_ends_are_left_to_other_looks():
    """A person as wide as any part: what counts is the look at the whole image."""
    detector = PersonDetector(network=OnePerson([0.0, 8.0, 64.0, 20.0]), tiles=2)
    found = detector.find(np.zeros((256, 256, 3), np.uint8))
    assert len(found.boxes) == 1
    assert np.allclose(found.boxes[0, :4], [-0.5, 31.5, 256, 80], atol=0.1)


boxes_strategy = st.lists(
    st.tuples(*[st.floats(0, 100) for _ in range(2)], *[st.floats(0.5, 80) for _ in range(2)]),
    min_size=1,
    max_size=6,
)


def people(rows, joints=None):
    """People with boxes x, y, w, h, the first the surest, and joints all over their boxes."""
    boxes = np.array(rows, np.float32)
    scores = np.linspace(0.9, 0.1, len(boxes))[:, None]
    grid = np.random.default_rng(0).uniform(0, 1, (17, 2))
    if joints is None:
        joints = boxes[:, None, :2] + grid * boxes[:, None, 2:4]
    return FoundPeople(np.concatenate([boxes, scores], 1), joints, np.full((len(boxes), 17), 0.7))


@given(boxes_strategy)
def test_overlaps_and_suppression(rows):
    boxes = np.array(rows)
    table = overlaps(boxes, boxes)
    assert np.allclose(np.diag(table), 1)
    assert np.allclose(table, table.T)
    assert ((table >= 0) & (table <= 1 + 1e-9)).all()
    far_apart = np.arange(len(rows))[:, None, None] * np.full((17, 2), 1e4)
    kept = suppressed(people(rows, far_apart), 0.5)
    assert kept[0] == 0
    assert len(set(kept)) == len(kept)
    others = table[np.ix_(kept, kept)] - np.eye(len(kept))
    assert others.max(initial=0) <= 0.5 + 1e-6
    for lost in set(range(len(boxes))) - set(kept.tolist()):
        assert table[lost, kept].max() > 0.5 - 1e-6


def test_the_same_joints_are_one_person_and_others_beside_are_two():
    upper = [100, 100, 60, 80]
    whole = [100, 100, 60, 200]
    joints = people([whole]).joints_px
    twice = people([whole, upper], np.concatenate([joints, joints + 2]))
    assert suppressed(twice, 0.6).tolist() == [0]
    apart = people([whole, upper], np.concatenate([joints, joints + 40]))
    assert suppressed(apart, 0.6).tolist() == [0, 1]
    unseen = FoundPeople(twice.boxes, twice.joints_px, 0.01 * twice.joint_scores)
    assert suppressed(unseen, 0.6).tolist() == [0, 1]  # joints that nobody saw say nothing
    assert suppressed(people(np.zeros((0, 4))), 0.6).tolist() == []


def test_drawn_figures_are_found_and_patterns_are_not(detector):
    image = figure(640, 480, (0.3, 0.7), 0.8)
    found = detector.boxes(Frame(image, 0, blank(0).camera))
    assert (found[:, 4] > detector.sure_score).sum() == 2
    wanted = np.array([[x - 0.215 * 384, 48, 0.43 * 384, 384] for x in (192, 448)])
    assert overlaps(found[:2, :4], wanted).max(axis=0).min() > 0.7
    rng = np.random.default_rng(0)
    for pattern in (
        np.zeros((480, 640, 3)),
        np.full((480, 640, 3), 255),
        rng.integers(0, 256, (480, 640, 3)),
        np.tile(np.arange(640)[None, :, None] % 80 * 3, (480, 1, 3)),
    ):
        assert len(detector.find(pattern.astype(np.uint8)).boxes) == 0


def test_the_shipped_detector_finds_the_person_of_the_sample(detector):
    """Every twentieth frame of the shipped recording against its ground truth."""
    from trpose_ros.data.rendering.sample_recording import SHIPPED
    from trpose_ros.recordings.bags import BagReader
    from trpose_ros.recordings.messages import read_image, read_people, stamp_ns

    images, truth = {}, {}
    with BagReader(SHIPPED) as bag:
        for entry in bag.messages():
            if entry.msgtype.endswith('CompressedImage'):
                images[stamp_ns(entry.message)] = entry.message
            elif entry.msgtype.endswith('PersonArray'):
                truth[stamp_ns(entry.message)] = read_people(entry.message)
    best = []
    for stamp in sorted(images)[::20]:
        boxes = detector.find(read_image(images[stamp])).boxes
        boxes = boxes[boxes[:, 4] > detector.sure_score]
        best.append(overlaps(boxes[:, :4], truth[stamp].boxes_px).max(initial=0.0))
    assert np.mean(np.array(best) > 0.5) >= 0.9


def test_settings_that_make_no_sense_are_named(tmp_path):
    for name in ('threshold', 'sure_score', 'most_overlap'):
        with pytest.raises(ValueError, match=rf'{name} lies in 0\.\.1, got 1\.5'):
            PersonDetector(**{name: 1.5})
    with pytest.raises(ValueError, match=r'tiles lies in 1\.\.8, got 9'):
        PersonDetector(tiles=9)
    with pytest.raises(ValueError, match="'movenet-thunder' finds one person on a crop"):
        PersonDetector(model='movenet-thunder')
    with pytest.raises(weights.WeightsError, match="'videopose3d', not 'movenet'"):
        PersonDetector(model='videopose3d-robust')


def test_the_configuration_reaches_the_detector():
    config = PipelineConfig(pose=PoseStageConfig(tiles=2))
    assert box_settings(config) == {'tiles': 2, 'device': 'auto', 'runtime': 'auto'}
    assert box_settings(PipelineConfig(pose=PoseStageConfig(boxes='image', tiles=2))) == {}
    assert BOX_SOURCES['detector'](**box_settings(config))._tiles == 2


def test_a_crop_holds_what_was_found_and_other_boxes_stay(detector):
    path = Path(trpose_ros.__file__).parent / 'samples' / 'astronaut.jpg'
    image = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
    (row,) = detector.boxes(Frame(image, 0, camera_from_fov(512, 512)))
    x, y, _, height = detector.body_box(row[:4])
    assert x <= row[0]
    assert y <= row[1]
    assert y + height >= row[1] + row[3]
    unknown = np.array([1.0, 2, 3, 4])
    assert np.array_equal(detector.body_box(unknown), unknown.astype(np.float32))


def test_evidence_of_joints_is_the_heatmap_near_them():
    detector = PersonDetector(network=OnePerson([8.0, 6.0, 16.0, 10.0]))
    nobody = np.full((1, 17, 2), np.nan)
    assert np.isnan(detector.joint_evidence(nobody)).all()  # before the first image
    detector.find(np.zeros((480, 640, 3), np.uint8))
    place = np.array([64, 44]) / 0.4 - 0.5
    body = np.array([place, place + 9.0, place + 40.0, place - 2000.0, [np.nan, 5.0]])
    joints = np.full((2, 17, 2), np.nan)
    joints[0, :5] = body
    evidence = detector.joint_evidence(joints)
    assert np.allclose(evidence[0, 0], 0.8)
    assert np.isnan(evidence[0, 3:]).all()
    assert np.isnan(evidence[1]).all()
    near = joints[:1].copy()
    near[0, 3] = np.nan  # a body of 50 px, not of 2000
    evidence = detector.joint_evidence(near)[0]
    assert np.allclose(evidence[:2], 0.8)
    assert evidence[2] < 0.1
    assert detector.joint_evidence(joints[:0]).shape == (0, 17)

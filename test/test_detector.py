"""The person detector: boxes in image pixels, targets, suppression, a tiny training, weights."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from doubles import blank
from hypothesis import given
from hypothesis import strategies as st
from tiny_body import PlainBackgrounds
from tiny_body import TinyStore

from trpose_ros import weights
from trpose_ros.estimators.boxes import create_box_source
from trpose_ros.estimators.detector import DetectorConfig
from trpose_ros.estimators.detector import DetectorNetwork
from trpose_ros.estimators.detector import PersonDetector
from trpose_ros.estimators.detector import cell_centres
from trpose_ros.estimators.detector import corners
from trpose_ros.estimators.detector import letterbox
from trpose_ros.estimators.detector import overlaps
from trpose_ros.estimators.detector import peaks
from trpose_ros.estimators.detector import suppressed
from trpose_ros.people import Camera
from trpose_ros.people import Frame
from trpose_ros.training.detector import DetectorTask
from trpose_ros.training.detector import SceneBatches
from trpose_ros.training.detector import generalised_overlap
from trpose_ros.training.detector import matched
from trpose_ros.training.detector import targets

TINY = DetectorConfig(longer_side=64, widths=(4, 4, 8, 8, 8), neck=8)


def network() -> DetectorNetwork:
    torch.manual_seed(0)
    return DetectorNetwork(TINY)


class OneBox(torch.nn.Module):
    """A network that is sure of one box, x0 y0 x1 y1 in px of its input."""

    def __init__(self, box, longer_side=256) -> None:
        super().__init__()
        self.box = torch.tensor(box, dtype=torch.float32)
        self.config = DetectorConfig(longer_side=longer_side)

    def forward(self, image):
        rows, columns = image.shape[2] // 8, image.shape[3] // 8
        at = cell_centres(rows, columns)
        sides = torch.cat([at - self.box[:2], self.box[2:] - at], dim=-1)
        logits = torch.full((rows, columns), -9.0)
        middle = ((self.box[:2] + self.box[2:]) / 2 / 8).long()
        logits[middle[1], middle[0]] = 4.0
        return logits[None], sides[None]


@pytest.mark.parametrize(('width', 'height'), [(640, 480), (480, 640), (1920, 1080), (100, 50)])
def test_boxes_come_back_in_pixels_of_the_image(width, height):
    scale = 256 / max(width, height)
    detector = PersonDetector(network=OneBox([31.5, 23.5, 95.5, 63.5]))
    (box,) = detector.find(np.zeros((height, width, 3), np.uint8))
    # Pixel areas: 31.5 is the border between input pixels 31 and 32.
    assert np.allclose(box[:4], np.array([32, 24, 64, 40]) / scale - [0.5, 0.5, 0, 0], atol=0.02)
    assert box[4] == pytest.approx(1 / (1 + np.exp(-4)), abs=1e-4)


def test_boxes_are_cut_at_the_image():
    detector = PersonDetector(network=OneBox([-50.0, -50.0, 110.0, 110.0], 64))
    (box,) = detector.find(np.zeros((48, 64, 3), np.uint8))
    assert np.allclose(box[:4], [-0.5, -0.5, 64, 48])


def test_an_untrained_network_finds_nobody_and_any_image_size_works():
    detector = PersonDetector(network=network())
    for width, height in ((1, 1), (7, 300), (64, 48)):
        camera = Camera(width, height, np.array([[50.0, 0, 0], [0, 50, 0], [0, 0, 1]]))
        frame = Frame(np.zeros((height, width, 3), np.uint8), 0, camera)
        boxes = detector.boxes(frame)
        assert boxes.shape == (0, 5)
        assert boxes.dtype == np.float32
    assert len(PersonDetector(network=network(), threshold=0.0).boxes(blank(0))) <= 20


@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (33, 1000), (1, 1)])
def test_letterbox_keeps_the_aspect_and_pads_to_multiples(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    padded, scale = letterbox(image, 256)
    assert padded.shape[0] % 32 == 0
    assert padded.shape[1] % 32 == 0
    assert max(round(shape[0] * scale), round(shape[1] * scale)) == 256
    assert (padded[0, 0] == 200).all()


boxes_strategy = st.lists(
    st.tuples(*[st.floats(0, 100) for _ in range(2)], *[st.floats(0.5, 80) for _ in range(2)]),
    min_size=1,
    max_size=6,
)


@given(boxes_strategy)
def test_overlaps_and_suppression(rows):
    boxes = np.array(rows)
    table = overlaps(boxes, boxes)
    assert np.allclose(np.diag(table), 1)
    assert np.allclose(table, table.T)
    assert ((table >= 0) & (table <= 1 + 1e-9)).all()
    scores = np.linspace(0.9, 0.1, len(boxes))
    kept = suppressed(boxes, scores, 0.5)
    assert kept[0] == 0
    assert len(set(kept)) == len(kept)
    others = table[np.ix_(kept, kept)] - np.eye(len(kept))
    assert others.max(initial=0) <= 0.5
    for lost in set(range(len(boxes))) - set(kept.tolist()):
        assert table[lost, kept].max() > 0.5


def test_overlap_of_known_boxes():
    first, second = np.array([[0, 0, 10, 10.0]]), np.array([[5, 0, 10, 10.0], [20, 20, 5, 5.0]])
    assert np.allclose(overlaps(first, second), [[1 / 3, 0]])
    a, b = torch.tensor([0.0, 0, 10, 10]), torch.tensor([5.0, 0, 15, 10])
    assert generalised_overlap(a, b).item() == pytest.approx(1 / 3)
    far = torch.tensor([20.0, 0, 30, 10])
    assert generalised_overlap(a, far).item() == pytest.approx(-1 / 3)
    assert overlaps(np.zeros((0, 4)), second).shape == (0, 2)


def test_targets_decode_to_their_boxes():
    boxes = np.array([[10.0, 20, 60, 100], [100, 30, 20, 40]], np.float32)
    heat, chosen, share, ignored = targets(boxes, np.zeros((0, 4)), 160, 192)
    assert heat.shape == (20, 24)
    assert (heat == 1).sum() == 2
    assert not ignored.any()
    assert (share > 0).sum() >= 2
    sides = torch.cat(
        [cell_centres(20, 24) - chosen[..., :2], chosen[..., 2:] - cell_centres(20, 24)], -1
    )
    logits = torch.logit(heat.clamp(1e-4, 0.99))
    found, scores = peaks(logits, sides, 0.5, 10)
    assert len(found) == 2
    assert scores.min() > 0.5
    found = np.array(sorted(found.tolist()))
    assert np.allclose(found, [[10, 20, 70, 120], [100, 30, 120, 70]], atol=1e-4)
    assert torch.allclose(corners(sides), chosen, atol=1e-4)


def test_faint_people_are_neither_right_nor_wrong():
    heat, _, share, ignored = targets(np.zeros((0, 4)), np.array([[16.0, 16, 32, 32]]), 64, 64)
    assert heat.max() == 0
    assert share.max() == 0
    assert ignored[3, 3]
    assert not ignored[7, 7]


def test_a_detection_is_given_to_one_person_only():
    assert matched(np.array([[0.9, 0.8], [0.2, 0.7]])).tolist() == [True, True]
    assert matched(np.array([[0.9, 0.8]])).tolist() == [True, False]
    assert matched(np.array([[0.4, 0.3]])).tolist() == [False, False]
    assert matched(np.zeros((0, 2))).tolist() == [False, False]


def test_a_tiny_network_learns():
    from trpose_ros.data.scenes import SceneComposer
    from trpose_ros.data.scenes import SceneConfig

    scenes = SceneComposer(TinyStore(), PlainBackgrounds(), SceneConfig(objects=0.0, empty=0.0))
    data = SceneBatches(scenes, 4, 0)
    task = DetectorTask(network(), data, 0)
    batch = data[0]
    assert torch.equal(batch.images, data[0].images)
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=5e-3)
    losses = []
    for step in range(25):
        loss = task.loss(batch, step)['total']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def save(path, config=TINY, drop=None, **meta):
    tensors = {
        key: value.numpy().astype(np.float16)
        for key, value in network().state_dict().items()
        if not key.endswith('num_batches_tracked') and key != drop
    }
    header = {
        'architecture': 'detector',
        'config': json.dumps(dataclasses.asdict(config)),
        'skeleton': 'h36m_17',
        'licence': 'Apache-2.0',
        'training_data': 'none',
        'measured_error': 'none',
    }
    return weights.save(path, tensors, header | meta)


def test_weights_make_the_round_trip(tmp_path):
    save(tmp_path / 'd.safetensors')
    detector = create_box_source('detector', model=str(tmp_path / 'd.safetensors'), threshold=0.0)
    same = PersonDetector(network=network(), threshold=0.0)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    assert np.allclose(detector.find(image), same.find(image), atol=0.2)


def test_wrong_weights_and_settings_are_named(tmp_path):
    path = tmp_path / 'd.safetensors'
    save(path, drop='out.weight')
    with pytest.raises(weights.WeightsError, match=r'out\.weight'):
        PersonDetector(model=str(path))
    save(path, architecture='metrabs')
    with pytest.raises(weights.WeightsError, match='metrabs'):
        PersonDetector(model=str(path))
    with pytest.raises(ValueError, match='threshold'):
        PersonDetector(network=network(), threshold=2.0)
    with pytest.raises(ValueError, match='widths'):
        DetectorConfig(widths=(1, 2))


def test_the_shipped_detector_finds_the_person_of_the_sample():
    """Every tenth frame of the shipped recording against its ground truth."""
    from trpose_ros.bag_messages import read_image
    from trpose_ros.bag_messages import read_people
    from trpose_ros.bag_messages import stamp_ns
    from trpose_ros.bags import BagReader
    from trpose_ros.data.sample import SHIPPED

    detector = create_box_source('detector')
    images, truth = {}, {}
    with BagReader(SHIPPED) as bag:
        for entry in bag.messages():
            if entry.msgtype.endswith('CompressedImage'):
                images[stamp_ns(entry.message)] = entry.message
            elif entry.msgtype.endswith('PersonArray'):
                truth[stamp_ns(entry.message)] = read_people(entry.message)
    best = []
    for stamp in sorted(images)[::10]:
        found = detector.find(read_image(images[stamp]))
        best.append(overlaps(found[:, :4], truth[stamp].boxes_px).max(initial=0.0))
    assert np.mean(np.array(best) > 0.5) >= 0.9

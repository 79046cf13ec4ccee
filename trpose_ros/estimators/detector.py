"""People whom nobody tracks yet: MoveNet MultiPose looks at the image.

The image is shrunk to 256 px along its longer side and padded; every person's centre that the
network is sure of gives a box around what is seen of the person, 17 joints (coco_17) and scores
(movenet/decoding.py). The tracker grows the box to the whole body later. A person's score is the
network's own: the chance of the centre times the mean score of the joints that were found. It says
far more than the centre alone, which also likes birds, rocks and armchairs.

One look finds people from about a tenth of the image's height on up to a face that fills it, so it
does not help to look once with more pixels. For more and smaller people there are further looks at
overlapping tiles, besides the one at the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from trpose_ros.estimators.boxes import BOX_SOURCES
from trpose_ros.metrabs.inference import pick_device
from trpose_ros.movenet.checkpoints import load_movenet
from trpose_ros.movenet.decoding import decode_people
from trpose_ros.movenet.faces import upper_body_box
from trpose_ros.movenet.network import JOINTS, MULTIPLE, STRIDE, MoveNet
from trpose_ros.people import Frame
from trpose_ros.runtimes.modules import fast_module

_LEAST_CENTRE = 0.05  # of a person; whoever is surer than ``threshold`` has more
_TILE = 1.3  # sides of a tile, in shares of a grid without overlap
_AT_EDGE = 0.02  # of a tile's side: boxes so near to its inner edges are cut off there
_GREY = 114
_NEAR_JOINT = 0.05  # how far a joint's peak may lie from where it is expected, shares of a body
_SAME_JOINTS = 0.08  # mean distance of the joints of one person, shares of the box's diagonal


@dataclass(frozen=True)
class FoundPeople:
    """People found in an image, the surest first."""

    boxes: np.ndarray  # (N, 5) float32 x, y, width, height px, score
    joints_px: np.ndarray  # (N, 17, 2) float32, coco_17
    joint_scores: np.ndarray  # (N, 17) float32

    def select(self, index: np.ndarray) -> FoundPeople:
        """Return the people of an index or mask."""
        return FoundPeople(self.boxes[index], self.joints_px[index], self.joint_scores[index])


@BOX_SOURCES.register('detector')
class PersonDetector:
    """The box source 'detector'."""

    def __init__(
        self,
        model: str = 'movenet-multipose',
        threshold: float = 0.12,
        sure_score: float = 0.25,
        most_overlap: float = 0.6,
        most_people: int = 30,
        tiles: int = 1,
        device: str = 'cpu',
        runtime: str = 'auto',
        network: MoveNet | None = None,
    ) -> None:
        """Load the weights ``model``; ``network`` replaces loading (tests).

        Boxes from ``sure_score`` on are people; those from ``threshold`` on are enough to go on
        with people who are tracked. ``tiles`` > 1 looks at tiles x tiles parts of the image, too.
        Raises WeightsError for weights that are missing, corrupt or of another architecture, and
        ValueError for settings out of range and a network for one person.
        """
        for name, value in (
            ('threshold', threshold),
            ('sure_score', sure_score),
            ('most_overlap', most_overlap),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} lies in 0..1, got {value}')
        if not 1 <= tiles <= 8:
            raise ValueError(f'tiles lies in 1..8, got {tiles}')
        self.sure_score = sure_score
        self._device = pick_device(device)
        network = (network or load_movenet(model)).eval().to(self._device)
        if network.config.kind != 'multi':
            raise ValueError(f'{model!r} finds one person on a crop, it cannot look for people')
        self._side = network.config.input_side
        shape = (1, 3, self._side, self._side)
        self._network = fast_module(network, shape, self._device, torch.float32, runtime)
        self._threshold, self._overlap, self._most = threshold, most_overlap, most_people
        self._tiles = tiles
        self._peaks = np.zeros((JOINTS, 0, 0), np.float32)  # of the joints, in the whole image
        self._cells_per_px = 1.0
        self._last = FoundPeople(
            np.zeros((0, 5), np.float32),
            np.zeros((0, JOINTS, 2), np.float32),
            np.zeros((0, JOINTS), np.float32),
        )

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) float32 x, y, width, height in px and score, best first."""
        self._last = self.find(frame.image)
        return self._last.boxes

    def body_box(self, box_px: np.ndarray) -> np.ndarray:
        """Return the box (4,) to crop for somebody found in the last image (movenet/faces.py).

        ``box_px`` (4,) is one of the boxes found; any other one comes back as it is.
        """
        rows = np.flatnonzero((self._last.boxes[:, :4] == np.asarray(box_px)[:4]).all(axis=1))
        if not len(rows):
            return np.asarray(box_px, np.float32)
        k = rows[0]
        return upper_body_box(box_px, self._last.joints_px[k], self._last.joint_scores[k])

    def found_people(self) -> FoundPeople:
        """Return whom the last image showed: boxes as ``boxes`` gave them, with their joints."""
        return self._last

    def joint_evidence(self, joints_px: np.ndarray) -> np.ndarray:
        """Return (N, 17): how sure the last image is of joints (N, 17, 2), coco_17, px.

        It is the highest that a joint's heatmap has within a twentieth of the body's size, NaN
        where no joint is expected or outside the image. Joints are found one by one, from what
        surrounds each of them: they are there for a part of a body for which there is no centre,
        and so no box.
        """
        finite = np.isfinite(joints_px).all(axis=-1)
        evidence = np.full(joints_px.shape[:2], np.nan)
        height, width = self._peaks.shape[1:]
        for n, k in np.argwhere(finite):
            x, y = (joints_px[n, k] + 0.5) * self._cells_per_px
            size = np.linalg.norm(np.ptp(joints_px[n, finite[n]], axis=0))
            reach = max(_NEAR_JOINT * size * self._cells_per_px, 0.5)
            if not (0 <= x < width and 0 <= y < height):
                continue
            rows = slice(max(int(y - reach), 0), int(y + reach) + 1)
            columns = slice(max(int(x - reach), 0), int(x + reach) + 1)
            evidence[n, k] = self._peaks[k, rows, columns].max()
        return evidence

    def find(self, image: np.ndarray) -> FoundPeople:
        """Return the people in an (H, W, 3) uint8 RGB image."""
        height, width = image.shape[:2]
        looks = [self._look(image, part) for part in parts(width, height, self._tiles)]
        found = FoundPeople(
            np.concatenate([look.boxes for look in looks]),
            np.concatenate([look.joints_px for look in looks]),
            np.concatenate([look.joint_scores for look in looks]),
        )
        return found.select(suppressed(found, self._overlap)[: self._most])

    @torch.inference_mode()
    def _look(self, image: np.ndarray, part: tuple[int, int, int, int]) -> FoundPeople:
        """Look at a part x, y, width, height of an image; coordinates are the image's."""
        x, y, width, height = part
        small, scale = letterbox(image[y : y + height, x : x + width], self._side)
        maps = self._network(torch.from_numpy(small).to(self._device).permute(2, 0, 1)[None])
        if (width, height) == (image.shape[1], image.shape[0]):
            self._peaks = maps.heatmaps[0].cpu().numpy()
            self._cells_per_px = scale / STRIDE
        (found,) = decode_people(maps, _LEAST_CENTRE, 2 * self._most)
        boxes, joints, scores, person = (
            value.cpu().numpy()
            for value in (found.boxes, found.joints_px, found.joint_scores, found.scores)
        )
        # Pixel areas are scaled, pixel centres are integers.
        joints = (joints + 0.5) / scale - 0.5 + [x, y]
        low = (boxes[:, :2] + 0.5) / scale - 0.5 + [x, y]
        high = low + boxes[:, 2:] / scale
        cut = _cut_off(low, high, part, image.shape[1], image.shape[0])
        first, last = np.array([x, y]) - 0.5, np.array([x + width, y + height]) - 0.5
        low, high = np.clip(low, first, last), np.clip(high, first, last)
        fine = (person >= self._threshold) & ((high - low) > 1).all(axis=1) & ~cut
        rows = np.concatenate([low, high - low, person[:, None]], axis=1).astype(np.float32)
        return FoundPeople(rows, joints.astype(np.float32), scores).select(fine)


def parts(width: int, height: int, tiles: int) -> list[tuple[int, int, int, int]]:
    """Return x, y, width, height px of the whole image and of ``tiles`` x ``tiles`` parts."""
    whole = [(0, 0, width, height)]
    if tiles == 1:
        return whole
    sizes = [min(int(np.ceil(_TILE * side / tiles)), side) for side in (width, height)]
    xs, ys = (
        np.linspace(0, side - size, tiles).round().astype(int).tolist()
        for side, size in zip((width, height), sizes, strict=True)
    )
    return whole + [(x, y, *sizes) for y in ys for x in xs]  # type: ignore[misc]


def _cut_off(
    low: np.ndarray, high: np.ndarray, part: tuple[int, int, int, int], width: int, height: int
) -> np.ndarray:
    """Return (N,) bool: boxes that end where a tile ends but the image goes on."""
    first = np.array(part[:2], float)
    size = np.array(part[2:], float)
    near = _AT_EDGE * size
    inner_low, inner_high = first > 0, first + size < [width, height]
    begins = (low < first + near) & inner_low
    ends = (high > first + size - near) & inner_high
    return np.asarray((begins | ends).any(axis=1))


def suppressed(found: FoundPeople, most_overlap: float) -> np.ndarray:
    """Return the indices of people who are no better one's second box, best first.

    Somebody is found twice when boxes overlap by more than ``most_overlap`` (intersection over
    union), or when the joints are the same.
    """
    order = np.argsort(-found.boxes[:, 4], kind='stable')
    kept: list[int] = []
    for i in order:
        if kept:
            overlap = overlaps(found.boxes[i : i + 1, :4], found.boxes[kept, :4])[0]
            if overlap.max() > most_overlap or _same_joints(found, int(i), kept).any():
                continue
        kept.append(int(i))
    return np.array(kept, np.intp)


def _same_joints(found: FoundPeople, i: int, others: list[int]) -> np.ndarray:
    """Return (M,) bool: whether person i has the joints of others."""
    distance = np.linalg.norm(found.joints_px[others] - found.joints_px[i], axis=-1)  # (M, J)
    seen = np.minimum(found.joint_scores[others], found.joint_scores[i])
    weight = seen.sum(axis=1)
    mean = (distance * seen).sum(axis=1) / np.maximum(weight, 1e-6)
    size = np.hypot(*found.boxes[i, 2:4])
    return np.asarray((mean < _SAME_JOINTS * size) & (weight > 0.1 * JOINTS))


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4) x, y, w, h."""
    a, b = first[:, None], second[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    union = a[..., 2:].prod(axis=-1) + b[..., 2:].prod(axis=-1) - common
    return common / np.maximum(union, 1e-9)


def letterbox(image: np.ndarray, longer_side: int) -> tuple[np.ndarray, float]:
    """Shrink or enlarge an image and pad it with grey to the right and below.

    Returns:
        (h, w, 3) uint8 with sides that are multiples of 32, and the scale.

    """
    height, width = image.shape[:2]
    scale = longer_side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image, size, interpolation=how)
    right, below = -size[0] % MULTIPLE, -size[1] % MULTIPLE
    value = (_GREY,) * 3
    return cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT, value=value), scale

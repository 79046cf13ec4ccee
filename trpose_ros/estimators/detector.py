"""A small person detector for people whom nobody tracks yet.

One fully convolutional network on the image shrunk to 256 px along its longer side: features at
stride 8 from a small residual pyramid (Lin et al., "Feature pyramid networks", CVPR 2017), and per
cell the chance that a person's box has its centre there and the distances to the box's four sides
("Objects as points", Zhou et al. 2019; sides as in FCOS, Tian et al., ICCV 2019). A mean over the
whole map is added to the coarsest features, so that a body larger than the image is seen as one.
A box surrounds the visible part of a person; the tracker grows it to the whole body later.

Its weights are trained on rendered people (training/detector.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.estimators.boxes import register_box_source
from trpose_ros.people import Frame

STRIDE = 8
_MULTIPLE = 32  # the network's input side
_SIDE_UNIT = 4 * STRIDE  # px; distances are exponents of this


@dataclass(frozen=True)
class DetectorConfig:
    """Architecture and input size; stored as JSON beside the weights."""

    longer_side: int = field(default=256, metadata={'help': 'px', 'range': (64, 4096)})
    widths: tuple[int, ...] = (16, 24, 48, 80, 112)
    neck: int = field(default=48, metadata={'range': (4, 1024)})

    def __post_init__(self) -> None:
        """Validate the sizes."""
        check_fields(self)
        object.__setattr__(self, 'widths', tuple(int(w) for w in self.widths))
        if len(self.widths) != 5 or min(self.widths) < 1:
            raise ValueError(f'widths must be five positive numbers, got {self.widths}')


def _convolution(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), nn.BatchNorm2d(outputs)
    )


class _Stage(nn.Module):
    """Halve the resolution, then one residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = _convolution(inputs, outputs, 3, 2)
        self.first = _convolution(outputs, outputs)
        self.second = _convolution(outputs, outputs)

    def forward(self, features: Tensor) -> Tensor:
        features = F.relu(self.down(features))
        return F.relu(features + self.second(F.relu(self.first(features))))


class DetectorNetwork(nn.Module):
    """Image (B, 3, H, W) in 0..1, sides multiples of 32 -> maps at stride 8."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        a, b, c, d, e = config.widths
        self.stem = _convolution(3, a, 3, 2)
        self.stages = nn.ModuleList([_Stage(a, b), _Stage(b, c), _Stage(c, d), _Stage(d, e)])
        self.context = nn.Linear(e, e)
        self.lateral = nn.ModuleList([nn.Conv2d(n, config.neck, 1) for n in (c, d, e)])
        self.smooth = nn.ModuleList([_convolution(config.neck, config.neck) for _ in range(2)])
        self.head = _convolution(config.neck, config.neck)
        self.out = nn.Conv2d(config.neck, 5, 1)
        nn.init.zeros_(self.out.weight)
        rare = -math.log((1 - 0.01) / 0.01)  # most cells hold nobody
        self.out.bias = nn.Parameter(torch.tensor([rare, 0.0, 0.0, 0.0, 0.0]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return centre logits (B, h, w) and the distances (B, h, w, 4) l, t, r, b in px."""
        features = F.relu(self.stem(image * 2 - 1))
        levels = []
        for stage in self.stages:
            features = stage(features)
            levels.append(features)
        _, fine, middle, coarse = levels
        coarse = coarse + F.relu(self.context(coarse.mean(dim=(2, 3))))[:, :, None, None]
        merged = self.lateral[2](coarse)
        for lateral, smooth, level in (
            (self.lateral[1], self.smooth[1], middle),
            (self.lateral[0], self.smooth[0], fine),
        ):
            merged = lateral(level) + F.interpolate(merged, scale_factor=2.0)
            merged = F.relu(smooth(merged))
        maps = self.out(F.relu(self.head(merged))).float()
        sides = torch.exp(maps[:, 1:].clamp(-6, 4)) * _SIDE_UNIT
        return maps[:, 0], sides.permute(0, 2, 3, 1)


def cell_centres(height: int, width: int) -> Tensor:
    """Return the (h, w, 2) pixel positions x, y of cells, pixel centres at integers."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    return torch.stack([x, y], dim=-1) * float(STRIDE) + (STRIDE - 1) / 2


def corners(sides: Tensor) -> Tensor:
    """Return (..., h, w, 4) x0, y0, x1, y1 in input px of the distances of every cell."""
    at = cell_centres(*sides.shape[-3:-1]).to(sides.device)
    return torch.cat([at - sides[..., :2], at + sides[..., 2:]], dim=-1)


def peaks(logits: Tensor, sides: Tensor, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    """Return boxes (N, 4) x0, y0, x1, y1 and scores (N,) of one image, best first."""
    scores = logits.sigmoid()
    highest = F.max_pool2d(scores[None, None], 3, 1, 1)[0, 0]
    kept = (scores == highest) & (scores >= threshold)
    found, boxes = scores[kept], corners(sides)[kept]
    order = found.argsort(descending=True)[:most]
    return boxes[order], found[order]


def suppressed(boxes: np.ndarray, scores: np.ndarray, most_overlap: float) -> np.ndarray:
    """Return the indices of boxes (N, 4) x, y, w, h that no better one overlaps, best first."""
    kept: list[int] = []
    for i in np.argsort(-scores, kind='stable'):
        if not kept or overlaps(boxes[i : i + 1], boxes[kept])[0].max() <= most_overlap:
            kept.append(int(i))
    return np.array(kept, np.intp)


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
    right, below = -size[0] % _MULTIPLE, -size[1] % _MULTIPLE
    padded = cv2.copyMakeBorder(small, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(114,) * 3)
    return padded, scale


class PersonDetector:
    """The box source 'detector'."""

    def __init__(
        self,
        model: str = 'person-detector',
        threshold: float = 0.15,
        sure_score: float = 0.35,
        most_overlap: float = 0.6,
        most_people: int = 20,
        device: str = 'cpu',
        network: DetectorNetwork | None = None,
    ) -> None:
        """Load the weights ``model``; ``network`` replaces loading (training, tests).

        Boxes from ``sure_score`` on are people; those from ``threshold`` on are enough to go on
        with people who are tracked. Both were chosen on clips of the validation split.
        Raises WeightsError for weights that are missing, corrupt or of another architecture.
        """
        for name, value in (
            ('threshold', threshold),
            ('sure_score', sure_score),
            ('most_overlap', most_overlap),
        ):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} lies in 0..1, got {value}')
        self.sure_score = sure_score
        self._device = torch.device(device)
        self._network = (network or load_network(model)).to(self._device).eval()
        self._threshold, self._overlap, self._most = threshold, most_overlap, most_people

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) float32 x, y, width, height in px and score, best first."""
        return self.find(frame.image)

    def find(self, image: np.ndarray) -> np.ndarray:
        """Return the boxes in an (H, W, 3) uint8 RGB image, see :meth:`boxes`."""
        height, width = image.shape[:2]
        small, scale = letterbox(image, self._network.config.longer_side)
        tensor = torch.from_numpy(small).to(self._device).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            logits, sides = self._network(tensor.contiguous(memory_format=torch.channels_last))
            found, scores = peaks(logits[0], sides[0], self._threshold, 4 * self._most)
        # Pixel areas are scaled, pixel centres are integers.
        corner = ((found.cpu().numpy() + 0.5) / scale - 0.5).astype(np.float32)
        limit = np.array([width, height], np.float32) - 0.5
        low = np.clip(corner[:, :2], -0.5, limit)
        size = np.clip(corner[:, 2:], -0.5, limit) - low
        boxes, chance = np.concatenate([low, size], axis=1), scores.cpu().numpy()
        solid = (size > 1).all(axis=1)
        boxes, chance = boxes[solid], chance[solid]
        kept = suppressed(boxes, chance, self._overlap)[: self._most]
        return np.concatenate([boxes[kept], chance[kept, None]], axis=1).astype(np.float32)


def load_network(model: str) -> DetectorNetwork:
    """Return the network of a weights file, in float32."""
    file = weights.load(model, 'detector')
    network = DetectorNetwork(DetectorConfig(**file.config))
    expected = {k for k in network.state_dict() if not k.endswith('num_batches_tracked')}
    weights.check_keys(expected, file.tensors, str(file.path))
    state = {name: torch.from_numpy(value).float() for name, value in file.tensors.items()}
    network.load_state_dict(state, strict=False)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


register_box_source('detector')(PersonDetector)

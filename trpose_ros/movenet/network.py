"""MoveNet's network: MobileNetV2, a feature pyramid and convolutional heads at stride 4.

Google's MoveNet (2021) is a CenterNet ("Objects as points", Zhou et al., 2019): every cell says how
sure it is of being the centre of a person and where that person's joints are, seen from there;
joints have heatmaps of their own (decoding.py puts both together). The features are those of a
pyramid (Lin et al., "Feature pyramid networks", CVPR 2017). There are networks for one person on
a crop ('single': Thunder at 256 px and Lightning at 192 px) and for several in an image ('multi':
MultiPose), which also give a box for each centre.

Written from the graphs of Google's files, whose numbers importing.py reads.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from trpose_ros.configuration import check_fields, setting
from trpose_ros.metrabs.backbones.mobilenet_v2 import CHANNELS, WIDTHS, block_channels, mobilenet_v2

JOINTS = 17  # skeleton coco_17
STRIDE = 4  # px per cell of all maps
MULTIPLE = 32  # sides of an image are multiples of this
LEVELS = (19, 11, 7, 4)  # modules of the body up to strides 32, 16, 8 and 4
_PYRAMID = (64, 64, 32, 24, 24)  # channels of the laterals, coarse to fine, and of the output
_HEAD = 96


@dataclass(frozen=True)
class MoveNetConfig:
    """Architecture of one network; stored as JSON beside its weights."""

    width: float = setting(1.75, 'of MobileNetV2', choices=WIDTHS)
    kind: str = setting('single', 'one person on a crop, or several', choices=('single', 'multi'))
    input_side: int = setting(
        256, 'side of the crop, or longer side of the image, px', range=(32, 4096)
    )

    def __post_init__(self) -> None:
        """Validate the sizes."""
        check_fields(self)
        if self.input_side % MULTIPLE:
            raise ValueError(f'input_side must be a multiple of {MULTIPLE}, got {self.input_side}')

    def to_dict(self) -> dict[str, object]:
        """Return plain values, ready for JSON."""
        return dataclasses.asdict(self)


class MoveNetMaps(NamedTuple):
    """What the heads say about B images; cells are 4 px wide, pairs are y, x in cells."""

    centre: Tensor  # (B, h, w) chance of a person's centre
    heatmaps: Tensor  # (B, J, h, w) chance of a joint
    displacements: Tensor  # (B, J, 2, h, w) from a centre to its joints
    offsets: Tensor  # (B, J, 2, h, w) from a joint's cell to the joint
    box_size: Tensor | None  # (B, 2, h, w) height and width of a centre's box; 'multi' only
    box_offset: Tensor | None  # (B, 2, h, w) from a centre's cell to the middle of its box


class Pyramid(nn.Module):
    """Features at strides 32, 16, 8, 4 -> one map at stride 4."""

    def __init__(self, inputs: list[int]) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            [nn.Conv2d(n, out, 1) for n, out in zip(inputs, _PYRAMID, strict=False)]
        )
        self.merge = nn.ModuleList(
            [_separable(n, out) for n, out in itertools.pairwise(_PYRAMID[1:])]
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Merge levels, coarse to fine, into (B, 24, h, w)."""
        merged = self.lateral[0](levels[0])
        for lateral, merge, level in zip(
            self.lateral[1:],
            self.merge,
            levels[1:],
            strict=True,  # type: ignore[arg-type]
        ):
            finer = F.interpolate(merged, scale_factor=2.0, mode='bilinear', align_corners=False)
            merged = merge(finer + lateral(level))
        return merged


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    """Return a depthwise 3x3 without bias, a 1x1 convolution and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, 1, 1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1),
        nn.ReLU(),
    )


def _head(outputs: int) -> nn.Sequential:
    return nn.Sequential(*_separable(_PYRAMID[-1], _HEAD), nn.Conv2d(_HEAD, outputs, 1))


class MoveNet(nn.Module):
    """Images (B, 3, H, W) in 0..1, RGB, sides multiples of 32 -> maps at stride 4."""

    def __init__(self, config: MoveNetConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = mobilenet_v2(config.width, 'same')
        channels = [*block_channels(config.width), CHANNELS]
        self.pyramid = Pyramid([channels[level - 1] for level in LEVELS])
        self.centre, self.heatmaps = _head(1), _head(JOINTS)
        self.displacements, self.offsets = _head(2 * JOINTS), _head(2 * JOINTS)
        self.box_size = _head(2) if config.kind == 'multi' else None
        self.box_offset = _head(2) if config.kind == 'multi' else None

    def features(self, images: Tensor) -> Tensor:
        """Return the pyramid's map (B, 24, H / 4, W / 4)."""
        levels = []
        features = images
        scale, body = list(self.backbone)
        features = scale(features)
        for i, module in enumerate(body.children(), 1):
            features = module(features)
            if i in LEVELS:
                levels.append(features)
        return self.pyramid(levels[::-1])

    def forward(self, images: Tensor) -> MoveNetMaps:
        """Return the maps, in float32."""
        features = self.features(images)
        pair = (JOINTS, 2)
        return MoveNetMaps(
            self.centre(features)[:, 0].float().sigmoid(),
            self.heatmaps(features).float().sigmoid(),
            self.displacements(features).float().unflatten(1, pair),
            self.offsets(features).float().unflatten(1, pair),
            None if self.box_size is None else self.box_size(features).float().clamp(min=0),
            None if self.box_offset is None else self.box_offset(features).float(),
        )

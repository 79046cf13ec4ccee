"""Plain dense ResNets for processors: few wide 3x3 convolutions, no squeeze-excite, no depthwise.

He et al., "Deep residual learning for image recognition", CVPR 2016: two 3x3 convolutions with
batch norm and a shortcut per block. Dense convolutions in channels-last bfloat16 are what matrix
units of current processors do fastest, so these train and run faster there than mobile networks
of equal accuracy. Stem, then one stage per width; all but the first stage halve the resolution.
With the stem 3x3 stride 2 and four stages that is stride 16; for stride 32 the first stage halves,
too. The smallest one has a stem 7x7 stride 4 and three stages: where float32 is all that a
processor has, full resolution is what costs most.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from trpose_ros.metrabs.backbones.layers import ScaleImage, ShiftedSubsample
from trpose_ros.metrabs.backbones.registry import BACKBONES

PRESETS = {  # widths, blocks of a stage, stride of the stem
    'resnet-plain-xs': ((48, 96, 256), 2, 4),
    'resnet-plain-s': ((32, 64, 128, 256), 2, 2),
    'resnet-plain-m': ((48, 96, 192, 384), 2, 2),
    'resnet-plain-l': ((64, 128, 256, 512), 2, 2),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ``centered`` shifts the strided samples by one pixel."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, centered: bool = False) -> None:
        super().__init__()
        self.pad = (0, 2, 0, 2) if centered else None
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 0 if centered else 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut.append(ShiftedSubsample(int(centered)))
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        hidden = features if self.pad is None else F.pad(features, self.pad)
        hidden = F.relu(self.bn1(self.conv1(hidden)))
        return F.relu(self.bn2(self.conv2(hidden)) + self.shortcut(features))


def plain_resnet(
    widths: Sequence[int], blocks: int, stem_stride: int, stride: int, centered_stride: bool
) -> tuple[nn.Module, int]:
    """Return a plain ResNet and its output channels.

    Raises ValueError for a ``stride`` that stem and stages (one per width) cannot have.
    """
    least = stem_stride * 2 ** (len(widths) - 1)
    if stride not in (least, 2 * least):
        raise ValueError(
            f'a plain ResNet with a stem of stride {stem_stride} and {len(widths)} stages has '
            f'stride {least} or {2 * least}, got {stride}'
        )
    strides = [stride // least] + [2] * (len(widths) - 1)
    # Odd and centred, so that samples lie where heatmaps.HeatmapGeometry expects them.
    stem_conv = nn.Conv2d(
        3, widths[0], 2 * stem_stride - 1, stem_stride, stem_stride - 1, bias=False
    )
    stem = nn.Sequential(stem_conv, nn.BatchNorm2d(widths[0]), nn.ReLU())
    body = nn.Sequential(stem)
    inputs = widths[0]
    for i, (width, stage_stride) in enumerate(zip(widths, strides, strict=True)):
        centered = centered_stride and i == len(widths) - 1
        stage = [BasicBlock(inputs, width, stage_stride, centered)]
        stage += [BasicBlock(width, width) for _ in range(blocks - 1)]
        body.append(nn.Sequential(*stage))
        inputs = width
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
    return nn.Sequential(ScaleImage(2.0, -1.0), body), inputs


def _register(name: str) -> None:
    widths, blocks, stem_stride = PRESETS[name]

    @BACKBONES.register(name)
    def build(stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
        return plain_resnet(widths, blocks, stem_stride, stride, centered_stride)


for _name in PRESETS:
    _register(_name)

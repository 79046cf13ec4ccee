"""Plain dense ResNets for processors: few wide 3x3 convolutions, no squeeze-excite, no depthwise.

He et al., "Deep residual learning for image recognition", CVPR 2016: two 3x3 convolutions with
batch norm and a shortcut per block. Dense convolutions in channels-last bfloat16 are what matrix
units of current processors do fastest, so these train and run faster there than mobile networks
of equal accuracy. Stem 3x3 stride 2, then one stage per width; all but the first stage halve the
resolution (stride 16 with four stages); for stride 32 the first one does, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor
from torch import nn

from trpose_ros.metrabs.backbones import register_backbone
from trpose_ros.metrabs.backbones.layers import ScaleImage
from trpose_ros.metrabs.backbones.layers import ShiftedSubsample

PRESETS = {
    'resnet-plain-s': ((32, 64, 128, 256), 2),
    'resnet-plain-m': ((48, 96, 192, 384), 2),
    'resnet-plain-l': ((64, 128, 256, 512), 2),
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
    widths: Sequence[int], blocks: int, stride: int, centered_stride: bool
) -> tuple[nn.Module, int]:
    """Return a plain ResNet and its output channels; four widths give stride 16 or 32."""
    if stride not in (2 ** len(widths), 2 ** (len(widths) + 1)):
        raise ValueError(
            f'a plain ResNet with {len(widths)} stages has stride {2 ** len(widths)} or '
            f'{2 ** (len(widths) + 1)}, got {stride}'
        )
    strides = [2 if stride == 2 ** (len(widths) + 1) else 1] + [2] * (len(widths) - 1)
    stem = nn.Sequential(
        nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
    )
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
    widths, blocks = PRESETS[name]

    @register_backbone(name)
    def build(stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
        return plain_resnet(widths, blocks, stride, centered_stride)


for _name in PRESETS:
    _register(_name)

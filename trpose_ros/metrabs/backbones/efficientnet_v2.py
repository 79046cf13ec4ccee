"""EfficientNetV2 s, m and l (Tan and Le, ICML 2021), with the key names of published checkpoints.

A stage is given as (fused, expansion, stride, inputs, outputs, blocks). Early stages use fused
blocks (one dense 3x3 convolution), later ones inverted bottlenecks with squeeze-excite. Stage 0
is the stem, the last one a 1x1 convolution to 1280 channels; inside a block the layers are
``block.0``, ``block.1``, ... as in the published state dicts. Only features: no classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trpose_ros.metrabs.backbones.layers import (
    DropPath,
    ScaleImage,
    SqueezeExcite,
    conv2d,
    require_stride_32,
)
from trpose_ros.metrabs.backbones.registry import BACKBONES

Stage = tuple[bool, int, int, int, int, int]
FUSED, PLAIN = True, False
SIZES: dict[str, tuple[Stage, ...]] = {
    's': (
        (FUSED, 1, 1, 24, 24, 2),
        (FUSED, 4, 2, 24, 48, 4),
        (FUSED, 4, 2, 48, 64, 4),
        (PLAIN, 4, 2, 64, 128, 6),
        (PLAIN, 6, 1, 128, 160, 9),
        (PLAIN, 6, 2, 160, 256, 15),
    ),
    'm': (
        (FUSED, 1, 1, 24, 24, 3),
        (FUSED, 4, 2, 24, 48, 5),
        (FUSED, 4, 2, 48, 80, 5),
        (PLAIN, 4, 2, 80, 160, 7),
        (PLAIN, 6, 1, 160, 176, 14),
        (PLAIN, 6, 2, 176, 304, 18),
        (PLAIN, 6, 1, 304, 512, 5),
    ),
    'l': (
        (FUSED, 1, 1, 32, 32, 4),
        (FUSED, 4, 2, 32, 64, 7),
        (FUSED, 4, 2, 64, 96, 7),
        (PLAIN, 4, 2, 96, 192, 10),
        (PLAIN, 6, 1, 192, 224, 19),
        (PLAIN, 6, 2, 224, 384, 25),
        (PLAIN, 6, 1, 384, 640, 7),
    ),
}
_CHANNELS = 1280
_DROP_PATH = 0.2  # of the last block; earlier ones less, linearly
_SQUEEZE = 4  # the squeeze width is the block's input channels divided by this


def _unit(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    act: bool = True,
    shifted: bool = False,
) -> nn.Sequential:
    """Return convolution, batch norm and, if wanted, SiLU."""
    unit = nn.Sequential(
        conv2d(inputs, outputs, kernel, stride, groups, shifted=shifted),
        nn.BatchNorm2d(outputs, eps=1e-3),
    )
    if act:
        unit.append(nn.SiLU())
    return unit


class Block(nn.Module):
    """A fused or plain inverted bottleneck with a residual where shapes allow one."""

    def __init__(
        self,
        fused: bool,
        expansion: int,
        stride: int,
        inputs: int,
        outputs: int,
        shifted: bool,
        drop: float,
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        if fused and expansion == 1:
            layers: list[nn.Module] = [_unit(inputs, outputs, 3, stride, shifted=shifted)]
        elif fused:
            layers = [
                _unit(inputs, wide, 3, stride, shifted=shifted),
                _unit(wide, outputs, 1, act=False),
            ]
        else:
            layers = [
                _unit(inputs, wide, 1),
                _unit(wide, wide, 3, stride, groups=wide, shifted=shifted),
                SqueezeExcite(wide, inputs // _SQUEEZE, nn.SiLU, nn.Sigmoid),
                _unit(wide, outputs, 1, act=False),
            ]
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs
        self.drop_path = DropPath(drop)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        branch = self.block(features)
        return features + self.drop_path(branch) if self.residual else branch


def efficientnet_v2(stages: Sequence[Stage], centered_stride: bool) -> nn.Sequential:
    """Return the features of an EfficientNetV2, stride 32, 1280 channels."""
    strided = max(i for i, stage in enumerate(stages) if stage[2] == 2)
    total = sum(stage[5] for stage in stages)
    body = nn.Sequential(_unit(3, stages[0][3], 3, 2))
    done = 0
    for i, (fused, expansion, stride, inputs, outputs, count) in enumerate(stages):
        blocks = nn.Sequential()
        for k in range(count):
            blocks.append(
                Block(
                    fused,
                    expansion,
                    stride if k == 0 else 1,
                    inputs if k == 0 else outputs,
                    outputs,
                    shifted=centered_stride and i == strided and k == 0,
                    drop=_DROP_PATH * done / total,
                )
            )
            done += 1
        body.append(blocks)
    body.append(_unit(stages[-1][4], _CHANNELS, 1))
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out')
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    return body


def _register(size: str) -> None:
    name = f'efficientnetv2-{size}'

    @BACKBONES.register(name)
    def build(stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
        require_stride_32(name, stride)
        body = efficientnet_v2(SIZES[size], centered_stride)
        return nn.Sequential(ScaleImage(2.0, -1.0), body), _CHANNELS


for _size in SIZES:
    _register(_size)

"""MobileNetV3 small and large (Howard et al., ICCV 2019): the features, stride 32.

A block is given as (kernel, expanded, outputs, squeeze-excite, activation, stride). There is no
published PyTorch checkpoint of MeTRAbs on these; key names are ours. The TensorFlow models feed
255 x to a network whose first layer maps it to -1..1; here the image is mapped there directly.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from trpose_ros.metrabs.backbones.layers import ScaleImage, SqueezeExcite, conv2d, require_stride_32
from trpose_ros.metrabs.backbones.registry import BACKBONES

Row = tuple[int, int, int, bool, type[nn.Module], int]
_RE, _HS = nn.ReLU, nn.Hardswish
SIZES: dict[str, tuple[Row, ...]] = {
    'small': (
        (3, 16, 16, True, _RE, 2),
        (3, 72, 24, False, _RE, 2),
        (3, 88, 24, False, _RE, 1),
        (5, 96, 40, True, _HS, 2),
        (5, 240, 40, True, _HS, 1),
        (5, 240, 40, True, _HS, 1),
        (5, 120, 48, True, _HS, 1),
        (5, 144, 48, True, _HS, 1),
        (5, 288, 96, True, _HS, 2),
        (5, 576, 96, True, _HS, 1),
        (5, 576, 96, True, _HS, 1),
    ),
    'large': (
        (3, 16, 16, False, _RE, 1),
        (3, 64, 24, False, _RE, 2),
        (3, 72, 24, False, _RE, 1),
        (5, 72, 40, True, _RE, 2),
        (5, 120, 40, True, _RE, 1),
        (5, 120, 40, True, _RE, 1),
        (3, 240, 80, False, _HS, 2),
        (3, 200, 80, False, _HS, 1),
        (3, 184, 80, False, _HS, 1),
        (3, 184, 80, False, _HS, 1),
        (3, 480, 112, True, _HS, 1),
        (3, 672, 112, True, _HS, 1),
        (5, 672, 160, True, _HS, 2),
        (5, 960, 160, True, _HS, 1),
        (5, 960, 160, True, _HS, 1),
    ),
}
_STEM = 16


def _unit(
    inputs: int,
    outputs: int,
    kernel: int,
    act: type[nn.Module] | None,
    stride: int = 1,
    groups: int = 1,
    shifted: bool = False,
) -> nn.Sequential:
    """Return convolution, batch norm and, if wanted, an activation."""
    unit = nn.Sequential(
        conv2d(inputs, outputs, kernel, stride, groups, shifted=shifted),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01),
    )
    if act is not None:
        unit.append(act())
    return unit


def multiple_of_8(channels: float) -> int:
    """Round to a multiple of 8, but never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


class Block(nn.Module):
    """Inverted bottleneck: expand, depthwise, squeeze-excite, project."""

    def __init__(self, inputs: int, row: Row, shifted: bool) -> None:
        super().__init__()
        kernel, wide, outputs, squeeze, act, stride = row
        layers: list[nn.Module] = [] if wide == inputs else [_unit(inputs, wide, 1, act)]
        layers.append(_unit(wide, wide, kernel, act, stride, groups=wide, shifted=shifted))
        if squeeze:
            layers.append(SqueezeExcite(wide, multiple_of_8(wide / 4), nn.ReLU, nn.Hardsigmoid))
        layers.append(_unit(wide, outputs, 1, None))
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        branch = self.block(features)
        return features + branch if self.residual else branch


def mobilenet_v3(rows: Sequence[Row], centered_stride: bool) -> tuple[nn.Sequential, int]:
    """Return the features of a MobileNetV3 and their channels."""
    strided = max(i for i, row in enumerate(rows) if row[5] == 2)
    body = nn.Sequential(_unit(3, _STEM, 3, nn.Hardswish, 2))
    inputs = _STEM
    for i, row in enumerate(rows):
        body.append(Block(inputs, row, shifted=centered_stride and i == strided))
        inputs = row[2]
    channels = 6 * inputs
    body.append(_unit(inputs, channels, 1, nn.Hardswish))
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out')
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return body, channels


def _register(size: str) -> None:
    name = f'mobilenetv3-{size}'

    @BACKBONES.register(name)
    def build(stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
        require_stride_32(name, stride)
        body, channels = mobilenet_v3(SIZES[size], centered_stride)
        return nn.Sequential(ScaleImage(2.0, -1.0), body), channels


for _size in SIZES:
    _register(_size)

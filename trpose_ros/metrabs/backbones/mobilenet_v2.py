"""MobileNetV2 (Sandler et al., CVPR 2018) without batch norm, stride 32, 1280 channels.

A row of the table is (expansion, channels, repeats, stride); channels are multiplied by the width
and rounded to multiples of 8. Convolutions have biases and nothing is normalised: MoveNet's
networks, whose weights these backbones start from, come with batch norm folded in.

Which pixels strided convolutions sample is a matter of padding and has no parameters, so that one
state dict fits all three paddings:

    same       TensorFlow's: pixel 1, 3, 5, ..., cell i of the last map is centred at 32 i + 31
    symmetric  pixel 0, 2, 4, ..., cell i is centred at 32 i
    centered   as symmetric, but the last strided layer samples 1, 3, 5, ...: 32 i + 16

A network moved from one to the other sees the same picture, shifted: pretrained weights stay valid.
"""

from __future__ import annotations

from torch import Tensor, nn

from trpose_ros.metrabs.backbones.layers import ScaleImage, conv2d, require_stride_32
from trpose_ros.metrabs.backbones.mobilenet_v3 import multiple_of_8
from trpose_ros.metrabs.backbones.registry import BACKBONES

WIDTHS = (1.0, 1.5, 1.75)
CHANNELS = 1280  # of the last map, whatever the width
PADDINGS = ('same', 'symmetric', 'centered')
_STEM = 32
_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """Expand, depthwise, project; with a shortcut where shapes allow it."""

    def __init__(
        self, inputs: int, outputs: int, expansion: int, stride: int, shifted: bool
    ) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [conv2d(inputs, wide, 1, bias=True), nn.ReLU6(inplace=True)]
        layers += [
            conv2d(wide, wide, 3, stride, groups=wide, bias=True, shifted=shifted),
            nn.ReLU6(inplace=True),
            conv2d(wide, outputs, 1, bias=True),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        branch = self.layers(features)
        return features + branch if self.residual else branch


def block_channels(width: float) -> list[int]:
    """Return the output channels of the stem and the 17 blocks."""
    channels = [multiple_of_8(_STEM * width)]
    for _, outputs, repeats, _ in _ROWS:
        channels += [multiple_of_8(outputs * width)] * repeats
    return channels


def mobilenet_v2(width: float, padding: str) -> nn.Sequential:
    """Return ``Sequential(ScaleImage, body)``: images (B, 3, H, W) in 0..1 -> (B, 1280, h, w).

    ``body`` is a Sequential of the stem, 17 blocks and the last convolution, so that ``body[:n]``
    and ``body[n:]`` are networks of their own. Sides are multiples of 32. Raises ValueError for
    an unknown ``padding``.
    """
    if padding not in PADDINGS:
        raise ValueError(f'padding must be one of {list(PADDINGS)}, got {padding!r}')
    shifts = iter({'same': (1, 1, 1, 1, 1), 'centered': (0, 0, 0, 0, 1)}.get(padding, (0,) * 5))
    inputs = multiple_of_8(_STEM * width)
    stem = conv2d(3, inputs, 3, 2, bias=True, shifted=bool(next(shifts)))
    body = nn.Sequential(nn.Sequential(stem, nn.ReLU6(inplace=True)))
    for expansion, channels, repeats, first_stride in _ROWS:
        outputs = multiple_of_8(channels * width)
        for stride in [first_stride] + [1] * (repeats - 1):
            shifted = stride == 2 and bool(next(shifts))
            body.append(InvertedResidual(inputs, outputs, expansion, stride, shifted))
            inputs = outputs
    body.append(nn.Sequential(conv2d(inputs, CHANNELS, 1, bias=True), nn.ReLU6(inplace=True)))
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu')
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return nn.Sequential(ScaleImage(2.0, -1.0), body)


def _register(width: float) -> None:
    name = f'mobilenetv2-{width}'

    @BACKBONES.register(name)
    def build(stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
        require_stride_32(name, stride)
        return mobilenet_v2(width, 'centered' if centered_stride else 'symmetric'), CHANNELS


for _width in WIDTHS:
    _register(_width)

"""ResNet-18 to 152 (He et al., CVPR 2016), stride 32, with torchvision's parameter names.

Bottlenecks stride in their 3x3 convolution (the V1.5 variant), and images are normalised by the
mean and deviation of ImageNet, so that ImageNet weights fit.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from trpose_ros.metrabs.backbones.layers import conv2d, every_second, require_stride_32
from trpose_ros.metrabs.backbones.registry import BACKBONES

DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WIDEN = 4  # a bottleneck's outputs over its width


class NormaliseImage(nn.Module):
    """Subtract ImageNet's mean from an image in 0..1 and divide by its deviation."""

    def forward(self, image: Tensor) -> Tensor:
        """Normalise (B, 3, H, W)."""
        mean, std = (image.new_tensor(v)[:, None, None] for v in (_MEAN, _STD))
        return (image - mean) / std


class Downsample(nn.Sequential):
    """The shortcut of a strided block: a 1x1 convolution and batch norm.

    A 1x1 convolution with stride 2 sees every second pixel; a centred one the pixels between.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, shifted: bool) -> None:
        kept = 1 if shifted else stride
        super().__init__(nn.Conv2d(inputs, outputs, 1, kept, bias=False), nn.BatchNorm2d(outputs))
        self._shifted = shifted

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return super().forward(every_second(features, 1) if self._shifted else features)


class Basic(nn.Module):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, shifted: bool) -> None:
        super().__init__()
        self.conv1 = conv2d(inputs, width, 3, stride, shifted=shifted)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv2d(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride, shifted)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H / stride, W / stride)."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        shortcut = features if self.downsample is None else self.downsample(features)
        return F.relu(self.bn2(self.conv2(hidden)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, strided 3x3, 1x1 convolution."""

    expansion = _WIDEN

    def __init__(self, inputs: int, width: int, stride: int, shifted: bool) -> None:
        super().__init__()
        self.conv1 = conv2d(inputs, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv2d(width, width, 3, stride, shifted=shifted)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv2d(width, width * _WIDEN, 1)
        self.bn3 = nn.BatchNorm2d(width * _WIDEN)
        self.downsample = _shortcut(inputs, width * _WIDEN, stride, shifted)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 width, H / stride, W / stride)."""
        hidden = F.relu(self.bn1(self.conv1(features)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        shortcut = features if self.downsample is None else self.downsample(features)
        return F.relu(self.bn3(self.conv3(hidden)) + shortcut)


def _shortcut(inputs: int, outputs: int, stride: int, shifted: bool) -> Downsample | None:
    if stride == 1 and inputs == outputs:
        return None
    return Downsample(inputs, outputs, stride, shifted)


class ResNet(nn.Module):
    """The features of a ResNet, stride 32."""

    def __init__(self, blocks: tuple[int, ...], deep: bool, centered_stride: bool) -> None:
        super().__init__()
        kind = Bottleneck if deep else Basic
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for i, count in enumerate(blocks):
            width = 64 * 2**i
            stage = nn.Sequential()
            for k in range(count):
                first = k == 0 and i > 0
                shifted = centered_stride and first and i == len(blocks) - 1
                stage.append(kind(inputs, width, 2 if first else 1, shifted))
                inputs = width * kind.expansion
            self.add_module(f'layer{i + 1}', stage)
        self.channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, channels, S / 32, S / 32)."""
        features = F.relu(self.bn1(self.conv1(image)))
        features = F.max_pool2d(features, 3, 2, 1)
        for i in range(1, 5):
            features = self.get_submodule(f'layer{i}')(features)
        return features


def _register(depth: int) -> None:
    name = f'resnet-{depth}'
    blocks, deep = DEPTHS[depth]

    @BACKBONES.register(name)
    def build(stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
        require_stride_32(name, stride)
        body = ResNet(blocks, deep, centered_stride)
        return nn.Sequential(NormaliseImage(), body), body.channels


for _depth in DEPTHS:
    _register(_depth)

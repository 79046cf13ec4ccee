"""Layers that several backbones share: input scaling and convolutions with explicit padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trpose_ros.runtimes.shifted_convolution import ShiftedConv2d


class ScaleImage(nn.Module):
    """Map an image in 0..1 to ``image * gain + offset`` (no parameters, no state)."""

    def __init__(self, gain: float, offset: float) -> None:
        super().__init__()
        self.gain = gain
        self.offset = offset

    def forward(self, image: Tensor) -> Tensor:
        """Scale (B, 3, H, W)."""
        return image * self.gain + self.offset


class ShiftedSubsample(nn.Module):
    """Take every second pixel in both directions, starting at ``first`` (0, or 1 when centred)."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, ceil(H / 2), ceil(W / 2)); a sample beyond the edge is zero."""
        return every_second(features, self.first)


def every_second(features: Tensor, first: int) -> Tensor:
    """Return every second pixel of (B, C, H, W), starting at ``first``; zero beyond the edge."""
    if first:
        features = F.pad(features, (-1, 1, -1, 1))
    return features[:, :, ::2, ::2].contiguous(memory_format=_format_of(features))


def _format_of(features: Tensor) -> torch.memory_format:
    if features.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def conv2d(
    inputs: int,
    outputs: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    bias: bool = False,
    shifted: bool = False,
) -> nn.Conv2d:
    """Return a convolution with zero padding of half its kernel, shifted by a pixel on demand."""
    if shifted:
        return ShiftedConv2d(inputs, outputs, kernel, stride, groups, bias)
    return nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, groups=groups, bias=bias)


class SqueezeExcite(nn.Module):
    """Weigh channels by what the whole image says about them (Hu et al., CVPR 2018)."""

    def __init__(
        self, channels: int, squeezed: int, act: type[nn.Module], gate: type[nn.Module]
    ) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.act = act()
        self.gate = gate()

    def forward(self, features: Tensor) -> Tensor:
        """Scale (B, C, H, W) per image and channel."""
        weight = features.mean(dim=(2, 3), keepdim=True)
        return features * self.gate(self.fc2(self.act(self.fc1(weight))))


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a residual branch for a random part of the batch.

    Huang et al., "Deep networks with stochastic depth", ECCV 2016; 'row' mode.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return (B, ...) with a share ``rate`` of the batch zeroed and the rest scaled up."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        shape = (len(branch),) + (1,) * (branch.ndim - 1)
        return branch * branch.new_empty(shape).bernoulli_(keep).div_(keep)


def require_stride_32(name: str, stride: int) -> None:
    """Raise ValueError for a stride that the published families do not have."""
    if stride != 32:
        raise ValueError(f'{name} has stride 32, got {stride}; only resnet-plain-* has 16 as well')

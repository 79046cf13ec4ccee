"""Layers that several backbones share: input scaling and convolutions with explicit padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch import nn


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
        if self.first:
            features = F.pad(features, (-1, 1, -1, 1))
        return features[:, :, ::2, ::2].contiguous(memory_format=_format_of(features))


def _format_of(features: Tensor) -> torch.memory_format:
    if features.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format

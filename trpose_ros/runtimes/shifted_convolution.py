"""A layer of networks that a runtime has to know: the convolution of a centred stride."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ShiftedConv2d(nn.Conv2d):
    """A strided convolution whose samples lie one pixel further down and right (centred stride).

    Its zero padding is one smaller before and one larger after; it has no parameters of its own,
    so that the names in a state dict are those of a plain convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, bias: bool
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0, groups=groups, bias=bias)
        half = (kernel - 1) // 2
        self.pad = (half - 1, half + 1, half - 1, half + 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return super().forward(F.pad(features, self.pad))

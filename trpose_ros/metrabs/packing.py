"""Convolutions whose weights are laid out for the processor once instead of in every call.

oneDNN wants weights in a blocked layout that depends on the processor; at batch 1 a deep network
spends a good part of its time converting them again and again. These are the operators that
PyTorch's own compiler emits, called without compiling: weights are converted at the first call,
and a SiLU that follows is computed inside the convolution, before rounding. Where PyTorch does not
have the operators, nothing is changed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import nn


class PackedConv2d(nn.Module):
    """A convolution for inference on a processor, with an activation inside ('none', 'swish')."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.padding = [int(p) for p in convolution.padding]
        self.stride = list(convolution.stride)
        self.dilation = list(convolution.dilation)
        self.groups = convolution.groups
        self.activation = 'none'
        self._packed: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        geometry = (self.padding, self.stride, self.dilation, self.groups)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *geometry, list(features.shape)
            )
        return torch.ops.mkldnn._convolution_pointwise(
            features, self._packed, self.bias, *geometry, self.activation, [], ''
        )


def can_pack() -> bool:
    """Whether this PyTorch has the operators."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ('_reorder_convolution_weight', '_convolution_pointwise')
    )


def pack_convolutions(module: nn.Module) -> None:
    """Replace, in place, all plain convolutions and the SiLUs right behind them.

    Batch norms must have been folded (folding.py); convolutions of a derived class stay. Only a
    Sequential says which layer follows which: elsewhere activations stay where they are.
    """
    previous: PackedConv2d | None = None
    in_order = isinstance(module, nn.Sequential)
    for name, child in list(module.named_children()):
        if type(child) is nn.Conv2d and child.padding_mode == 'zeros':
            previous = PackedConv2d(child)
            setattr(module, name, previous)
        elif isinstance(child, nn.SiLU) and previous is not None and in_order:
            previous.activation = 'swish'
            setattr(module, name, nn.Identity())
            previous = None
        elif not isinstance(child, nn.Identity):  # a folded batch norm
            pack_convolutions(child)
            previous = None

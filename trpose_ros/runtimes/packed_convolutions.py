"""Convolutions whose weights are laid out for the processor once instead of in every call.

oneDNN wants weights in a blocked layout that depends on the processor; at batch 1 a deep network
spends a good part of its time converting them again and again. These are the operators that
PyTorch's own compiler emits, called without compiling: weights are converted at the first call,
and an activation that follows is computed inside the convolution, before rounding, which saves
reading and writing its whole map. Where PyTorch does not have the operators, nothing is changed.

The operators pad alike on both sides. A shifted convolution (shifted_convolution.py) pads one less
before and one more after; if it is depthwise it gets a kernel with a row and a column of zeros in
front instead, which costs less than copying its input into a larger one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trpose_ros.runtimes.shifted_convolution import ShiftedConv2d

# Activations that the operators compute, with their names and numbers there.
_INSIDE: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ('relu', []),
    nn.ReLU6: ('hardtanh', [0.0, 6.0]),
    nn.SiLU: ('swish', []),
    nn.Hardswish: ('hardswish', []),
}


class PackedConv2d(nn.Module):
    """A convolution for inference on a processor, with an activation inside."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = convolution.weight, convolution.bias
        self.padding = [int(p) for p in convolution.padding]
        self.stride = list(convolution.stride)
        self.dilation = list(convolution.dilation)
        self.groups = convolution.groups
        self.activation: tuple[str, list[float]] = ('none', [])
        self.pad_first: tuple[int, ...] | None = None  # left, right, top, bottom
        self.pad_to_even = False
        self._packed: Tensor | None = None
        if isinstance(convolution, ShiftedConv2d):
            self._shift(convolution)

    def _shift(self, convolution: ShiftedConv2d) -> None:
        kernel = convolution.kernel_size[0]
        if self.groups == 1 or kernel == 1:
            self.pad_first = convolution.pad
            return
        self.weight = nn.Parameter(F.pad(self.weight, (1, 0, 1, 0)), requires_grad=False)
        self.padding = [(kernel - 1) // 2] * 2
        self.pad_to_even = True  # the longer kernel would miss the last sample of odd sides

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        if self.pad_first is not None:
            features = F.pad(features, self.pad_first)
        elif self.pad_to_even and (features.shape[2] % 2 or features.shape[3] % 2):
            features = F.pad(features, (0, features.shape[3] % 2, 0, features.shape[2] % 2))
        geometry = (self.padding, self.stride, self.dilation, self.groups)
        if self._packed is None:
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *geometry, list(features.shape)
            )
        return torch.ops.mkldnn._convolution_pointwise(
            features, self._packed, self.bias, *geometry, *self.activation, ''
        )


def can_pack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this PyTorch has the operators, and on this processor in that number format."""
    if not torch.backends.mkldnn.is_available() or not all(
        hasattr(torch.ops.mkldnn, name)
        for name in ('_reorder_convolution_weight', '_convolution_pointwise')
    ):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def pack_convolutions(module: nn.Module) -> None:
    """Replace, in place, all plain and shifted convolutions and the activations right behind them.

    Batch norms must have been folded (folding.py); convolutions of other derived classes stay.
    Only a Sequential says which layer follows which: elsewhere activations stay where they are.
    """
    previous: PackedConv2d | None = None
    in_order = isinstance(module, nn.Sequential)
    for name, child in list(module.named_children()):
        plain = type(child) in (nn.Conv2d, ShiftedConv2d)
        if plain and isinstance(child, nn.Conv2d) and child.padding_mode == 'zeros':
            previous = PackedConv2d(child)
            setattr(module, name, previous)
        elif type(child) in _INSIDE and previous is not None and in_order:
            previous.activation = _INSIDE[type(child)]
            setattr(module, name, nn.Identity())
            previous = None
        elif not isinstance(child, nn.Identity):  # a folded batch norm
            pack_convolutions(child)
            previous = None

"""Half precision where it costs nothing that one could see.

bfloat16 keeps 8 bits: a coordinate of half a metre is rounded to 2 mm, a 2D joint to a pixel or
two. So only the weights of the large matrix products are bfloat16; their results are added up in
float32, and the maps that take joints in and give joints out stay float32 altogether.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HALF = torch.bfloat16


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Apply a linear map whose weight may be in half precision; the result is of x's type."""
    if weight.dtype == x.dtype:
        return F.linear(x, weight, bias)
    return F.linear(x.to(weight.dtype), weight).to(x.dtype) + bias


class Linear(nn.Linear):
    """A linear map inside a network, whose weight ``halve`` may reduce."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis."""
        return linear(x, self.weight, self.bias)


def halve(model: nn.Module) -> nn.Module:
    """Reduce the weights of the large maps inside a network, in place."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.weight.data = module.weight.data.to(HALF)
    return model

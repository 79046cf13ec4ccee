"""A linear map behind a layer norm of token + position, whose costly part is kept per token.

With the norm's gain and its centring folded into the weight W, and its offset into the bias b,

    map(norm(x + p)) = (W x + W p) / s(x + p) + b,

where s is the deviation. So W x, which is nearly all of the work, depends on the token alone, and
W p on the position alone: a stream computes the one when a frame arrives and the other when it
starts, though every step moves each frame to another position.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trpose_ros.lifters.networks.attention import Map
from trpose_ros.lifters.networks.precision import linear


class NormedSumMap:
    """Queries, keys and values of tokens at positions of a window.

    Args:
        weight: (out, C) of the linear map.
        bias: (out,) of the linear map.
        gain: (C,) of the norm.
        offset: (C,) of the norm.
        positions: (F, C), what is added to the token at each place of the window.
        dtype: of the map that is kept; by default that of ``weight``.
        tokens: the map that makes tokens from something smaller, where it is linear. ``share`` then
            takes that, and its map has the type of the tokens' map.

    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        gain: Tensor,
        offset: Tensor,
        positions: Tensor,
        dtype: torch.dtype | None = None,
        tokens: Map | None = None,
    ) -> None:
        wide = weight.double()  # folded once, so that rounding does not add up
        centred = wide * gain.double()
        centred = centred - centred.mean(dim=1, keepdim=True)
        like = bias.dtype
        self._positions = (positions.double() @ centred.T).to(like)
        self._bias = (bias.double() + wide @ offset.double()).to(like)
        constant = torch.zeros_like(bias)
        dtype = weight.dtype if dtype is None else dtype
        if tokens is not None:
            constant = (centred @ tokens[1].double()).to(like)
            centred, dtype = centred @ tokens[0].double(), tokens[0].dtype
        self._map: Map = (centred.to(dtype), constant)

    def share(self, tokens: Tensor) -> Tensor:
        """Map tokens (..., C) to what they contribute at any position, (..., out)."""
        return linear(tokens, *self._map)

    def __call__(self, shares: Tensor, scale: Tensor) -> Tensor:
        """Join the shares (B, F, out) of a window's tokens, in place.

        ``scale`` (B, F, 1) is what the norm multiplies token + position by, 1 / s.
        """
        return shares.add_(self._positions).mul_(scale).add_(self._bias)


def norm_scale(x: Tensor, eps: float) -> Tensor:
    """Return what a layer norm with this constant multiplies (..., C) by: (..., 1)."""
    return torch.native_layer_norm(x, x.shape[-1:], None, None, eps)[2]

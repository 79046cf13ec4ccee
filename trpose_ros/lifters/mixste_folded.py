"""MixSTE for streams: more of a frame's work is kept than the network's own parts would allow.

The first temporal block normalises frames after their positions were added, so its queries, keys
and values change with each step. What makes them costly does not (normed_sum.py): it is kept with
the frame, for three times the memory. In double precision the result equals ``MixSTE`` to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trpose_ros.lifters.attention import Wanted
from trpose_ros.lifters.mixste import MixSTE
from trpose_ros.lifters.normed_sum import NormedSumMap
from trpose_ros.lifters.normed_sum import norm_scale


class FoldedMixSTE:
    """A network of at least two layers, arranged for frames that come one at a time."""

    @torch.no_grad()
    def __init__(self, model: MixSTE) -> None:
        if model.config.depth < 2:
            raise ValueError('the only temporal block is the last, which forms no keys and values')
        first: Any = model.TTEblocks[0]
        self._model, self._channels, self._eps = model, model.config.channels, first.norm1.eps
        self._enter = NormedSumMap(
            first.attn.qkv.weight,
            first.attn.qkv.bias,
            gain=first.norm1.weight,
            offset=first.norm1.bias,
            positions=model.Temporal_pos_embed[0],
        )

    def embed(self, joints: Tensor) -> Tensor:
        """Map each frame by itself, (B, T, 17, 2) to (B, T, 17, 4 C)."""
        x = self._model.embed(joints)
        return torch.cat([x, self._enter.share(x)], dim=3)

    def lift(self, window: Tensor, wanted: Wanted = None) -> Tensor:
        """Map embedded windows (B, frames, 17, 4 C) to (B, wanted frames, 17, 3)."""
        x, shares = window.transpose(1, 2).split([self._channels, 3 * self._channels], dim=3)
        x = self._model.placed(x)
        qkv = self._enter(shares.flatten(0, 1), norm_scale(x, self._eps))
        return self._model.lift_placed(x, wanted, qkv)

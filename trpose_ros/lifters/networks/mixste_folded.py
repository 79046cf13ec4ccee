"""MixSTE for streams: more of a frame's work is kept than the network's own parts would allow.

The first temporal block normalises frames after their positions were added, so its queries, keys
and values change with each step. What makes them costly does not (normed_sum.py): it is kept with
the frame, for three times the memory. In double precision the result equals ``MixSTE`` to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trpose_ros.lifters.networks.attention import Wanted
from trpose_ros.lifters.networks.mixste import MixSTE
from trpose_ros.lifters.networks.normed_sum import NormedSumMap, norm_scale


class FoldedMixSTE:
    """A network of at least two layers, arranged for frames that come one at a time."""

    @torch.no_grad()
    def __init__(self, model: MixSTE) -> None:
        if model.config.depth < 2:
            raise ValueError('the only temporal block is the last, which forms no keys and values')
        first: Any = model.TTEblocks[0]
        self._model, self._eps = model, first.norm1.eps
        self._enter = NormedSumMap(
            first.attn.qkv.weight,
            first.attn.qkv.bias,
            gain=first.norm1.weight,
            offset=first.norm1.bias,
            positions=model.Temporal_pos_embed[0],
        )

    def embed(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames by themselves, (B, T, 17, 2) to tokens (B, T, 17, C) and shares (.., 3 C)."""
        x = self._model.embed(joints)
        return x, self._enter.share(x)

    def lift(self, x: Tensor, shares: Tensor, wanted: Wanted = None) -> Tensor:
        """Map embedded windows to (B, wanted frames, 17, 3); the shares are overwritten."""
        x = self._model.placed(x)
        scale = norm_scale(x, self._eps).unflatten(0, (-1, shares.shape[2]))
        qkv = self._enter(shares.transpose(1, 2), scale)
        return self._model.lift_placed(x, wanted, qkv.flatten(0, 1))

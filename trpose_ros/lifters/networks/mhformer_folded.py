"""MHFormer for inference: the same numbers from fewer multiplications.

Windows of more than 27 frames are embedded by a bare linear map. Behind it come the sum with the
positions, a layer norm and the maps to queries, keys and values: apart from the norm's deviation
all of it is linear in the 34 coordinates of a frame, so the first block maps 34 numbers instead of
its 512 channels. In double precision the result equals ``MHFormer`` to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from trpose_ros.lifters.networks.attention import Wanted
from trpose_ros.lifters.networks.mhformer import BRANCHES, MHFormer
from trpose_ros.lifters.networks.normed_sum import NormedSumMap, norm_scale


def can_fold(model: MHFormer) -> bool:
    """Say whether the embedding is linear and a block of self-attention follows."""
    return isinstance(model.embedding_1, nn.Conv1d) and model.config.layers > 1


class FoldedMHFormer:
    """A network whose first block takes coordinates."""

    @torch.no_grad()
    def __init__(self, model: MHFormer) -> None:
        if not can_fold(model):
            raise ValueError('only networks with a linear embedding and two layers can be folded')
        self._model = model
        hypotheses: Any = model.Transformer_hypothesis
        first = hypotheses.SHR_blocks[0]
        self._eps = first.norm1_1.eps
        self._enter = []
        for k in BRANCHES:
            embedding: Any = model.get_submodule(f'embedding_{k}')
            norm, qkv = (first.get_submodule(name) for name in (f'norm1_{k}', f'attn_{k}.qkv'))
            self._enter.append(
                NormedSumMap(
                    qkv.weight,
                    qkv.bias,
                    gain=norm.weight,
                    offset=norm.bias,
                    positions=hypotheses.get_parameter(f'pos_embed_{k}')[0],
                    tokens=(embedding.weight[:, :, 0], embedding.bias),
                )
            )

    def __call__(self, joints: Tensor, wanted: Wanted = None) -> Tensor:
        """Lift windows; see ``MHFormer.forward``."""
        generated = self._model.generate(joints)
        placed = self._model.place(generated)
        qkv = [
            enter(enter.share(x.transpose(1, 2)), norm_scale(h, self._eps))
            for enter, x, h in zip(self._enter, generated, placed, strict=True)
        ]
        return self._model.refine(placed, wanted, qkv)

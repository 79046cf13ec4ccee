"""MHFormer: three hypotheses of a pose sequence, refined each and then against each other.

Li et al., "MHFormer: Multi-hypothesis transformer for 3D human pose estimation", CVPR 2022, arXiv
2111.12707. Three encoders in a row see the 34 coordinates as tokens and the frames as features
(MHG); each of their outputs becomes one hypothesis, a sequence of frame tokens. Blocks of
self-attention refine the hypotheses one by one (SHR), a last block of cross attention mixes them
(CHI). Parameter names, shapes and order are those of the official checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trpose_ros.lifters.networks.attention import (
    DropPath,
    Map,
    Mlp,
    PreNormBlock,
    SelfAttention,
    Wanted,
    attend_wanted,
    drop_path_rates,
    pick,
)
from trpose_ros.lifters.networks.build import MOST_FRAMES, NETWORKS, check_network
from trpose_ros.lifters.networks.inputs import from_root
from trpose_ros.lifters.networks.precision import Linear

_JOINTS = 17
BRANCHES = (1, 2, 3)
_FRAME_HEADS = 9  # of the encoders whose features are frames
_NORMED_UP_TO = 27  # frames; longer windows are embedded without batch norm
_HEADS = 8
_DROPOUT = 0.1
_DROP_PATH = 0.2


@dataclass(frozen=True)
class MHFormerConfig:
    """Sizes of the network; the defaults are the official 351-frame model."""

    frames: int = 351
    channels: int = 512
    hidden: int = 1024
    layers: int = 3  # the last one is the CHI block
    values_in: int = 2  # numbers per joint, see base.Core
    relative: float = 0.0  # see inputs.py
    size_power: float = 0.0  # see inputs.py

    def __post_init__(self) -> None:
        """Validate the sizes."""
        check_network(self, frames=MOST_FRAMES, hidden=32768, layers=64)
        if self.frames % _FRAME_HEADS:
            raise ValueError(f'frames must be a multiple of {_FRAME_HEADS}, got {self.frames}')
        if self.channels % _HEADS:
            raise ValueError(f'channels must be a multiple of {_HEADS}, got {self.channels}')


@NETWORKS.register('mhformer')
class MHFormer(nn.Module):
    """The network."""

    Config = MHFormerConfig

    def __init__(self, config: MHFormerConfig) -> None:
        super().__init__()
        self.config = config
        frames, c = config.frames, config.channels
        for k in BRANCHES:
            self.add_module(f'norm_{k}', nn.LayerNorm(frames, eps=1e-5))
        for k in BRANCHES:
            self.add_module(
                f'Transformer_encoder_{k}', _FrameEncoder(frames, config.values_in * _JOINTS)
            )
        for k in BRANCHES:
            self.add_module(f'embedding_{k}', _embedding(frames, c, config.values_in * _JOINTS))
        self.Transformer_hypothesis = _Hypotheses(config)
        self.regression = nn.Sequential(
            nn.BatchNorm1d(3 * c), nn.Conv1d(3 * c, 3 * _JOINTS, kernel_size=1)
        )

    def forward(self, joints: Tensor, wanted: Wanted = None) -> Tensor:
        """Lift windows.

        Args:
            joints: (B, frames, 17, 2) normalised screen coordinates.
            wanted: frames that are asked for; the last block and the head compute only those.

        Returns:
            (B, frames, 17, 3) metres, or the wanted frames. The evaluation of the paper takes
            frame ``frames // 2``.

        """
        shape = (self.config.frames, _JOINTS, self.config.values_in)
        if joints.shape[1:] != shape:
            expected = f'(B, {", ".join(map(str, shape))})'
            raise ValueError(f'this MHFormer takes {expected}, got {tuple(joints.shape)}')
        return self.refine(self.place(self.generate(joints)), wanted)

    def generate(self, joints: Tensor) -> list[Tensor]:
        """Return three hypotheses (B, 34, frames) of joints (B, frames, 17, 2)."""
        x = (
            from_root(joints, self.config.relative, self.config.size_power)
            .flatten(2)
            .transpose(1, 2)
        )  # (B, 34, F)
        hypotheses = []
        for k in BRANCHES:
            encoder = self.get_submodule(f'Transformer_encoder_{k}')
            x = x + encoder(self.get_submodule(f'norm_{k}')(x))
            hypotheses.append(x)
        return hypotheses

    def place(self, hypotheses: list[Tensor]) -> list[Tensor]:
        """Embed the frames of three hypotheses and add their positions: three (B, frames, C)."""
        return self.Transformer_hypothesis.place(
            [
                self.get_submodule(f'embedding_{k}')(x).transpose(1, 2)
                for k, x in zip(BRANCHES, hypotheses, strict=True)
            ]
        )

    def refine(self, h: list[Tensor], wanted: Wanted, qkv: list[Tensor] | None = None) -> Tensor:
        """Map three placed hypotheses (B, frames, C) to (B, wanted frames, 17, 3).

        ``qkv``, three (B, frames, 3 C), are queries, keys and values of the first block of
        self-attention, where they are known.
        """
        x = self.Transformer_hypothesis(h, wanted, qkv)
        return self.regression(x.transpose(1, 2)).transpose(1, 2).unflatten(2, (_JOINTS, 3))


def _embedding(frames: int, channels: int, coordinates: int) -> nn.Module:
    """From the coordinates of each frame to its token."""
    conv = nn.Conv1d(coordinates, channels, kernel_size=1)
    if frames > _NORMED_UP_TO:
        return conv
    return nn.Sequential(conv, nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(0.25))


class _FrameEncoder(nn.Module):
    """An encoder whose tokens are coordinates and whose features are frames."""

    def __init__(self, frames: int, coordinates: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, coordinates, frames))
        self.drop = nn.Dropout(_DROPOUT)
        self.blocks = nn.ModuleList(
            PreNormBlock(frames, _FRAME_HEADS, 2 * frames, dropout=_DROPOUT, drop_path=rate)
            for rate in drop_path_rates(_DROP_PATH, 4)
        )
        self.norm = nn.LayerNorm(frames, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 34, F) to (B, 34, F)."""
        x = self.drop(x + self.pos_embed)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class _CrossAttention(nn.Module):
    """Attention whose queries, keys and values come from different sequences."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear_q = Linear(channels, channels)
        self.linear_k = Linear(channels, channels)
        self.linear_v = Linear(channels, channels)
        self.proj = Linear(channels, channels)
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Mix v (B, M, C) by the attention of q (B, N, C) to k (B, M, C)."""
        key: Map = (self.linear_k.weight, self.linear_k.bias)
        value: Map = (self.linear_v.weight, self.linear_v.bias)
        return self.drop(self.proj(attend_wanted(self.linear_q(q), k, v, key, value, _HEADS)))


class _Refining(nn.Module):
    """SHR: self-attention in each hypothesis, then one MLP over all three."""

    def __init__(self, config: MHFormerConfig, drop_path: float) -> None:
        super().__init__()
        c = config.channels
        for k in BRANCHES:
            self.add_module(f'norm1_{k}', nn.LayerNorm(c, eps=1e-6))
        for k in BRANCHES:
            self.add_module(f'attn_{k}', SelfAttention(c, _HEADS, _DROPOUT))
        self.norm2 = nn.LayerNorm(3 * c, eps=1e-6)
        self.mlp = Mlp(3 * c, config.hidden, _DROPOUT)
        self.drop_path = DropPath(drop_path)

    def forward(self, h: list[Tensor], qkv: list[Tensor] | None = None) -> list[Tensor]:
        """Map three (B, F, C) to three (B, F, C); ``qkv``: see ``MHFormer.refine``."""
        h = list(h)
        for i, k in enumerate(BRANCHES):
            attention: Any = self.get_submodule(f'attn_{k}')
            if qkv is None:
                mixed = attention(self.get_submodule(f'norm1_{k}')(h[i]))
            else:
                mixed = attention.mix(qkv[i])
            h[i] = h[i] + self.drop_path(mixed)
        joined = torch.cat(h, dim=2)
        joined = joined + self.drop_path(self.mlp(self.norm2(joined)))
        return list(joined.chunk(3, dim=2))


class _Crossing(nn.Module):
    """CHI: cross attention between the hypotheses, one after the other, then one MLP."""

    # Rows: the hypothesis that is updated, and the sources of queries, keys and values.
    _ROUTES = ((0, (1, 2, 0)), (1, (0, 2, 1)), (2, (0, 1, 2)))

    def __init__(self, config: MHFormerConfig, drop_path: float) -> None:
        super().__init__()
        c = config.channels
        for k in BRANCHES:
            for part in (1, 2, 3):
                self.add_module(f'norm3_{k}{part}', nn.LayerNorm(c, eps=1e-6))
        for k in BRANCHES:
            self.add_module(f'attn_{k}', _CrossAttention(c))
        self.norm2 = nn.LayerNorm(3 * c, eps=1e-6)
        self.mlp = Mlp(3 * c, config.hidden, _DROPOUT)
        self.drop_path = DropPath(drop_path)

    def forward(self, h: list[Tensor], wanted: Wanted) -> Tensor:
        """Map three (B, F, C) to (B, wanted frames, 3 C)."""
        h = list(h)
        for target, sources in self._ROUTES:
            k = target + 1
            q, keys, values = (
                self.get_submodule(f'norm3_{k}{part + 1}')(h[source])
                for part, source in enumerate(sources)
            )
            # Frames of the first two hypotheses are keys of the third: only that can be trimmed.
            only = wanted if k == 3 else None
            mixed = self.get_submodule(f'attn_{k}')(pick(q, only), keys, values)
            h[target] = pick(h[target], only) + self.drop_path(mixed)
        joined = torch.cat([pick(h[0], wanted), pick(h[1], wanted), h[2]], dim=2)
        return joined + self.drop_path(self.mlp(self.norm2(joined)))


class _Hypotheses(nn.Module):
    """All blocks whose tokens are frames."""

    def __init__(self, config: MHFormerConfig) -> None:
        super().__init__()
        for k in BRANCHES:
            embedding = nn.Parameter(torch.zeros(1, config.frames, config.channels))
            self.register_parameter(f'pos_embed_{k}', embedding)
        self.drop = nn.Dropout(_DROPOUT)
        rates = drop_path_rates(_DROP_PATH, config.layers)
        self.SHR_blocks = nn.ModuleList(_Refining(config, rate) for rate in rates[:-1])
        self.CHI_blocks = nn.ModuleList([_Crossing(config, rates[-1])])
        self.norm = nn.LayerNorm(3 * config.channels, eps=1e-6)

    def place(self, h: list[Tensor]) -> list[Tensor]:
        """Add the positions to three (B, F, C)."""
        return [
            self.drop(x + self.get_parameter(f'pos_embed_{k}'))
            for k, x in zip(BRANCHES, h, strict=True)
        ]

    def forward(self, h: list[Tensor], wanted: Wanted, qkv: list[Tensor] | None = None) -> Tensor:
        """Map three placed (B, F, C) to (B, wanted frames, 3 C)."""
        for i, block in enumerate(self.SHR_blocks):
            h = block(h, qkv if i == 0 else None)
        return self.norm(self.CHI_blocks[0](h, wanted))

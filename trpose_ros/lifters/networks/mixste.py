"""MixSTE: spatial and temporal transformer blocks in turn, a sequence in and a sequence out.

Zhang et al., "MixSTE: Seq2seq mixed spatio-temporal encoder for 3D human pose estimation in
video", CVPR 2022, arXiv 2203.00859. A spatial block lets the 17 joints of one frame attend to
each other, a temporal block the frames of one joint. One pair of layer norms is shared by all
blocks. Parameter names, shapes and order are those of the official checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trpose_ros.lifters.networks.attention import PreNormBlock, Wanted, drop_path_rates
from trpose_ros.lifters.networks.build import MOST_FRAMES, NETWORKS, check_network
from trpose_ros.lifters.networks.inputs import from_root

_JOINTS = 17


@dataclass(frozen=True)
class MixSTEConfig:
    """Sizes of the network; the defaults are the official 243-frame model."""

    frames: int = 243
    channels: int = 512
    depth: int = 8
    heads: int = 8
    drop_path: float = 0.1
    values_in: int = 2  # numbers per joint, see base.Core
    relative: float = 0.0  # see inputs.py
    size_power: float = 0.0  # see inputs.py

    def __post_init__(self) -> None:
        """Validate the sizes."""
        check_network(self, frames=MOST_FRAMES, depth=64, heads=1024)
        if self.channels % self.heads:
            raise ValueError(f'channels must be a multiple of {self.heads}, got {self.channels}')


@NETWORKS.register('mixste')
class MixSTE(nn.Module):
    """The network."""

    Config = MixSTEConfig

    def __init__(self, config: MixSTEConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, _JOINTS, c))
        self.Temporal_pos_embed = nn.Parameter(torch.zeros(1, config.frames, c))
        self.Spatial_patch_to_embedding = nn.Linear(config.values_in, c)
        rates = drop_path_rates(config.drop_path, config.depth)
        self.STEblocks = nn.ModuleList(
            PreNormBlock(c, config.heads, 2 * c, drop_path=rate) for rate in rates
        )
        self.TTEblocks = nn.ModuleList(
            PreNormBlock(c, config.heads, 2 * c, drop_path=rate) for rate in rates
        )
        self.Spatial_norm = nn.LayerNorm(c, eps=1e-6)
        self.Temporal_norm = nn.LayerNorm(c, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(c, eps=1e-5), nn.Linear(c, 3))

    def forward(self, joints: Tensor) -> Tensor:
        """Lift windows.

        Args:
            joints: (B, frames, 17, 2) normalised screen coordinates.

        Returns:
            (B, frames, 17, 3) metres, every frame.

        """
        wanted = (self.config.frames, _JOINTS, self.config.values_in)
        if joints.shape[1:] != wanted:
            expected = f'(B, {", ".join(map(str, wanted))})'
            raise ValueError(f'this MixSTE takes {expected}, got {tuple(joints.shape)}')
        return self.lift(self.embed(joints))

    def embed(self, joints: Tensor) -> Tensor:
        """Map each frame by itself, (B, T, 17, 2) to (B, T, 17, C): up to the first spatial block.

        Nothing here depends on other frames or on the place in the window, so a stream keeps it.
        """
        joints = from_root(joints, self.config.relative, self.config.size_power)
        x = self.Spatial_patch_to_embedding(joints).flatten(0, 1) + self.Spatial_pos_embed
        return self._spatial(0, x).unflatten(0, joints.shape[:2])

    def lift(self, x: Tensor, wanted: Wanted = None) -> Tensor:
        """Map embedded windows (B, frames, 17, C) to (B, wanted frames, 17, 3).

        With ``wanted`` the last temporal block and the head compute those frames only.
        """
        return self.lift_placed(self.placed(x), wanted)

    def placed(self, x: Tensor) -> Tensor:
        """Add the positions of their frames to tokens (B, frames, 17, C): (B J, frames, C)."""
        return x.transpose(1, 2).flatten(0, 1) + self.Temporal_pos_embed

    def lift_placed(self, x: Tensor, wanted: Wanted = None, qkv: Tensor | None = None) -> Tensor:
        """Map placed windows (B J, frames, C) to (B, wanted frames, 17, 3).

        ``qkv`` (B J, frames, 3 C) are the first temporal block's queries, keys and values, where
        they are known; that block must not be the last.
        """
        # Temporal blocks see (B J, F, C), spatial ones (B F, J, C). No size of a batch is written
        # down: an exported network takes any.
        for i in range(self.config.depth):
            if i > 0:
                x = x.unflatten(0, (-1, _JOINTS)).transpose(1, 2).flatten(0, 1)
                x = self._spatial(i, x)
                x = x.unflatten(0, (-1, self.config.frames)).transpose(1, 2).flatten(0, 1)
            only = wanted if i == self.config.depth - 1 else None
            x = self.Temporal_norm(self.TTEblocks[i](x, only, qkv if i == 0 else None))
        return self.head(x).unflatten(0, (-1, _JOINTS)).transpose(1, 2)

    def _spatial(self, index: int, x: Tensor) -> Tensor:
        return self.Spatial_norm(self.STEblocks[index](x))

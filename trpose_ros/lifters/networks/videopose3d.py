"""VideoPose3D: a temporal convolution network over 2D joints, and its exact ring-buffer stream.

The network (Pavllo et al., "3D human pose estimation in video with temporal convolutions and
semi-supervised training", CVPR 2019, arXiv 1811.11742) looks at a receptive field of
R = w_0 w_1 ... w_{n-1} frames. Layer i of the tree has columns that each summarise a run of
consecutive frames; D_i = w_0 ... w_{i-1} frames after i layers (D_0 = 1).

Three ways to compute the same numbers live here:

* ``VideoPose3D.forward``: dilated convolutions over a clip, R - 1 frames shorter than the clip;
* ``VideoPose3D.forward_windows``: disjoint windows of R frames, strided convolutions written as
  matrix products (cheap to train);
* ``VideoPose3DCore``: one new frame at a time. A new frame completes exactly one new column per
  layer, so rings of past columns make a step O(layers) instead of O(R).

Parameter names and shapes are those of the official checkpoints. Nothing in a checkpoint tells a
causal network (residual from the newest tap) from a symmetric one (residual from the centre tap).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from trpose_ros.configuration import setting
from trpose_ros.lifters.networks.build import MOST_FRAMES, NETWORKS, check_network
from trpose_ros.lifters.networks.inputs import from_root


@dataclass(frozen=True)
class VideoPose3DConfig:
    """Sizes of the network; the defaults are the official 243-frame model."""

    filter_widths: tuple[int, ...] = (3, 3, 3, 3, 3)
    channels: int = 1024
    causal: bool = False
    dropout: float = 0.25
    joints_in: int = 17
    joints_out: int = setting(17, '1 makes it the trajectory model')
    dense: bool = setting(False, 'undilated ablation of the paper')
    values_in: int = 2  # numbers per joint, see base.Core
    relative: float = 0.0  # see inputs.py
    size_power: float = 0.0  # see inputs.py

    def __post_init__(self) -> None:
        """Validate the sizes."""
        object.__setattr__(self, 'filter_widths', tuple(self.filter_widths))
        if not all(type(w) is int for w in self.filter_widths) or len(self.filter_widths) > 20:
            raise ValueError(
                f'filter widths must be up to 20 whole numbers: {self.filter_widths!r:.80}'
            )
        if not self.filter_widths or any(w < 1 or w % 2 == 0 for w in self.filter_widths):
            raise ValueError(
                f'filter widths must be odd and positive, got {list(self.filter_widths)}'
            )
        if self.receptive_field > MOST_FRAMES:
            raise ValueError(
                f'filter widths of more than {MOST_FRAMES} frames together: '
                f'{list(self.filter_widths)!r:.80}'
            )
        check_network(self, joints_in=1000, joints_out=1000)

    @property
    def receptive_field(self) -> int:
        """Frames that one output looks at."""
        return math.prod(self.filter_widths)

    @property
    def dilations(self) -> tuple[int, ...]:
        """D_i for i = 0..n-1: frames that one input column of layer i summarises."""
        return tuple(math.prod(self.filter_widths[:i]) for i in range(len(self.filter_widths)))


@NETWORKS.register('videopose3d')
class VideoPose3D(nn.Module):
    """The network in its dilated and its windowed form; weights are shared by both."""

    Config = VideoPose3DConfig

    def __init__(self, config: VideoPose3DConfig) -> None:
        super().__init__()
        self.config = config
        c, widths = config.channels, config.filter_widths
        # In this order: the official optimizer states number parameters as they are registered.
        self.expand_bn = nn.BatchNorm1d(c)
        self.shrink = nn.Conv1d(c, 3 * config.joints_out, 1)
        self.expand_conv = nn.Conv1d(config.values_in * config.joints_in, c, widths[0], bias=False)
        convs: list[nn.Module] = []
        for width, dilation in zip(widths[1:], config.dilations[1:], strict=True):
            if config.dense:
                convs.append(nn.Conv1d(c, c, (width - 1) * dilation + 1, bias=False))
            else:
                convs.append(nn.Conv1d(c, c, width, dilation=dilation, bias=False))
            convs.append(nn.Conv1d(c, c, 1, bias=False))
        self.layers_conv = nn.ModuleList(convs)
        self.layers_bn = nn.ModuleList(nn.BatchNorm1d(c) for _ in convs)
        self.drop = nn.Dropout(config.dropout)

    def forward(self, joints: Tensor) -> Tensor:
        """Lift a clip.

        Args:
            joints: (B, T, joints_in, values_in) normalised screen coordinates, T >= receptive
                field.

        Returns:
            (B, T - R + 1, joints_out, 3) metres; output t belongs to input frame t + (R - 1) / 2,
            or t + R - 1 when causal.

        """
        batch, frames = joints.shape[:2]
        if frames < self.config.receptive_field:
            raise ValueError(
                f'the clip has {frames} frames, the network needs at least '
                f'{self.config.receptive_field}; pad it by repeating edge frames'
            )
        joints = from_root(joints, self.config.relative, self.config.size_power)
        x = joints.reshape(batch, frames, -1).transpose(1, 2)  # (B, 2 J, T)
        x = self.drop(F.relu(self.expand_bn(self.expand_conv(x))))
        for i, width in enumerate(self.config.filter_widths[1:]):
            reach = (width - 1) * self.config.dilations[i + 1]  # 2 P_i
            first = reach if self.config.causal else reach // 2
            residual = x[:, :, first : first + x.shape[2] - reach]
            y = self._activate(2 * i, self.layers_conv[2 * i](x))
            x = residual + self._activate(2 * i + 1, self.layers_conv[2 * i + 1](y))
        x = self.shrink(x).transpose(1, 2)
        return x.reshape(batch, x.shape[1], self.config.joints_out, 3)

    def forward_windows(self, joints: Tensor) -> Tensor:
        """Lift disjoint windows: (B, m R, joints_in, 2) -> (B, m, joints_out, 3) metres.

        Equals ``forward`` on each window in eval mode. Stride equals width in every layer, so each
        convolution is one matrix product over non-overlapping groups of frames.
        """
        if self.config.dense:
            raise ValueError('the dense variant has no windowed form; use forward')
        batch, frames = joints.shape[:2]
        if frames == 0 or frames % self.config.receptive_field:
            raise ValueError(
                f'forward_windows takes a multiple of {self.config.receptive_field} frames, '
                f'got {frames}'
            )
        x = from_root(joints, self.config.relative, self.config.size_power).reshape(
            batch * frames, -1
        )
        x = self._group(x, self.expand_conv)
        x = self.drop(F.relu(self.expand_bn(x)))
        for i, width in enumerate(self.config.filter_widths[1:]):
            tap = width - 1 if self.config.causal else width // 2
            residual = x[tap::width]
            y = self._activate(2 * i, self._group(x, self.layers_conv[2 * i]))
            y = self._activate(2 * i + 1, self._group(y, self.layers_conv[2 * i + 1]))
            x = residual + y
        x = F.linear(x, self.shrink.weight[:, :, 0], self.shrink.bias)
        return x.reshape(batch, -1, self.config.joints_out, 3)

    def _activate(self, index: int, x: Tensor) -> Tensor:
        return self.drop(F.relu(self.layers_bn[index](x)))

    @staticmethod
    def _group(x: Tensor, conv: Any) -> Tensor:
        """Convolve rows (frames, channels) with stride = kernel width."""
        weight: Tensor = conv.weight  # (out, in, k)
        out, channels, width = weight.shape
        rows = x.reshape(-1, width * channels)
        return F.linear(rows, weight.transpose(1, 2).reshape(out, width * channels))

    def set_bn_momentum(self, momentum: float) -> None:
        """Set the momentum of every batch norm (the recipe decays it from 0.1 to 0.001)."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = momentum

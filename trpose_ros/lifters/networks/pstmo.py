"""P-STMO: a per-frame encoder, a transformer over frames, a strided transformer to one pose.

Shan et al., "P-STMO: Pre-trained spatial temporal many-to-one model for 3D human pose estimation",
ECCV 2022, arXiv 2203.07628. ``PSTMO`` is the network that lifts; the masked model of its
pre-training and the refine module are in pstmo_pretraining.py. Parameter names, shapes and order
are those of the official checkpoints; -S and the full model differ in ``layers`` only.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trpose_ros.lifters.networks.attention import attend
from trpose_ros.lifters.networks.build import MOST_FRAMES, NETWORKS, check_network
from trpose_ros.lifters.networks.inputs import from_root

_JOINTS = 17
_HEADS = 8
_DROPOUT = 0.1
_POSITIONS = 3  # strided layers that add a positional embedding
STRIDES: dict[int, tuple[int, ...]] = {
    9: (1, 3, 3),
    27: (3, 3, 3),
    81: (3, 3, 3, 3),
    243: (3, 3, 3, 3, 3),
    351: (3, 9, 13),
}


@dataclass(frozen=True)
class PSTMOConfig:
    """Sizes of the network; the defaults are the official P-STMO-S for 243 frames."""

    frames: int = 243
    channels: int = 256
    hidden: int = 512
    layers: int = 3
    values_in: int = 2  # numbers per joint, see base.Core
    relative: float = 0.0  # see inputs.py
    size_power: float = 0.0  # see inputs.py

    def __post_init__(self) -> None:
        """Validate the sizes."""
        check_network(self, frames=MOST_FRAMES, hidden=32768, layers=64)
        if self.frames not in STRIDES:
            raise ValueError(f'frames must be one of {sorted(STRIDES)}, got {self.frames}')
        if self.channels % _HEADS:
            raise ValueError(f'channels must be a multiple of {_HEADS}, got {self.channels}')

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the strided layers."""
        return STRIDES[self.frames]


@NETWORKS.register('pstmo')
class PSTMO(nn.Module):
    """The network that lifts the centre frame of a window."""

    Config = PSTMOConfig

    def __init__(self, config: PSTMOConfig) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.encoder = FrameEncoder(c, config.values_in)
        self.Transformer = Transformer(config.layers, c, config.hidden, config.frames)
        self.Transformer_reduce = _StridedTransformer(config)
        self.fcn = make_head(c, 3)
        self.fcn_1 = make_head(c, 3)

    def forward(self, joints: Tensor) -> Tensor:
        """Lift the centre frames of windows.

        Args:
            joints: (B, frames, 17, 2) normalised screen coordinates.

        Returns:
            (B, 1, 17, 3) metres; the published evaluation sets joint 0 to zero afterwards.

        """
        return self.lift(self.embed(self._checked(joints)))

    def sequence(self, joints: Tensor) -> Tensor:
        """Lift all frames by the training head: (B, frames, 17, 2) to (B, frames, 17, 3)."""
        x = self.Transformer(self.embed(self._checked(joints)))
        return apply_head(self.fcn_1, x, 3)

    def embed(self, joints: Tensor) -> Tensor:
        """Map each frame by itself, (B, T, 17, 2) to (B, T, C).

        Nothing here depends on other frames or on the place in the window, so a stream keeps it.
        """
        return self.encoder(
            from_root(joints, self.config.relative, self.config.size_power).flatten(2)
        )

    def lift(self, x: Tensor) -> Tensor:
        """Map embedded windows (B, frames, C) to (B, 1, 17, 3)."""
        return apply_head(self.fcn, self.Transformer_reduce(self.Transformer(x)), 3)

    def _checked(self, joints: Tensor) -> Tensor:
        wanted = (self.config.frames, _JOINTS, self.config.values_in)
        if joints.shape[1:] != wanted:
            expected = f'(B, {", ".join(map(str, wanted))})'
            raise ValueError(f'this P-STMO takes {expected}, got {tuple(joints.shape)}')
        return joints


def make_head(channels: int, size: int) -> nn.Sequential:
    """Map channels to ``size`` numbers per joint, behind a batch norm."""
    return nn.Sequential(
        nn.BatchNorm1d(channels), nn.Conv1d(channels, size * _JOINTS, kernel_size=1)
    )


def apply_head(head: nn.Module, x: Tensor, size: int) -> Tensor:
    """Map (B, N, C) to (B, N, 17, size)."""
    return head(x.transpose(1, 2)).transpose(1, 2).unflatten(2, (_JOINTS, size))


class UnbiasedNorm(nn.Module):
    """Layer norm by the unbiased standard deviation, with the constant added outside the root."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(channels))
        self.b_2 = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        deviation, mean = torch.std_mean(x, dim=-1, keepdim=True)
        return self.a_2 * (x - mean) / (deviation + 1e-6) + self.b_2


class FrameEncoder(nn.Module):
    """An MLP on the joints of one frame."""

    def __init__(self, channels: int, values_in: int = 2) -> None:
        super().__init__()
        wide = 2 * channels
        self.fc_1 = nn.Conv1d(values_in * _JOINTS, wide, kernel_size=1)
        self.bn_1 = nn.BatchNorm1d(wide)
        self.fc_2 = nn.Conv1d(wide, channels, kernel_size=1)
        self.layers = nn.ModuleList([_EncoderLayer(wide)])
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, 34) to (B, T, C)."""
        x = self.fc_1(x.transpose(1, 2))
        x = self.drop(F.leaky_relu(self.bn_1(x), 0.2))
        return self.fc_2(self.layers[0](x)).transpose(1, 2)


class _EncoderLayer(nn.Module):
    def __init__(self, wide: int) -> None:
        super().__init__()
        self.w1 = nn.Conv1d(wide, wide, kernel_size=1)
        self.batch_norm1 = nn.BatchNorm1d(wide)
        self.w2 = nn.Conv1d(wide, wide, kernel_size=1)
        self.batch_norm2 = nn.BatchNorm1d(wide)
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(F.leaky_relu(self.batch_norm1(self.w1(x)), 0.2))
        return x + self.drop(F.leaky_relu(self.batch_norm2(self.w2(y)), 0.2))


class _Attention(nn.Module):
    """Self-attention with one matrix each for queries, keys, values and the result."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first = nn.Linear(channels, channels)
        # The published initialisation: four copies of one draw.
        self.linears = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(3))])
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value, result = self.linears
        dropout = self.drop.p if self.training else 0.0
        return result(attend(query(x), key(x), value(x), _HEADS, dropout))


class _FeedForward(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(channels, hidden)
        self.w_2 = nn.Linear(hidden, channels)
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(self.drop(F.relu(self.w_1(x))))


class _StridedFeedForward(nn.Module):
    """A feed-forward part that looks at neighbours and keeps every ``stride``-th token."""

    def __init__(self, channels: int, hidden: int, stride: int) -> None:
        super().__init__()
        self.w_1 = nn.Conv1d(channels, hidden, kernel_size=1)
        self.w_2 = nn.Conv1d(hidden, channels, kernel_size=3, stride=stride, padding=1)
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(F.relu(self.w_1(x.transpose(1, 2))))
        return self.w_2(hidden).transpose(1, 2)


class _Normed(nn.Module):
    """Holder of a sub-layer's norm, as the official names have it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = UnbiasedNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)


class _Layer(nn.Module):
    """Attention and feed-forward, each on a normalised copy and added to its input."""

    def __init__(self, attention: _Attention, feed_forward: nn.Module, channels: int) -> None:
        super().__init__()
        self.self_attn = attention
        self.feed_forward = feed_forward
        self.sublayer = nn.ModuleList(_Normed(channels) for _ in range(2))
        self.drop = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor, stride: int = 1) -> Tensor:
        first, second = self.sublayer
        x = x + self.drop(self.self_attn(first(x)))
        change = self.drop(self.feed_forward(second(x)))
        return x[:, ::stride] + change


class _Stack(nn.Module):
    """Layers, and a final norm that the published network owns but never applies."""

    def __init__(self, layers: list[_Layer], channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = UnbiasedNorm(channels)


class Transformer(nn.Module):
    """Layers over frames; ``frames`` None leaves out the positional embedding."""

    def __init__(self, layers: int, channels: int, hidden: int, frames: int | None) -> None:
        super().__init__()
        if frames is not None:
            self.pos_embedding = nn.Parameter(torch.randn(1, frames, channels))
        layer = _Layer(_Attention(channels), _FeedForward(channels, hidden), channels)
        # The published initialisation: all layers are copies of one draw.
        copies = [layer, *(copy.deepcopy(layer) for _ in range(layers - 1))]
        self.model = _Stack(copies, channels)

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        """Add positions, keep the tokens ``kept`` (all for None), apply the layers."""
        if hasattr(self, 'pos_embedding'):
            x = x + self.pos_embedding
        if kept is not None:
            x = x[:, kept]
        for layer in self.model.layers:
            x = layer(x)
        return x


class _StridedStack(_Stack):
    def __init__(self, layers: list[_Layer], channels: int, frames: int) -> None:
        super().__init__(layers, channels)
        for i in range(_POSITIONS):
            embedding = nn.Parameter(torch.randn(1, frames, channels))
            self.register_parameter(f'pos_embedding_{i + 1}', embedding)


class _StridedTransformer(nn.Module):
    """Layers that shorten the sequence to one token."""

    def __init__(self, config: PSTMOConfig) -> None:
        super().__init__()
        c = config.channels
        attention = _Attention(c)
        layers = [
            _Layer(copy.deepcopy(attention), _StridedFeedForward(c, config.hidden, stride), c)
            for stride in config.strides
        ]
        self.strides = config.strides
        self.model = _StridedStack(layers, c, config.frames)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, F, C) to (B, 1, C)."""
        for i, (layer, stride) in enumerate(zip(self.model.layers, self.strides, strict=True)):
            if i < _POSITIONS:
                positions = self.model.get_parameter(f'pos_embedding_{i + 1}')
                x = x + positions[:, : x.shape[1]]
            x = layer(x, stride)
        return x

"""P-STMO for inference: the same numbers from fewer and larger matrix products.

Everything that is fixed after training is folded ahead of time: batch norms into the maps beside
them, the gains and offsets of the layer norms into the maps behind them, three maps for queries,
keys and values into one, and the first layer's are kept with the frame (normed_sum.py).
Convolutions become matrix products; the strided one gathers the three tokens that each of its
outputs sees and leaves out those that none sees. The training head is dropped. In double precision
the result equals ``PSTMO`` to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from trpose_ros.lifters.networks.attention import Map, attend
from trpose_ros.lifters.networks.inputs import from_root
from trpose_ros.lifters.networks.normed_sum import NormedSumMap
from trpose_ros.lifters.networks.precision import HALF, linear
from trpose_ros.lifters.networks.pstmo import PSTMO

_HEADS = 8


def joined(maps: list[Any]) -> Map:
    """Return maps of the same input as one."""
    weight = torch.cat([one.weight.flatten(1) for one in maps])
    return weight, torch.cat([one.bias for one in maps])


def behind_norm(norm: Any, maps: list[Any]) -> Map:
    """Join maps that follow a layer norm, with its gain and offset folded in."""
    weight, bias = joined(maps)
    bias = bias + weight @ norm.b_2
    return (weight * norm.a_2).contiguous(), bias


def with_batch_norm(conv: Any, norm: Any, before: bool = False) -> Map:
    """Fold a batch norm into the Conv_1 before it, or behind it when the norm comes first."""
    weight = conv.weight[:, :, 0]
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    if before:
        return (weight * scale).contiguous(), conv.bias + weight @ shift
    return (weight * scale[:, None]).contiguous(), conv.bias * scale + shift


def normalised(x: Tensor) -> Tensor:
    """Return the last axis with mean 0, by its unbiased standard deviation plus 1e-6."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / spread(centred)


def spread(centred: Tensor) -> Tensor:
    """Return the unbiased standard deviation of (..., C) with mean 0, plus 1e-6: (..., 1)."""
    length = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    return length * (centred.shape[-1] - 1) ** -0.5 + 1e-6


class _FoldedLayer:
    """A vanilla layer, or a strided one."""

    def __init__(self, layer: Any, stride: int = 0, half: bool = False) -> None:
        attention, feed = layer.self_attn.linears, layer.feed_forward
        self._qkv = behind_norm(layer.sublayer[0].norm, list(attention[:3]))
        self._mix: Map = (attention[3].weight, attention[3].bias)
        self._in = behind_norm(layer.sublayer[1].norm, [feed.w_1])
        self.stride = stride
        weight = feed.w_2.weight
        if stride:
            weight = weight.transpose(1, 2).flatten(1).contiguous()  # taps in time order
        self._out: Map = (weight, feed.w_2.bias)
        if half:
            for name in ('_qkv', '_mix', '_in', '_out'):
                weight, bias = getattr(self, name)
                setattr(self, name, (weight.to(HALF), bias))

    def __call__(self, x: Tensor, qkv: Tensor | None = None) -> Tensor:
        if qkv is None:
            qkv = linear(normalised(x), *self._qkv)
        q, k, v = qkv.chunk(3, dim=2)
        x = x + linear(attend(q, k, v, _HEADS), *self._mix)
        if not self.stride:
            return x + linear(F.relu(linear(normalised(x), *self._in)), *self._out)
        return x[:, :: self.stride] + linear(self._taps(x), *self._out)

    def _taps(self, x: Tensor) -> Tensor:
        """Return (B, L', 3 hidden): what the strided convolution sees for each of its outputs."""
        length, stride = x.shape[1], self.stride
        if stride > 3:  # not every token is seen
            centres = torch.arange(0, length, stride, device=x.device)
            seen = (centres[:, None] + torch.arange(-1, 2, device=x.device)).flatten()
            hidden = F.relu(linear(normalised(x[:, seen.clamp(0, length - 1)]), *self._in))
            outside = (seen < 0) | (seen >= length)
            return hidden.masked_fill(outside[:, None], 0).unflatten(1, (-1, 3)).flatten(2)
        hidden = F.relu(linear(normalised(x), *self._in))
        padded = F.pad(hidden, (0, 0, 1, 1))  # zeros in the hidden space
        return padded.unfold(1, 3, stride).transpose(2, 3).flatten(2)


class FoldedPSTMO:
    """A copy of a network's weights, arranged for inference; ``half``: see precision.py."""

    @torch.no_grad()
    def __init__(self, model: PSTMO, half: bool = False) -> None:
        self._scale = (model.config.relative, model.config.size_power)
        encoder: Any = model.encoder
        layer = encoder.layers[0]
        self._enter = with_batch_norm(encoder.fc_1, encoder.bn_1)
        self._wide = (
            with_batch_norm(layer.w1, layer.batch_norm1),
            with_batch_norm(layer.w2, layer.batch_norm2),
        )
        self._leave: Map = (encoder.fc_2.weight[:, :, 0].contiguous(), encoder.fc_2.bias)
        self.positions = model.Transformer.pos_embedding
        layers: Any = model.Transformer.model.layers
        first = layers[0].sublayer[0].norm
        weight, bias = joined(list(layers[0].self_attn.linears[:3]))
        self._first = NormedSumMap(
            weight,
            bias,
            gain=first.a_2,
            offset=first.b_2,
            positions=self.positions[0],
            dtype=HALF if half else None,
        )
        self._vanilla = [_FoldedLayer(one, half=half) for one in layers]
        reduce: Any = model.Transformer_reduce
        self._strided = [
            _FoldedLayer(one, stride, half)
            for one, stride in zip(reduce.model.layers, reduce.strides, strict=True)
        ]
        self._strided_positions = [
            getattr(reduce.model, f'pos_embedding_{i + 1}') for i in range(3)
        ]
        head: Any = model.fcn
        self._head = with_batch_norm(head[1], head[0], before=True)

    def embed(self, joints: Tensor) -> tuple[Tensor, Tensor]:
        """Map frames by themselves, (B, T, 17, 2) to tokens (B, T, C) and shares (B, T, 3 C)."""
        joints = from_root(joints, *self._scale)
        x = F.leaky_relu(linear(joints.flatten(2), *self._enter), 0.2)
        y = x
        for one in self._wide:
            y = F.leaky_relu(linear(y, *one), 0.2)
        x = linear(x + y, *self._leave)
        return x, self._first.share(x)

    def lift(self, x: Tensor, shares: Tensor) -> Tensor:
        """Map embedded windows to (B, 1, 17, 3); the shares are overwritten."""
        x = x + self.positions
        qkv = self._first(shares, spread(x - x.mean(dim=2, keepdim=True)).reciprocal())
        for i, layer in enumerate(self._vanilla):
            x = layer(x, qkv if i == 0 else None)
        for i, layer in enumerate(self._strided):
            if i < len(self._strided_positions):
                x = x + self._strided_positions[i][:, : x.shape[1]]
            x = layer(x)
        return linear(x, *self._head).unflatten(2, (17, 3))

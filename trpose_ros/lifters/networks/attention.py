"""What the transformer lifters share: attention, feed-forward blocks, stochastic depth.

Dot-product attention as in Vaswani et al. 2017 and the pre-norm block of Dosovitskiy et al. 2021:
heads are contiguous blocks of channels, the scale multiplies the product of queries and keys, no
mask. Every part can compute only the tokens that are asked for (``wanted``): a stream that needs
one frame of a window does not compute the others in the last block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trpose_ros.lifters.networks.precision import Linear, linear

Wanted = slice | None
Map = tuple[Tensor, Tensor]  # weight (out, in) and bias (out,) of a linear map


def pick(tokens: Tensor, wanted: Wanted) -> Tensor:
    """Return the wanted tokens of (..., N, C); all for None."""
    return tokens if wanted is None else tokens[..., wanted, :]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, H, N, C / H) of (B, N, C)."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, dropout: float = 0.0) -> Tensor:
    """Multi-head attention of q (B, N, C) to k and v (B, M, C): (B, N, C)."""
    mixed = F.scaled_dot_product_attention(
        split_heads(q, heads), split_heads(k, heads), split_heads(v, heads), dropout_p=dropout
    )
    return mixed.transpose(1, 2).flatten(2)


def attend_few(q: Tensor, keys: Tensor, values: Tensor, key: Map, value: Map, heads: int) -> Tensor:
    """Attention of few queries to many tokens, whose keys and values are never formed.

    q (B, n, C) are projected queries, keys and values (B, M, C) tokens before the linear maps
    ``key`` and ``value``. Since q (W x) = (q W) x and a (x W') = (a x) W', each head maps its few
    queries back and its few mixtures on, instead of mapping all M tokens. The bias of the keys
    adds the same to all scores of a query, which the softmax does not see.
    """
    channels = q.shape[2]
    size = channels // heads
    back = key[0].to(q.dtype).unflatten(0, (heads, size))  # (H, d, C)
    queries = torch.einsum('bnhd,hdc->bhnc', q.unflatten(2, (heads, size)), back)
    scores = queries.flatten(1, 2) @ keys.transpose(1, 2) * size**-0.5
    mixed = torch.softmax(scores, dim=2) @ values  # (B, H n, C)
    on = value[0].to(q.dtype).unflatten(0, (heads, size))
    mixed = torch.einsum('bhnc,hdc->bnhd', mixed.unflatten(1, (heads, -1)), on).flatten(2)
    return mixed + value[1]


def attend_wanted(
    q: Tensor, keys: Tensor, values: Tensor, key: Map, value: Map, heads: int
) -> Tensor:
    """Attention of projected queries to tokens, by whichever order of products is cheaper."""
    if q.shape[1] * heads * 2 < keys.shape[2]:
        return attend_few(q, keys, values, key, value, heads)
    return attend(q, linear(keys, *key), linear(values, *value), heads)


class DropPath(nn.Module):
    """Stochastic depth: in training whole elements of axis 0 are dropped."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return x, or x / (1 - rate) for the kept and 0 for the dropped elements."""
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        drawn = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * drawn / keep


def drop_path_rates(most: float, count: int) -> list[float]:
    """Return rates that grow linearly from 0 to ``most``."""
    return [most * i / max(1, count - 1) for i in range(count)]


class SelfAttention(nn.Module):
    """Self-attention with one matrix for queries, keys and values."""

    def __init__(self, channels: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f'{channels} channels cannot be split into {heads} heads')
        self.heads = heads
        self.qkv = Linear(channels, 3 * channels)
        self.proj = Linear(channels, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, wanted: Wanted = None) -> Tensor:
        """Mix (B, N, C); ``wanted`` tokens only, which attend to all."""
        if wanted is None:
            return self.mix(self.qkv(x))
        maps = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        query, key, value = maps
        q = linear(pick(x, wanted), *query)
        return self.proj(attend_wanted(q, x, x, key, value, self.heads))

    def mix(self, qkv: Tensor) -> Tensor:
        """Mix by given queries, keys and values, (B, N, 3 C) to (B, N, C)."""
        q, k, v = qkv.chunk(3, dim=2)
        return self.drop(self.proj(attend(q, k, v, self.heads)))


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between."""

    def __init__(self, channels: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = Linear(channels, hidden)
        self.fc2 = Linear(hidden, channels)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class PreNormBlock(nn.Module):
    """Self-attention and MLP, each on a normalised copy and added to its input."""

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        *,
        dropout: float = 0.0,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = SelfAttention(channels, heads, dropout)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, hidden, dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, wanted: Wanted = None, qkv: Tensor | None = None) -> Tensor:
        """Map (B, N, C) to (B, N, C), or to the wanted tokens only.

        A stream that has kept queries, keys and values of all tokens gives them in ``qkv``.
        """
        mixed = self.attn(self.norm1(x), wanted) if qkv is None else self.attn.mix(qkv)
        x = pick(x, wanted) + self.drop_path(mixed)
        return x + self.drop_path(self.mlp(self.norm2(x)))

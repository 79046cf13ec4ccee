"""The four lifters in plain numpy and double precision, for one window: a second implementation.

Written from the equations alone, with nothing of the package in it: no fused attention, no folding,
one einsum or loop per equation. Slow, and meant to be read next to the papers. ``w`` maps the
official names to arrays.
"""

import numpy as np
from scipy.special import erf


def lin(x, w, key):
    weight = w[f'{key}.weight']
    bias = w.get(f'{key}.bias')
    y = x @ weight.reshape(len(weight), -1).T
    return y if bias is None else y + bias


def conv(x, w, key, stride=1, dilation=1, pad=0):
    """Cross-correlate (T, in) along time with (out, in, k)."""
    weight, bias = w[f'{key}.weight'], w.get(f'{key}.bias', 0.0)
    width = weight.shape[2]
    x = np.pad(x, ((pad, pad), (0, 0)))
    length = (len(x) - (width - 1) * dilation - 1) // stride + 1
    y = np.zeros((length, len(weight)))
    for tap in range(width):
        first = tap * dilation
        y += x[first : first + (length - 1) * stride + 1 : stride] @ weight[:, :, tap].T
    return y + bias


def layer_norm(x, w, key, eps=1e-6):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return centred / scale * w[f'{key}.weight'] + w[f'{key}.bias']


def unbiased_norm(x, w, key):
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).sum(-1, keepdims=True) / (x.shape[-1] - 1))
    return w[f'{key}.a_2'] * centred / (deviation + 1e-6) + w[f'{key}.b_2']


def batch_norm(x, w, key):
    scale = w[f'{key}.weight'] / np.sqrt(w[f'{key}.running_var'] + 1e-5)
    return (x - w[f'{key}.running_mean']) * scale + w[f'{key}.bias']


def relu(x):
    return np.maximum(x, 0)


def leaky(x):
    return np.where(x >= 0, x, 0.2 * x)


def attention(q, k, v, heads):
    """(N, C) queries on (M, C) keys and values; leading axes are other batches."""
    size = q.shape[-1] // heads
    mixed = []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        scores = q[..., own] @ np.swapaxes(k[..., own], -1, -2) / np.sqrt(size)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed.append(shares / shares.sum(-1, keepdims=True) @ v[..., own])
    return np.concatenate(mixed, -1)


def self_attention(x, w, key, heads):
    q, k, v = np.split(lin(x, w, f'{key}.qkv'), 3, -1)
    return lin(attention(q, k, v, heads), w, f'{key}.proj')


def mlp(x, w, key):
    hidden = lin(x, w, f'{key}.fc1')
    return lin(hidden / 2 * (1 + erf(hidden / np.sqrt(2))), w, f'{key}.fc2')


def block(x, w, key, heads):
    x = x + self_attention(layer_norm(x, w, f'{key}.norm1'), w, f'{key}.attn', heads)
    return x + mlp(layer_norm(x, w, f'{key}.norm2'), w, f'{key}.mlp')


def videopose3d(joints, w, widths, causal=False, dense=False):
    """(T, J, 2) -> (T - R + 1, 17, 3)."""
    x = conv(joints.reshape(len(joints), -1), w, 'expand_conv')
    x = relu(batch_norm(x, w, 'expand_bn'))
    span = widths[0]
    for i, width in enumerate(widths[1:], 1):
        half = (width - 1) * span // 2
        first = half + (half if causal else 0)
        residual = x[first : first + len(x) - 2 * half]
        y = conv(x, w, f'layers_conv.{2 * i - 2}', dilation=1 if dense else span)
        y = relu(batch_norm(y, w, f'layers_bn.{2 * i - 2}'))
        y = relu(batch_norm(lin(y, w, f'layers_conv.{2 * i - 1}'), w, f'layers_bn.{2 * i - 1}'))
        x = residual + y
        span *= width
    x = lin(x, w, 'shrink')
    return x.reshape(len(x), -1, 3)


def mhformer(joints, w, layers):
    """(F, 17, 2) -> (F, 17, 3)."""
    frames = len(joints)
    x, h = joints.reshape(frames, -1).T, []
    for k in (1, 2, 3):
        key = f'Transformer_encoder_{k}'
        z = layer_norm(x, w, f'norm_{k}', 1e-5) + w[f'{key}.pos_embed'][0]
        for j in range(4):
            z = block(z, w, f'{key}.blocks.{j}', 9)
        x = x + layer_norm(z, w, f'{key}.norm')
        if frames > 27:
            embedded = lin(x.T, w, f'embedding_{k}')
        else:
            embedded = relu(batch_norm(lin(x.T, w, f'embedding_{k}.0'), w, f'embedding_{k}.1'))
        h.append(embedded + w[f'Transformer_hypothesis.pos_embed_{k}'][0])
    for i in range(layers - 1):
        key = f'Transformer_hypothesis.SHR_blocks.{i}'
        for b in range(3):
            normed = layer_norm(h[b], w, f'{key}.norm1_{b + 1}')
            h[b] = h[b] + self_attention(normed, w, f'{key}.attn_{b + 1}', 8)
        joined = np.concatenate(h, 1)
        joined = joined + mlp(layer_norm(joined, w, f'{key}.norm2'), w, f'{key}.mlp')
        h = np.split(joined, 3, 1)
    key = 'Transformer_hypothesis.CHI_blocks.0'
    for b, sources in enumerate(((1, 2, 0), (0, 2, 1), (0, 1, 2))):
        own = f'{key}.attn_{b + 1}'
        q, k, v = (
            lin(layer_norm(h[s], w, f'{key}.norm3_{b + 1}{n + 1}'), w, f'{own}.linear_{"qkv"[n]}')
            for n, s in enumerate(sources)
        )
        h[b] = h[b] + lin(attention(q, k, v, 8), w, f'{own}.proj')
    joined = np.concatenate(h, 1)
    joined = joined + mlp(layer_norm(joined, w, f'{key}.norm2'), w, f'{key}.mlp')
    joined = layer_norm(joined, w, 'Transformer_hypothesis.norm')
    return lin(batch_norm(joined, w, 'regression.0'), w, 'regression.1').reshape(frames, 17, 3)


def mixste(joints, w, depth, heads=8):
    """(F, 17, 2) -> (F, 17, 3)."""
    x = lin(joints, w, 'Spatial_patch_to_embedding') + w['Spatial_pos_embed'][0]  # (F, J, C)
    for i in range(depth):
        x = layer_norm(block(x, w, f'STEblocks.{i}', heads), w, 'Spatial_norm')
        x = x.swapaxes(0, 1)
        if i == 0:
            x = x + w['Temporal_pos_embed'][0]
        x = layer_norm(block(x, w, f'TTEblocks.{i}', heads), w, 'Temporal_norm')
        x = x.swapaxes(0, 1)
    return lin(layer_norm(x, w, 'head.0', 1e-5), w, 'head.1')


def pstmo(joints, w, layers, strides):
    """(F, 17, 2) -> the centre (17, 3) and the training head's (F, 17, 3)."""
    frames = len(joints)
    x = lin(joints.reshape(frames, -1), w, 'encoder.fc_1')
    x = leaky(batch_norm(x, w, 'encoder.bn_1'))
    y, inner = x, 'encoder.layers.0'
    for n in (1, 2):
        y = leaky(batch_norm(lin(y, w, f'{inner}.w{n}'), w, f'{inner}.batch_norm{n}'))
    x = lin(x + y, w, 'encoder.fc_2') + w['Transformer.pos_embedding'][0]

    def attend(x, key):
        z = unbiased_norm(x, w, f'{key}.sublayer.0.norm')
        q, k, v = (lin(z, w, f'{key}.self_attn.linears.{n}') for n in range(3))
        return x + lin(attention(q, k, v, 8), w, f'{key}.self_attn.linears.3')

    for i in range(layers):
        key = f'Transformer.model.layers.{i}'
        u = attend(x, key)
        z = unbiased_norm(u, w, f'{key}.sublayer.1.norm')
        hidden = relu(lin(z, w, f'{key}.feed_forward.w_1'))
        x = u + lin(hidden, w, f'{key}.feed_forward.w_2')
    sequence = lin(batch_norm(x, w, 'fcn_1.0'), w, 'fcn_1.1').reshape(frames, 17, 3)
    for i, stride in enumerate(strides):
        key = f'Transformer_reduce.model.layers.{i}'
        if i < 3:
            x = x + w[f'Transformer_reduce.model.pos_embedding_{i + 1}'][0, : len(x)]
        u = attend(x, key)
        z = unbiased_norm(u, w, f'{key}.sublayer.1.norm')
        hidden = relu(lin(z, w, f'{key}.feed_forward.w_1'))
        x = u[::stride] + conv(hidden, w, f'{key}.feed_forward.w_2', stride, pad=1)
    return lin(batch_norm(x, w, 'fcn.0'), w, 'fcn.1').reshape(17, 3), sequence

"""A MoveNet as TensorFlow.js graph model, with random numbers, for tests of the import."""

from __future__ import annotations

import json

import numpy as np
import torch

from trpose_ros.movenet.importing import foreign_names
from trpose_ros.movenet.network import MoveNet, MoveNetConfig


def small_movenet(kind='single', side=64):
    """Return the smallest network of a kind with random numbers."""
    torch.manual_seed(0)
    return MoveNet(MoveNetConfig(1.0, kind, side)).eval()


def write_graph(folder, network, change=lambda nodes, tensors: None):
    """Write graph.json and graph.bin; ``change`` edits nodes and tensors before."""
    names = foreign_names(network.config.kind)
    tensors = {}
    for key, value in network.state_dict().items():
        value = value.numpy()
        if value.ndim == 4:
            depthwise = value.shape[1] == 1 and value.shape[2] == 3
            value = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        tensors[names[key]] = np.ascontiguousarray(value)
    side = network.config.input_side
    dims = [{'size': str(n)} for n in (1, side, side, 3)]
    nodes = [{'name': 'input', 'op': 'Placeholder', 'attr': {'shape': {'shape': {'dim': dims}}}}]
    for key, foreign in names.items():
        kernel = key.endswith('weight')
        bias = names.get(key.replace('weight', 'bias'))
        if kernel:
            inputs = ['x', foreign] + ([bias] if bias else [])
            nodes.append({'name': key, 'op': '_FusedConv2D', 'input': inputs})
    change(nodes, tensors)
    weights = [
        {'name': name, 'shape': list(value.shape), 'dtype': str(value.dtype)}
        for name, value in tensors.items()
    ]
    model = {
        'format': 'graph-model',
        'generatedBy': 'random numbers',
        'modelTopology': {'node': nodes},
        'weightsManifest': [{'paths': ['graph.bin'], 'weights': weights}],
    }
    (folder / 'graph.bin').write_bytes(b''.join(value.tobytes() for value in tensors.values()))
    path = folder / 'graph.json'
    path.write_text(json.dumps(model))
    return path

"""Run a TensorFlow.js graph model by TensorFlow itself, as a reference for our networks.

The JSON is nearly a GraphDef: constants get their numbers, fused convolutions are split into
convolution, bias and activation, and TensorFlow does the rest.
"""

from __future__ import annotations

import base64
import copy

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from trpose_ros.tensorflowjs import GraphModel

_PLAIN = {'_FusedConv2D': 'Conv2D', 'FusedDepthwiseConv2dNative': 'DepthwiseConv2dNative'}
_LAYOUT = ('T', 'strides', 'padding', 'data_format', 'dilations')


def run(model: GraphModel, image: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """Return the outputs ``names`` ('node:0') for an image (1, H, W, 3) int32, 0..255."""
    graph_def = json_format.ParseDict({'node': _nodes(model)}, tf.compat.v1.GraphDef())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run(names, {'input:0': image})


def _nodes(model: GraphModel) -> list[dict]:
    nodes = []
    for given in model.nodes:
        node = copy.deepcopy(given)
        if node['op'] == 'Const':
            value = tf.make_tensor_proto(model.tensors[node['name']])
            node['attr']['value'] = {'tensor': json_format.MessageToDict(value)}
        if node['op'] in _PLAIN:
            nodes += _split(node)
        else:
            nodes.append(node)
    return nodes


def _split(node: dict) -> list[dict]:
    """Return convolution, bias and activation of a fused node; the last one keeps its name."""
    fused = [base64.b64decode(s).decode() for s in node['attr']['fused_ops']['list']['s']]
    assert fused[0] == 'BiasAdd', fused
    assert len(fused) < 3, fused
    assert len(node['input']) == 3, node['input']
    kind = {'T': node['attr']['T']}
    names = [f'{node["name"]}/{i}' for i in range(len(fused))] + [node['name']]
    parts = [
        {
            'name': names[0],
            'op': _PLAIN[node['op']],
            'input': node['input'][:2],
            'attr': {k: v for k, v in node['attr'].items() if k in _LAYOUT},
        },
        {'name': names[1], 'op': 'BiasAdd', 'input': [names[0], node['input'][2]], 'attr': kind},
    ]
    if len(fused) == 2:
        parts.append({'name': names[2], 'op': fused[1], 'input': [names[1]], 'attr': kind})
    return parts

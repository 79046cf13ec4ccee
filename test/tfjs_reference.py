"""What TensorFlow says about Google's MoveNet graphs: the reference that our networks are held to.

The JSON of a TensorFlow.js graph model is nearly a GraphDef: constants get their numbers, fused
convolutions are split into convolution, bias and activation, and TensorFlow does the rest. Run as

    python test/tfjs_reference.py FOLDER

with the folder of the models it writes reference/movenet.npz: a fixed picture's heatmaps, sampled,
and decoded joints, once with the graph's own numbers and once with those of our shipped files.
"""

from __future__ import annotations

import base64
import copy
import sys
from pathlib import Path

import numpy as np
from drawn_figure import figure

from trpose_ros.weights.tensorflowjs import GraphModel, read_graph_model

STORED = Path(__file__).with_name('reference') / 'movenet.npz'
EVERY = 8  # cells between those that are stored
_PLAIN = {'_FusedConv2D': 'Conv2D', 'FusedDepthwiseConv2dNative': 'DepthwiseConv2dNative'}
_LAYOUT = ('T', 'strides', 'padding', 'data_format', 'dilations')


def picture(kind: str, side: int) -> np.ndarray:
    """Return the fixed picture for a network: one figure, or two in an oblong image."""
    if kind == 'single':
        return figure(side, side)
    return figure(side, side * 3 // 4, (0.3, 0.7), 0.8)


def maps(model: GraphModel, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return heatmaps (h, w, 17), centres (h, w) and decoded people, by TensorFlow.

    The last are (17, 3) y, x, score of one person, or (6, 56) as MultiPose gives them.
    """
    heads = [next(_heads(model, name)) for name in ('kpt_heatmap_0', 'center_0')]
    heat, centre, people = _run(model, image[None].astype(np.int32), [*heads, 'Identity:0'])
    return _sigmoid(heat[0]), _sigmoid(centre[0, ..., 0]), people.reshape(people.shape[-2:])


def _heads(model: GraphModel, head: str):
    for node in model.nodes:
        if f'/{head}/conv2d' in node['name'] and node['name'].endswith('/BiasAdd'):
            yield node['name'] + ':0'


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _run(model: GraphModel, image: np.ndarray, names: list[str]) -> list[np.ndarray]:
    import tensorflow as tf
    from google.protobuf import json_format

    graph_def = json_format.ParseDict({'node': _nodes(model)}, tf.compat.v1.GraphDef())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
        with tf.compat.v1.Session(graph=graph) as session:
            return session.run(names, {'input:0': image})


def _nodes(model: GraphModel) -> list[dict]:
    import tensorflow as tf
    from google.protobuf import json_format

    nodes = []
    for given in model.nodes:
        node = copy.deepcopy(given)
        if node['op'] == 'Const':
            value = tf.make_tensor_proto(model.tensors[node['name']])
            node['attr']['value'] = {'tensor': json_format.MessageToDict(value)}
        nodes += _split(node) if node['op'] in _PLAIN else [node]
    return nodes


def _split(node: dict) -> list[dict]:
    """Return convolution, bias and activation of a fused node; the last one keeps its name."""
    fused = [base64.b64decode(s).decode() for s in node['attr']['fused_ops']['list']['s']]
    if fused[0] != 'BiasAdd' or len(fused) > 2 or len(node['input']) != 3:
        raise ValueError(f'cannot split {node["name"]!r}: {fused} of {node["input"]}')
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


def with_shipped_numbers(model: GraphModel, name: str) -> GraphModel:
    """Return the graph with the numbers of a weights file of ours."""
    from trpose_ros import weights
    from trpose_ros.movenet.importing import foreign_names

    file = weights.load(name, 'movenet')
    tensors = dict(model.tensors)
    for key, foreign in foreign_names(file.config['kind']).items():
        value = file.tensors[key].astype(np.float32)
        if value.ndim == 4:
            depthwise = value.shape[1] == 1
            value = value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
        if value.shape != tensors[foreign].shape:
            raise ValueError(f'{foreign}: {value.shape} instead of {tensors[foreign].shape}')
        tensors[foreign] = value
    return GraphModel(model.path, model.nodes, tensors, model.origin, model.sha256)


def main(folder: Path) -> None:
    """Write the stored numbers."""
    stored = {}
    for name, kind in (('movenet-thunder', 'single'), ('movenet-multipose', 'multi')):
        own = read_graph_model(folder / f'{name}.json')
        for numbers, model in (('own', own), ('shipped', with_shipped_numbers(own, name))):
            heat, centre, people = maps(model, picture(kind, 256))
            stored[f'{name}/{numbers}/heatmaps'] = heat[::EVERY, ::EVERY].astype(np.float32)
            stored[f'{name}/{numbers}/centres'] = centre[::EVERY, ::EVERY].astype(np.float32)
            stored[f'{name}/{numbers}/people'] = people
    np.savez_compressed(STORED, **stored)
    print(f'{STORED}: {STORED.stat().st_size} bytes')


if __name__ == '__main__':
    main(Path(sys.argv[1]))

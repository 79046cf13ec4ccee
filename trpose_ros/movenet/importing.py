"""From Google's MoveNet graphs (TensorFlow.js) to a state dict of network.MoveNet.

Every convolution of the graph must be one of ours, by name and shape, and all of ours must be in
the graph. Kernels are (height, width, inputs, outputs) there, (height, width, channels, 1) when
depthwise. Constants of the decoding are not read: decoding.py has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.movenet.network import MULTIPLE, MoveNet, MoveNetConfig
from trpose_ros.weights import WeightsError
from trpose_ros.weights.tensorflowjs import GraphModel, read_graph_model

_CALL = 'StatefulPartitionedCall/'
_FEATURES = _CALL + 'center_net_mobile_net_v2fpn_feature_extractor/model_1/'
_CONVOLUTIONS = (
    '_FusedConv2D',
    'Conv2D',
    'FusedDepthwiseConv2dNative',
    'DepthwiseConv2dNative',
)
_SINGLE = ('centre', 'heatmaps', 'displacements', 'offsets')  # in the order of their numbers
_MULTI = ('centre', 'box_size', 'box_offset', 'heatmaps', 'displacements', 'offsets')
_FOREIGN = {
    'centre': 'center_0',
    'heatmaps': 'kpt_heatmap_0',
    'displacements': 'kpt_regress_0',
    'offsets': 'kpt_offset_0',
    'box_size': 'box_scale_0',
    'box_offset': 'box_offset_0',
}
_STEM_WIDTHS = {32: 1.0, 48: 1.5, 56: 1.75}  # output channels of the first convolution


@dataclass(frozen=True)
class ImportedMoveNet:
    """A network's numbers and where they came from."""

    config: MoveNetConfig
    tensors: dict[str, np.ndarray]  # a state dict of MoveNet
    origin: str
    sha256: dict[str, str]  # of the files, by name


def import_movenet(path: str | Path) -> ImportedMoveNet:
    """Read a graph model; raises WeightsError for anything that is not one of MoveNet's."""
    graph = read_graph_model(path)
    config = _configuration(graph)
    wanted = {key: tuple(value.shape) for key, value in MoveNet(config).state_dict().items()}
    names = foreign_names(config.kind)
    given = _convolution_tensors(graph)
    missing, extra = sorted(set(names.values()) - given), sorted(given - set(names.values()))
    if missing or extra:
        raise WeightsError(
            f'{_what(graph)} is not a MoveNet that is known here: missing '
            f'{missing[:4] or "nothing"}, unexpected {extra[:4] or "nothing"}'
        )
    tensors = {}
    for key, foreign in names.items():
        value = graph.tensors.get(foreign)
        if value is None:
            raise WeightsError(f'{_what(graph)} names {foreign!r} but has no numbers for it')
        depthwise = value.ndim == 4 and value.shape[3] == 1 and value.shape[:2] == (3, 3)
        order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
        value = value.transpose(order) if value.ndim == 4 else value
        if value.shape != wanted[key] or value.dtype != np.float32:
            raise WeightsError(
                f'{_what(graph)}: {foreign!r} is {value.dtype} {value.shape} where '
                f'float32 {wanted[key]} is needed'
            )
        if not np.isfinite(value).all():
            raise WeightsError(f'{_what(graph)}: {foreign!r} holds NaN or infinity')
        tensors[key] = np.ascontiguousarray(value)
    return ImportedMoveNet(config, tensors, graph.origin, graph.sha256)


def _configuration(graph: GraphModel) -> MoveNetConfig:
    """Tell from the graph which network it is."""
    stem = graph.tensors.get(_FEATURES + 'model/Conv1/Conv2D_weights')
    width = _STEM_WIDTHS.get(stem.shape[-1] if stem is not None and stem.ndim == 4 else 0)
    if width is None:
        raise WeightsError(
            f'{_what(graph)} is not a MoveNet: it does not begin with a MobileNetV2 of width '
            f'{sorted(_STEM_WIDTHS.values())}'
        )
    if _CALL + 'box_scale_0/conv2d_5/BiasAdd/ReadVariableOp' in graph.tensors:
        return MoveNetConfig(width, 'multi', 256)
    try:
        inputs = [node['attr'] for node in graph.nodes if node['op'] == 'Placeholder']
        _, height, side, _ = (int(d['size']) for d in inputs[0]['shape']['shape']['dim'])
        config = MoveNetConfig(width, 'single', side)
    except (LookupError, TypeError, ValueError) as error:
        raise WeightsError(
            f'{_what(graph)} has no square input with a side that is a multiple of {MULTIPLE}'
        ) from error
    if height != side:
        raise WeightsError(f'{_what(graph)}: its input is {side} x {height} px, not square')
    return config


def _convolution_tensors(graph: GraphModel) -> set[str]:
    """Return the names of all kernels and biases of the graph's convolutions."""
    names = set()
    for node in graph.nodes:
        if node['op'] in _CONVOLUTIONS:
            inputs = node.get('input', [])
            if not isinstance(inputs, list) or not all(isinstance(n, str) for n in inputs):
                raise WeightsError(f'{_what(graph)}: node {node["name"]!r} has no list of inputs')
            names.update(inputs[1:])
    return names


def foreign_names(kind: str) -> dict[str, str]:
    """Return Google's name of every parameter of a network of a kind ('single', 'multi')."""
    return dict(_names(kind))


def _names(kind: str) -> Iterator[tuple[str, str]]:
    """Yield the names of parameters here and there."""
    for key, layer in _backbone_layers():
        yield f'{key}.weight', f'{_FEATURES}model/{layer}_weights'
        yield f'{key}.bias', f'{_FEATURES}model/{layer}_bn_offset'
    for i in range(4):
        layer = _FEATURES + _numbered('conv2d', i)
        yield f'pyramid.lateral.{i}.weight', f'{layer}/Conv2D/ReadVariableOp'
        yield f'pyramid.lateral.{i}.bias', f'{layer}/BiasAdd/ReadVariableOp'
    for i in range(3):
        layer = f'{_FEATURES}{_numbered("separable_conv2d", i)}/separable_conv2d'
        yield f'pyramid.merge.{i}.0.weight', f'{layer}/ReadVariableOp'
        yield f'pyramid.merge.{i}.1.weight', f'{layer}_weights'
        yield f'pyramid.merge.{i}.1.bias', f'{layer}_bn_offset'
    for i, head in enumerate(_MULTI if kind == 'multi' else _SINGLE):
        room = f'{_CALL}{_FOREIGN[head]}/'
        layer = f'{room}separable_conv2d_{i + 3}'
        yield f'{head}.0.weight', f'{layer}/separable_conv2d/ReadVariableOp'
        yield f'{head}.1.weight', f'{layer}/separable_conv2d/ReadVariableOp_1'
        yield f'{head}.1.bias', f'{layer}/BiasAdd/ReadVariableOp'
        yield f'{head}.3.weight', f'{room}conv2d_{i + 4}/Conv2D/ReadVariableOp'
        yield f'{head}.3.bias', f'{room}conv2d_{i + 4}/BiasAdd/ReadVariableOp'


def _backbone_layers() -> Iterator[tuple[str, str]]:
    """Yield convolutions of the backbone here and, up to their last word, there."""
    yield 'backbone.1.0.0', 'Conv1/Conv2D'
    yield 'backbone.1.1.layers.0', 'expanded_conv_depthwise/depthwise'
    yield 'backbone.1.1.layers.2', 'expanded_conv_project/Conv2D'
    for i in range(1, 17):
        key = f'backbone.1.{i + 1}.layers'
        yield f'{key}.0', f'block_{i}_expand/Conv2D'
        yield f'{key}.2', f'block_{i}_depthwise/depthwise'
        yield f'{key}.4', f'block_{i}_project/Conv2D'
    yield 'backbone.1.18.0', 'Conv_1/Conv2D'


def _numbered(name: str, i: int) -> str:
    return f'{name}_{i}' if i else name


def _what(graph: GraphModel) -> str:
    return f'{graph.path} (made from {graph.origin})' if graph.origin else str(graph.path)

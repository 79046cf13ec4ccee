"""From a PyTorch network to an OpenVINO model: run it once, and note what is computed.

PyTorch calls a mode for each function on tensors (torch.overrides). This one lets PyTorch compute,
and adds the same operation to a graph of OpenVINO's operators; parameters and whatever does not
depend on the image become constants. That takes as long as one image, and no second compiler:
OpenVINO's own converter wants TorchScript, which PyTorch gives up, or torch.export, and takes three
to ten seconds for these networks. Sizes are those of the example.

Functions that no network here has are refused by name, so that a number that depends on the image
can never become a constant in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trpose_ros.runtimes.openvino_quiet import openvino, ops


class UnknownFunctionError(ValueError):
    """The network computes something for which there is no translation here."""


def model_of(module: nn.Module, image: Tensor) -> tuple[openvino.Model, Any]:
    """Return the model of a network in evaluation mode, and what the network itself returned.

    ``image`` (1, 3, H, W) is an example: uint8, which the model divides by 255 first, or float32
    in 0..1. The model takes it as (1, H, W, 3). Its results are the tensors that the network
    returns, alone or in a tuple (where None may stand, which is left out), as float32.

    Raises UnknownFunctionError.
    """
    _, _, height, width = image.shape
    given = ops.parameter(
        [1, height, width, 3], np.uint8 if image.dtype == torch.uint8 else np.float32
    )
    node = ops.transpose(ops.convert(given, 'f32'), _integers([0, 3, 1, 2]))
    example = image.float()
    if image.dtype == torch.uint8:
        node, example = ops.multiply(node, np.float32(1 / 255)), example / 255
    recorder = _Recorder()
    recorder.note(example, node)
    with torch.no_grad(), recorder:
        returned = module(example)
    results = [recorder.node(tensor) for tensor in tensors_of(returned)]
    return openvino.Model(results, [given]), returned


def tensors_of(returned: Any) -> list[Tensor]:
    """Return the tensors that a network returned, alone or in a tuple, without None."""
    parts = returned if isinstance(returned, tuple) else (returned,)
    return [part for part in parts if part is not None]


class _Recorder(TorchFunctionMode):
    """Notes for each tensor which node of the graph computes it."""

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[int, tuple[Tensor, openvino.Node]] = {}  # the tensor keeps its id alive
        self.padded: dict[int, tuple[Tensor, list[int]]] = {}

    def note(self, tensor: Tensor, node: openvino.Node) -> None:
        self._nodes[id(tensor)] = (tensor, node)

    def knows(self, value: Any) -> bool:
        return id(value) in self._nodes

    def node(self, value: Any) -> openvino.Node:
        """Return the node of a tensor that depends on the image, else a constant."""
        if self.knows(value):
            return self._nodes[id(value)][1]
        if isinstance(value, Tensor):
            return ops.constant(value.detach().float().contiguous().numpy())
        return ops.constant(np.float32(value))

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if not any(self.knows(value) for value in [*args, *kwargs.values()]):
            return result
        name = getattr(function, '__name__', str(function)).strip('_')
        if name == 'new_tensor' or (name in _QUESTIONS and not isinstance(result, Tensor)):
            return result
        if name not in _TRANSLATIONS or not isinstance(result, Tensor):
            raise UnknownFunctionError(f'no translation of {name!r} for OpenVINO')
        try:
            node = _TRANSLATIONS[name](self, result, *args, **kwargs)
        except (TypeError, RuntimeError) as error:  # arguments that it does not have
            words = f'no translation of this {name!r} for OpenVINO: {error}'
            raise UnknownFunctionError(words) from error
        if list(node.get_output_shape(0)) != list(result.shape):
            shapes = f'{node.get_output_shape(0)} instead of {list(result.shape)}'
            raise UnknownFunctionError(f'the translation of {name!r} gives {shapes}')
        self.note(result, node)
        return result


def _integers(values: Sequence[int]) -> openvino.Node:
    return ops.constant(np.array(values, np.int64))


def _convolution(
    recorder: _Recorder,
    result: Tensor,
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> openvino.Node:
    before = after = list(padding)
    source = image
    if id(image) in recorder.padded:  # OpenVINO pads each side as it likes: nothing is copied
        source, (left, right, top, bottom) = recorder.padded[id(image)]
        before, after = [before[0] + top, before[1] + left], [after[0] + bottom, after[1] + right]
    geometry = (list(stride), before, after, list(dilation))
    if groups == 1:
        node = ops.convolution(recorder.node(source), recorder.node(weight), *geometry)
    else:
        outputs, inputs, height, width = weight.shape
        kernels = weight.detach().reshape(groups, outputs // groups, inputs, height, width)
        node = ops.group_convolution(recorder.node(source), recorder.node(kernels), *geometry)
    if bias is None:
        return node
    return ops.add(node, recorder.node(bias.detach().reshape(1, -1, 1, 1)))


def _pad(
    recorder: _Recorder,
    result: Tensor,
    image: Tensor,
    pad: Sequence[int],
    mode: str = 'constant',
    value: float | None = None,
) -> openvino.Node:
    if mode != 'constant' or value or len(pad) != 4:
        raise TypeError(f'{pad=}, {mode=}, {value=}')
    left, right, top, bottom = pad
    if min(pad) >= 0:
        recorder.padded[id(result)] = (image, list(pad))
    return ops.pad(
        recorder.node(image),
        _integers([0, 0, top, left]),
        _integers([0, 0, bottom, right]),
        'constant',
        ops.constant(np.float32(0)),
    )


def _interpolate(
    recorder: _Recorder,
    result: Tensor,
    image: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = 'nearest',
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> openvino.Node:
    if mode != 'bilinear' or align_corners or antialias:
        raise TypeError(f'{mode=}, {align_corners=}, {antialias=}')
    return ops.interpolate(
        recorder.node(image),
        _integers(result.shape[2:]),
        'linear_onnx',
        'sizes',
        coordinate_transformation_mode='half_pixel',
        axes=_integers([2, 3]),
    )


def _max_pool(
    recorder: _Recorder,
    result: Tensor,
    image: Tensor,
    kernel_size: int,
    stride: int,
    padding: int = 0,
    dilation: int = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> openvino.Node:
    if ceil_mode or return_indices:
        raise TypeError(f'{ceil_mode=}, {return_indices=}')
    if dilation != 1:
        raise TypeError(f'{dilation=}')
    pairs = ([value] * 2 for value in (stride, padding, padding, kernel_size))
    return openvino.opset1.max_pool(recorder.node(image), *pairs)


def _mean(
    recorder: _Recorder, result: Tensor, image: Tensor, dim: Sequence[int], keepdim: bool = False
) -> openvino.Node:
    return ops.reduce_mean(recorder.node(image), _integers(dim), keepdim)


def _clamp(
    recorder: _Recorder,
    result: Tensor,
    image: Tensor,
    min: float | None = None,
    max: float | None = None,
) -> openvino.Node:
    lowest, highest = np.finfo(np.float32).min, np.finfo(np.float32).max
    low, high = lowest if min is None else min, highest if max is None else max
    return ops.clamp(recorder.node(image), float(low), float(high))


def _hardtanh(
    recorder: _Recorder,
    result: Tensor,
    image: Tensor,
    min_val: float = -1.0,
    max_val: float = 1.0,
    inplace: bool = False,
) -> openvino.Node:
    return ops.clamp(recorder.node(image), min_val, max_val)


def _item(recorder: _Recorder, result: Tensor, image: Tensor, index: Any) -> openvino.Node:
    """Slices (with steps) and single indices of the leading axes."""
    index = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(one, (slice, int)) for one in index):
        raise TypeError(f'index {index}')
    first, stop, step, dropped = [], [], [], []
    for axis, one in enumerate(index):
        size = image.shape[axis]
        if isinstance(one, int):
            dropped.append(axis)
            one = slice(one % size, one % size + 1)
        bounds = one.indices(size)
        first.append(bounds[0])
        stop.append(bounds[1])
        step.append(bounds[2])
    axes = _integers(range(len(index)))
    node = ops.slice(recorder.node(image), _integers(first), _integers(stop), _integers(step), axes)
    return ops.squeeze(node, _integers(dropped)) if dropped else node


def _reshape(recorder: _Recorder, result: Tensor, image: Tensor, *sizes: Any) -> openvino.Node:
    return ops.reshape(recorder.node(image), _integers(result.shape), False)


def _same(recorder: _Recorder, result: Tensor, image: Tensor, **layout: Any) -> openvino.Node:
    if result.dtype != torch.float32:
        raise TypeError(f'numbers of type {result.dtype}')
    return recorder.node(image)


def _unary(make: Callable[..., openvino.Node]) -> Callable[..., openvino.Node]:
    def translate(
        recorder: _Recorder, result: Tensor, image: Tensor, inplace: bool = False
    ) -> openvino.Node:
        return make(recorder.node(image))

    return translate


def _binary(make: Callable[..., openvino.Node]) -> Callable[..., openvino.Node]:
    def translate(recorder: _Recorder, result: Tensor, a: Any, b: Any) -> openvino.Node:
        return make(recorder.node(a), recorder.node(b))

    return translate


_TRANSLATIONS: dict[str, Callable[..., openvino.Node]] = {
    'conv2d': _convolution,
    'pad': _pad,
    'interpolate': _interpolate,
    'max_pool2d': _max_pool,
    'mean': _mean,
    'clamp': _clamp,
    'hardtanh': _hardtanh,
    'getitem': _item,
    'unflatten': _reshape,
    'float': _same,
    'contiguous': _same,
    'relu': _unary(ops.relu),
    'silu': _unary(ops.swish),
    'hardswish': _unary(ops.hswish),
    'hardsigmoid': _unary(ops.hsigmoid),
    'sigmoid': _unary(ops.sigmoid),
    'add': _binary(ops.add),
    'sub': _binary(ops.subtract),
    'mul': _binary(ops.multiply),
    'div': _binary(ops.divide),
}
# What does not depend on a tensor's numbers; 'get' reads attributes, such as its shape.
_QUESTIONS = ('get', 'is_contiguous', 'size', 'dim', 'len')

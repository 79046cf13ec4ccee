"""Networks compiled by OpenVINO for the processor, called like PyTorch modules.

Nothing is written to disk. A batch is run image by image: on one or two threads that is as fast as
a batch in one piece, and a second person costs no compilation of a graph for two.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros.runtimes.openvino_graph import model_of, tensors_of
from trpose_ros.runtimes.openvino_quiet import openvino

_KEPT = 4  # sizes of images whose compiled networks are kept
_PRECISIONS = {torch.float32: 'f32', torch.bfloat16: 'bf16', torch.float16: 'f16'}


def compile_module(
    module: nn.Module,
    example_shape: tuple[int, int, int, int],
    threads: int,
    precision: torch.dtype = torch.float32,
) -> CompiledModule:
    """Compile a network in evaluation mode whose parameters are float32 and in the main memory.

    ``example_shape`` (B, 3, H, W) is compiled now, for uint8 images. ``precision`` is the format
    of products where the processor has it, and float32 where it has not. Raises
    openvino_graph.UnknownFunctionError.
    """
    compiled = CompiledModule(module, threads, precision)
    compiled.prepare(torch.uint8, example_shape[2], example_shape[3])
    return compiled


class CompiledModule:
    """Images (B, 3, H, W), uint8 or float32 in 0..1 -> what the module returns, in float32.

    Another type or size of image is compiled when it comes first (about a quarter of a second);
    the last few are kept. Calls from several threads wait for each other.
    """

    runtime = 'openvino'

    def __init__(self, module: nn.Module, threads: int, precision: torch.dtype) -> None:
        self._module = module
        self._options = {
            'INFERENCE_NUM_THREADS': threads,
            'INFERENCE_PRECISION_HINT': _PRECISIONS[precision],
            'PERFORMANCE_HINT': 'LATENCY',
            'NUM_STREAMS': 1,
            'ENABLE_CPU_PINNING': False,  # other nodes choose the same cores
        }
        self._sizes: OrderedDict[tuple[torch.dtype, int, int], _Compiled] = OrderedDict()
        self._lock = threading.Lock()

    def prepare(self, dtype: torch.dtype, height: int, width: int) -> _Compiled:
        """Return the network for one type and size of images, compiled if it is new."""
        key = (dtype, height, width)
        if key not in self._sizes:
            example = torch.zeros((1, 3, height, width), dtype=dtype)
            model, returned = model_of(self._module, example)
            request = _core().compile_model(model, 'CPU', self._options).create_infer_request()
            self._sizes[key] = _Compiled(request, returned)
            while len(self._sizes) > _KEPT:
                self._sizes.popitem(last=False)
        self._sizes.move_to_end(key)
        return self._sizes[key]

    def __call__(self, images: Tensor) -> Any:
        """Run the network on each image."""
        if images.dtype != torch.uint8:
            images = images.float()
        rows = images.permute(0, 2, 3, 1).contiguous().numpy()
        with self._lock:
            compiled = self.prepare(images.dtype, *images.shape[2:])
            parts = [compiled.run(rows[i : i + 1]) for i in range(len(rows))]
        return _joined(compiled.returned, parts)


@dataclass(frozen=True)
class _Compiled:
    request: Any  # openvino.InferRequest
    returned: Any  # by the module for the example: says how results are put together

    def run(self, row: np.ndarray) -> list[Tensor]:
        """Return the results for one image (1, H, W, 3), in memory of their own."""
        self.request.infer([openvino.Tensor(row, shared_memory=True)])
        return [torch.tensor(tensor.data) for tensor in self.request.output_tensors]


def _joined(returned: Any, parts: list[list[Tensor]]) -> Any:
    """Put the results of the images together as the module returns them."""
    shapes = [tensor.shape[1:] for tensor in tensors_of(returned)]
    columns = list(zip(*parts, strict=True)) or [()] * len(shapes)
    results = iter(
        torch.cat(column) if column else torch.zeros((0, *shape))
        for column, shape in zip(columns, shapes, strict=True)
    )
    if isinstance(returned, Tensor):
        return next(results)
    fields = [None if part is None else next(results) for part in returned]
    return type(returned)(*fields) if hasattr(returned, '_fields') else type(returned)(fields)


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    return openvino.Core()

"""What runs an image network: PyTorch, or OpenVINO on processors; images in, what it says out.

OpenVINO runs a convolutional network at batch 1 faster than PyTorch (docs/performance.md) and is
an extra. ``fast_module`` chooses and prepares; whoever calls the result need not know which.

In PyTorch a network on a processor is laid out channels-last, with batch norm folded and weights
packed once (runtimes/packed_convolutions.py).
"""

from __future__ import annotations

import importlib.util
import logging
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trpose_ros.runtimes.folding import fold_batch_norm
from trpose_ros.runtimes.packed_convolutions import can_pack, pack_convolutions
from trpose_ros.runtimes.processor import keep_freed_memory

RUNTIMES = ('auto', 'torch', 'openvino')
_LOG = logging.getLogger(__name__)


class FastModule(Protocol):
    """A network ready for inference: images (B, 3, H, W) in, what it returns out."""

    runtime: str  # 'torch' or 'openvino'

    def __call__(self, images: Tensor) -> Any:
        """Take uint8 or 0..1 in any layout."""
        ...


def fast_module(
    module: nn.Module,
    example_shape: tuple[int, int, int, int],
    device: torch.device,
    dtype: torch.dtype,
    runtime: str = 'torch',
) -> FastModule:
    """Make a network in evaluation mode ready for inference; it is changed in place.

    Images of the result are on ``device``, what it returns is in ``dtype`` or float32.
    ``example_shape`` is what OpenVINO gets ready for now; another size of images costs a fraction
    of a second when it comes first. 'auto' takes OpenVINO on a processor where it is installed and
    knows the network; it uses as many threads as PyTorch does at this moment.

    Raises ValueError when OpenVINO is asked for and is not installed or cannot run the network.
    """
    if pick_runtime(runtime, device) == 'openvino':
        fold_batch_norm(module)
        try:
            from trpose_ros.runtimes.openvino_module import compile_module

            return compile_module(module, example_shape, torch.get_num_threads(), dtype)
        except (ImportError, RuntimeError, ValueError) as error:  # damaged; processor; network
            if runtime == 'openvino':
                raise ValueError(f"runtime 'openvino': {error}; set it to 'torch'") from error
            _LOG.warning('OpenVINO cannot run this network, PyTorch does: %s', error)
    return TorchImages(prepare_backbone(module, device, dtype), dtype)


def pick_runtime(wanted: str, device: torch.device) -> str:
    """Return 'torch' or 'openvino' for a wish out of RUNTIMES.

    Raises ValueError for OpenVINO where it is not installed, or for an unknown wish.
    """
    if wanted not in RUNTIMES:
        raise ValueError(f'runtime must be one of {list(RUNTIMES)}, got {wanted!r}')
    if wanted == 'torch':
        return 'torch'
    if device.type != 'cpu':
        if wanted == 'openvino':
            _LOG.warning("runtime 'openvino' is for processors: PyTorch runs on %s", device)
        return 'torch'
    if importlib.util.find_spec('openvino') is not None:
        return 'openvino'
    if wanted == 'openvino':
        raise ValueError(
            "runtime 'openvino' asked for, but the package openvino is not installed: "
            "pip install 'trpose_ros[openvino]', or set runtime to 'torch'"
        )
    return 'torch'


class TorchImages(nn.Module):
    """A network that takes images as they are drawn: uint8 or 0..1, in any layout."""

    runtime = 'torch'

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module = module
        self.dtype = dtype

    def forward(self, images: Tensor) -> Any:
        """(B, 3, H, W) -> what the network returns."""
        scaled = images.to(dtype=self.dtype, memory_format=torch.channels_last)
        return self.module(scaled * (1 / 255) if images.dtype == torch.uint8 else scaled)


def prepare_backbone(backbone: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Make a backbone ready for inference in PyTorch, in place, and return it."""
    fold_batch_norm(backbone.eval())
    backbone.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type == 'cpu':
        keep_freed_memory()
        if can_pack(dtype):
            pack_convolutions(backbone)
    return backbone

"""Networks as ONNX files, for runtimes that are neither PyTorch nor OpenVINO.

A file is written when it is checked: ONNX Runtime has to give what PyTorch gives, for several batch
sizes. The batch is the only open dimension. The exporter of PyTorch that traces the module is used,
because the other one needs a further package; both write the same operators for these networks.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

OPSET = 17  # TensorRT 8.6 and later, ONNX Runtime 1.13 and later
BATCHES = (1, 3)  # that are compared; 1 is traced


@dataclass(frozen=True)
class Exportable:
    """A network and what somebody has to know who runs it elsewhere."""

    module: nn.Module  # one tensor in, a tensor or a tuple out
    input_name: str
    shape: tuple[int, ...]  # of the input, without the batch; values are about 0..1
    tolerances: Mapping[str, float]  # output -> largest difference that is no mistake
    facts: Mapping[str, str]  # of the file, in its metadata


@dataclass(frozen=True)
class Exported:
    """What came of it."""

    content: bytes
    differences: dict[str, float]  # output -> largest difference to PyTorch
    multiply_adds: int  # of a batch of one


class ExportError(ValueError):
    """The exported network does not run, or gives other values than PyTorch."""


def export(network: Exportable) -> Exported:
    """Return the ONNX file of a network, compared with PyTorch.

    Raises:
        ExportError: it does not run, or a value differs by more than its tolerance.
        ModuleNotFoundError: onnx or onnxruntime is not installed (extra ``[onnx]``).

    """
    import onnx

    module = network.module.eval().requires_grad_(False)
    sample = torch.zeros(1, *network.shape)
    names = list(network.tolerances)
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter announces its successor; the tracer, that shapes are constants: they are.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            module,
            (sample,),
            buffer,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=[network.input_name],
            output_names=names,
            dynamic_axes={name: {0: 'batch'} for name in (network.input_name, *names)},
        )
    model = onnx.load_from_string(buffer.getvalue())
    for key, value in network.facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    return Exported(content, _differences(content, network, module), multiply_adds(module, sample))


def multiply_adds(module: nn.Module, sample: Tensor) -> int:
    """Count the multiplications (with their additions) of convolutions and matrix products."""
    # Attention in its plain form: the counter does not know that of processors.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, plain, torch.no_grad():
        module(sample)
    return counter.get_total_flops() // 2


def _differences(content: bytes, network: Exportable, module: nn.Module) -> dict[str, float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # an error is raised, and said once
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    largest = dict.fromkeys(network.tolerances, 0.0)
    random = torch.Generator().manual_seed(0)
    for batch in BATCHES:
        sample = torch.rand(batch, *network.shape, generator=random)
        with torch.no_grad():
            wanted = module(sample)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        try:
            found = session.run(None, {network.input_name: sample.numpy()})
        except Exception as error:  # onnxruntime has a class of its own for each kind
            raise ExportError(f'ONNX Runtime refuses a batch of {batch}: {error!s:.300}') from error
        for name, ours, theirs in zip(largest, wanted, found, strict=True):
            if tuple(ours.shape) != theirs.shape:
                raise ExportError(f'{name} has the shape {theirs.shape}, not {tuple(ours.shape)}')
            difference = float((ours - torch.from_numpy(theirs)).abs().max())
            largest[name] = max(largest[name], difference)
    for name, difference in largest.items():
        if not difference <= network.tolerances[name]:  # NaN, too
            raise ExportError(
                f'{name} differs from PyTorch by {difference:g}, more than '
                f'{network.tolerances[name]:g}: this network cannot be exported'
            )
    return largest

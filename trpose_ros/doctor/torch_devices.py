"""PyTorch and what it can compute on: a device counts when it multiplies right."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem

_DRIVER = Path('/proc/driver/nvidia/version')
_SIDE = 64
_ERROR = {'float32': 1e-3, 'bfloat16': 0.05}  # of products of numbers in 0..1, relative


def check() -> list[Finding]:
    """Look at PyTorch, its processor and its GPUs."""
    if importlib.util.find_spec('torch') is None:
        return [
            problem(
                'PyTorch is not installed',
                'no network can run',
                'pip install torch (without an NVIDIA GPU, smaller: '
                'pip install torch --index-url https://download.pytorch.org/whl/cpu)',
            )
        ]
    try:
        torch = importlib.import_module('torch')
    except Exception as error:  # whatever a library that does not fit raises
        return [
            problem(
                f'PyTorch cannot be imported: {one_line(error)}',
                'no network can run',
                'pip install --force-reinstall torch, in the environment that is active',
            )
        ]
    return [*devices(torch, _DRIVER.exists(), os.environ), processor(torch)]


def devices(torch: Any, driver: bool, environ: Mapping[str, str]) -> list[Finding]:
    """Judge the GPUs; ``driver`` says whether the system has one for NVIDIA's."""
    built = getattr(torch.version, 'cuda', None)
    text = f'PyTorch {torch.__version__}, {f"for CUDA {built}" if built else "without CUDA"}'
    facts: dict[str, Any] = {'torch': str(torch.__version__), 'cuda': built}
    if torch.cuda.is_available():
        gpus = [gpu(torch, index) for index in range(torch.cuda.device_count())]
        return [ok(text, **facts), *gpus]
    if driver and not built:
        means = 'there is an NVIDIA driver, but this PyTorch cannot use the GPU: networks run on '
        means += 'the processor, many times slower'
        return [note(text, means, 'pip install --force-reinstall torch', **facts)]
    if driver:
        hidden = environ.get('CUDA_VISIBLE_DEVICES')
        means = 'there is an NVIDIA driver and a PyTorch for CUDA, but no GPU is seen'
        do = 'look at nvidia-smi; the driver must be as new as that CUDA'
        if hidden is not None:
            do = f'CUDA_VISIBLE_DEVICES is {hidden!r:.40}: unset it; {do}'
        return [problem(text, means, do, **facts)]
    means = 'no GPU: networks run on the processor'
    return [ok(text, means, **facts)]


def gpu(torch: Any, index: int) -> Finding:
    """Multiply on one GPU."""
    name = f'cuda:{index}'
    facts: dict[str, Any] = {'device': f'cuda:{index}'}
    try:
        properties = torch.cuda.get_device_properties(index)
        name = f'cuda:{index}, {properties.name}, {properties.total_memory / 1e9:.0f} GB'
        wrong = [kind for kind in _ERROR if multiply(torch, f'cuda:{index}', kind)]
        fast = bool(torch.cuda.is_bf16_supported())
    except Exception as error:  # whatever a driver raises
        return problem(
            f'{name}: {one_line(error)}',
            'this GPU cannot be used: another process may fill its memory, or this PyTorch has '
            'no code for it',
            'look at nvidia-smi; set device to cpu or another cuda:N meanwhile',
            **facts,
        )
    facts |= {'name': properties.name, 'bfloat16': fast}
    if wrong:
        return problem(
            f'{name} multiplies wrong in {", ".join(wrong)}',
            'results on it are wrong',
            'set device to cpu; look at driver and hardware',
            **facts,
        )
    return ok(f'{name}: multiplies right, bfloat16 {"yes" if fast else "emulated"}', **facts)


def processor(torch: Any) -> Finding:
    """Multiply on the processor, and say whether it has bfloat16."""
    try:
        wrong = [kind for kind in _ERROR if multiply(torch, 'cpu', kind)]
        from trpose_ros.runtimes.processor import cpu_has_bfloat16

        fast = cpu_has_bfloat16()
    except Exception as error:
        return problem(
            f'processor: {one_line(error)}',
            'networks may not run on it',
            'pip install --force-reinstall torch',
        )
    threads = torch.get_num_threads()
    facts: dict[str, Any] = {'device': 'cpu', 'threads': threads, 'bfloat16': fast}
    text = f'processor: {threads} thread{"s" if threads > 1 else ""}, '
    if wrong:
        means = 'results on it are wrong'
        return problem(f'{text}multiplies wrong in {wrong}', means, 'install torch again', **facts)
    if fast:
        return ok(f'{text}multiplies right, has bfloat16', **facts)
    means = 'without a GPU `model: auto` takes metrabs-s here, the small network'
    return ok(f'{text}multiplies right, no bfloat16', means, **facts)


def multiply(torch: Any, device: str, kind: str) -> float:
    """Return by how much a product on a device is wrong, relative, 0.0 when it is close."""
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(_SIDE, _SIDE, generator=generator) for _ in range(2))
    wanted = a.double() @ b.double()
    given = a.to(device, getattr(torch, kind)) @ b.to(device, getattr(torch, kind))
    error = float(((given.cpu().double() - wanted) / wanted).abs().max())
    return 0.0 if error <= _ERROR[kind] else error

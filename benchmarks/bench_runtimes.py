"""Cost of one image on a processor by what runs the network: PyTorch or OpenVINO. Prints a table.

    python benchmarks/bench_runtimes.py [--threads 1] [--rounds 30]

MeTRAbs' two sizes on a 256 px crop, from bytes to a person's joints (random weights: they cost
what trained ones do), and MoveNet MultiPose, from bytes to maps. Compared are PyTorch as it comes,
PyTorch as runtimes/modules.py prepares it, and OpenVINO, each in float32 and, where the processor
multiplies it, in bfloat16. All are run in turn, and the best of all rounds counts. The time is
that of the processor, which other programs lengthen least; with one thread it is that on the clock
of an idle machine.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from results import Numbers, add_option
from torch import Tensor, nn

from trpose_ros import weights
from trpose_ros.metrabs.inference import CropRunner
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.movenet.checkpoints import load_movenet
from trpose_ros.movenet.network import MoveNet, MoveNetConfig
from trpose_ros.runtimes.modules import fast_module, pick_runtime
from trpose_ros.runtimes.onnx_export import multiply_adds
from trpose_ros.runtimes.processor import cpu_has_bfloat16

Run = Callable[[], Any]
CPU = torch.device('cpu')
SIDE = 256
SIZES = {'m': 'mobilenetv2-1.75', 's': 'mobilenetv2-1.0'}
GOALS = {('m', 'float32'): 45, ('m', 'bfloat16'): 20, ('s', 'float32'): 18, ('s', 'bfloat16'): 9}
MULTIPOSE = ((256, 256), (192, 256))  # height, width px: a square image, and 4:3
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


def best(functions: dict[str, Run], rounds: int) -> dict[str, float]:
    """Run functions in turn and return the best time of each on the processor, ms."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            began = time.process_time()
            function()
            times[name].append((time.process_time() - began) * 1e3)
    return {name: min(values) for name, values in times.items()}


def formats() -> list[str]:
    """Return the number formats that this processor multiplies."""
    return ['float32', 'bfloat16'] if cpu_has_bfloat16() else ['float32']


def ways() -> list[str]:
    """Return what can run a network here, beside PyTorch as it comes."""
    return ['torch'] + (['openvino'] if pick_runtime('auto', CPU) == 'openvino' else [])


def as_it_comes(module: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Any]:
    """Return a network as PyTorch runs it, with images as they are drawn."""
    module = copy.deepcopy(module).to(dtype)
    return lambda images: module(images.contiguous().to(dtype) * (1 / 255))


def count(name: str, module: nn.Module, images: Tensor) -> None:
    """Print the multiply-adds of an image."""
    print(f'{name}: {multiply_adds(module, images.float()) / 1e6:.0f} million multiply-adds')


def crops(numbers: Numbers, rounds: int) -> None:
    """MeTRAbs, one crop, to joints in millimetres."""
    images = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    camera = np.array([[[2.0 * SIDE, 0, SIDE / 2], [0, 2.0 * SIDE, SIDE / 2], [0, 0, 1]]])
    for size, backbone in SIZES.items():
        model = Metrabs(MetrabsConfig(backbone, SIDE, 32)).eval().requires_grad_(False)
        count(f'metrabs-{size}', model.backbone, images)
        functions: dict[str, Run] = {}
        for name in formats():
            plain = CropRunner(model, CPU, DTYPES[name])
            plain._backbone = as_it_comes(model.backbone, DTYPES[name])
            runners = {'plain': plain}
            for way in ways():
                began = time.process_time()
                runners[way] = CropRunner(model, CPU, DTYPES[name], runtime=way)
                runners[way].warm_up()
                spent = time.process_time() - began
                print(f'metrabs-{size}, {way} {name}: prepared and warmed up in {spent:.2f} s')
                numbers.time(f'metrabs-{size}, {way} {name}, start', spent, 's')
            for way, runner in runners.items():
                functions[f'{way} {name}'] = lambda runner=runner: runner.run(images, camera)
        show(f'metrabs-{size}, one crop', functions, rounds, numbers, GOALS, size)


def multipose(numbers: Numbers, rounds: int) -> None:
    """MoveNet MultiPose, one image, to maps."""
    if 'movenet-multipose' in weights.available():
        model = load_movenet('movenet-multipose')
    else:
        model = MoveNet(MoveNetConfig(1.5, 'multi')).eval().requires_grad_(False)
    for height, width in MULTIPOSE:
        shape = (1, height, width, 3)
        images = torch.randint(0, 256, shape, dtype=torch.uint8).permute(0, 3, 1, 2)
        count(f'MultiPose, {width}x{height}', model, images)
        functions: dict[str, Run] = {}
        for name in formats():
            dtype = DTYPES[name]
            modules = {'plain': as_it_comes(model, dtype)}
            for way in ways():
                modules[way] = fast_module(
                    copy.deepcopy(model), (1, 3, height, width), CPU, dtype, way
                )
            for way, module in modules.items():
                functions[f'{way} {name}'] = lambda module=module, images=images: module(images)
        title = f'MultiPose, one image of {width}x{height}'
        show(title, functions, rounds, numbers)


@torch.inference_mode()
def show(
    title: str,
    functions: dict[str, Run],
    rounds: int,
    numbers: Numbers,
    goals: dict[tuple[str, str], int] | None = None,
    size: str = '',
) -> None:
    """Measure and print what stands beside PyTorch as it comes in float32."""
    for function in functions.values():
        function()
        function()
    times = best(functions, rounds)
    plain = times['plain float32']
    print(f'{title}:')
    for name, value in times.items():
        goal = (goals or {}).get((size, name.split()[1]))
        wanted = f', wanted {goal} ms' if goal and not name.startswith('plain') else ''
        print(f'  {name:18s} {value:6.1f} ms, {value / plain:.2f} x{wanted}')
        if name != 'plain float32':
            numbers.ratio(f'{title}, {name} over plain float32', value / plain)
        numbers.time(f'{title}, {name}', value)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=30)
    add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(
        f'torch {torch.__version__}, {options.threads} thread(s), best of {options.rounds}, '
        f'load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores'
    )
    if not cpu_has_bfloat16():
        print('this processor does not multiply bfloat16: float32 alone')
    if ways() == ['torch']:
        print("no OpenVINO here (pip install 'trpose_ros[openvino]'): PyTorch alone")
    numbers = Numbers()
    crops(numbers, options.rounds)
    multipose(numbers, options.rounds)
    numbers.write(options.json)


if __name__ == '__main__':
    main()

"""Speed of MeTRAbs: the network, what surrounds it, variants, loading. Prints a table.

    python benchmarks/bench_metrabs.py [--threads 1] [--rounds 30] [--model metrabs-s]

What is compared is run alternately, and the best of all rounds counts. On the CPU the time is
that of the processor, which other programs lengthen least (with one thread it is the time on the
clock of an idle machine). With CUDA, frames per second and peak memory of large networks follow.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from parity.metrabs_numbers import filled_value
from results import Numbers, add_option

from trpose_ros import cameras, weights
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.estimators.metrabs_torch import MetrabsTorch
from trpose_ros.metrabs.checkpoints import LoadedNetwork, SkeletonTable, load_network
from trpose_ros.metrabs.inference import CropRunner, pick_precision
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.people import Frame
from trpose_ros.skeletons import get_skeleton

Clock = Callable[[], float]
_S256_MULTIPLY_ADDS = 3.74e9
_LOAD = """
import time; began = time.perf_counter()
import numpy as np
from trpose_ros import cameras
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.people import Frame
from trpose_ros.skeletons import get_skeleton
estimator = create_estimator('metrabs_torch', EstimatorConfig(model={model!r}))
camera = cameras.camera_from_fov(640, 480)
frame = Frame(np.zeros((480, 640, 3), np.uint8), 0, camera)
estimator.estimate(frame, np.array([[200.0, 40.0, 160.0, 400.0]]))
print(time.perf_counter() - began, time.process_time())
"""


def published_network(backbone: str, side: int) -> Metrabs:
    """Return a network of published size with weights of a rule."""
    config = MetrabsConfig(backbone, proc_side=side, stride=32, skeleton='smpl_24', num_joints=24)
    model = Metrabs(config).eval()
    state = {
        key: torch.from_numpy(np.asarray(filled_value(key, tuple(value.shape))))
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model


def best(functions: dict, rounds: int, clock: Clock = time.process_time) -> dict[str, float]:
    """Run functions in turn and return the best time of each, ms."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            began = clock()
            function()
            times[name].append((clock() - began) * 1e3)
    return {name: min(values) for name, values in times.items()}


def bench_network(rounds: int, numbers: Numbers) -> None:
    """One 256 px crop: the plain float32 module against the runner."""
    model = published_network('efficientnetv2-s', 256)
    cpu = torch.device('cpu')
    runner = CropRunner(model, cpu, pick_precision('auto', cpu))
    crop = torch.rand(1, 3, 256, 256)
    camera = torch.tensor([[[500.0, 0, 128], [0, 500, 128], [0, 0, 1]]])

    def plain() -> None:
        with torch.inference_mode():
            model(crop, camera)

    square = torch.rand(1024, 1024)
    times = best(
        {
            'plain': plain,
            'ours': lambda: runner.run(crop, camera.numpy()),
            'product': lambda: square @ square,
        },
        rounds,
    )
    ratio = times['ours'] / times['plain']
    limit = times['product'] * _S256_MULTIPLY_ADDS / 1024**3
    numbers.ratio('MeTRAbs s/256, ours over plain', ratio)
    numbers.time('MeTRAbs s/256, ours', times['ours'])
    print(f'EfficientNetV2-s 256 px, decoding and reconstruction, batch 1, {runner.dtype}:')
    print(
        f'  plain float32 {times["plain"]:.1f} ms, ours {times["ours"]:.1f} ms, ratio {ratio:.2f}; '
        f'its multiply-adds as one large product in float32: {limit:.1f} ms, '
        f'ratio {limit / times["plain"]:.2f}'
    )


def bench_accuracy(network: LoadedNetwork, numbers: Numbers) -> None:
    """How far the fast number format moves the joints of a trained network, root-relative."""
    cpu = torch.device('cpu')
    side = network.model.config.proc_side
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (16, 3, 16, 16), np.uint8).repeat(side // 16, 2)
    crops = torch.from_numpy(small.repeat(side // 16, 3))
    camera = np.array([[2.0 * side, 0, side / 2], [0, 2.0 * side, side / 2], [0, 0, 1]])
    cameras_of = np.broadcast_to(camera, (16, 3, 3))
    poses = {}
    for name in ('float32', 'auto'):
        runner = CropRunner(network.model, cpu, pick_precision(name, cpu))
        result = runner.run(crops, cameras_of)
        poses[name] = result.abs_mm - result.abs_mm[:, :1]
    apart = np.linalg.norm(poses['auto'] - poses['float32'], axis=-1)
    numbers.error('MeTRAbs, joints of the fast number format against float32', apart.mean())
    print(
        f'{network.weights_id}: joints of {pick_precision("auto", cpu)} against float32, '
        f'root-relative: mean {apart.mean():.2f} mm, largest {apart.max():.2f} mm '
        '(noise images: nothing to be sure of)'
    )


def bench_estimator(network: LoadedNetwork, rounds: int, numbers: Numbers) -> None:
    """One person in 640 x 480: everything, the network, and the rest; one variant and five."""
    camera = cameras.camera_from_fov(640, 480)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    frame, box = Frame(image, 0, camera), np.array([[200.0, 40.0, 160.0, 400.0]])
    estimators = {
        str(count): MetrabsTorch(EstimatorConfig(num_aug=count), network) for count in (1, 5)
    }
    inside: list[float] = []
    rest: list[float] = []
    runner = estimators['1']._runner
    assert runner is not None
    run = runner.run

    def timed(*arguments: Any) -> Any:
        began = time.process_time()
        result = run(*arguments)
        inside.append((time.process_time() - began) * 1e3)
        return result

    runner.run = timed  # type: ignore[method-assign]

    def one() -> None:
        began = time.process_time()
        estimators['1'].estimate(frame, box)
        rest.append((time.process_time() - began) * 1e3 - inside[-1])

    times = best({'1': one, '5': lambda: estimators['5'].estimate(frame, box)}, rounds)
    numbers.time('MeTRAbs, image to people, without the network', min(rest))
    numbers.time('MeTRAbs, image to people', times['1'])
    numbers.ratio('MeTRAbs, num_aug 5 over 1', times['5'] / times['1'])
    print(f'{network.weights_id}, one person, 640 x 480, image array to People:')
    print(f'  all {times["1"]:.1f} ms, without the network {min(rest):.2f} ms')
    print(f'  num_aug 5: {times["5"]:.1f} ms, {times["5"] / times["1"]:.2f} x the time of 1')


def bench_load(model: str, numbers: Numbers) -> None:
    """From nothing to the first result in a process of its own."""
    code = _LOAD.format(model=model)
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
        runs.append([float(word) for word in done.stdout.split()])
    wall, processor = np.min(runs, axis=0)
    numbers.time('MeTRAbs, load and first result, processor', processor, 's')
    print(
        f'{model}: imports, load, warm-up and first result {wall:.2f} s on the clock, '
        f'{processor:.2f} s of the processor (best of 3)'
    )


def bench_sizes(device: str, rounds: int = 50) -> None:
    """Frames per second of published sizes, image array to People, and peak memory."""
    camera = cameras.camera_from_fov(1280, 720)
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    frame = Frame(image, 0, camera)
    skeleton = get_skeleton('smpl_24')
    table = SkeletonTable(np.arange(24), skeleton.joint_names, np.array(skeleton.bones))
    for backbone, side in (('s', 256), ('s', 384), ('l', 384)):
        model = published_network(f'efficientnetv2-{backbone}', side)
        network = LoadedNetwork(
            model, skeleton.joint_names, {'smpl_24': table}, None, True, 'pytorch', 'rule', 'none'
        )
        config = EstimatorConfig(device=device, suppress_implausible=False, batch_size=16)
        estimator = MetrabsTorch(config, network)
        for people in (1, 4, 16):
            x = np.linspace(20, 1100, people)
            boxes = np.column_stack([x, x * 0 + 100, x * 0 + 160, x * 0 + 500])
            if device == 'cuda':
                torch.cuda.reset_peak_memory_stats()
            times = best(
                {'run': lambda e=estimator, b=boxes: e.estimate(frame, b)},
                rounds,
                time.perf_counter,
            )
            memory = ''
            if device == 'cuda':
                memory = f', {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB'
            print(
                f'{backbone}/{side}, {people} people: {1e3 / times["run"]:.1f} per second{memory}'
            )
        estimator.close()


def main() -> None:
    """Run all parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=30)
    parser.add_argument('--model', default='metrabs-s')
    add_option(parser)
    options = parser.parse_args()
    numbers = Numbers()
    torch.set_num_threads(options.threads)
    print(f'torch {torch.__version__}, {options.threads} thread(s), best of {options.rounds}')
    bench_network(options.rounds, numbers)
    if options.model in weights.available() or '/' in options.model:
        network = load_network(options.model)
        bench_accuracy(network, numbers)
        bench_estimator(network, options.rounds, numbers)
        bench_load(options.model, numbers)
    else:
        print(f'no weights called {options.model!r}: accuracy, estimator and loading not measured')
    if torch.cuda.is_available():
        bench_sizes('cuda')
    else:
        print('no CUDA here: frames per second of s/256, s/384 and l/384 not measured')
    numbers.write(options.json)


if __name__ == '__main__':
    main()

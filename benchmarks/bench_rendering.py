"""How many finished training pictures a second: posed, skinned, drawn, composed, blurred, noisy.

    python benchmarks/bench_rendering.py [--images 240] [--processes 2]

Every picture is a new pose of a dressed person, drawn at the side of the picture's sprite, put in
front of a background with occluders, blur, noise and colours. ``images/s`` is by the clock;
``per CPU second`` by the processor time of the workers, which other programs on the machine hardly
change. People are dressed anew every 24 poses, as in training.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')

import cv2
import numpy as np
from results import Numbers, add_option

from trpose_ros.data.rendering.backgrounds import Backgrounds
from trpose_ros.data.rendering.crops import Composer, CropConfig
from trpose_ros.data.rendering.sprites import POSES_PER_FIGURE, Sprites, SpriteSource


class Sheet:
    """The sprites of one person as a store."""

    def __init__(self, sprites: Sprites) -> None:
        self.sprites = sprites

    def __len__(self) -> int:
        return len(self.sprites)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        names = ('rgba', 'intrinsics', 'joints_m', 'visible', 'up')
        return {name: getattr(self.sprites, name)[index] for name in names}


def work(number: int, figures: int, side: int, start: object, results: object) -> None:
    """Draw ``figures`` people in all their poses; report processor seconds by stage."""
    cv2.setNumThreads(1)
    source, backgrounds = SpriteSource('train'), Backgrounds('train')
    for figure in range(24):  # compile, and read the garments that are read once
        source.library.dress(0, np.random.default_rng(figure))
    sheet = Sheet(source.figure_sprites(9, 0, 2))
    composer = Composer(sheet, backgrounds, CropConfig(side=side))  # type: ignore[arg-type]
    composer.training_crop(0, np.random.default_rng(0))
    start.wait()
    began, drawn, composed = time.perf_counter(), 0.0, 0.0
    for figure in range(figures):
        a = time.process_time()
        sprites = source.figure_sprites(1, number * figures + figure)
        b = time.process_time()
        sheet.sprites = sprites
        for index in range(len(sprites)):
            composer.training_crop(index, np.random.default_rng([number, figure, index]))
        drawn, composed = drawn + b - a, composed + time.process_time() - b
    results.put((time.perf_counter() - began, drawn, composed))


def measure(processes: int, images: int, side: int) -> tuple[float, float, float, float]:
    """Return images/s by the clock, per CPU second, and ms of drawing and of composing each."""
    figures = max(1, round(images / processes / POSES_PER_FIGURE))
    context = multiprocessing.get_context('spawn')
    start, results = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=work, args=(number, figures, side, start, results))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    times = np.array([results.get(timeout=1200) for _ in workers])
    for worker in workers:
        worker.join()
    count = processes * figures * POSES_PER_FIGURE
    cpu_s = times[:, 1:].sum()
    drawn_ms, composed_ms = 1e3 * times[:, 1:].sum(axis=0) / count
    return count / times[:, 0].max(), count / cpu_s, drawn_ms, composed_ms


def main() -> None:
    """Measure one process, then several."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--images', type=int, default=240)
    parser.add_argument('--processes', type=int, default=2)
    parser.add_argument('--side', type=int, default=256)
    add_option(parser)
    options = parser.parse_args()
    numbers = Numbers()
    print(f'{options.side} px, load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs')
    for processes in sorted({1, options.processes}):
        rate, per_cpu, drawn, composed = measure(processes, options.images, options.side)
        print(
            f'{processes} process(es): {rate:6.1f} images/s, {per_cpu:6.1f} per CPU second '
            f'(drawing {drawn:.1f} ms, composing {composed:.1f} ms), so '
            f'{per_cpu * processes:.0f} images/s on {processes} free core(s)'
        )
        numbers.rate(f'rendering, {processes} processes', per_cpu, 'images per CPU second')
    numbers.write(options.json)


if __name__ == '__main__':
    main()

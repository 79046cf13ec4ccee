"""How fast the evaluation is without the networks: joining, hidden joints, all measures, rows.

The estimator and the lifter are skipped: a clip of 1,000 frames with a made-up pass per condition.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from results import Numbers, add_option

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.conditions import plan
from trpose_ros.evaluation.runner import EvaluationRun
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.occlusion.occluder import reference_boxes
from trpose_ros.people import Frame, People

FRAMES, FPS = 1000, 30.0
CAMERA = camera_from_fov(640, 480, assumed=False)


class Noisy:
    """An estimator that knows the truth up to noise."""

    name, skeleton, weights_id, licence = 'noisy', 'h36m_17', 'none', 'none'

    def __init__(self, truth: dict[int, People]) -> None:
        self._truth, self._rng = truth, np.random.default_rng(0)
        self.skipped: dict[str, int] = {}

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Return the person, trembling by 20 mm."""
        people = self._truth[frame.stamp_ns]
        noise = self._rng.normal(0, 0.02, people.joints_m.shape).astype(np.float32)
        return people.replace(joints_m=people.joints_m + noise)

    def close(self) -> None:
        """Do nothing."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_option(parser)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    body = rng.uniform((-0.3, -0.8, 3.8), (0.3, 0.8, 4.2), (17, 3))
    waves = 0.1 * np.sin(np.arange(FRAMES)[:, None, None] / 9.0 + rng.uniform(0, 6, (17, 3)))
    joints_m = body + waves
    stamps = [round(t * 1e9 / FPS) for t in range(FRAMES)]
    truth = {
        stamp: People.build(
            stamp_ns=stamp,
            frame_id='camera',
            skeleton='h36m_17',
            width=640,
            height=480,
            joints_px=project(joints_m[t : t + 1], CAMERA),
            joints_m=joints_m[t : t + 1],
        )
        for t, stamp in enumerate(stamps)
    }
    image = np.full((480, 640, 3), 90, np.uint8)
    clip = EvaluationClip(
        identity='bench|one|noise|0',
        fps=FPS,
        truth=truth,
        boxes_px=dict(zip(stamps, reference_boxes(project(joints_m, CAMERA)), strict=True)),
        open_frames=lambda: iter([Frame(image, stamp, CAMERA) for stamp in stamps]),
        describe=lambda: b'bench',
    )
    with tempfile.TemporaryDirectory() as folder:
        config = EvaluationConfig(
            estimators=('noisy',),
            factories={'noisy': lambda: Noisy(truth)},
            lifters=('none',),
            conditions=tuple(plan(['five'], seeds=[0])),
            boxes='image',
            cache=Path(folder) / 'cache',
        )
        for name in ('first', 'second'):
            run = EvaluationRun(config, [clip], Path(folder) / name)
            begin, begin_cpu = time.perf_counter(), time.process_time()
            errors = [step.error for step in run.steps() if step.error]
            seconds = time.perf_counter() - begin
            cpu_seconds = time.process_time() - begin_cpu
            if errors:
                raise SystemExit(f'evaluation failed: {errors[0]}')
    frames = FRAMES * len(config.conditions)
    print('| evaluation from cached passes | value |')
    print('|---|---:|')
    print(f'| frames | {frames} |')
    print(f'| frames per second of one process, all but the networks | {frames / seconds:.0f} |')
    print(f'| frames per CPU second (other processes aside) | {frames / cpu_seconds:.0f} |')
    numbers = Numbers()
    numbers.rate('evaluation, frames per CPU second', frames / cpu_seconds, '1/s')
    numbers.write(options.json)


if __name__ == '__main__':
    main()

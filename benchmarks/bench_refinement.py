"""What the refinement costs a frame, beside the fusion by constants.

    python benchmarks/bench_refinement.py

Processor time of one thread for a frame with one person and with four, both in turn: a tenth of the
frames took less, which says what it costs where other programs run, too.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from results import Numbers, add_option

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.people import People, RootSource, TrackState
from trpose_ros.pipeline.fusion import Fusion
from trpose_ros.pipeline.refinement import Refinement
from trpose_ros.refinement.model import load_model

CAMERA = camera_from_fov(640, 480)
FRAMES = 300


def frame(count: int, number: int, rng: np.random.Generator) -> tuple[People, np.ndarray]:
    """Return people of a frame, and their lifted skeletons."""
    joints = rng.normal(0, 0.3, (count, 17, 3)) + np.array([0, 0, 3])
    people = People.build(
        stamp_ns=number * 33_333_333,
        frame_id='camera',
        skeleton='h36m_17',
        width=640,
        height=480,
        joints_px=project(joints, CAMERA),
        joints_m=joints,
        joint_scores=np.ones((count, 17)),
        joint_states=np.ones((count, 17)),
        covariances_m2=np.broadcast_to(0.01 * np.eye(3), (count, 17, 3, 3)),
        track_ids=np.arange(count),
        track_states=np.full(count, TrackState.TRACKED),
        root_sources=np.full(count, RootSource.ESTIMATOR),
    )
    return people, rng.normal(0, 0.3, (count, 17, 3))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', default='refinement')
    add_option(parser)
    options = parser.parse_args()
    numbers = Numbers()
    print('| people | constants (ms) | refinement (ms) | per person (ms) |')
    print('|---:|---:|---:|---:|')
    for count in (1, 4):
        rng = np.random.default_rng(0)
        ways = (Fusion(), Refinement(load_model(options.weights)))
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(FRAMES):
            people, lifted = frame(count, number, rng)
            for way, spent in zip(ways, times, strict=True):
                begin = time.process_time()
                way.fuse(people, lifted, CAMERA)
                spent.append(1e3 * (time.process_time() - begin))
        constants, refined = (float(np.quantile(spent, 0.1)) for spent in times)
        print(f'| {count} | {constants:.2f} | {refined:.2f} | {refined / count:.2f} |')
        numbers.time(f'refinement, a frame of {count}', refined)
    numbers.write(options.json)


if __name__ == '__main__':
    main()

"""The tracker with four people: what a CameraInfo of every image's own costs it.

    python benchmarks/bench_tracker.py [--frames N]

A camera publishes a CameraInfo with each image; what is computed for one must not be computed for
every image anew. Processor times of boxes and update of one frame, four people behind a lens with
distortion, two of them without 3D; the ratio to one object of a camera is the code's.

    one object     the same Camera in every frame
    camera_info    a CameraInfo with each frame, through the CameraBook
    cropped        the same with a region of interest that moves: another camera in every frame
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from time import process_time

import numpy as np
from results import Numbers, add_option
from rich.console import Console
from rich.table import Table

from trpose_ros.cameras import project
from trpose_ros.people import Camera, People
from trpose_ros.pipeline.tracking import Tracker
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import make_typestore
from trpose_ros.recordings.camera_book import CameraBook, CameraConfig
from trpose_ros.skeletons import get_skeleton

STEP_NS = 33_333_333
WIDTH, HEIGHT = 640, 480
LENS = Camera(
    800, 600, [[600.0, 0, 390], [0, 610, 310], [0, 0, 1]], [-0.25, 0.07, 0.001, -0.002, 0]
)


def people_of(k: int, camera: Camera) -> People:
    """Return four people who walk to the right, two of them without 3D."""
    rng = np.random.default_rng(0)
    joints = get_skeleton('h36m_17').num_joints
    bodies = rng.uniform((-0.3, -0.8, -0.2), (0.3, 0.8, 0.2), (4, joints, 3))
    places = np.array([(-1.5, 0, 4), (-0.5, 0, 5), (0.4, 0, 4), (1.4, 0, 5)])
    places[:, 0] += 0.003 * k
    joints_m = bodies + places[:, None]
    joints_px = project(joints_m, camera)
    joints_m[2:] = np.nan
    return People.build(
        stamp_ns=k * STEP_NS,
        frame_id='camera',
        skeleton='h36m_17',
        width=camera.width,
        height=camera.height,
        joints_px=joints_px,
        joints_m=joints_m,
    )


def measure(camera_of: Callable[[int], Camera], frames: int) -> float:
    """Return the median processor time of the tracker for one frame, ms."""
    tracker, times = Tracker(), []
    for k in range(frames):
        camera = camera_of(k)
        people = people_of(k, camera)
        begin = process_time()
        tracker.predict_boxes(camera, people.stamp_ns)
        tracker.update(people, camera)
        times.append(process_time() - begin)
    return float(np.median(times[frames // 10 :])) * 1e3


def main() -> None:
    """Measure, and print times and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=200)
    add_option(parser)
    options = parser.parse_args()
    make, book = MessageMaker(make_typestore()), CameraBook(CameraConfig(), wait=False)

    def of_info(k: int, cut: int) -> Camera:
        message = make.camera_info(LENS, k * STEP_NS, 'camera')
        message.roi.x_offset, message.roi.y_offset = 80 + cut, 60
        message.roi.width, message.roi.height = WIDTH, HEIGHT
        book.add(message, k * STEP_NS)
        return book.find(k * STEP_NS, WIDTH, HEIGHT, 'camera')[0]

    one = of_info(0, 0)
    kinds: dict[str, Callable[[int], Camera]] = {
        'one object': lambda k: one,
        'camera_info': lambda k: of_info(k, 0),
        'cropped': lambda k: of_info(k, k % 100),
    }
    times = {name: measure(camera_of, options.frames) for name, camera_of in kinds.items()}
    table = Table('camera', 'ms a frame', 'ratio', title='tracker, four people')
    numbers = Numbers()
    for name, time_ms in times.items():
        ratio = time_ms / times['one object']
        table.add_row(name, f'{time_ms:.2f}', f'{ratio:.2f}')
        numbers.time(f'tracker, four people, {name}', time_ms)
        if name != 'one object':
            numbers.ratio(f'tracker, four people, {name} to one object', ratio)
    Console().print(table)
    numbers.write(options.json)


if __name__ == '__main__':
    main()

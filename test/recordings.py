"""Small recordings for tests: a standing person who walks to the right, drawn as a stick figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from doubles import CAMERA, STEP_NS, make_people

from trpose_ros.drawing.overlay import draw_people
from trpose_ros.people import Camera, People
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter

START_NS = 10**9
IMAGE = '/camera/image_raw'
INFO = '/camera/camera_info'
TRUTH = '/ground_truth/people'
DEPTH = '/camera/aligned_depth'


def true_people(k: int, camera: Camera = CAMERA) -> People:
    """Return who is in frame k."""
    return make_people(START_NS + k * STEP_NS, (-0.5 + 0.01 * k, 0.2, 4.0), camera)


def depth_image(make: MessageMaker, depth_m: np.ndarray, stamp_ns: int) -> Any:
    """Return (H, W) distances, m, as a 16UC1 image."""
    height, width = depth_m.shape
    message = make.new('sensor_msgs/msg/Image', header=make.header(stamp_ns, 'optical'))
    message.encoding, message.width, message.height, message.step = (
        '16UC1',
        width,
        height,
        2 * width,
    )
    values = np.nan_to_num(1000 * depth_m).astype('<u2')
    return make.fill(message, 'data', np.frombuffer(values.tobytes(), np.uint8))


def write_recording(
    path: Path,
    frames: int = 12,
    *,
    info: bool | Callable[[Any], Any] = True,
    truth: bool | Callable[[int], People | None] = True,
    camera: Camera = CAMERA,
    stamps_ns: list[int] | None = None,
    truth_stamps_ns: list[int] | None = None,
    depth: Callable[[int], np.ndarray] | None = None,
    compression: str = 'none',
) -> Path:
    """Write images (JPEG), camera_info and the truth: that of frame k is ``truth(k)``, if given.

    ``info`` may be a function that changes each CameraInfo. The depth image of frame k is
    ``depth(k)``, (H, W) m.
    """
    with BagWriter(path, compression=compression) as bag:
        make = MessageMaker(bag.typestore)
        for k in range(frames):
            people = true_people(k, camera)
            stamp_ns = people.stamp_ns if stamps_ns is None else stamps_ns[k]
            log_ns = START_NS + k * STEP_NS
            image = draw_people(np.full((camera.height, camera.width, 3), 90, np.uint8), people)
            if info:
                message = make.camera_info(camera, stamp_ns, 'optical')
                bag.write(INFO, info(message) if callable(info) else message, log_ns)
            if depth is not None:
                bag.write(DEPTH, depth_image(make, depth(k), stamp_ns), log_ns)
            told = truth(k) if callable(truth) else people if truth else None
            if told is not None:
                true_ns = stamp_ns if truth_stamps_ns is None else truth_stamps_ns[k]
                bag.write(TRUTH, make.people(told.replace(stamp_ns=true_ns)), log_ns)
            bag.write(
                f'{IMAGE}/compressed', make.compressed_image(image, stamp_ns, 'optical'), log_ns
            )
    return path

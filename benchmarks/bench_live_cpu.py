"""Processor time that pose_node adds to its models: what a busy machine cannot lengthen.

The node runs in this process, with the shipped weights, on the images of the sample recording.
Counted is the time of the working thread from taking an image from the queue to its published
people, less that of boxes and network. The transport is not in it: bench_live.py has that.

    python benchmarks/bench_live_cpu.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import rclpy
import torch
from bench_live import SIZES
from live_camera import sample_images
from rclpy.parameter import Parameter
from results import Numbers, add_option
from rich.console import Console
from rich.table import Table

from trpose_ros.cameras import camera_from_fov
from trpose_ros.nodes import pose_node
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.pose_node import PoseNode
from trpose_ros.pipeline.pipeline import build_pose_stage

STEP_NS = 33_333_333
GOALS_MS = {(640, 480): 3.0, (1920, 1080): 12.0}


def measure(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return processor milliseconds per frame with one person: overhead and model, (F,)."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=98)
    node = PoseNode(
        context=context, parameter_overrides=[Parameter('camera_info_wait_s', value=0.0)]
    )
    node.trigger_configure()
    node.trigger_activate()
    camera = camera_from_fov(width, height, assumed=False)
    answers: list = []
    publisher = node.publisher(pose_node.PEOPLE.name)
    publish = publisher.publish
    publisher.publish = lambda message: (publish(message), answers.append(message))
    overhead, model = [], []
    for i, image in enumerate(sample_images(width, height)):
        stamp_ns = 10**18 + i * STEP_NS
        message = conversions.make.image(image, stamp_ns, 'optical')
        node._cameras.book.add(camera, stamp_ns)
        begin = time.thread_time()
        node._work((message, time.time_ns()))
        spent_ms = (time.thread_time() - begin) * 1e3
        provenance = answers[-1].provenance
        if len(answers[-1].persons) == 1 and i > 5:
            model.append(provenance.preprocess_ms + provenance.inference_ms)
            overhead.append(spent_ms - model[-1])
    node.close()
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    return np.array(overhead), np.array(model)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_option(parser)
    options = parser.parse_args()
    numbers = Numbers()
    torch.set_num_threads(1)  # so that the thread's time is all of it
    pose_node.build_pose_stage = lambda config: build_pose_stage(config, clock=time.thread_time)
    table = Table('image', 'overhead p50', 'p95', 'goal', 'model p50', 'frames')
    for size in SIZES:
        overhead, model = measure(*size)
        table.add_row(
            f'{size[0]}x{size[1]}',
            f'{np.median(overhead):.2f} ms',
            f'{np.percentile(overhead, 95):.2f} ms',
            f'<= {GOALS_MS[size]:g} ms',
            f'{np.median(model):.1f} ms',
            str(len(overhead)),
        )
        name = f'pose_node, {size[0]}x{size[1]}, processor'
        numbers.time(f'{name}, overhead p50', float(np.median(overhead)))
        numbers.time(f'{name}, model p50', float(np.median(model)))
    Console(width=100).print(table)
    numbers.write(options.json)


if __name__ == '__main__':
    main()

"""Speed of a replay by stage: reading, hiding, estimating, lifting, writing; frames per second.

    python benchmarks/bench_replay.py [RECORDING] [--frames N]

Weights are the shipped ones. Nothing is asserted; the numbers belong to the machine they ran on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from results import Numbers, add_option
from rich.console import Console
from rich.table import Table

from trpose_ros.demo.demo import SAMPLE
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.occlusion.occluder import OcclusionConfig
from trpose_ros.offline.replay import ReplayOptions, replay
from trpose_ros.pipeline.pipeline import Pipeline, PipelineConfig
from trpose_ros.recordings.sources import open_source


def measure_stages(recording: Path, frames: int, config: PipelineConfig) -> dict[str, list[float]]:
    """Return the milliseconds of each stage, frame by frame."""
    pipeline = Pipeline(config)
    assert pipeline.occluder is not None
    times: dict[str, list[float]] = {
        name: [] for name in ('read', 'occlude', 'pose stage', 'its network', 'lift and fuse')
    }
    source = open_source(recording)
    entries = source.frames()
    try:
        for _ in range(frames or source.total):
            marks = [perf_counter()]
            entry = next(entries, None)
            if entry is None:
                break
            marks.append(perf_counter())
            seen = pipeline.occluder.apply(entry.frame, entry.reference_box_px).frame
            marks.append(perf_counter())
            people = pipeline.pose.process(seen)
            marks.append(perf_counter())
            pipeline.lift.push(people, seen.camera)
            marks.append(perf_counter())
            steps = (np.diff(marks) * 1e3).tolist()
            network_ms = people.provenance.inference_ms
            for name, value in zip(times, [*steps[:3], network_ms, steps[3]], strict=True):
                times[name].append(value)
    finally:
        source.close()
        pipeline.close()
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('recording', nargs='?', type=Path, default=SAMPLE)
    parser.add_argument('--frames', type=int, default=90)
    parser.add_argument('--model', default=EstimatorConfig().model)
    add_option(parser)
    arguments = parser.parse_args()
    numbers = Numbers()
    config = PipelineConfig(
        estimator=EstimatorConfig(model=arguments.model),
        occlusion=OcclusionConfig(profile='moving_box'),
    )
    console = Console()
    times = measure_stages(arguments.recording, arguments.frames, config)
    table = Table('stage', 'p50 ms', 'p95 ms', title=f'{arguments.recording.name}, moving_box')
    for name, values in times.items():
        if values:
            table.add_row(name, *(f'{np.percentile(values, p):.1f}' for p in (50, 95)))
            numbers.time(f'replay, {name}, p50', float(np.median(values)))
    console.print(table)
    rates = Table('replay', 'frames/s')
    with tempfile.TemporaryDirectory() as folder:
        for name, bag, video in (
            ('metrics only', False, False),
            ('and bag', True, False),
            ('and bag and video', True, True),
        ):
            options = ReplayOptions(bag=bag, video=video, max_frames=arguments.frames)
            begin = perf_counter()
            result = replay(open_source(arguments.recording), folder, config, options)
            elapsed_s = perf_counter() - begin
            rates.add_row(name, f'{result.frames / elapsed_s:.1f}')
            numbers.rate(f'replay, {name}', result.frames / elapsed_s, 'frames/s')
    console.print(rates)
    load = os.getloadavg()[0]
    console.print(f'{os.cpu_count()} cores, load {load:.1f}; loading the networks is included')
    numbers.write(arguments.json)


if __name__ == '__main__':
    main()

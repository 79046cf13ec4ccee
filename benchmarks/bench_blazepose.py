"""What a user would pick instead: BlazePose-full against the shipped chain on the test clips.

    python -m venv blazepose
    blazepose/bin/pip install mediapipe==0.10.21
    python benchmarks/bench_blazepose.py --python blazepose/bin/python [--clips N] [--seconds S]

Both see the same frames, clean and under the five conditions (protocol v1, track DET, k = 0), one
frame after the other. Errors are relative to the hips, over the 14 of 17 joints that both have;
a frame without an answer counts with the last one before it.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from results import Numbers, add_option

from trpose_ros.estimators import EstimatorConfig
from trpose_ros.evaluation.conditions import Condition, plan
from trpose_ros.evaluation.metrics.join import hold, join
from trpose_ros.evaluation.metrics.motion import acceleration_error
from trpose_ros.evaluation.metrics.positions import mpjpe
from trpose_ros.evaluation.rendered_sequences import SECONDS, rendered_clips
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.lifters import LifterConfig
from trpose_ros.occlusion.occluder import union_box
from trpose_ros.people import Frame, People
from trpose_ros.pipeline.pipeline import PipelineConfig, build_lift_stage, build_pose_stage

# Of 33 landmarks, in the order of h36m_17; pairs are averaged, None: BlazePose has no such joint.
_LANDMARKS = (
    *((23, 24), (24,), (26,), (28,), (23,), (25,), (27,), None, (11, 12), None, None),
    *((11,), (13,), (15,), (12,), (14,), (16,)),
)
_COMMON = [joint for joint, marks in enumerate(_LANDMARKS) if marks]
Method = Callable[[list[Frame]], tuple[dict[int, np.ndarray], list[float]]]


class BlazePose:
    """The worker as a method: frames of a video to joints (17, 3) m by stamp, and milliseconds."""

    def __init__(self, python: str) -> None:
        worker = Path(__file__).with_name('blazepose_worker.py')
        self._process = subprocess.Popen(
            [python, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def __call__(self, frames: list[Frame]) -> tuple[dict[int, np.ndarray], list[float]]:
        """Run one video."""
        source, sink = self._process.stdin, self._process.stdout
        assert source is not None
        assert sink is not None
        source.write(struct.pack('<ii', 0, 0))
        joints, times = {}, []
        for frame in frames:
            height, width = frame.image.shape[:2]
            source.write(struct.pack('<ii', height, width) + frame.image.tobytes())
            source.flush()
            answer = np.frombuffer(sink.read(800), '<f8')
            if len(answer) < 100:
                raise SystemExit('the worker ended: does its Python have mediapipe==0.10.21?')
            times.append(float(answer[0]))
            marks = answer[1:].reshape(33, 3)
            joints[frame.stamp_ns] = np.stack(
                [
                    marks[list(pick)].mean(axis=0) if pick else np.full(3, np.nan)
                    for pick in _LANDMARKS
                ]
            )
        return joints, times

    def close(self) -> None:
        """End the worker."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Ours:
    """Detector, estimator, tracker, lifter and fusion, as the nodes run them."""

    def __init__(self, model: str, lifter: str) -> None:
        kind = lifter.partition('-')[0]
        self._config = PipelineConfig(
            estimator=EstimatorConfig(model=model), lifter=LifterConfig(name=kind, model=lifter)
        )
        self._pose = build_pose_stage(self._config)

    def __call__(self, frames: list[Frame]) -> tuple[dict[int, People], list[float]]:
        """Run one video."""
        self._pose.reset()
        lift = build_lift_stage(self._config)
        results: list[People] = []
        times = []
        for frame in frames:
            begin = time.perf_counter()
            results += lift.push(self._pose.process(frame), frame.camera)
            times.append(1e3 * (time.perf_counter() - begin))
        results += lift.flush()
        return {people.stamp_ns: people for people in results}, times


def shown(clip: EvaluationClip, condition: Condition) -> list[Frame]:
    """Return the frames of a clip under a condition."""
    static = union_box(np.array(list(clip.boxes_px.values())))
    occluder = condition.occluder(clip.identity, clip.start_ns, static)
    return [
        occluder.apply(frame, clip.boxes_px.get(frame.stamp_ns)).frame for frame in clip.frames()
    ]


def held(results: dict, clip: EvaluationClip) -> tuple[np.ndarray, np.ndarray]:
    """Return results and truth (T, 14, 3) m of the only person, gaps filled by the protocol."""
    stamps = sorted(clip.truth)
    true = np.stack([clip.truth[stamp].joints_m[0] for stamp in stamps])
    if isinstance(next(iter(results.values())), People):
        found = join(results, clip.truth).persons[0].held_m
    else:
        found = hold(np.stack([results[stamp] for stamp in stamps]), 0)
    return found[:, _COMMON], true[:, _COMMON].astype(np.float64)


def main() -> None:
    """Run both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--python', required=True, help='of an environment with mediapipe')
    parser.add_argument('--clips', type=int, default=8, help='0: all')
    parser.add_argument('--seconds', type=float, default=SECONDS, help='of each clip, at most')
    parser.add_argument('--model', default='metrabs-s', help='weights of our estimator')
    parser.add_argument('--lifter', default='videopose3d-robust')
    add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(2)
    methods = {
        'BlazePose-full': BlazePose(options.python),
        f'ours, {options.model}, {options.lifter}': Ours(options.model, options.lifter),
    }
    rows: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    times: dict[str, list[float]] = {name: [] for name in methods}
    clip_count = frame_count = 0
    for clip in rendered_clips(options.clips, options.seconds):
        clip_count += 1
        frame_count += len(clip.truth)
        for condition in plan(['five'], seeds=(0,)):
            frames = shown(clip, condition)
            for name, method in methods.items():
                results, milliseconds = method(frames)
                found, true = held(results, clip)
                rows.setdefault((name, condition.name == 'clean'), []).append(
                    (mpjpe(found, true, 0), acceleration_error(found, true, 0))
                )
                times[name] += milliseconds[1:]  # the first frame loads and allocates
    numbers = Numbers()
    print(f'{clip_count} clips, {frame_count} frames, each under six conditions\n')
    print('| | clean, mm | five conditions, mm | Accel of these, mm/frame^2 | ms per frame, p50 |')
    print('|---|---:|---:|---:|---:|')
    for name in methods:
        clean = np.mean(rows[name, True], axis=0)
        truncated = np.mean(rows[name, False], axis=0)
        middle = float(np.median(times[name]))
        print(
            f'| {name} | {clean[0]:.1f} | {truncated[0]:.1f} | {truncated[1]:.1f} | {middle:.1f} |'
        )
        numbers.error(f'{name}, clean', clean[0])
        numbers.error(f'{name}, five conditions', truncated[0])
    methods['BlazePose-full'].close()
    numbers.write(options.json)


if __name__ == '__main__':
    main()

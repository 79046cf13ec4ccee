"""What a depth camera is worth: errors of the root on rendered clips, with and without depth.

Each clip shows one person to the pose stage, whole or cut off by the image. The same people go
through two lift stages, one of which sees the rendered depth as a stereo camera would measure it:
with noise, holes, and points that fly between a body and the wall behind it. Run as

    python -m trpose_ros.evaluation.depth_gain --clips 6 --model metrabs-s

which prints a line per clip: the mean distance of the root from the true one, cm, without and with
depth, and in how many frames depth was used.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.clips import Clip
from trpose_ros.data.rendering.drawn_clips import drawn_clip
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.people import People, RootSource
from trpose_ros.pipeline.pipeline import (
    LiftStage,
    PipelineConfig,
    PoseStage,
    build_lift_stage,
    build_pose_stage,
)
from trpose_ros.skeletons import get_skeleton

_STEP = 2  # frames: 15 Hz of motions at 30 Hz
_WALL_M = 1.5  # behind the person
_NOISE = 0.003  # of the squared distance: a stereo camera
_BLOB = 8  # px of a hole


@dataclass(frozen=True)
class Gain:
    """Errors of the root in one clip, m, frame by frame."""

    without_m: np.ndarray
    with_m: np.ndarray
    used: int  # frames in which depth counted


def as_measured(depth_m: np.ndarray, rng: np.random.Generator, holes: float = 0.2) -> np.ndarray:
    """Return a true depth image (H, W), m, as a stereo camera would measure it, NaN in holes."""
    height, width = depth_m.shape
    measured = depth_m + rng.normal(size=depth_m.shape) * _NOISE * depth_m**2
    edge = np.abs(np.gradient(depth_m)).max(axis=0) > 0.1
    flying = edge & (rng.random(depth_m.shape) < 0.5)
    measured[flying] += rng.uniform(-1, 1, int(flying.sum()))
    blobs = rng.random((height // _BLOB + 1, width // _BLOB + 1)) < holes
    hole = np.kron(blobs, np.ones((_BLOB, _BLOB), bool))[:height, :width].astype(bool)
    hole |= edge & (rng.random(depth_m.shape) < 0.3)
    return np.where(hole | (measured <= 0), np.nan, measured).astype(np.float32)


def gain_of(clip: Clip, pose: PoseStage, stages: Sequence[LiftStage], seed: int) -> Gain:
    """Run a clip through the pose stage and two lift stages, the second of which sees depth."""
    rng = np.random.default_rng(seed)
    pose.reset()
    for stage in stages:
        stage.reset()
    truth: dict[int, np.ndarray] = {}
    found: list[list[People]] = [[], []]
    for index in range(0, len(clip), _STEP):
        frame, people = clip.draw(index)
        joints = people.joints_m[0]
        truth[frame.stamp_ns] = joints[get_skeleton(people.skeleton).root_index]
        wall_m = float(joints[:, 2].max()) + _WALL_M
        depth_m = as_measured(np.minimum(clip.depth(index), wall_m), rng)
        seen = pose.process(frame)
        found[0] += stages[0].push(seen, frame.camera)
        found[1] += stages[1].push(seen, frame.camera, depth_m)
    for one, stage in zip(found, stages, strict=True):
        one += stage.flush()
    errors: list[list[float]] = [[], []]
    used = 0
    for bare, deep in zip(*found, strict=True):
        if len(bare):
            errors[0].append(_error_m(bare, truth[bare.stamp_ns]))
            errors[1].append(_error_m(deep, truth[deep.stamp_ns]))
            used += bool((deep.root_sources == RootSource.DEPTH).any())
    return Gain(np.array(errors[0]), np.array(errors[1]), used)


def _error_m(people: People, true_m: np.ndarray) -> float:
    """Return how far the nearest root in direction lies from the true one, m."""
    roots = people.joints_m[:, get_skeleton(people.skeleton).root_index].astype(np.float64)
    with np.errstate(invalid='ignore', divide='ignore'):
        angles = np.linalg.norm(roots[:, :2] / roots[:, 2:] - true_m[:2] / true_m[2], axis=1)
    if not np.isfinite(angles).any():
        return float('nan')
    return float(np.linalg.norm(roots[int(np.nanargmin(angles))] - true_m))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--clips', type=int, default=6)
    parser.add_argument('--seconds', type=float, default=3.0)
    parser.add_argument('--split', default='test', choices=('val', 'test'))
    parser.add_argument('--model', default='metrabs-s')
    given = parser.parse_args(arguments)
    config = PipelineConfig(estimator=EstimatorConfig(model=given.model))
    pose = build_pose_stage(config, clock=None)
    stages = [build_lift_stage(config) for _ in range(2)]
    library = BodyLibrary()
    print('clip  shows     frames  used  without cm  with cm')
    pooled: list[Gain] = []
    for k in range(given.clips):
        near = k % 2 == 1
        clip = drawn_clip(given.split, given.seconds, near, [2026, k], library)
        gain = gain_of(clip, pose, stages, k)
        pooled.append(gain)
        print(_line(f'{k}', 'cut off' if near else 'whole', gain), flush=True)
    whole = Gain(
        np.concatenate([gain.without_m for gain in pooled]),
        np.concatenate([gain.with_m for gain in pooled]),
        sum(gain.used for gain in pooled),
    )
    print(_line('all', '', whole))
    return 0


def _line(name: str, shows: str, gain: Gain) -> str:
    before, after = 100 * np.nanmean(gain.without_m), 100 * np.nanmean(gain.with_m)
    return (
        f'{name:4}  {shows:8}  {len(gain.without_m):6}  {gain.used:4}  {before:10.1f}  {after:7.1f}'
    )


if __name__ == '__main__':
    raise SystemExit(main())

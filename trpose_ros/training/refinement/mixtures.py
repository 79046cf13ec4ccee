"""More tracks than were recorded: other motions, with the errors of recorded passes.

Few clips are recorded, because that takes long; a network would know their errors by heart. Here
the bodies of the training split move as in the motion packs and are given the estimator's errors of
two recorded tracks, mixed, in 2D and 3D, and a real lifter sees the 2D that comes of it, so what is
lifted is what it would be: its own idea of where joints lie in a body differs from the truth's. A
motion is turned so that its trunk agrees with that of the recorded person: an error along the ray
stays one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.bodies import SHAPE_SPLITS, BodyLibrary
from trpose_ros.data.rendering.posing import pose_rig
from trpose_ros.lifters import LifterConfig, create_lifter
from trpose_ros.refinement.moments import ROOT
from trpose_ros.training.refinement.sequences import Track

FRAMES = 60
_TRUNK = [0, 1, 4, 7, 8, 11, 14]
_NEAREST_M = 0.3
_PERIOD_NS = round(1e9 / 30)
_FOV_DEG = (50.0, 85.0)


@dataclasses.dataclass(frozen=True)
class _Errors:
    """What an estimator did to somebody for FRAMES frames."""

    true_m: np.ndarray  # (T, 17, 3)
    rays: np.ndarray  # (T, 17, 2) times the distance: at 1 m
    skeleton_m: np.ndarray  # (T, 17, 3) relative to the root
    root: np.ndarray  # (T, 3) shares of the distance
    track: Track


def mixed_tracks(
    tracks: Sequence[Track],
    motions: MotionPack,
    count: int,
    look_ahead: int,
    seed: int,
    library: BodyLibrary | None = None,
) -> list[Track]:
    """Return ``count`` tracks of FRAMES frames, lifted with this look-ahead.

    Raises ValueError where no recorded track, or no motion, is as long.
    """
    long = [track for track in tracks if len(track) >= FRAMES]
    starts = motions.window_starts(FRAMES)
    if not long or not len(starts):
        raise ValueError(f'no recorded track, or no motion, lasts {FRAMES} frames')
    rng = np.random.default_rng([seed, look_ahead])
    library = library or BodyLibrary()
    rigs = [library.rig(shape) for shape in SHAPE_SPLITS['train']]
    weights = np.array([len(track) - FRAMES + 1 for track in long], float)
    made: list[Track] = []
    while len(made) < count:
        one, two = (
            _errors(long[i], rng) for i in rng.choice(len(long), 2, p=weights / weights.sum())
        )
        motion = motions.windows(rng.choice(starts, 1), FRAMES)[0]
        world = pose_rig(rigs[int(rng.integers(len(rigs)))], motion, rng).joints_m
        track = _mixed(one, two, world, rng)
        if track is not None:
            made.append(track)
    return _lifted(made, look_ahead, rng)


def _errors(track: Track, rng: np.random.Generator) -> _Errors:
    start = int(rng.integers(len(track) - FRAMES + 1))
    part = Track(
        **{
            f.name: getattr(track, f.name)[start : start + FRAMES]
            for f in dataclasses.fields(track)
        }
    )
    true = part.true_m.astype(np.float64)
    root = true[:, ROOT : ROOT + 1]
    estimated = part.estimated_m - part.estimated_m[:, ROOT : ROOT + 1]
    distance = np.linalg.norm(root, axis=2, keepdims=True)
    return _Errors(
        true,
        (part.rays - true[..., :2] / true[..., 2:]) * distance,
        estimated - (true - root),
        (part.estimated_m[:, ROOT] - true[:, ROOT]) / distance[:, 0],
        part,
    )


def _mixed(one: _Errors, two: _Errors, world: np.ndarray, rng: np.random.Generator) -> Track | None:
    """Return a person who moves as in ``world`` with mixed errors; None behind the camera."""
    other = world - world[:, ROOT : ROOT + 1]
    middle = int(rng.integers(FRAMES))
    trunk = (one.true_m - one.true_m[:, ROOT : ROOT + 1])[middle, _TRUNK]
    u, _, v = np.linalg.svd(other[middle, _TRUNK].T @ trunk)
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ v))]) @ v
    root = one.true_m[:, ROOT : ROOT + 1] * rng.uniform(0.8, 1.4)
    true = other @ turn + root
    if not (true[..., 2].min() > _NEAREST_M and one.true_m[..., 2].min() > _NEAREST_M):
        return None
    angle = rng.uniform(0, np.pi / 2)
    c, s = np.cos(angle), np.sin(angle)
    distance = np.linalg.norm(root, axis=2, keepdims=True)
    skeleton = c * one.skeleton_m + s * two.skeleton_m
    placed = root[:, 0] + (c * one.root + s * two.root) * distance[:, 0]
    return dataclasses.replace(
        one.track,
        stamps_ns=np.arange(FRAMES) * _PERIOD_NS,
        frames=np.arange(FRAMES),
        rays=_slim(true[..., :2] / true[..., 2:] + (c * one.rays + s * two.rays) / distance),
        estimated_m=_slim(true - root + skeleton + placed[:, None]),
        true_m=_slim(true),
    )


def _lifted(tracks: list[Track], look_ahead: int, rng: np.random.Generator) -> list[Track]:
    """Return the tracks with what the lifter makes of all of them, side by side."""
    lifter = create_lifter(
        LifterConfig(name='videopose3d', model='videopose3d-robust', look_ahead=look_ahead)
    )
    focal = 1 / np.tan(np.radians(rng.uniform(*_FOV_DEG, len(tracks))) / 2)
    screen = np.stack([track.rays for track in tracks]) * focal[:, None, None, None]
    states = np.stack([track.states for track in tracks])
    ids = np.arange(len(tracks))
    results = []
    for t in range(FRAMES):
        results += lifter.push(t * _PERIOD_NS, ids, screen[:, t], states[:, t])
    results += lifter.flush()
    lifted = np.full((len(tracks), FRAMES, *tracks[0].lifted_m.shape[1:]), np.nan)
    for result in results:
        lifted[result.track_id, round(result.stamp_ns / _PERIOD_NS)] = result.joints_m
    return [
        dataclasses.replace(track, lifted_m=part.astype(np.float32))
        for track, part in zip(tracks, lifted, strict=True)
    ]


def _slim(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)

"""One person through a pass: what the estimator and a lifter said, and the truth.

A lifter runs over the 2D of a pass as it does live, with any look-ahead, so one pass gives several
sequences. They are kept in a folder beside the passes, because lifting takes longer than reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from trpose_ros.archives import pack_arrays
from trpose_ros.cameras import project, undistort_points
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.people import Camera, People, TrackState
from trpose_ros.pipeline.fusion import Fusion
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.training.refinement.passes import Recorded, load
from trpose_ros.writing import whole_stream

LIFTERS = ('videopose3d:videopose3d-robust@0', 'videopose3d:videopose3d-robust@13')
OTHERS = ('videopose3d:videopose3d-robust@2', 'mixste:mixste-robust@0')  # take turns at the passes
_SHORTEST = 8  # frames


@dataclass(frozen=True)
class Track:
    """T frames of one track that is on the true person."""

    stamps_ns: np.ndarray  # (T,)
    rays: np.ndarray  # (T, 17, 2)
    scores: np.ndarray  # (T, 17)
    states: np.ndarray  # (T, 17)
    estimated_m: np.ndarray  # (T, 17, 3)
    covariances_m2: np.ndarray  # (T, 17, 3, 3)
    lifted_m: np.ndarray  # (T, 17, 3)
    fused_m: np.ndarray  # (T, 17, 3) by constants
    fused_m2: np.ndarray  # (T, 17, 3, 3)
    true_m: np.ndarray  # (T, 17, 3)
    frames: np.ndarray  # (T,) numbers in the clip

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.stamps_ns)


@dataclass(frozen=True)
class Named:
    """A track, and what it is of."""

    name: str  # of the pass
    lifter: str
    track: Track


class _Watch(Fusion):
    """Fuses, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[People, np.ndarray, Camera, People]] = []

    def fuse(self, people: People, lifted_m: np.ndarray, camera: Camera, root: int = 0) -> People:
        fused = super().fuse(people, lifted_m, camera, root)
        self.seen.append((people, lifted_m.copy(), camera, fused))
        return fused


def tracks(
    folder: Path,
    split: str,
    lifters: Sequence[str] = LIFTERS,
    others: Sequence[str] = OTHERS,
) -> Iterator[Named]:
    """Yield the tracks of the passes of a split; raises what reading and lifting raise.

    All lifters see all passes, and the others take turns.
    """
    stages: dict[str, LiftStage] = {}
    for number, recorded in enumerate(load(folder, split)):
        turn = others[number % len(others) : number % len(others) + 1] if others else ()
        for lifter in (*lifters, *turn):
            file = folder / 'lifted' / f'{recorded.name}-{lifter.replace(":", "-")}.npz'
            if not file.is_file():
                if lifter not in stages:
                    stages[lifter] = LifterSpec.parse(lifter).stage()
                file.parent.mkdir(exist_ok=True)
                _write(file, tracks_of(recorded, stages[lifter]))
            for track in _read(file):
                yield Named(recorded.name, lifter, track)


def tracks_of(recorded: Recorded, stage: LiftStage) -> list[Track]:
    """Return what a lifter makes of a pass."""
    watch = _Watch()
    stage = LiftStage(lifter=stage.lifter, fusion=watch, config=stage.config)
    stage.reset()
    seen = recorded.seen
    for people, camera in zip(seen.people, seen.cameras, strict=True):
        stage.push(people, camera)
    stage.flush()
    numbers = {people.stamp_ns: t for t, people in enumerate(seen.people)}
    rows: dict[int, list[dict[str, np.ndarray]]] = {}
    for people, lifted, camera, fused in watch.seen:
        number = numbers[people.stamp_ns]
        true = recorded.truth_m[number].astype(np.float64)
        i = _row_of(people, project(true, camera))
        if i is not None:
            rows.setdefault(int(people.track_ids[i]), []).append(
                {
                    'stamps_ns': np.array(people.stamp_ns),
                    'rays': undistort_points(people.joints_px[i].astype(np.float64), camera),
                    'scores': people.joint_scores[i],
                    'states': people.joint_states[i],
                    'estimated_m': people.joints_m[i],
                    'covariances_m2': people.covariances_m2[i],
                    'lifted_m': lifted[i] - lifted[i, :1],
                    'fused_m': fused.joints_m[i],
                    'fused_m2': fused.covariances_m2[i],
                    'true_m': true,
                    'frames': np.array(number),
                }
            )
    return [
        Track(**{f.name: np.stack([row[f.name] for row in part]) for f in fields(Track)})
        for part in rows.values()
        if len(part) >= _SHORTEST
    ]


def _row_of(people: People, true_px: np.ndarray) -> int | None:
    """Return the tracked person who is nearest to the truth (17, 2); None: nobody is near."""
    tracked = (people.track_ids >= 0) & (people.track_states != TrackState.LOST)
    middles = np.full((len(people), 2), np.nan)
    for i in np.flatnonzero(tracked):
        known = np.isfinite(people.joints_px[i]).all(axis=1)
        if known.any():
            middles[i] = (people.joints_px[i][known] - true_px[known]).mean(axis=0)
    far = np.linalg.norm(middles, axis=1)
    if not np.isfinite(far).any():
        return None
    best = int(np.nanargmin(far))
    return best if far[best] < float(np.ptp(true_px, axis=0).max()) else None


def _write(file: Path, found: list[Track]) -> None:
    arrays = {
        f'{f.name}_{i}': _slim(getattr(track, f.name))
        for i, track in enumerate(found)
        for f in fields(Track)
    }
    with whole_stream(file) as stream:
        np.savez_compressed(stream, count=np.array(len(found)), **arrays)  # type: ignore[arg-type]


def _slim(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _read(file: Path) -> list[Track]:
    data = pack_arrays(file)
    return [
        Track(**{f.name: data[f'{f.name}_{i}'] for f in fields(Track)})
        for i in range(int(data['count']))
    ]

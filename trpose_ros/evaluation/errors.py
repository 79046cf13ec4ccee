"""Errors of a stream of results against ground truth, joined exactly by stamp.

Measures of the truncation protocol v1, in mm: MPJPE is relative to the root (the prediction's own
root is subtracted), ABS-MPJPE is in the camera frame without any alignment, MRPE is the distance
of the roots. Nobody wins by abstaining: ``*_held_mm`` counts a frame without output with the last
output before it (the first one, when nothing came before), and ``coverage`` says how often there
was one; the plain measures count the frames with output alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trpose_ros.people import People
from trpose_ros.people import TrackState
from trpose_ros.skeletons import convert
from trpose_ros.skeletons import get_skeleton

_MM = 1000.0


@dataclass(frozen=True)
class Errors:
    """Mean errors over the people and frames of a recording; NaN without any."""

    frames: int  # frames with ground truth
    outputs: int  # person frames of them with a result
    coverage: float
    mpjpe_mm: float
    abs_mpjpe_mm: float
    mrpe_mm: float
    mpjpe_held_mm: float
    abs_mpjpe_held_mm: float

    def as_dict(self) -> dict[str, float | None]:
        """Return the fields; NaN becomes None, as JSON wants it."""
        return {
            name: None if isinstance(value, float) and np.isnan(value) else value
            for name, value in dataclasses.asdict(self).items()
        }


def evaluate(results: Mapping[int, People], truth: Mapping[int, People]) -> Errors:
    """Join results and ground truth by stamp (ns) and measure.

    Args:
        results: at most one People for each stamp.
        truth: the stamps to be measured; in each of them the people have the same order.

    """
    relative: list[float] = []
    absolute: list[float] = []
    roots: list[float] = []
    held_relative: list[float] = []
    held_absolute: list[float] = []
    persons = max((len(t) for t in truth.values()), default=0)
    total = 0
    for person in range(persons):
        stamps = [s for s in sorted(truth) if len(truth[s]) > person]
        rows = [_row(results.get(s), truth[s], person) for s in stamps]
        total += len(stamps)
        last = next((row for row in rows if row is not None), None)
        for stamp, row in zip(stamps, rows, strict=True):
            last = row if row is not None else last
            if last is None:
                continue
            root = get_skeleton(truth[stamp].skeleton).root_index
            true = truth[stamp].joints_m[person].astype(np.float64)
            values = _mean_errors(last, true, root)
            held_relative.append(values[0])
            held_absolute.append(values[1])
            if row is not None:
                relative.append(values[0])
                absolute.append(values[1])
                roots.append(values[2])
    return Errors(
        frames=len(truth),
        outputs=len(relative),
        coverage=len(relative) / total if total else float('nan'),
        mpjpe_mm=_mean(relative),
        abs_mpjpe_mm=_mean(absolute),
        mrpe_mm=_mean(roots),
        mpjpe_held_mm=_mean(held_relative),
        abs_mpjpe_held_mm=_mean(held_absolute),
    )


def _row(people: People | None, truth: People, person: int) -> np.ndarray | None:
    """Return the (J, 3) result that is nearest to a true person, in the truth's skeleton."""
    if people is None:
        return None
    alive = (people.track_states != TrackState.LOST) & np.isfinite(people.joints_m).any((1, 2))
    if not alive.any():
        return None
    joints = convert(people.joints_m[alive], people.skeleton, truth.skeleton)
    distances = np.linalg.norm(joints - truth.joints_m[person], axis=-1)
    usable = np.isfinite(distances)
    means = np.where(usable, distances, 0).sum(axis=1) / np.maximum(usable.sum(axis=1), 1)
    means[~usable.any(axis=1)] = np.inf
    best = int(means.argmin())
    owner = np.linalg.norm(joints[best] - truth.joints_m, axis=-1)
    if len(truth) > 1 and np.nanmean(owner, axis=1).argmin() != person:
        return None  # somebody else's skeleton
    return joints[best].astype(np.float64) if np.isfinite(means[best]) else None


def _mean_errors(joints: np.ndarray, true: np.ndarray, root: int) -> tuple[float, float, float]:
    """Root-relative, absolute and root error of one person, mm."""
    absolute = np.linalg.norm(joints - true, axis=-1)
    relative = np.linalg.norm((joints - joints[root]) - (true - true[root]), axis=-1)
    return (
        _mean(relative[np.isfinite(relative)]) * _MM,
        _mean(absolute[np.isfinite(absolute)]) * _MM,
        float(absolute[root]) * _MM,
    )


def _mean(values: list[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float('nan')

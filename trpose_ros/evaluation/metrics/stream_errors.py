"""Errors of a stream of results against ground truth: the short list that demo and replay print.

Measures of the truncation protocol v1, in mm: MPJPE is relative to the root (the prediction's own
root is subtracted), ABS-MPJPE is in the camera frame without any alignment, MRPE is the distance
of the roots. Nobody wins by abstaining: ``*_held_mm`` counts a frame without output with the last
output before it (see join.py), and ``coverage`` says how often there was one; the plain measures
count the frames with output alone. The complete list is in all_measures.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trpose_ros.evaluation.metrics.join import join
from trpose_ros.evaluation.metrics.positions import finite_mean, frame_errors, joint_errors
from trpose_ros.people import People


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

    ``results`` holds at most one People for each stamp; the stamps of ``truth`` are measured.
    Raises ValueError when the truth changes its skeleton on the way.
    """
    joined = join(results, truth)
    persons = joined.persons
    present = _all([person.present for person in persons]).astype(bool)
    root_errors = [joint_errors(p.output_m, p.true_m, None)[:, p.root] for p in persons]
    return Errors(
        frames=joined.frames,
        outputs=int(present.sum()),
        coverage=float(finite_mean(present)),
        mpjpe_mm=_mean([frame_errors(p.output_m, p.true_m, p.root) for p in persons]),
        abs_mpjpe_mm=_mean([frame_errors(p.output_m, p.true_m, None) for p in persons]),
        mrpe_mm=_mean(root_errors),
        mpjpe_held_mm=_mean([frame_errors(p.held_m, p.true_m, p.root) for p in persons]),
        abs_mpjpe_held_mm=_mean([frame_errors(p.held_m, p.true_m, None) for p in persons]),
    )


def _all(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _mean(parts: list[np.ndarray]) -> float:
    return float(finite_mean(_all(parts)))

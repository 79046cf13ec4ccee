"""The columns of a row beside its measures: what was measured, on whom, how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trpose_ros.evaluation.conditions import AnyCondition
from trpose_ros.evaluation.estimation import EstimatorPass
from trpose_ros.evaluation.metrics.join import Joined
from trpose_ros.occlusion.occluder import joints_in
from trpose_ros.people import People, TrackState

if TYPE_CHECKING:
    from trpose_ros.pipeline.lift_stage import LiftStage


def as_reference(clean: dict[int, People]) -> dict[int, People]:
    """Return the people of an unoccluded run that can stand for the truth, by stamp."""
    alive = {
        stamp: people.select(
            (people.track_states != TrackState.LOST) & np.isfinite(people.joints_m).any((1, 2))
        )
        for stamp, people in clean.items()
    }
    return {stamp: people for stamp, people in alive.items() if len(people)}


def facts(
    identity: str, condition: AnyCondition, fps: float, estimator: str, lifter: str
) -> dict[str, Any]:
    """Return the columns of a row that say what was measured."""
    dataset, subject, action, camera = identity.split('|')
    return {
        'protocol': 'v1',
        'dataset': dataset,
        'subject': subject,
        'action': action,
        'camera': camera,
        'person': 0,
        'estimator': estimator,
        'lifter': lifter,
        'track': 'DET',
        'condition': condition.name,
        'severity': condition.label,
        'severity_value': condition.value,
        'main_severity': condition.is_main,
        'k': condition.draw,
        'fps': fps,
    }


def hidden_of(person: Joined, seen: EstimatorPass) -> np.ndarray:
    """Return (T, J) bool: the joints that were hidden from an estimator in its pass."""
    stamps = [people.stamp_ns for people in seen.people]
    if seen.hidden is not None:
        nothing = np.zeros(person.true_m.shape[1], bool)
        return np.stack([seen.hidden.get(s, nothing) for s in person.stamps_ns.tolist()])
    return hidden_joints_of(
        person,
        dict(zip(stamps, seen.rectangles_px, strict=True)),
        dict(zip(stamps, seen.sizes.tolist(), strict=True)),
    )


def hidden_joints_of(
    person: Joined,
    rectangles_px: Mapping[int, np.ndarray],
    sizes: Mapping[int, Sequence[int]],
) -> np.ndarray:
    """Return (T, J) bool: the true joint lies in a mask or outside the (cropped) image.

    ``rectangles_px`` (R, 4) are hidden, ``sizes`` are (width, height) of the image, by stamp; in a
    frame of which nothing is known no joint is hidden.
    """
    hidden = np.zeros(person.true_m.shape[:2], bool)
    for row, stamp in enumerate(person.stamps_ns.tolist()):
        if stamp in rectangles_px:
            width, height = sizes[stamp]
            hidden[row] = joints_in(person.true_px[row], rectangles_px[stamp], width, height)
    hidden[~np.isfinite(person.true_m).all(-1)] = False
    return hidden


def times_of(milliseconds: np.ndarray, name: str) -> dict[str, float]:
    """Return the columns of the times of a stage, ms."""
    if not milliseconds.size:
        return {f'{name}_p{p}_ms': float('nan') for p in (50, 95, 99)}
    return {f'{name}_p{p}_ms': float(np.percentile(milliseconds, p)) for p in (50, 95, 99)}


def look_ahead_of(stage: LiftStage) -> int:
    """Return the frames of future that the skeletons of a stage wait for at most."""
    if stage.lifter is None:
        return 0
    return int(stage.lifter.look_ahead) + int(getattr(stage.lifter, 'hop', 1)) - 1

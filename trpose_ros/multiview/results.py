"""Joined people as a People: of the world, without an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trpose_ros.multiview.joining import Joined
from trpose_ros.multiview.rig import Rig
from trpose_ros.multiview.world_tracks import WorldTrack
from trpose_ros.people import JointState, People, Provenance, RootSource


@dataclass(frozen=True)
class Fused:
    """People at one time."""

    people: People  # in the world frame; joints_px are NaN: there is no image
    cameras: tuple[str, ...]  # those of the rig
    weights: np.ndarray  # (N, V, J) what each camera counted, 0 .. 1


@dataclass(frozen=True)
class Row:
    """A person: what was measured now, by which cameras (places in the rig)."""

    track: WorldTrack
    joined: Joined | None = None  # None: only predicted
    cameras: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True)
class Facts:
    """What all people of a time have in common."""

    stamp_ns: int
    rig: Rig
    skeleton: str
    joints: int  # of somebody, where there is nobody


def result_of(
    rows: Sequence[Row], facts: Facts, provenance: Provenance, most_sigma_m: float
) -> Fused:
    """Return everybody; joints less certain than ``most_sigma_m`` have no position."""
    n, v = len(rows), len(facts.rig.cameras)
    j = rows[0].track.joints_m.shape[0] if n else facts.joints
    joints = np.full((n, j, 3), np.nan)
    covariances = np.full((n, j, 3, 3), np.nan)
    states = np.full((n, j), JointState.UNOBSERVED, np.uint8)
    scores, weights = np.full((n, j), np.nan), np.zeros((n, v, j))
    errors = np.full(n, np.nan)
    for place, row in enumerate(rows):
        if row.joined is None:
            expected = row.track.predict(facts.stamp_ns)
            joints[place] = expected.joints_m
            covariances[place] = np.eye(3) * expected.sigmas_m[:, None, None] ** 2
            continue
        one = row.joined
        joints[place], covariances[place] = one.solution.joints_m, one.solution.covariances_m2
        states[place], errors[place] = one.states, one.error_px
        scores[place] = np.where(np.isfinite(one.scores), one.scores, np.nan)
        weights[place, list(row.cameras)] = one.solution.weights
    spread = np.sqrt(np.trace(covariances, axis1=2, axis2=3) / 3.0)
    unknown = ~(spread <= most_sigma_m)
    joints[unknown], covariances[unknown] = np.nan, np.nan
    known = np.isfinite(scores)
    mean = np.where(known, scores, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    inside = ~np.isin(states, (JointState.TRUNCATED, JointState.UNOBSERVED))
    people = People.build(
        stamp_ns=facts.stamp_ns,
        frame_id=facts.rig.world,
        skeleton=facts.skeleton,
        width=0,
        height=0,
        joints_px=np.full((n, j, 2), np.nan),
        joints_m=joints,
        provenance=provenance,
        covariances_m2=covariances,
        joint_scores=scores,
        joint_states=states,
        scores=np.where(known.any(axis=1), mean, np.nan),
        track_ids=np.array([row.track.id for row in rows], np.int32),
        track_states=np.array([row.track.state for row in rows], np.uint8),
        visible_fractions=inside.mean(axis=1) if j else np.zeros(n),
        root_sources=np.full(n, RootSource.FUSED),
        reprojection_errors_px=errors,
    )
    return Fused(people, facts.rig.names, weights)

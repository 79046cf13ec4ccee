"""Joining results with ground truth, exactly by stamp (protocol v1, section 3).

For each true person one Joined: arrays over all frames with truth. Nobody wins by abstaining:
``held_m`` counts a frame without output with the last output before it (the first one, when
nothing came before), joint by joint; a person who never got any output counts as a skeleton
collapsed in the camera's centre. A joint that the results never have is no part of their
convention and stays NaN.

Results are given to true people frame by frame by least total distance. Where several true people
are in a frame, a result far from all of them (a metre plus a fifth of the distance) is nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from trpose_ros.evaluation.metrics.identity import Identity, identity_metrics
from trpose_ros.people import People, TrackState
from trpose_ros.skeletons import convert, get_skeleton

_GATE_M, _GATE_SHARE = 1.0, 0.2
_FAR = 1e6


@dataclass(frozen=True)
class Joined:
    """One true person over T frames, in the skeleton of the truth; metres, camera frame."""

    person: int  # track id of the truth, or its row
    skeleton: str
    stamps_ns: np.ndarray  # (T,) int64
    true_m: np.ndarray  # (T, J, 3) float64
    true_px: np.ndarray  # (T, J, 2) float64
    output_m: np.ndarray  # (T, J, 3) float64, NaN where there was no output
    held_m: np.ndarray  # (T, J, 3) float64, gaps filled by the rules
    covariances_m2: np.ndarray  # (T, J, 3, 3) float64, NaN without output or covariance
    track_ids: np.ndarray  # (T,) int64, -1 without output

    @property
    def present(self) -> np.ndarray:
        """Return (T,) bool: the frames with an output."""
        return np.isfinite(self.output_m).all(-1).any(-1)

    @property
    def coverage(self) -> float:
        """Return the share of frames with an output, 0..1; NaN without frames."""
        return float(self.present.mean()) if len(self.stamps_ns) else float('nan')

    @property
    def root(self) -> int:
        """Return the index of the root joint."""
        return get_skeleton(self.skeleton).root_index

    @property
    def fps(self) -> float:
        """Return the frame rate by the median period, Hz; NaN below two frames."""
        periods = np.diff(self.stamps_ns)
        return float(1e9 / np.median(periods)) if periods.size else float('nan')


@dataclass(frozen=True)
class JoinResult:
    """Everybody in a recording, and how well ids lasted."""

    persons: list[Joined]
    frames: int  # with ground truth
    unmatched: int  # stamps of results that have no truth
    # by frame: ids of the true people (N,), of the results (M,), and distances (N, M), m
    pairs: tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]

    @cached_property
    def identity(self) -> Identity:
        """Return how well ids lasted; counted when it is asked for, which takes a while."""
        return identity_metrics(*self.pairs)


def join(results: Mapping[int, People], truth: Mapping[int, People]) -> JoinResult:
    """Join results and truth by stamp, ns.

    ``results`` holds at most one People for each stamp; the stamps of ``truth`` are measured.
    True people are told apart by their track ids, or by their rows where they have none. Raises
    ValueError when the truth changes its skeleton on the way.
    """
    stamps = sorted(truth)
    names = {truth[s].skeleton for s in stamps}
    if len(names) > 1:
        raise ValueError(f'the ground truth changes its skeleton: {sorted(names)}')
    skeleton = names.pop() if names else 'h36m_17'
    rows = _result_rows([results[s] for s in stamps if s in results], skeleton)
    found = dict(zip([s for s in stamps if s in results], rows, strict=True))
    empty = _Rows(np.zeros((0, 0, 3)), np.zeros((0, 0, 3, 3)), np.zeros(0, np.int64))
    distances, true_ids, result_ids = [], [], []
    people: dict[int, list[tuple[int, int, _Rows | None, int]]] = {}
    for stamp in stamps:
        true, row = truth[stamp], found.get(stamp, empty)
        ids = person_ids(true)
        apart = pair_distances_m(true.joints_m, row.joints_m)
        partner = dict(match(apart))
        for place, person in enumerate(ids.tolist()):
            mine = partner.get(place)
            people.setdefault(person, []).append(
                (stamp, place, None if mine is None else row, -1 if mine is None else mine)
            )
        distances.append(apart)
        true_ids.append(ids)
        result_ids.append(row.track_ids)
    return JoinResult(
        persons=[_person(p, skeleton, truth, rows) for p, rows in sorted(people.items())],
        frames=len(stamps),
        unmatched=sum(stamp not in truth for stamp in results),
        pairs=(true_ids, result_ids, distances),
    )


def person_ids(people: People) -> np.ndarray:
    """Return (N,) track ids if all people have different ones, else the row numbers."""
    ids = people.track_ids.astype(np.int64)
    if (ids >= 0).all() and len(set(ids.tolist())) == len(ids):
        return ids
    return np.arange(len(people), dtype=np.int64)


def pair_distances_m(true_m: np.ndarray, result_m: np.ndarray) -> np.ndarray:
    """Return mean joint distances (N, M), m, of true_m (N, J, 3) and result_m (M, J, 3).

    NaN where two share no joint, and where several true people are there and a result is far away.
    """
    if not len(result_m):
        return np.zeros((len(true_m), 0))
    distance = np.linalg.norm(result_m[None].astype(np.float64) - true_m[:, None], axis=-1)
    known = np.isfinite(distance)
    mean = np.where(known, distance, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
    allowed = known.any(-1)
    if len(true_m) > 1:
        depth = np.nan_to_num(np.linalg.norm(true_m[:, 0].astype(np.float64), axis=-1))
        allowed &= mean <= (_GATE_M + _GATE_SHARE * depth)[:, None]
    return np.where(allowed, mean, np.nan)


def match(distances: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs (row, column) of least total distance of a table (N, M), NaN for none."""
    allowed = np.isfinite(distances)
    if not allowed.any():
        return []
    rows, columns = linear_sum_assignment(np.where(allowed, distances, _FAR))
    return [(int(t), int(r)) for t, r in zip(rows, columns, strict=True) if allowed[t, r]]


def hold(poses_m: np.ndarray, root: int) -> np.ndarray:
    """Fill the gaps of poses (T, J, 3) with the last value, before the first with the first.

    The position of the root and the joints relative to it are held separately. Without any value
    at all everything is zero: a skeleton collapsed in the camera's centre.
    """
    poses = np.asarray(poses_m, np.float64)
    centre = poses[:, root : root + 1]
    relative = poses - centre
    if not np.isfinite(relative).all(-1).any():
        return np.zeros_like(poses)
    return _held(centre) + _held(relative)


def _held(values: np.ndarray) -> np.ndarray:
    """Fill (T, J, C) along time; what is never known stays NaN."""
    known = np.isfinite(values).all(axis=-1)
    frames = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(known, frames, -1), axis=0)
    first = known.argmax(axis=0)
    index = np.where(last >= 0, last, first)
    filled = np.take_along_axis(values, index[..., None], axis=0)
    return np.where(known.any(axis=0)[:, None], filled, np.nan)


@dataclass(frozen=True)
class _Rows:
    """The usable people of one frame of results."""

    joints_m: np.ndarray  # (M, J, 3)
    covariances_m2: np.ndarray  # (M, J, 3, 3)
    track_ids: np.ndarray  # (M,)


def _result_rows(results: Sequence[People], skeleton: str) -> list[_Rows]:
    """Return the people of each frame in another skeleton: one conversion for all frames."""
    out = []
    by_source: dict[str, list[People]] = {}
    for people in results:
        by_source.setdefault(people.skeleton, []).append(people)
    converted: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for source, group in by_source.items():
        joints = convert(np.concatenate([p.joints_m for p in group]), source, skeleton)
        flat = np.concatenate([p.covariances_m2 for p in group]).reshape(
            -1, group[0].joints_m.shape[1], 9
        )
        covariances = convert(flat, source, skeleton).reshape(*joints.shape[:2], 3, 3)
        cuts = np.cumsum([len(p) for p in group])[:-1]
        for people, one, two in zip(
            group, np.split(joints, cuts), np.split(covariances, cuts), strict=True
        ):
            converted[id(people)] = one, two
    for people in results:
        joints, covariances = converted[id(people)]
        usable = people.track_states != TrackState.LOST
        usable &= np.isfinite(joints).all(-1).any(-1)
        out.append(
            _Rows(joints[usable], covariances[usable], people.track_ids[usable].astype(np.int64))
        )
    return out


def _person(
    person: int,
    skeleton: str,
    truth: Mapping[int, People],
    rows: list[tuple[int, int, _Rows | None, int]],
) -> Joined:
    true_m = np.stack([truth[stamp].joints_m[place] for stamp, place, _, _ in rows])
    true_px = np.stack([truth[stamp].joints_px[place] for stamp, place, _, _ in rows])
    output = np.full(true_m.shape, np.nan)
    covariances = np.full((*true_m.shape, 3), np.nan)
    ids = np.full(len(rows), -1, np.int64)
    for t, (_, _, row, index) in enumerate(rows):
        if row is not None:
            output[t], covariances[t] = row.joints_m[index], row.covariances_m2[index]
            ids[t] = row.track_ids[index]
    return Joined(
        person=person,
        skeleton=skeleton,
        stamps_ns=np.array([stamp for stamp, *_ in rows], np.int64),
        true_m=true_m.astype(np.float64),
        true_px=true_px.astype(np.float64),
        output_m=output,
        held_m=hold(output, get_skeleton(skeleton).root_index),
        covariances_m2=covariances,
        track_ids=ids,
    )

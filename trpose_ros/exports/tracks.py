"""People of many frames as arrays: T frames, N tracks, J joints; and one track by the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.skeletons import convert, get_skeleton

_MOST_CELLS = 2_000_000  # frames times tracks, of which each is a kilobyte
_MOST_STRETCH = 20  # grid frames for each frame that there is: more is no film but some pictures
_GONE = (TrackState.LOST, TrackState.SEARCHING)


@dataclass(frozen=True)
class Tracks:
    """What is known of N tracks in T frames; NaN (and UNKNOWN) where somebody is not there."""

    skeleton: str
    stamps_ns: np.ndarray  # (T,) int64
    ids: np.ndarray  # (N,) int32
    joints_m: np.ndarray  # (T, N, J, 3) float32, relative to the root joint
    roots_m: np.ndarray  # (T, N, 3) float32, camera optical frame; NaN where it is not known
    covariances_m2: np.ndarray  # (T, N, J, 3, 3) float32
    states: np.ndarray  # (T, N, J) uint8, JointState
    scores: np.ndarray  # (T, N, J) float32


def seen(people: People) -> np.ndarray:
    """Return the indices of the people with an id and 3D joints that are not mere predictions."""
    known = np.isfinite(people.joints_m).all(axis=2).any(axis=1)
    return np.flatnonzero(known & (people.track_ids >= 0) & ~np.isin(people.track_states, _GONE))


def collect(frames: Sequence[People]) -> Tracks:
    """Return the arrays of frames in the order of their stamps; raises ValueError without any."""
    if not frames:
        raise ValueError('there are no frames to write')
    skeleton = frames[0].skeleton
    if any(people.skeleton != skeleton for people in frames):
        raise ValueError(f'frames have other skeletons than {skeleton!r}: write each by itself')
    ordered = sorted(frames, key=lambda people: people.stamp_ns)
    rows = [seen(people) for people in ordered]
    every = [people.track_ids[r] for people, r in zip(ordered, rows, strict=True)]
    ids = np.unique(np.concatenate(every))
    shape = (len(ordered), len(ids))
    if shape[0] * shape[1] > _MOST_CELLS:
        raise ValueError(
            f'{shape[0]} frames of {shape[1]} tracks are too many for arrays: write csv or json, '
            'or lift one person with --single'
        )
    joints = get_skeleton(skeleton).num_joints
    root = get_skeleton(skeleton).root_index
    nothing = np.float32(np.nan)
    tracks = Tracks(
        skeleton,
        np.array([people.stamp_ns for people in ordered], np.int64),
        ids,
        np.full((*shape, joints, 3), nothing),
        np.full((*shape, 3), nothing),
        np.full((*shape, joints, 3, 3), nothing),
        np.full((*shape, joints), int(JointState.UNKNOWN), np.uint8),
        np.full((*shape, joints), nothing),
    )
    for t, (people, r) in enumerate(zip(ordered, rows, strict=True)):
        n = np.searchsorted(ids, people.track_ids[r])
        origin = people.joints_m[r, root]
        tracks.joints_m[t, n] = people.joints_m[r] - origin[:, None]
        placed = people.root_sources[r] != RootSource.NONE
        tracks.roots_m[t, n] = np.where(placed[:, None], origin, nothing)
        tracks.covariances_m2[t, n] = people.covariances_m2[r]
        tracks.states[t, n] = people.joint_states[r]
        tracks.scores[t, n] = people.joint_scores[r]
    return tracks


@dataclass(frozen=True)
class Film:
    """One track at a constant rate, for formats that know no stamps."""

    track_id: int
    rate_hz: float
    first_ns: int
    joints_m: np.ndarray  # (F, 17, 3) float64 h36m_17, y up, x right, z to the camera; NaN: a gap


def films(frames: Sequence[People], rate_hz: float | None = None) -> list[Film]:
    """Return each track in h36m_17 at ``rate_hz``, or at the median period of the frames.

    Each frame of the film is the nearest frame there is within half a period. Coordinates are
    those of the camera with y up and z towards the camera; where the place of a person is not
    known in all frames, the root is at the origin. Raises ValueError as ``collect``.
    """
    tracks = collect(frames)
    rate = rate_hz or frame_rate(tracks.stamps_ns)
    made = []
    for n, track in enumerate(tracks.ids):
        there = np.isfinite(tracks.joints_m[:, n]).all(axis=2).any(axis=1)
        stamps = tracks.stamps_ns[there]
        joints = convert(tracks.joints_m[there, n].astype(np.float64), tracks.skeleton, 'h36m_17')
        joints -= joints[:, :1]
        roots = tracks.roots_m[there, n].astype(np.float64)
        if np.isfinite(roots).all():
            joints = joints + roots[:, None]
        places = np.rint((stamps - stamps[0]) * 1e-9 * rate).astype(np.int64)
        count = int(places[-1]) + 1
        if count > 100 + _MOST_STRETCH * len(places):
            raise ValueError(
                f'track {track} is seen in {len(places)} frames within {count} at {rate:.3g} Hz: '
                'these are no film; write csv, npz or json'
            )
        film = np.full((count, 17, 3), np.nan)
        film[places] = joints * (1, -1, -1)
        made.append(Film(int(track), float(rate), int(stamps[0]), film))
    return made


def frame_rate(stamps_ns: np.ndarray) -> float:
    """Return the frames a second by the median period; 30 for a single frame."""
    periods = np.diff(stamps_ns)
    periods = periods[periods > 0]
    return float(1e9 / np.median(periods)) if len(periods) else 30.0

"""Lifting keypoints that other programs found: the same lifters, streams and fusion as live.

The frames of a file go through the lift stage one after the other by their stamps, as those of a
camera do. What is different: nothing is late, so a skeleton waits for its future as long as its
lifter wants, and people that a tracker would only predict are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.cameras import camera_from_fov, denormalise_screen
from trpose_ros.exports.files import facts_of
from trpose_ros.interruption import Interruption
from trpose_ros.keypoints.clip import PIXELS, SHARES, KeypointError, Keypoints
from trpose_ros.people import (
    Camera,
    JointState,
    People,
    Provenance,
    TrackState,
    with_scores,
    with_visibility,
)
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.pipeline.tracking import Tracker

_FRAME_ID = 'camera'
_SIZES = (16, 100_000)  # px
_RATES = (0.1, 1000.0)  # Hz
_BEYOND = 0.5  # of the image's sides, around it: most joints lie within
MAX_WAIT_S = 60.0  # nothing is late here
Progress = Callable[[int, int], None]  # frames done, frames in all


@dataclass(frozen=True)
class LiftOptions:
    """What a file does not say, and what to trust in it."""

    size: tuple[int, int] | None = None  # width, height, px
    rate_hz: float | None = None
    fov_deg: float = 55.0  # along the larger side, where there is no calibration
    calibration: Camera | None = None
    least_score: float = 0.3  # joints with lower scores are not trusted
    single: bool = False  # the largest person of each frame is one and the same
    ignore_ids: bool = False  # associate people anew

    def __post_init__(self) -> None:
        """Validate the ranges."""
        if self.rate_hz is not None and not _RATES[0] <= self.rate_hz <= _RATES[1]:
            raise ValueError(f'--rate must lie in {_RATES[0]}..{_RATES[1]} Hz, got {self.rate_hz}')
        if self.size is not None and not _SIZES[0] <= min(self.size) <= max(self.size) <= _SIZES[1]:
            raise ValueError(f'--size must lie in {_SIZES[0]}..{_SIZES[1]} px, got {self.size}')
        if not 0 <= self.least_score <= 1:
            raise ValueError(f'--least-score must lie in 0..1, got {self.least_score}')


@dataclass
class LiftResult:
    """What came of a file."""

    frames: list[People] = field(default_factory=list)  # h36m_17, by stamp
    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False  # by Ctrl-C: the frames until then are whole

    @property
    def skeletons(self) -> int:
        """Return the number of 3D skeletons."""
        return sum(int(np.isfinite(p.joints_m).all(axis=(1, 2)).sum()) for p in self.frames)

    @property
    def tracks(self) -> int:
        """Return the number of tracks."""
        return len({int(i) for people in self.frames for i in people.track_ids})


def lift(
    keypoints: Keypoints,
    stage: LiftStage,
    options: LiftOptions | None = None,
    progress: Progress | None = None,
) -> LiftResult:
    """Lift everybody in a file.

    Args:
        keypoints: of ``keypoints.read.read_keypoints``.
        stage: with a lifter, made to wait (``MAX_WAIT_S``).
        options: what the file does not say.
        progress: called after each frame.

    Raises:
        KeypointError: size or rate are not known, or do not fit the keypoints.
        ValueError: the stage has no lifter.

    """
    options = options or LiftOptions()
    if stage.lifter is None:
        raise ValueError("lifter 'none' lifts nothing: name a network with --lifter")
    camera = camera_of(keypoints, options)
    stamps = stamps_of(keypoints, options)
    result = LiftResult(problems=list(keypoints.problems))
    total = len(stamps)
    done = 0
    with Interruption() as interruption:
        for done, people in enumerate(_people(keypoints, stamps, camera, options), 1):
            result.frames += stage.push(people, camera)
            if progress is not None:
                progress(done, total)
            if interruption.requested:
                result.interrupted = True
                result.problems.append(f'stopped by Ctrl-C after {done} of {total} frames')
                break
    result.frames += stage.flush()
    result.facts = facts_of(
        result.frames,
        camera,
        source=Path(keypoints.name).name,
        source_skeleton=keypoints.skeleton,
        licence=stage.lifter.licence,
        frame_numbers=[int(keypoints.frames[0]), int(keypoints.frames[done - 1])],
    )
    return result


def check(keypoints: Keypoints, options: LiftOptions) -> None:
    """Raise KeypointError for what ``lift`` would refuse: before networks are loaded."""
    pixels = pixels_of(keypoints, camera_of(keypoints, options))
    stamps_of(keypoints, options)
    _ids(keypoints, pixels, options)


def camera_of(keypoints: Keypoints, options: LiftOptions) -> Camera:
    """Return the camera by calibration or field of view; raises KeypointError without a size."""
    given = options.calibration
    known = {
        'the file': keypoints.size,
        '--size': options.size,
        '--calibration': None if given is None else (given.width, given.height),
    }
    sizes = {name: size for name, size in known.items() if size is not None}
    if not sizes:
        raise KeypointError(
            f'{keypoints.name} does not state the size of its images: give --size 1920x1080, the '
            'width and height of the video in pixels'
        )
    if len(set(sizes.values())) > 1:
        told = ', '.join(f'{name} says {w}x{h}' for name, (w, h) in sizes.items())
        raise KeypointError(f'{keypoints.name}: sizes differ: {told}')
    width, height = next(iter(sizes.values()))
    return given or camera_from_fov(width, height, options.fov_deg)


def stamps_of(keypoints: Keypoints, options: LiftOptions) -> np.ndarray:
    """Return (F,) int64 ns; raises KeypointError where neither file nor options give a rate."""
    if options.rate_hz is None and keypoints.stamps_ns is not None:
        return keypoints.stamps_ns
    rate = options.rate_hz or keypoints.rate_hz
    if rate is None:
        raise KeypointError(
            f'{keypoints.name} does not state its rate: give --rate, the frames a second of the '
            'video (30 is usual)'
        )
    if not _RATES[0] <= rate <= _RATES[1]:
        raise KeypointError(f'{keypoints.name}: {rate} frames a second; give --rate')
    return np.rint((keypoints.frames - keypoints.frames[0]) * (1e9 / rate)).astype(np.int64)


def pixels_of(keypoints: Keypoints, camera: Camera) -> np.ndarray:
    """Return (M, J, 2) px; raises KeypointError where most of them cannot be of such images."""
    size = np.array([camera.width, camera.height], np.float64)
    if keypoints.unit == PIXELS:
        pixels = keypoints.joints
    elif keypoints.unit == SHARES:
        pixels = keypoints.joints * size - 0.5
    else:
        pixels = denormalise_screen(keypoints.joints, camera.width, camera.height)
    centre = np.nanmedian(pixels, axis=(0, 1))
    if (centre < -_BEYOND * size).any() or (centre > (1 + _BEYOND) * size).any():
        raise KeypointError(
            f'{keypoints.name}: joints lie around ({centre[0]:.0f}, {centre[1]:.0f}) px, outside '
            f'images of {camera.width}x{camera.height}: give the size of the video with --size'
        )
    return np.asarray(pixels)


def _people(
    keypoints: Keypoints, stamps: np.ndarray, camera: Camera, options: LiftOptions
) -> Iterator[People]:
    """Yield the people of each frame with ids, in px, as an estimator without 3D gives them."""
    pixels = pixels_of(keypoints, camera)
    pixels[keypoints.scores == 0] = np.nan  # what was not found
    states = _states(keypoints, options.least_score)
    ids = _ids(keypoints, pixels, options)
    ends = np.searchsorted(keypoints.rows, np.arange(len(stamps) + 1))
    tracker = None if ids is not None else Tracker()
    for t, stamp_ns in enumerate(stamps):
        rows = np.arange(ends[t], ends[t + 1])
        if ids is not None:
            rows = rows[ids[rows] >= 0]
        people = People.build(
            stamp_ns=int(stamp_ns),
            frame_id=_FRAME_ID,
            skeleton=keypoints.skeleton,
            width=camera.width,
            height=camera.height,
            joints_px=pixels[rows],
            joint_scores=keypoints.scores[rows],
            joint_states=states[rows],
            provenance=Provenance(estimator='file', intrinsics_assumed=camera.assumed),
        )
        people = with_scores(with_visibility(people))
        if tracker is None:
            assert ids is not None
            yield people.replace(
                track_ids=ids[rows].astype(np.int32),
                track_states=np.full(len(rows), int(TrackState.TRACKED), np.uint8),
            )
        else:
            tracked = tracker.update(people, camera)
            found = np.isin(tracked.track_states, (TrackState.NEW, TrackState.TRACKED))
            yield tracked.select(np.flatnonzero(found))


def _states(keypoints: Keypoints, least_score: float) -> np.ndarray:
    """Return (M, J) states: what the file says, else visible or not by the score."""
    sure = keypoints.scores >= least_score
    by_score = np.where(sure, int(JointState.VISIBLE), int(JointState.OCCLUDED))
    unsaid = (keypoints.states == JointState.UNKNOWN) & np.isfinite(keypoints.scores)
    return np.where(unsaid, by_score, keypoints.states).astype(np.uint8)


def _ids(keypoints: Keypoints, pixels: np.ndarray, options: LiftOptions) -> np.ndarray | None:
    """Return (M,) ids, -1 for who is left out; None where people have to be associated."""
    if options.single:
        chosen = np.full(len(pixels), -1)
        spans = np.nanmax(pixels, axis=1, initial=-np.inf, where=np.isfinite(pixels))
        spans -= np.nanmin(pixels, axis=1, initial=np.inf, where=np.isfinite(pixels))
        sizes = spans.max(axis=1)
        order = np.lexsort((-sizes, keypoints.rows))
        first = np.unique(keypoints.rows[order], return_index=True)[1]
        chosen[order[first]] = 0
        return chosen
    ids = None if options.ignore_ids else keypoints.told_ids()
    if ids is not None:
        return ids
    if keypoints.most_people == 1:
        return np.zeros(len(pixels), int)
    return None

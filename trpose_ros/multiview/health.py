"""What is wrong with a camera among others: silence, a place it no longer has, a clock that is off.

Each camera is held against the skeletons that the others make without it. The errors of one that
has been moved, or has another one's calibration, are larger than those of the others for long: it
is named and counts less. When it is off by so much that its people are nobody of the others', while
it sees nobody where they see somebody, they are left out. With two cameras nobody can say which
one is wrong: both are named. Errors along the way in which a joint moves, in proportion to its
speed, are those of a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from trpose_ros.multiview.sights import Sights
from trpose_ros.multiview.triangulation import Solution
from trpose_ros.people import JointState

_MEMORY_S = 2.0
_CLOCK_MEMORY_S = 6.0
_EVIDENCE_S = 1.0  # before anything is said
_MOVED = 2.0  # standard deviations, median over joints, from which a camera has moved,
_MORE = 1.7  # and times those of the others
_MOST_SCALE = 20.0
_STRANGERS = 0.5  # share of the time that a camera's people are nobody's
_WELL_M = 0.10  # a joint that the others place this well says something
_CLOCK_S = 0.02  # offsets below are usual
_CLOCK_SPEED_M_S = 0.3  # slower joints say nothing about time
_CLOCK_JOINTS = 150.0
_CLOCK_SHARE = 0.2  # of the squared errors that a clock must explain


@dataclass
class CameraHealth:
    """What is remembered of one camera."""

    name: str
    frames: int = 0
    people: int = 0  # in the last frame
    error_px: float = float('nan')  # against the others, median over joints, averaged over time
    error_sigmas: float = float('nan')  # the same in standard deviations
    strangers: float = 0.0  # share of the time that its people are nobody's
    evidence_s: float = 0.0
    clock_s: float = float('nan')  # its stamps are too late by this
    idle_s: float = 0.0
    problem: str = ''  # in words, '' when all is well
    scale: float = 1.0  # of its errors: it counts less
    ignored: bool = False  # who it sees alone is left out
    _clock: np.ndarray = field(default_factory=lambda: np.zeros(10))

    def facts(self) -> str:
        """Return what there is to say, in one line."""
        words = [self.problem or 'ok', f'{self.frames} frames']
        if np.isfinite(self.error_px):
            words.append(f'{self.error_px:.1f} px from the others')
        if np.isfinite(self.clock_s):
            words.append(f'clock {1e3 * self.clock_s:+.0f} ms')
        return ', '.join(words)


class Health:
    """That of all cameras of a rig."""

    def __init__(self, names: Sequence[str]) -> None:
        self.cameras = [CameraHealth(name) for name in names]
        self._samples: list[list[np.ndarray]] = []
        self._last_ns: int | None = None
        self._begin()

    def _begin(self) -> None:
        self._samples = [[] for _ in self.cameras]

    def reset(self) -> None:
        """Forget what was measured."""
        self.cameras = [CameraHealth(camera.name) for camera in self.cameras]
        self._last_ns = None
        self._begin()

    def compare(
        self,
        members: Sequence[tuple[int, Sights, int]],
        solution: Solution,
        velocity_m_s: np.ndarray,
    ) -> None:
        """Hold cameras (index, sights, row) against the person that the others see."""
        for place, (index, sights, row) in enumerate(members):
            unit = sights.rays[row]
            offset = solution.left_out_m[place] - sights.origin_m
            distance = np.linalg.norm(offset, axis=-1)
            beside = np.eye(3) - unit[:, :, None] * unit[:, None, :]
            error = np.einsum('jcd,jd->jc', beside, offset)
            spread = (beside * solution.left_out_m2[place]).sum(axis=(1, 2))  # both ways aside
            good = (sights.states[row] == JointState.VISIBLE) & (spread < 2 * _WELL_M**2)
            good &= np.isfinite(error).all(axis=-1)
            if not good.any():
                continue
            length = np.linalg.norm(error, axis=-1)
            # The sigmas as the camera stated them, not as they are scaled here for what it did.
            stated = sights.sigmas[row] / self.cameras[index].scale
            sigma = np.sqrt((stated * distance) ** 2 + spread / 2)
            moving = np.einsum('jcd,jd->jc', beside, np.nan_to_num(velocity_m_s))
            quick = np.linalg.norm(moving, axis=-1) > _CLOCK_SPEED_M_S
            about_time = [
                (error * moving).sum(axis=-1, keepdims=True),
                (moving**2).sum(axis=-1, keepdims=True),
                length[:, None] ** 2,
                np.ones((len(length), 1)),
                error,
                moving,
            ]
            columns = [
                np.stack([length / distance * sights.focal_px, length / sigma], axis=-1),
                np.concatenate(about_time, axis=-1) * quick[:, None],
            ]
            self._samples[index].append(np.concatenate(columns, axis=-1)[good])

    def update(self, stamp_ns: int, strange: Sequence[bool | None], alive: Sequence[bool]) -> None:
        """Take what came together at one time.

        ``strange`` says of each camera whether it sees somebody who is nobody's while it misses
        somebody of the others' (None: nothing can be said), ``alive`` which cameras send frames.
        """
        elapsed_s = 0.0 if self._last_ns is None else (stamp_ns - self._last_ns) * 1e-9
        elapsed_s = min(max(elapsed_s, 0.0), 0.5)
        self._last_ns = stamp_ns
        share = 1.0 - np.exp(-elapsed_s / _MEMORY_S)
        for camera, samples, odd in zip(self.cameras, self._samples, strange, strict=True):
            if odd is not None:
                camera.strangers += share * (float(odd) - camera.strangers)
            if odd is not None or samples:
                camera.evidence_s += elapsed_s
            if not samples:
                continue
            table = np.concatenate(samples)
            px, sigmas = np.median(table[:, :2], axis=0)
            if np.isfinite(camera.error_px):
                px = camera.error_px + share * (px - camera.error_px)
                sigmas = camera.error_sigmas + share * (sigmas - camera.error_sigmas)
            camera.error_px, camera.error_sigmas = float(px), float(sigmas)
            camera._clock *= np.exp(-elapsed_s / _CLOCK_MEMORY_S)
            camera._clock += table[:, 2:].sum(axis=0)
            camera.clock_s = _clock_offset(camera._clock)
        self._begin()
        self._judge(alive)

    def _judge(self, alive: Sequence[bool]) -> None:
        """Name what is wrong; a camera that is silent is judged by whoever knows its stamps."""
        errors = np.array([camera.error_sigmas for camera in self.cameras])
        clocks = np.abs([camera.clock_s for camera in self.cameras])
        slowest = np.nanmax(clocks) if np.isfinite(clocks).any() else np.nan
        several = sum(alive) > 2
        for place, camera in enumerate(self.cameras):
            camera.problem, camera.scale, camera.ignored = '', 1.0, False
            if not alive[place]:
                continue
            others = np.delete(errors, place)
            others = others[np.isfinite(others)]
            usual = float(np.median(others)) if len(others) else float('nan')
            # Of two one is wrong, and either may be the one.
            asked = [camera] if several else self.cameras
            sure = camera.evidence_s >= _EVIDENCE_S
            if any(c.strangers > _STRANGERS and c.evidence_s >= _EVIDENCE_S for c in asked):
                camera.ignored = several
                camera.problem = (
                    'its people are nobody that the other cameras see: '
                    + _REMEDY
                    + (', or positions in another unit' if not several else '')
                )
            elif sure and clocks[place] >= _CLOCK_S and clocks[place] == slowest:
                late = 'late' if camera.clock_s > 0 else 'early'
                camera.problem = (
                    f'its stamps are about {1e3 * clocks[place]:.0f} ms too {late}: mend its '
                    f'clock, or set time_offset_s: {-camera.clock_s:.3f} in the calibration'
                )
            elif sure and several and camera.error_sigmas > max(_MOVED, _MORE * usual):
                camera.scale = float(np.clip(camera.error_sigmas, 1.0, _MOST_SCALE))
                camera.ignored = True
                camera.problem = (
                    f'it is {camera.error_px:.0f} px from what the others see, '
                    f'{camera.error_sigmas / max(usual, 0.1):.1f} times what they are: {_REMEDY}; '
                    'it counts less'
                )


_REMEDY = 'it has moved, or its calibration is another one: calibrate anew'


def _clock_offset(sums: np.ndarray) -> float:
    """Return by how much stamps are too late, s; NaN where that explains too little.

    What is wrong by the same vector whatever moves is no clock: means do not count.
    """
    along, speed2, error2, count = sums[:4]
    if count < _CLOCK_JOINTS:
        return float('nan')
    error, moving = sums[4:7], sums[7:10]
    along -= error @ moving / count
    speed2 -= moving @ moving / count
    error2 -= error @ error / count
    if speed2 <= 0 or error2 <= 0:
        return float('nan')
    if along**2 < _CLOCK_SHARE * speed2 * error2:
        return float('nan')
    return float(along / speed2)

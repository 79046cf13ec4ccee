"""The cameras of a rig as they go on: who sends, whose clock is another one's, what is due.

A camera is silent when the others have gone on, each by its own stamps, since it sent last; so a
clock that is off does not make a camera look silent. Times to work on are the stamps of the first
camera that sends.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from trpose_ros.cameras import project
from trpose_ros.multiview.rig import Placement, Rig, RigCamera
from trpose_ros.multiview.sights import SightHistory, Sights
from trpose_ros.people import Camera, People, Provenance

_FAR_S = 2.0  # stamps of cameras that are farther apart have other clocks
_INSIDE = 0.1  # of an image's sides: somebody this far inside is expected to be seen
_KEPT = 256  # frames whose provenance is remembered
_SAME_SHAPE = 0.01  # of width / height, of images of one camera in two sizes


@dataclass
class View:
    """One camera."""

    rig: RigCamera
    history: SightHistory = field(default_factory=SightHistory)
    camera: Camera | None = None  # of the last frame
    placement: Placement | None = None
    provenances: dict[int, Provenance] = field(default_factory=dict)  # of the last frames
    dropped_frames: int = 0
    progress_s: float = 0.0  # of its own stamps
    others_s: list[float] = field(default_factory=list)  # progress of all when it sent last
    problem: str = ''  # of its last frame

    def remember(self, stamp_ns: int, provenance: Provenance) -> None:
        """Keep where a frame's people come from, until its time has been worked on."""
        self.provenances[stamp_ns] = provenance
        self.dropped_frames = provenance.dropped_frames
        while len(self.provenances) > _KEPT:
            self.provenances.pop(next(iter(self.provenances)))

    def shows(self, point_m: np.ndarray) -> bool:
        """Say whether a point of the world (3,) lies well inside its image."""
        if self.camera is None or self.placement is None:
            return False
        there = (point_m - self.placement.position_m) @ self.placement.rotation
        if not there[2] > 0.3:
            return False
        px = project(there, self.camera) / [self.camera.width, self.camera.height]
        return bool(((px > _INSIDE) & (px < 1 - _INSIDE)).all())


class Views:
    """All of them, in the order of the rig."""

    def __init__(self, rig: Rig, silent_s: float) -> None:
        self._all = [View(camera) for camera in rig.cameras]
        self._silent_s = silent_s
        for view in self._all:
            view.others_s = [0.0] * len(self._all)

    def __iter__(self) -> Iterator[View]:
        """Yield them in the order of the rig."""
        return iter(self._all)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._all)

    def __getitem__(self, place: int) -> View:
        """Return one by its place in the rig."""
        return self._all[place]

    def add(self, view: View, sights: Sights) -> None:
        """Take the next frame of a camera."""
        newest = view.history.newest_ns
        view.history.add(sights)
        if newest is not None:
            step_s = (sights.stamp_ns - newest) * 1e-9
            view.progress_s += min(max(step_s, 0.0), self._silent_s)
        view.others_s = [other.progress_s for other in self._all]

    def idle_s(self, view: View) -> float:
        """Return how far the others have gone on since a camera sent last."""
        return max(o.progress_s - s for o, s in zip(self._all, view.others_s, strict=True))

    def _sends(self, view: View) -> bool:
        return view.history.newest_ns is not None and self.idle_s(view) < self._silent_s

    def _usual_ns(self) -> int:
        """Return the newest stamp of most that send; of two that differ it is the first one's."""
        newest = [view.history.newest_ns or 0 for view in self._all if self._sends(view)]
        if not newest:
            return 0
        near = [sum(abs(a - b) <= _FAR_S * 1e9 for b in newest) for a in newest]
        return newest[int(np.argmax(near))]

    def alive(self) -> list[bool]:
        """Say which send frames with stamps of the same clock as the others'."""
        usual_ns = self._usual_ns()
        return [
            self._sends(view) and abs((view.history.newest_ns or 0) - usual_ns) <= _FAR_S * 1e9
            for view in self._all
        ]

    def pacing(self, alive: Sequence[bool], hold_s: float) -> View:
        """Return the first one that sends: its stamps are those of the results."""
        views = [view for view, lives in zip(self._all, alive, strict=True) if lives]
        return next((view for view in views if self.idle_s(view) < hold_s), views[0])

    def due(
        self, alive: Sequence[bool], pacing: View, last_ns: int | None, wait_s: float
    ) -> list[int]:
        """Return the times behind ``last_ns`` for which nobody need be waited for any more."""
        newest = [
            view.history.newest_ns or 0
            for view, lives in zip(self._all, alive, strict=True)
            if lives
        ]
        found = []
        for stamp_ns in pacing.history.stamps_after(last_ns):
            late = min(newest) < stamp_ns
            if late and wait_s >= 0 and (max(newest) - stamp_ns) * 1e-9 < wait_s:
                break
            found.append(stamp_ns)
        return found

    def problem(self, view: View) -> str:
        """Say what is wrong with the frames of a camera, '' when nothing is."""
        newest = view.history.newest_ns
        if newest is None:
            return view.problem or 'nothing has come yet'
        if self.idle_s(view) >= self._silent_s:
            return f'nothing comes any more for {self.idle_s(view):.1f} s'
        if view.problem:
            return view.problem
        apart_s = (newest - self._usual_ns()) * 1e-9
        if abs(apart_s) > _FAR_S:
            return (
                f'its stamps are {apart_s:+.1f} s from those of the others: their clocks differ; '
                'synchronise them, or set time_offset_s in the calibration'
            )
        return ''


def intrinsics_of(name: str, people: People, camera: Camera | None, known: Camera | None) -> Camera:
    """Return the intrinsics of a frame: its own, or those that the calibration knows.

    Images of the same shape in another size have scaled ones. Raises ValueError where nobody knows
    any, or for images of another shape.
    """
    camera = known if camera is None or (camera.assumed and known is not None) else camera
    if camera is None:
        raise ValueError(
            f'{name}: nobody knows its intrinsics: give camera_info, or intrinsics in the '
            'calibration'
        )
    width, height = people.width, people.height
    if (width, height) in ((camera.width, camera.height), (0, 0)):
        return camera
    if abs(width / max(height, 1) / (camera.width / camera.height) - 1.0) > _SAME_SHAPE:
        raise ValueError(
            f'{name}: images have {width}x{height} px, the calibration is of '
            f'{camera.width}x{camera.height}: it is that of another camera or resolution'
        )
    scale = width / camera.width
    matrix = camera.matrix.copy()
    matrix[:2] *= scale
    matrix[:2, 2] += (scale - 1.0) / 2.0  # pixel centres are whole numbers at both sizes
    return dataclasses.replace(camera, width=width, height=height, matrix=matrix)

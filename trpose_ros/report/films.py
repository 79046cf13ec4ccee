"""Side-by-side videos: the same moments as two methods saw them.

A Take is one method's way through a recording: shots in the order of their stamps. In a film every
moment shows, left and right, the image as the estimator saw it with the skeleton over it, and
below it the skeleton in 3D over the true one (green), standing on the true pelvis as MPJPE compares
poses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.drawing.figures import PAPER_RGB, Figure, Shot, at_the_true_pelvis, legend
from trpose_ros.drawing.overlay import draw_text, draw_view
from trpose_ros.evaluation.excerpts import Scene
from trpose_ros.evaluation.metrics.join import hold
from trpose_ros.evaluation.metrics.positions import frame_errors
from trpose_ros.people import Camera
from trpose_ros.recordings.video import VideoWriter
from trpose_ros.skeletons import get_skeleton

OVERLAY_PX = 360  # height of the image with its margin
_VIEW_SHARE = 0.75  # of it: height of the 3D view
_GAP_PX = 6
_DIM_RGB = (170, 172, 178)


@dataclass(frozen=True)
class Take:
    """One method's way through a recording."""

    title: str
    camera: Camera
    rate_hz: float  # of the shots
    open_shots: Callable[[], Iterator[tuple[int, Shot, str]]]  # stamp (ns), shot, a line of text
    frames: int = 0  # shots to come; 0: not known


class SideBySide:
    """Draws the shots of takes beside each other, all pictures of one size."""

    def __init__(self, takes: Sequence[Take], overlay_px: int = OVERLAY_PX) -> None:
        self._titles = [take.title for take in takes]
        self._height, self._size = overlay_px, 0.55 * (overlay_px / OVERLAY_PX) ** 0.5
        self._figures = [Figure(take.camera, overlay_px) for take in takes]

    def draw(self, shots: Sequence[Shot], lines: Sequence[str], caption: str) -> np.ndarray:
        """Return a picture (H, W, 3) uint8 RGB; ``lines`` stand under the 3D views."""
        parts: list[np.ndarray] = []
        for figure, shot, title, line in zip(
            self._figures, shots, self._titles, lines, strict=True
        ):
            column = self._column(figure, shot, title, line)
            if parts:
                parts.append(np.full((column.shape[0], _GAP_PX, 3), PAPER_RGB, np.uint8))
            parts.append(column)
        picture = np.concatenate(parts, axis=1)
        place = 10, self._height - 10
        draw_text(picture, caption, place, size=self._size, colour=_DIM_RGB)
        page = np.concatenate([picture, legend(picture.shape[1])])
        return page[: page.shape[0] // 2 * 2, : page.shape[1] // 2 * 2]

    def _column(self, figure: Figure, shot: Shot, title: str, line: str) -> np.ndarray:
        overlay = figure.overlay(shot)
        draw_text(overlay, title, (10, 20), size=self._size)
        view, width = figure.follow(shot), overlay.shape[1]
        height = round(_VIEW_SHARE * self._height)
        if shot.people is None:
            panel = np.full((height, width, 3), PAPER_RGB, np.uint8)
            draw_text(panel, 'no output', (10, height // 2), size=self._size, colour=_DIM_RGB)
        else:
            panel = draw_view(
                at_the_true_pelvis(shot.people, shot.truth),
                view,
                width=width,
                height=height,
                truth=shot.truth,
                floor_m=figure.floor_m,
            )
        draw_text(panel, line, (10, height - 10), size=self._size, colour=_DIM_RGB)
        return np.concatenate([overlay, panel])


def film(
    path: Path,
    shows: Iterable[tuple[Sequence[Take], str]],
    progress: Callable[[int], object] | None = None,
    overlay_px: int = OVERLAY_PX,
) -> int:
    """Write takes beside each other into one file; several shows follow one another.

    A show is its takes and a caption that is written over the image. The moments are those of the
    first take; the others show their shot at the nearest time since their own beginning. An image
    with its margin is ``overlay_px`` high. Returns the number of pictures; 0 means that there is
    no file. Raises VideoError when it cannot be written.
    """
    count = 0
    writer: VideoWriter | None = None
    try:
        for takes, caption in shows:
            if writer is None:
                writer = VideoWriter(path, min(max(takes[0].rate_hz, 1.0), 120.0))
            pages = SideBySide(takes, overlay_px)
            for entries in _together(takes):
                shots, lines = [e[1] for e in entries], [e[2] for e in entries]
                writer.write(pages.draw(shots, lines, caption))
                count += 1
                if progress is not None:
                    progress(count)
    except BaseException as error:
        if writer is not None:
            writer.__exit__(type(error), error, error.__traceback__)
        raise
    if writer is not None:
        writer.close()
    return count


Entry = tuple[int, Shot, str]


def _together(takes: Sequence[Take]) -> Iterator[list[Entry]]:
    """Yield the shots of the first take, each with those of the others nearest in time."""
    begin: int | None = None
    followers: list[_Follower] = []
    for entry in takes[0].open_shots():
        if begin is None:
            begin = entry[0]
            followers = [_Follower(take.open_shots()) for take in takes[1:]]
        others = [follower.at(entry[0] - begin) for follower in followers]
        if any(other is None for other in others):
            return  # a take without any shot
        yield [entry, *(other for other in others if other is not None)]


class _Follower:
    """Gives the shot of a take that is nearest to a time since its beginning."""

    def __init__(self, shots: Iterator[Entry]) -> None:
        self._shots = shots
        self._now, self._later = next(shots, None), next(shots, None)
        self._begin = self._now[0] if self._now else 0

    def at(self, since_ns: int) -> Entry | None:
        moment = self._begin + since_ns
        while (
            self._now is not None
            and self._later is not None
            and abs(self._later[0] - moment) <= abs(self._now[0] - moment)
        ):
            self._now, self._later = self._later, next(self._shots, None)
        return self._now


def take_of_scene(scene: Scene, lifter: str, title: str, seconds: float = 1e9) -> Take:
    """Return what a method made of the first seconds of a scene.

    Raises KeyError for a method that is not in it.
    """
    output = scene.outputs_m[lifter]
    root = get_skeleton(scene.skeleton).root_index
    held = hold(output, root)
    errors = frame_errors(held, scene.true_m, root)
    frames = {int(stamp): t for t, stamp in enumerate(scene.stamps_ns)}

    def shots() -> Iterator[tuple[int, Shot, str]]:
        for index, stamp in enumerate(scene.image_stamps_ns.tolist()):
            if stamp - scene.image_stamps_ns[0] > seconds * 1e9:
                return
            t = frames.get(stamp)
            people = truth = None
            line = ''
            if t is not None:
                people, truth = scene.people(output, t), scene.people(scene.true_m, t)
                line = f'MPJPE of this frame {errors[t]:.0f} mm'
            offset = (int(scene.offsets_px[index, 0]), int(scene.offsets_px[index, 1]))
            if people is not None:  # a Shot's people are in px of the image that was shown
                people = people.replace(joints_px=people.joints_px - np.array(offset, np.float32))
            yield stamp, Shot(scene.image(index), scene.camera, people, people, truth, offset), line

    periods = np.diff(scene.image_stamps_ns)
    rate = float(1e9 / np.median(periods)) if periods.size else scene.fps
    return Take(title, scene.camera, rate, shots)

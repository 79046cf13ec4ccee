"""A film of the demonstration, side by side: the estimator frame by frame, and the lifted people.

One condition after the other, large enough to see what trembles. The 3D joints of both sides are
projected into the image, and seen from the side below it, on the pelvis of the true person (green).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.drawing.figures import PAPER_RGB, Figure, Shot, at_the_true_pelvis, legend
from trpose_ros.drawing.overlay import View, draw_text, draw_view
from trpose_ros.people import People
from trpose_ros.recordings.video import VideoWriter

_IMAGE_PX = 360  # height of an image
_VIEW_PX = 320  # height of a 3D view
_GAP_PX = 6
_HEAD_PX = 34
_NAMES = ('before: each frame by itself', 'after: lifted and fused over time')


@dataclass(frozen=True)
class Scene:
    """One condition: its name, its frames, and an error of each side in mm (NaN: none)."""

    name: str
    shots: Iterable[Shot]
    errors_mm: tuple[float, float]


def write_film(path: Path, scenes: Sequence[Scene], rate_hz: float) -> int:
    """Write the scenes one after the other; return the number of frames.

    Raises ValueError when no scene has a frame.
    """
    frames = 0
    with VideoWriter(path, rate_hz) as video:
        for scene in scenes:
            for picture in film(scene):
                video.write(picture)
                frames += 1
        if frames == 0:
            raise ValueError(f'{path.name} would have no frame: no scene has a shot')
    return frames


def film(scene: Scene) -> Iterator[np.ndarray]:
    """Yield the pictures of a scene, (H, W, 3) uint8 RGB, all of one even size."""
    figure = None
    for shot in scene.shots:
        figure = figure or Figure(shot.camera, _IMAGE_PX)
        view = figure.follow(shot)
        sides = []
        for name, error, who in zip(
            _NAMES, scene.errors_mm, (shot.people, shot.lifted), strict=True
        ):
            over = figure.overlay(Shot(shot.image, shot.camera, None, who, None, shot.offset_px))
            sides.append(_side(name, error, who, over, shot, view, figure.floor_m))
        gap = np.full((sides[0].shape[0], _GAP_PX, 3), PAPER_RGB, np.uint8)
        body = np.concatenate([sides[0], gap, sides[1]], axis=1)
        head = np.full((_HEAD_PX, body.shape[1], 3), PAPER_RGB, np.uint8)
        draw_text(head, scene.name, (10, 24), size=0.7)
        page = np.concatenate([head, body, legend(body.shape[1])])
        yield page[: page.shape[0] // 2 * 2, : page.shape[1] // 2 * 2]


def _side(
    name: str,
    error_mm: float,
    people: People | None,
    over: np.ndarray,
    shot: Shot,
    view: View,
    floor_m: float | None,
) -> np.ndarray:
    draw_text(over, name, (10, 22), size=0.55)
    height, width = _VIEW_PX, over.shape[1]
    if people is None:
        panel = np.full((height, width, 3), PAPER_RGB, np.uint8)
        draw_text(panel, 'nobody yet', (8, 20), size=0.5)
    else:
        standing = at_the_true_pelvis(people, shot.truth)
        options = {'width': width, 'height': height, 'truth': shot.truth, 'floor_m': floor_m}
        panel = draw_view(standing, view, **options)  # type: ignore[arg-type]
    if np.isfinite(error_mm):
        draw_text(panel, f'MPJPE {error_mm:.0f} mm', (8, height - 10), size=0.5)
    line = np.full((_GAP_PX, width, 3), PAPER_RGB, np.uint8)
    return cv2.vconcat([over, line, panel])

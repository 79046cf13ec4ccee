"""Pictures of results: the image with skeletons on a wider canvas, and 3D views beside it.

The canvas is the camera's whole image plus a margin, whatever was cut off from it, so that joints
outside of what the estimator saw can be looked at. One Figure serves one recording: it follows
the first person with its 3D view, smoothly. Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from trpose_ros.drawing.overlay import (
    CENTRE_RGB,
    LEFT_RGB,
    OCCLUDED_RGB,
    RIGHT_RGB,
    TRUNCATED_RGB,
    TRUTH_RGB,
    View,
    draw_people,
    draw_text,
    draw_view,
)
from trpose_ros.people import Camera, People, TrackState
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import write_bytes

PAPER_RGB = (24, 25, 29)
_DIM_RGB = (170, 172, 178)
_MARGIN = 0.125  # of the image height, on all sides
_FOLLOW = 0.1  # share by which the 3D view moves towards the person in each frame
_GAP_PX = 4


@dataclass(frozen=True)
class Shot:
    """One frame and what came out of it."""

    image: np.ndarray  # (h, w, 3) as the estimator saw it
    camera: Camera  # of the whole image
    people: People | None  # the estimator's
    lifted: People | None = None
    truth: People | None = None
    offset_px: tuple[int, int] = (0, 0)  # px of the whole image of the first pixel of ``image``


class Figure:
    """Draws shots of one recording, all of one size.

    ``height`` is that of a picture in px; ``size`` its (width, height).
    """

    def __init__(self, camera: Camera, height: int = 480) -> None:
        self._height = height - height % 2
        scale = self._height / (camera.height * (1 + 2 * _MARGIN))
        self._scale = scale
        self._margin_px = round(camera.height * _MARGIN)
        self._width = round((camera.width + 2 * self._margin_px) * scale)
        self._side = (self._height - _GAP_PX) // 2
        self._target: np.ndarray | None = None
        self._floor_m: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures, px."""
        width = self._width + _GAP_PX + self._side
        return width - width % 2, self._height

    @property
    def floor_m(self) -> float | None:
        """The floor under the person that is followed, m along y of the camera frame."""
        return self._floor_m

    def draw(self, shot: Shot, title: str = '', lines: tuple[str, ...] = ('', '')) -> np.ndarray:
        """Return the picture of a shot.

        Args:
            shot: what to draw.
            title: written over the image.
            lines: one more line under each of the two 3D views. In those, people stand on the
                pelvis of the true person, where that one is known.

        """
        width, height = self.size
        picture = np.full((height, width, 3), PAPER_RGB, np.uint8)
        overlay = self.overlay(shot)
        picture[:, : overlay.shape[1]] = overlay
        draw_text(picture, title, (10, 22), size=0.6)
        view = self.follow(shot)
        best = shot.people if shot.lifted is None else shot.lifted
        left = overlay.shape[1] + _GAP_PX
        panels = (('estimator alone', shot.people, lines[0]), ('lifted + fused', best, lines[1]))
        for row, (name, people, line) in enumerate(panels):
            top = row * (self._side + _GAP_PX)
            panel = self._panel(people, shot, view, name, line, width - left)
            picture[top : top + self._side, left:] = panel
        return picture

    def overlay(self, shot: Shot) -> np.ndarray:
        """Return the image with the skeletons over it, with its margin."""
        whole = np.zeros((shot.camera.height, shot.camera.width, 3), np.uint8)
        x, y = shot.offset_px
        h, w = shot.image.shape[:2]
        whole[y : y + h, x : x + w] = shot.image
        best = shot.people if shot.lifted is None else shot.lifted
        if best is None:
            margin = self._margin_px
            drawn = cv2.copyMakeBorder(whole, *(margin,) * 4, cv2.BORDER_CONSTANT, value=PAPER_RGB)
        else:
            # In px of the whole image; the 3D joints need no shift, a crop has the same centre.
            best = best.replace(joints_px=best.joints_px + np.array([x, y], np.float32))
            camera = shot.camera if shot.lifted is not None else None
            drawn = draw_people(whole, best, camera=camera, margin_px=self._margin_px)
        return cv2.resize(drawn, (self._width, self._height), interpolation=cv2.INTER_AREA)

    def follow(self, shot: Shot) -> View:
        """Return the view of the first person: of the true one, where that is known."""
        people = next((p for p in (shot.truth, shot.lifted, shot.people) if _shown(p)), None)
        if people is not None:
            joints = people.joints_m[_first(people)].astype(np.float64)
            root = joints[get_skeleton(people.skeleton).root_index]
            lowest = float(np.nanmax(joints[:, 1]))
            if np.isfinite(root).all():
                if self._target is None or self._floor_m is None:
                    self._target, self._floor_m = root, lowest
                self._target = self._target + _FOLLOW * (root - self._target)
                self._floor_m += _FOLLOW * (lowest - self._floor_m)
        target = np.array([0.0, 0.0, 4.0]) if self._target is None else self._target
        return View((float(target[0]), float(target[1]) + 0.05, float(target[2])), span_m=2.3)

    def _panel(
        self,
        people: People | None,
        shot: Shot,
        view: View,
        name: str,
        line: str,
        width: int,
    ) -> np.ndarray:
        if people is None:
            people = _nobody(shot)
        panel = draw_view(
            at_the_true_pelvis(people, shot.truth),
            view,
            width=width,
            height=self._side,
            truth=shot.truth,
            floor_m=self._floor_m,
        )
        draw_text(panel, name, (8, 18), size=0.45)
        draw_text(panel, line, (8, self._side - 8), size=0.42, colour=_DIM_RGB)
        return panel


def legend(width: int, height: int = 26, truth: bool = True) -> np.ndarray:
    """Return a strip that explains the colours; ``truth``: that of the ground truth, too."""
    strip = np.full((height, width, 3), PAPER_RGB, np.uint8)
    entries = (
        ('left', LEFT_RGB),
        ('right', RIGHT_RGB),
        ('trunk', CENTRE_RGB),
        ('hidden or predicted', OCCLUDED_RGB),
        ('outside the image', TRUNCATED_RGB),
        *([('ground truth', TRUTH_RGB)] if truth else []),
    )
    x, y = 10, height // 2
    for name, colour in entries:
        cv2.line(strip, (x, y), (x + 22, y), colour, 3, cv2.LINE_AA)
        draw_text(strip, name, (x + 30, y + 5), size=0.45, colour=_DIM_RGB)
        x += 52 + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
    return strip


def grid(
    pictures: list[np.ndarray], columns: int, gap_px: int = 8, truth: bool = True
) -> np.ndarray:
    """Return pictures of one size in rows, with the legend under them."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    page = np.full(
        (rows * (height + gap_px) + gap_px, columns * (width + gap_px) + gap_px, 3),
        PAPER_RGB,
        np.uint8,
    )
    for i, picture in enumerate(pictures):
        top = gap_px + (i // columns) * (height + gap_px)
        left = gap_px + (i % columns) * (width + gap_px)
        page[top : top + height, left : left + width] = picture
    page = np.concatenate([page, legend(page.shape[1], truth=truth)])
    return page[: page.shape[0] - page.shape[0] % 2, : page.shape[1] - page.shape[1] % 2]


def save_picture(path: Path, image: np.ndarray) -> None:
    """Write an (H, W, 3) uint8 RGB image as PNG or JPEG, complete or not at all."""
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise ValueError(f'{path} cannot be encoded; give a name ending in .png or .jpg')
    write_bytes(path, data.tobytes())


def at_the_true_pelvis(people: People, truth: People | None) -> People:
    """Move everybody so that the nearest pelvis lies on the true one, as MPJPE compares poses."""
    if truth is None or len(truth) == 0 or len(people) == 0:
        return people
    true = truth.joints_m[0, get_skeleton(truth.skeleton).root_index]
    apart = true - people.joints_m[:, get_skeleton(people.skeleton).root_index]
    distance = np.linalg.norm(apart, axis=1)
    distance[people.track_states == TrackState.LOST] = np.nan
    if not np.isfinite(distance).any():
        return people
    return people.replace(joints_m=people.joints_m + apart[np.nanargmin(distance)])


def _first(people: People) -> int:
    return int(np.flatnonzero(people.track_states != TrackState.LOST)[0])


def _shown(people: People | None) -> bool:
    return people is not None and bool((people.track_states != TrackState.LOST).any())


def _nobody(shot: Shot) -> People:
    return People.build(
        stamp_ns=0,
        frame_id='',
        skeleton='h36m_17',
        width=shot.camera.width,
        height=shot.camera.height,
        joints_px=np.zeros((0, 17, 2)),
    )

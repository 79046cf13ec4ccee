"""Cameras that are mounted turned: the networks see the upright image, results are of the image.

The networks know bodies that stand or sit with the head up in the image; one that hangs head down
is found as an upright one in the wrong place. So image and camera are turned before them, and what
they say about people is turned back, 2D and 3D. A turn by 90 degrees clockwise takes pixel (x, y)
to (height - 1 - y, x), and the point (x, y, z) in front of the camera to (-y, x, z).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from trpose_ros.orientation import upright_camera, upright_image
from trpose_ros.people import Camera, Frame, People

TURNS = (0, 90, 180, 270)
TURN_HELP = (
    'turn the images clockwise by this before people are looked for, deg: for a camera that is '
    'mounted turned; results stay in the frame of the image'
)
_ORIENTATIONS = {0: 1, 90: 6, 180: 3, 270: 8}  # of EXIF
_QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)


class Turned:
    """Frames and cameras turned by a fixed angle; the camera of equal cameras is one object."""

    def __init__(self, rotate_deg: int) -> None:
        self.rotate_deg = rotate_deg
        self._last: tuple[Camera, Camera] | None = None

    def camera(self, camera: Camera) -> Camera:
        """Return the camera of the turned image; raises ValueError for a tilted sensor."""
        if self.rotate_deg == 0:
            return camera
        if self._last is None or self._last[0] is not camera:
            turned = upright_camera(camera, _ORIENTATIONS[self.rotate_deg])
            self._last = camera, turned
        return self._last[1]

    def frame(self, frame: Frame) -> Frame:
        """Return the turned frame."""
        if self.rotate_deg == 0:
            return frame
        image = upright_image(frame.image, _ORIENTATIONS[self.rotate_deg])
        return dataclasses.replace(frame, image=image, camera=self.camera(frame.camera))

    def direction(self, vector: np.ndarray) -> np.ndarray:
        """Return a direction (3,) in the camera's frame as that in the turned camera's."""
        turn = np.linalg.matrix_power(_QUARTER, self.rotate_deg // 90)
        return _times(vector[:, None], turn)[:, 0]

    def people(self, people: People) -> People:
        """Return people of the image as those of the turned image."""
        return turn_people(people, self.rotate_deg)

    def back(self, people: People) -> People:
        """Return people of the turned image as those of the image."""
        return turn_people(people, -self.rotate_deg % 360)


def turn_people(people: People, rotate_deg: int) -> People:
    """Return people as they are in the image turned clockwise by 0, 90, 180 or 270 degrees."""
    if rotate_deg == 0:
        return people
    quarters, width, height = rotate_deg // 90, people.width, people.height
    turn = np.linalg.matrix_power(_QUARTER, quarters)
    return people.replace(
        width=height if quarters % 2 else width,
        height=width if quarters % 2 else height,
        joints_px=_turned_px(people.joints_px, quarters, width, height),
        joints_m=_times(people.joints_m[..., None], turn)[..., 0],
        covariances_m2=_times(_times(people.covariances_m2, turn).swapaxes(-1, -2), turn),
        boxes_px=turn_boxes(people.boxes_px, rotate_deg, width, height),
        cut_edges=_turned_edges(people.cut_edges, quarters),
    )


def turn_boxes(boxes_px: np.ndarray, rotate_deg: int, width: int, height: int) -> np.ndarray:
    """Return boxes (N, 4), x y w h, of an image of this size as those of the turned image."""
    boxes_px = np.asarray(boxes_px, np.float32)
    quarters = rotate_deg // 90
    one = _turned_px(boxes_px[:, :2], quarters, width, height)
    other = _turned_px(boxes_px[:, :2] + boxes_px[:, 2:4], quarters, width, height)
    size = boxes_px[:, [3, 2]] if quarters % 2 else boxes_px[:, 2:4]
    return np.concatenate([np.minimum(one, other), size], axis=1)


def _times(values: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Return turn @ values by reordering and signs: NaN of one row stays in that row."""
    order = np.abs(turn).argmax(axis=1)
    return np.asarray(values[..., order, :] * turn.sum(axis=1)[:, None], values.dtype)


def _turned_px(px: np.ndarray, quarters: int, width: int, height: int) -> np.ndarray:
    x, y = px[..., 0], px[..., 1]
    for _ in range(quarters):
        x, y = height - 1 - y, x
        width, height = height, width
    return np.stack([x, y], axis=-1).astype(px.dtype)


def _turned_edges(edges: np.ndarray, quarters: int) -> np.ndarray:
    """Turn the bits left, top, right, bottom: clockwise, each becomes the next."""
    wide = np.asarray(edges).astype(np.int64) << quarters
    return ((wide | wide >> 4) & 15).astype(np.asarray(edges).dtype)

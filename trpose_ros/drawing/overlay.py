"""Draws people: over an image, and as a 3D view. No window, no ROS, only arrays.

Left limbs are blue, right limbs orange, the trunk white; a bone that is hidden or cut off is
drawn thin with hollow joints, in the colour of its state. The image may get a margin, in which
the limbs go on that the image has cut off. Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from trpose_ros.cameras import project
from trpose_ros.people import Camera, JointState, People, TrackState
from trpose_ros.skeletons import get_skeleton

LEFT_RGB = (60, 150, 255)
RIGHT_RGB = (255, 140, 40)
CENTRE_RGB = (240, 240, 240)
TRUNCATED_RGB = (235, 60, 200)
OCCLUDED_RGB = (240, 215, 60)
TRUTH_RGB = (80, 200, 120)
_SIDES = {'left': LEFT_RGB, 'right': RIGHT_RGB, 'centre': CENTRE_RGB}
_MARGIN_RGB = (38, 40, 46)
_SHADOW_RGB = (20, 20, 20)
_SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel


def joint_colours(people: People, person: int) -> list[tuple[int, int, int]]:
    """Return one RGB colour per joint: that of its side, or of its state if it is hidden."""
    sides = get_skeleton(people.skeleton).sides
    states = people.joint_states[person]
    hidden = {
        int(JointState.TRUNCATED): TRUNCATED_RGB,
        int(JointState.OCCLUDED): OCCLUDED_RGB,
        int(JointState.UNOBSERVED): OCCLUDED_RGB,
    }
    return [hidden.get(int(state), _SIDES[side]) for side, state in zip(sides, states, strict=True)]


def draw_people(
    image: np.ndarray,
    people: People,
    *,
    camera: Camera | None = None,
    margin_px: int = 0,
    labels: bool = True,
    weight: float = 1.0,
) -> np.ndarray:
    """Return a copy of the image with the skeletons drawn over it.

    Args:
        image: (H, W, 3) uint8 RGB.
        people: in pixels of that image.
        camera: given, the 3D joints are projected; otherwise the 2D joints are drawn. People
            without 3D joints are drawn in 2D in any case.
        margin_px: width of the border that is added on all sides.
        labels: write the track ids.
        weight: width of lines and joints, times the usual one.

    Returns:
        (H + 2 margin, W + 2 margin, 3) uint8 RGB.

    """
    m = margin_px
    canvas = cv2.copyMakeBorder(image, m, m, m, m, cv2.BORDER_CONSTANT, value=_MARGIN_RGB)
    points = people.joints_px.astype(np.float64)
    if camera is not None and len(people):
        projected = project(people.joints_m, camera)
        usable = np.isfinite(projected).all(axis=(1, 2))
        points = np.where(usable[:, None, None], projected, points)
    scale = weight * max(image.shape[:2]) / 640.0
    for i in range(len(people)):
        if people.track_states[i] == TrackState.LOST:
            continue
        _draw_skeleton(canvas, points[i] + m, people, i, scale)
        if labels and people.track_ids[i] >= 0:
            _label(canvas, points[i] + m, f'{people.track_ids[i]}', scale)
    return canvas


def _draw_skeleton(
    canvas: np.ndarray, points: np.ndarray, people: People, person: int, scale: float
) -> None:
    """Draw bones, then joints; (J, 2) points in px of the canvas."""
    skeleton = get_skeleton(people.skeleton)
    states = people.joint_states[person]
    colours = joint_colours(people, person)
    seen = ~np.isin(states, (JointState.TRUNCATED, JointState.OCCLUDED, JointState.UNOBSERVED))
    finite = np.isfinite(points).all(axis=1) & (np.abs(points) < 1e5).all(axis=1)
    fixed = np.round(np.where(finite[:, None], points, 0) * (1 << _SHIFT)).astype(int)
    bones = [(a, b) for a, b in skeleton.bones if finite[a] and finite[b]]
    wide, thin = max(1, round(3 * scale)), max(1, round(1.5 * scale))
    for a, b in bones:
        width = wide if seen[a] and seen[b] else thin
        _line(canvas, fixed[a], fixed[b], _SHADOW_RGB, width + 2)
    for a, b in bones:
        if seen[a] and seen[b]:
            _line(canvas, fixed[a], fixed[b], _SIDES[skeleton.sides[b]], wide)
        else:
            _line(canvas, fixed[a], fixed[b], colours[a] if seen[b] else colours[b], thin)
    radius = round(3.2 * scale * (1 << _SHIFT))
    for j in np.flatnonzero(finite):
        centre = (int(fixed[j, 0]), int(fixed[j, 1]))
        outline = max(1, round(scale))
        fill = colours[j] if seen[j] else _SHADOW_RGB
        cv2.circle(canvas, centre, radius, fill, -1, cv2.LINE_AA, _SHIFT)
        edge = _SHADOW_RGB if seen[j] else colours[j]
        cv2.circle(canvas, centre, radius, edge, outline, cv2.LINE_AA, _SHIFT)


def _line(
    canvas: np.ndarray, a: np.ndarray, b: np.ndarray, colour: tuple[int, int, int], width: int
) -> None:
    begin, end = (int(a[0]), int(a[1])), (int(b[0]), int(b[1]))
    cv2.line(canvas, begin, end, colour, width, cv2.LINE_AA, _SHIFT)


def _label(canvas: np.ndarray, points: np.ndarray, text: str, scale: float) -> None:
    finite = points[np.isfinite(points).all(axis=1)]
    if len(finite) == 0:
        return
    height, width = canvas.shape[:2]
    x = float(np.clip(finite[:, 0].mean() - 5 * scale, 2, width - 20 * scale))
    y = float(np.clip(finite[:, 1].min() - 12 * scale, 14 * scale, height - 4))
    draw_text(canvas, text, (round(x), round(y)), size=0.5 * scale)


def draw_text(
    canvas: np.ndarray,
    text: str,
    origin: tuple[int, int],
    *,
    size: float = 0.5,
    colour: tuple[int, int, int] = CENTRE_RGB,
) -> None:
    """Write text into the canvas, with a dark outline; origin is its lower left corner, px."""
    font, width = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(1.6 * size))
    # The outline is the text moved: a wider pen would also move the letters (OpenCV 5).
    for x, y in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        place = origin[0] + x, origin[1] + y
        cv2.putText(canvas, text, place, font, size, _SHADOW_RGB, width, cv2.LINE_AA)
    cv2.putText(canvas, text, origin, font, size, colour, width, cv2.LINE_AA)


@dataclass(frozen=True)
class View:
    """A viewpoint outside: looks at ``target_m`` (camera frame) from the side and from above."""

    target_m: tuple[float, float, float]
    azimuth_deg: float = 50.0
    elevation_deg: float = 12.0
    span_m: float = 2.6  # metres across the smaller side of the picture

    def to_pixels(self, points_m: np.ndarray, width: int, height: int) -> np.ndarray:
        """Orthographic projection of (..., 3) points in the camera frame to (..., 2) px."""
        a, e = np.deg2rad(self.azimuth_deg), np.deg2rad(self.elevation_deg)
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        tilt = np.array([[1, 0, 0], [0, np.cos(e), np.sin(e)], [0, -np.sin(e), np.cos(e)]])
        seen = (np.asarray(points_m, np.float64) - np.array(self.target_m)) @ (tilt @ turn).T
        return seen[..., :2] * (min(width, height) / self.span_m) + [width / 2, height / 2]


def draw_view(
    people: People,
    view: View,
    *,
    width: int,
    height: int,
    truth: People | None = None,
    floor_m: float | None = None,
    weight: float = 1.0,
) -> np.ndarray:
    """Return a picture of the 3D skeletons seen from outside.

    Args:
        people: drawn in colours.
        view: where to look from.
        width: of the picture, px.
        height: of the picture, px.
        truth: drawn thin and green under the others.
        floor_m: y coordinate of the floor in the camera frame; draws a grid of half metres.
        weight: width of lines and joints, times the usual one.

    Returns:
        (height, width, 3) uint8 RGB.

    """
    canvas = np.full((height, width, 3), _MARGIN_RGB, np.uint8)
    if floor_m is not None:
        _grid(canvas, view, floor_m)
    scale = weight * min(width, height) / 480.0
    if truth is not None:
        for joints in truth.joints_m:
            _draw_plain(canvas, view.to_pixels(joints, width, height), truth.skeleton, scale)
    for i in range(len(people)):
        if people.track_states[i] == TrackState.LOST:
            continue
        points = view.to_pixels(people.joints_m[i], width, height)
        _draw_skeleton(canvas, points, people, i, scale)
    return canvas


def _draw_plain(canvas: np.ndarray, points: np.ndarray, skeleton: str, scale: float) -> None:
    fixed = np.round(np.nan_to_num(points) * (1 << _SHIFT)).astype(int)
    for a, b in get_skeleton(skeleton).bones:
        if np.isfinite(points[[a, b]]).all():
            _line(canvas, fixed[a], fixed[b], TRUTH_RGB, max(1, round(2 * scale)))


def _grid(canvas: np.ndarray, view: View, floor_m: float) -> None:
    """Draw half-metre lines on the floor around the target."""
    height, width = canvas.shape[:2]
    x0, z0 = round(view.target_m[0] * 2) / 2, round(view.target_m[2] * 2) / 2
    reach = np.arange(-2.0, 2.01, 0.5)
    ends = [[(x0 + r, floor_m, z0 - 2), (x0 + r, floor_m, z0 + 2)] for r in reach]
    ends += [[(x0 - 2, floor_m, z0 + r), (x0 + 2, floor_m, z0 + r)] for r in reach]
    pixels = np.round(view.to_pixels(np.array(ends), width, height) * (1 << _SHIFT)).astype(int)
    for begin, end in pixels:
        _line(canvas, begin, end, (78, 82, 92), 1)

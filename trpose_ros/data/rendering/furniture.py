"""Things that stand between people and the camera: upright panels, as cupboards and signs are.

A panel is a textured rectangle in the room. It hides whatever lies behind it, pixel by pixel, with
its own depth, so that the visibility of joints comes out right.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from trpose_ros.data.rendering.rasterizer import Raster

THING = -2  # owner of their pixels
_NEAREST_M = 0.8  # to the camera
_LIGHT = 0.8


@dataclass(frozen=True)
class Panel:
    """One panel; corners in the world: lower left, lower right, upper right, upper left."""

    corners_m: np.ndarray  # (4, 3)
    texture: np.ndarray  # (h, w, 3) uint8


def place_panels(
    count: int,
    joints_m: np.ndarray,
    position_m: np.ndarray,
    picture: np.ndarray,
    rng: np.random.Generator,
) -> list[Panel]:
    """Stand panels between a camera and people (T, M, 3), each before where somebody will be."""
    panels = []
    for _ in range(count):
        target = joints_m[rng.integers(len(joints_m)), rng.integers(joints_m.shape[1])]
        way = (target - position_m) * [1, 1, 0]
        distance = float(np.linalg.norm(way))
        forward = way / max(distance, 1e-6)
        place = max(_NEAREST_M, distance * rng.uniform(0.4, 0.75))
        angle = rng.uniform(-0.5, 0.5)
        side = np.array([forward[1], -forward[0], 0.0])
        across = np.cos(angle) * side + np.sin(angle) * forward
        # Near ones are smaller: none may hide everything.
        width, height = rng.uniform(0.12, 0.3) * place, rng.uniform(0.2, 0.45) * place
        foot = position_m * [1, 1, 0] + forward * place
        low, high = foot - across * width / 2, foot + across * width / 2
        up = np.array([0.0, 0.0, height])
        if rng.random() < 0.3:  # a sign on a thin post, which is left out
            raised = np.array([0.0, 0.0, rng.uniform(0.4, 1.0)])
            low, high = low + raised, high + raised
        h, w = picture.shape[:2]
        y, x = rng.integers(h // 2 + 1), rng.integers(w // 2 + 1)
        texture = np.ascontiguousarray(picture[y : y + h // 2, x : x + w // 2])
        panels.append(Panel(np.stack([low, high, high + up, low + up]), texture))
    return panels


def draw_panels(
    raster: Raster,
    panels: list[Panel],
    rotation: np.ndarray,
    position_m: np.ndarray,
    matrix: np.ndarray,
) -> None:
    """Draw panels into a layer of the camera (3, 3), in place, where nothing is nearer."""
    height, width = raster.depth_m.shape
    for panel in panels:
        corners = (panel.corners_m - position_m) @ rotation.T
        if corners[:, 2].min() < 0.1:
            continue
        px = (corners @ matrix.T)[:, :2] / corners[:, 2:]
        h, w = panel.texture.shape[:2]
        texture_px = np.array([[0, h - 1], [w - 1, h - 1], [w - 1, 0], [0, 0]], np.float32)
        mapping = cv2.getPerspectiveTransform(texture_px, px.astype(np.float32))
        colour = cv2.warpPerspective(panel.texture, mapping, (width, height))
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, np.rint(px).astype(np.int32), 1)
        rows, columns = np.nonzero(mask)
        depth = _depths(corners, rows, columns, matrix)
        front = depth < raster.depth_m[rows, columns]
        at = rows[front], columns[front]
        raster.rgb[at] = (colour[at].astype(np.float32) / 255) ** 2 * _LIGHT
        raster.depth_m[at] = depth[front]
        raster.owner[at] = THING


def _depths(
    corners: np.ndarray, rows: np.ndarray, columns: np.ndarray, matrix: np.ndarray
) -> np.ndarray:
    """Return the depths at which rays through pixels meet the plane of corners (4, 3)."""
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=1) @ np.linalg.inv(matrix).T
    along = rays @ normal
    return np.asarray((corners[0] @ normal) / np.where(np.abs(along) < 1e-9, 1e-9, along))

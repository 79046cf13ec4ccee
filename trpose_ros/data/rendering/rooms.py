"""A plain room around a person: a floor, a wall behind, and the shadow on the floor.

Per pixel the ray of a fixed camera meets the floor (z = 0) or the wall, whichever is nearer; the
floor has planks or tiles, the wall a paint or a photograph. The shadow is soft and lies where feet
and pelvis stand over the floor: it ties the person to the ground, which a cut-out before a
photograph is not.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from trpose_ros.people import Camera

_SHADOW = 0.5  # share of light that is lost at its core


class Room:
    """The static picture of a room and the shadows in it."""

    def __init__(
        self,
        camera: Camera,
        rotation: np.ndarray,
        position_m: np.ndarray,
        wall_m: float,
        picture: np.ndarray,
        rng: np.random.Generator,
    ) -> None:
        """Draw the room once.

        ``rotation`` (3, 3) world to camera and ``position_m`` (3,) place the camera, the wall
        stands ``wall_m`` away from it across its line of sight; ``picture`` (H, W, 3) uint8 may
        hang on it.
        """
        x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
        pixels = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float64)
        rays = pixels @ np.linalg.inv(camera.matrix).T @ rotation
        heading = rotation[2] * [1, 1, 0]
        heading /= np.linalg.norm(heading)
        to_floor = np.where(
            rays[..., 2] < -1e-6, -position_m[2] / np.minimum(rays[..., 2], -1e-6), np.inf
        )
        to_wall = wall_m / np.maximum(rays @ heading, 1e-6)
        self._on_floor = to_floor < to_wall
        reach = np.where(self._on_floor, to_floor, to_wall)[..., None]
        points = position_m + rays * np.minimum(reach, 1e3)
        self._floor_m = points[..., :2]
        sideways = np.array([-heading[1], heading[0], 0.0])
        across = (points - position_m) @ sideways
        floor = _floor(points[..., 0], points[..., 1], rng)
        wall = _wall(across, points[..., 2], picture, rng)
        image = np.where(self._on_floor[..., None], floor, wall)
        # Less light far away and in the corner between floor and wall.
        corner = np.where(self._on_floor, to_wall - to_floor, points[..., 2])
        light = 1.0 - 0.25 * np.exp(-np.abs(corner) / 0.12)
        light *= 1.05 - 0.05 * np.minimum(reach[..., 0] / wall_m, 2.0)
        image = cv2.GaussianBlur(image * light[..., None], (0, 0), 0.8)
        self.image = np.clip(image, 0, 255).astype(np.float32)

    def with_shadow(self, people_m: Sequence[np.ndarray]) -> np.ndarray:
        """Return the picture (H, W, 3) float32 with shadows of people (17, 3), world frame."""
        light = np.ones(self._on_floor.shape)
        for joints_m in people_m:
            for joint, size in ((0, 0.28), (3, 0.12), (6, 0.12)):
                height = 0.0 if joint == 0 else max(float(joints_m[joint, 2]) - 0.08, 0.0)
                width = size + 0.25 * height
                apart = ((self._floor_m - joints_m[joint, :2]) ** 2).sum(axis=-1)
                light *= 1 - _SHADOW * np.exp(-apart / (2 * width**2)) / (1 + height)
        light = np.where(self._on_floor, light, 1.0)
        return self.image * light[..., None].astype(np.float32)


def _floor(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the colour (H, W, 3) of floor points: planks or tiles, turned at random."""
    angle = rng.uniform(0, np.pi)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = -x * np.sin(angle) + y * np.cos(angle)
    tiles = rng.random() < 0.5
    width, length = (0.6, 0.6) if tiles else (0.14, 1.8)
    row = np.floor(u / width)
    column = np.floor(v / length + (0 if tiles else 0.37) * row)
    tone = np.sin(row * 12.9898 + column * 78.233) * 43758.5453
    tone = tone - np.floor(tone)
    # Stone is grey, wood is brown; neither is ever colourful.
    tint = np.array([1.0, 0.97, 0.93]) if tiles else np.array([1.0, 0.76, 0.54])
    base = rng.uniform(90, 190) * tint * rng.uniform(0.96, 1.04, 3)
    joint = np.minimum(u / width - row, 1 - (u / width - row)) * width < 0.006
    grain = 0 if tiles else 0.04 * np.sin(60 * u + 3 * np.sin(4 * v + 9 * tone))
    shade = 0.9 + (0.08 if tiles else 0.2) * (tone - 0.5) + grain - 0.18 * joint
    return base * shade[..., None]


def _wall(
    across: np.ndarray, up: np.ndarray, picture: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return the colour (H, W, 3) of wall points: paint, a skirting board and a large picture."""
    paint = rng.uniform(150, 235) * rng.uniform(0.9, 1.0, 3)
    colour = np.broadcast_to(paint, (*up.shape, 3)) * (0.92 + 0.03 * np.clip(up, 0, 3))[..., None]
    colour = np.where((up < 0.09)[..., None], paint * 0.75, colour)
    height, width = picture.shape[:2]
    high = rng.uniform(1.0, 1.6)
    left, low = rng.uniform(-2.2, 0.4), rng.uniform(0.9, 1.2)
    u = (across - left) / (high * width / height)
    v = 1 - (up - low) / high
    inside = (u > 0) & (u < 1) & (v > 0) & (v < 1)
    frame = (u > -0.02) & (u < 1.02) & (v > -0.03) & (v < 1.03)
    maps = (u * (width - 1)).astype(np.float32), (v * (height - 1)).astype(np.float32)
    hung = cv2.remap(picture, *maps, cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    colour = np.where(frame[..., None], np.array([45.0, 40, 38]), colour)
    return np.where(inside[..., None], hung, colour)

"""Depth images of bodies made of balls before a wall."""

from __future__ import annotations

import numpy as np
from doubles import CAMERA

from trpose_ros.cameras import project
from trpose_ros.pipeline.depth import inside_m
from trpose_ros.skeletons import get_skeleton

WALL_M = 6.0
H36M = get_skeleton('h36m_17')
FOCAL = float(CAMERA.matrix[0, 0])


def bodies_depth(joints_m, shrink=4):
    """Return (H, W) depth, m, of a body of balls along the bones before a wall."""
    inside = inside_m('h36m_17')
    balls = []
    for parent, child in H36M.bones:
        for share in np.linspace(0, 1, 8):
            centre = (1 - share) * joints_m[parent] + share * joints_m[child]
            balls.append((centre, (1 - share) * inside[parent] + share * inside[child]))
    height, width = CAMERA.height // shrink, CAMERA.width // shrink
    depth = np.full((height, width), WALL_M)
    for centre, radius in balls:  # where the ray (x, y, 1) t meets the ball
        middle = (project(centre, CAMERA) + 0.5) / shrink - 0.5
        reach = 1.2 * radius / centre[2] * FOCAL / shrink + 2
        low = np.maximum(np.floor(middle - reach), 0).astype(int)
        high = np.minimum(np.ceil(middle + reach) + 1, (width, height)).astype(int)
        if (low >= high).any():
            continue
        v, u = np.mgrid[low[1] : high[1], low[0] : high[0]]
        px = np.stack([u, v], axis=-1)
        x, y = np.moveaxis(((px + 0.5) * shrink - 0.5 - CAMERA.matrix[:2, 2]) / FOCAL, -1, 0)
        b, a = x * centre[0] + y * centre[1] + centre[2], x * x + y * y + 1
        root = b * b - a * (centre @ centre - radius * radius)
        hit = np.where(root >= 0, (b - np.sqrt(np.maximum(root, 0))) / a, WALL_M)
        part = depth[low[1] : high[1], low[0] : high[0]]
        np.minimum(part, hit, out=part)
    return depth.astype(np.float32)

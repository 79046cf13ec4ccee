"""A person of boxes with the rig of the body pack: renders without any data pack."""

from __future__ import annotations

import numpy as np

from trpose_ros.data.rendering.bodies import Figure, Rig
from trpose_ros.data.rendering.landmarks import NAMES as LANDMARKS
from trpose_ros.data.rendering.sprites import SIDE, joint_visibility, look_at, to_srgb

_LEFT = (  # name, parent, head; the right side mirrors it
    ('HipJoint', 'Hips', (0.0, -0.02, 1.06)),
    ('UpLeg', 'HipJoint', (0.11, -0.02, 1.04)),
    ('Leg', 'UpLeg', (0.15, -0.05, 0.55)),
    ('Foot', 'Leg', (0.19, -0.02, 0.08)),
    ('ToeBase', 'Foot', (0.21, -0.17, 0.03)),
    ('Shoulder', 'Spine1', (0.03, -0.04, 1.58)),
    ('Arm', 'Shoulder', (0.18, -0.03, 1.56)),
    ('ForeArm', 'Arm', (0.38, -0.04, 1.34)),
    ('Hand', 'ForeArm', (0.52, -0.22, 1.2)),
    ('Thumb', 'Hand', (0.52, -0.26, 1.19)),
    ('FingerBase', 'Hand', (0.53, -0.24, 1.18)),
    ('HandFinger1', 'FingerBase', (0.54, -0.32, 1.15)),
)
_MIDDLE = (
    ('Hips', None, (0.0, -0.02, 1.06)),
    ('LowerBack', 'Hips', (0.0, 0.03, 1.14)),
    ('Spine', 'LowerBack', (0.0, -0.01, 1.31)),
    ('Spine1', 'Spine', (0.0, -0.01, 1.49)),
    ('Neck', 'Spine1', (0.0, -0.01, 1.66)),
    ('Neck1', 'Neck', (0.0, -0.03, 1.73)),
    ('Head', 'Neck1', (0.0, -0.05, 1.78)),
)
_SHORT = ('HipJoint', 'Thumb')  # called LHipJoint, LThumb in the pack


def _named(side: str, name: str) -> str:
    return f'{side[0]}{name}' if name in _SHORT else f'{side}{name}'


def make_rig() -> Rig:
    """Return the 31-joint rig in its rest pose."""
    rows = [(name, parent, np.array(head)) for name, parent, head in _MIDDLE]
    middle = {name for name, _, _ in _MIDDLE}
    for side, sign in (('Left', 1), ('Right', -1)):
        for name, parent, head in _LEFT:
            above = parent if parent in middle else _named(side, parent)
            rows.append((_named(side, name), above, np.array(head) * [sign, 1, 1]))
    names = tuple(row[0] for row in rows)
    parents = np.array([-1 if row[1] is None else names.index(row[1]) for row in rows])
    heads = np.stack([row[2] for row in rows])
    tails = heads + np.array([0.0, 0.0, 0.1])
    tails[names.index('Head')] = (0.0, -0.04, 1.94)
    landmarks = np.repeat(heads[:1], len(LANDMARKS), axis=0)
    return Rig(names, parents, heads, tails, landmarks, np.zeros(len(LANDMARKS), int))


def make_figure(half_m: float = 0.05) -> Figure:
    """Return a figure with a small box around every joint of the rig, its left side red."""
    rig = make_rig()
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half_m
    # Outward faces of the box, counter-clockwise seen from outside.
    quads = ((0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3))
    faces = np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])
    count = len(rig.names)
    rest = (rig.heads[:, None] + corners).reshape(-1, 3)
    index = np.zeros((len(rest), 4), np.uint8)
    index[:, 0] = np.repeat(np.arange(count), 8)
    weight = np.zeros((len(rest), 4), np.float32)
    weight[:, 0] = 1
    colour = np.full((len(rest), 3), 0.5, np.float32)
    colour[rest[:, 0] > 0.02] = (0.9, 0.1, 0.1)
    triangles = (np.arange(count)[:, None, None] * 8 + faces).reshape(-1, 3)
    return Figure(
        shape=0,
        rig=rig,
        rest=rest.astype(np.float32),
        weight_index=index,
        weight=weight,
        corner_vertex=triangles.astype(np.int32),
        corner_uv=np.full((len(triangles), 3, 2), 0.5, np.float32),
        colour=colour,
        material=np.zeros(len(triangles), np.uint8),
        textures=np.full((1, 8, 8, 4), 255, np.uint8),
        two_sided=np.array([False]),
        depth_bias=np.zeros(1, np.float32),
    )


def walking(frames: int) -> np.ndarray:
    """Return (F, 17, 3) joints of somebody who swings arms and legs and moves ahead (to -y)."""
    from trpose_ros.data.rendering.posing import rig_joints

    rig = make_rig()
    rest = rig_joints(rig, rig.heads[None], np.broadcast_to(np.eye(3), (1, 31, 3, 3)))[0]
    path = np.repeat(rest[None], frames, axis=0)
    swing = 0.25 * np.sin(np.arange(frames) / 5)
    for joint, share in ((2, 0.5), (3, 1.0), (12, 0.5), (13, 1.0)):  # right leg, left arm
        path[:, joint, 1] += share * swing
    for joint, share in ((5, 0.5), (6, 1.0), (15, 0.5), (16, 1.0)):
        path[:, joint, 1] -= share * swing
    path[..., 1] -= 0.03 * np.arange(frames)[:, None]
    return path


class TinyStore:
    """A few sprites of the box person, seen from around it."""

    def __init__(self, count: int = 4) -> None:
        """Render ``count`` sprites."""
        from trpose_ros.data.rendering.posing import pose_rig
        from trpose_ros.data.rendering.rasterizer import random_light, render

        figure = make_figure(0.09)
        posed = pose_rig(figure.rig, walking(count))
        bones = posed.matrices(figure.rig)
        self.rows = []
        for i in range(count):
            rng = np.random.default_rng(i)
            middle = posed.joints_m[i].mean(axis=0)
            angle = 2 * np.pi * i / count
            position = middle + np.array([3 * np.cos(angle), 3 * np.sin(angle), 0.2])
            rotation = look_at(position, middle)
            focal, centre = 1.25 * SIDE, (SIDE - 1) / 2
            intrinsics = np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]])
            light = random_light(rng)
            size = (SIDE, SIDE)
            raster = render([figure], [bones[i]], rotation, position, intrinsics, size, light)
            mask = (raster.owner >= 0)[..., None]
            rgba = np.concatenate([to_srgb(raster.rgb) * mask, mask * 255.0], axis=2)
            joints = (posed.body_m[i] - position) @ rotation.T
            self.rows.append(
                {
                    'rgba': rgba.astype(np.uint8),
                    'intrinsics': intrinsics.astype(np.float32),
                    'joints_m': joints.astype(np.float32),
                    'visible': joint_visibility(joints, intrinsics, raster.depth_m),
                    'up': (rotation @ [0, 0, 1]).astype(np.float32),
                }
            )

    def __len__(self) -> int:
        """Return the number of sprites."""
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        """Return one sprite."""
        return self.rows[index]


class PlainBackgrounds:
    """Grey walls instead of photographs."""

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """Return one picture."""
        return np.full((40, 60, 3), int(rng.integers(60, 200)), np.uint8)

    def draw(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """Return a background of a size."""
        return np.full((height, width, 3), int(rng.integers(60, 200)), np.uint8)

"""People that tests make: a moving figure of any skeleton, and cameras that see it."""

from __future__ import annotations

import numpy as np

from trpose_ros.skeletons import get_skeleton


def moving_person(
    frames: int, skeleton: str, seed: int = 0, root_m: tuple[float, float, float] = (0, 0, 1.0)
) -> np.ndarray:
    """Return (T, J, 3) joints in metres: bones of 0.1 to 0.35 m that swing, a root that walks."""
    rng = np.random.default_rng(seed)
    tree = get_skeleton(skeleton)
    t = np.arange(frames)[:, None] / 50
    joints = np.zeros((frames, tree.num_joints, 3))
    path = np.concatenate([0.4 * np.sin(t), 0.3 * np.cos(1.3 * t), 0.05 * np.sin(5 * t)], axis=1)
    root = tree.parents.index(-1)
    done = {root}
    joints[:, root] = path + np.array(root_m)
    while len(done) < tree.num_joints:
        for parent, child in tree.bones:
            if parent in done and child not in done:
                rest, swing = rng.normal(size=3), rng.normal(size=3)
                way = rest + 0.5 * np.sin(3 * t + rng.uniform(0, 6)) * swing
                way /= np.linalg.norm(way, axis=1, keepdims=True)
                joints[:, child] = joints[:, parent] + way * rng.uniform(0.1, 0.35)
                done.add(child)
    return joints.astype(np.float32)


def look_at(position: tuple[float, float, float], target: tuple[float, float, float]) -> np.ndarray:
    """Return the (4, 4) world-to-camera matrix of a level camera (world z up)."""
    forward = np.subtract(target, position).astype(float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -rotation @ np.array(position, float)
    return matrix


def move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return points (..., 3) after a (4, 4) rigid motion."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def pinhole(points: np.ndarray, focal: float, centre: tuple[float, float]) -> np.ndarray:
    """Return the pixels (..., 2) of camera-frame points."""
    return points[..., :2] / points[..., 2:] * focal + np.array(centre)


def metadata(skeleton: str, **more: object) -> dict:
    """Return the metadata of a 2D archive in the VideoPose3D format."""
    sides = get_skeleton(skeleton).sides
    left = [i for i, side in enumerate(sides) if side == 'left']
    right = [i for i, side in enumerate(sides) if side == 'right']
    return {'num_joints': len(sides), 'keypoints_symmetry': [left, right], **more}


def cells(items):
    array = np.empty((len(items), 1), dtype=object)
    for i, item in enumerate(items):
        array[i, 0] = item
    return array


def seen_mm(frames, skeleton, seed=0):
    """Return camera-frame joints in mm, 3.5 m away, as the annotations hold them."""
    return moving_person(frames, skeleton, seed, (0.1, 0.2, 3.5)) * 1000

"""Poses to render: what motion clips hold, what they hold seldom, and what they hardly hold.

Recorded motion is mostly people who stand and walk; those who sit, crouch, bend or lie are few, and
networks are worst with them. So frames are drawn in three ways (by clip, by time, and rare ones
more often), arms and legs are exchanged between frames, and some people are seated or laid down.
Poses are joint positions (17, 3) in metres, z up; only the directions of their bones matter to the
rig that follows them (posing.py), and its root's height.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.posing import (
    HIP,
    LFOOT,
    LHIP,
    LKNEE,
    LSHOULDER,
    LWRIST,
    RFOOT,
    RHIP,
    RKNEE,
    RSHOULDER,
    RWRIST,
    SPINE,
    THORAX,
)

_BY_CLIP, _BY_TIME = 0.35, 0.35  # shares of frames; the rest are rare ones
_OTHER_ARMS, _OTHER_LEGS, _SEATED, _LYING = 0.25, 0.12, 0.17, 0.05
_FOOT_M = 0.08  # height of an ankle above the ground
_ARMS = ((LSHOULDER, LSHOULDER + 1, LWRIST), (RSHOULDER, RSHOULDER + 1, RWRIST))
_LEGS = ((LHIP, LKNEE, LFOOT), (RHIP, RKNEE, RFOOT))


class PoseSource:
    """Draws poses from the clips of a pack."""

    def __init__(self, motion: MotionPack, varied: bool) -> None:
        """Take clips; ``varied`` for training, without it frames are drawn as they are."""
        self.motion, self.varied = motion, varied
        share = motion.lengths / motion.lengths.sum()
        self._by_clip = 0.5 * share + 0.5 / len(motion)
        if varied:
            every = [
                np.arange(start, start + length)
                for start, length in zip(motion.starts, motion.lengths, strict=True)
            ]
            self._frames = np.concatenate(every)
            self._rare = rarity(motion.joints_m[self._frames])

    def frames(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Return (count,) numbers of frames: half uniform over clips, half over time, or rare."""
        clips = rng.choice(len(self.motion), count, p=self._by_clip)
        offset = (rng.random(count) * self.motion.lengths[clips]).astype(np.int64)
        frames = self.motion.starts[clips] + offset
        if not self.varied:
            return frames
        rare = self._frames[rng.choice(len(self._frames), count, p=self._rare)]
        return np.where(rng.random(count) < _BY_CLIP + _BY_TIME, frames, rare)

    def poses(self, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the joints (F, 17, 3) of frames, changed where poses are to vary."""
        poses = self.motion.joints_m[frames].astype(np.float64)
        if not self.varied:
            return poses
        for pose in poses:
            self._vary(pose, rng)
        return poses

    def _vary(self, pose: np.ndarray, rng: np.random.Generator) -> None:
        if rng.random() < _OTHER_ARMS:
            other = self.motion.joints_m[self.frames(1, rng)[0]].astype(np.float64)
            exchange(pose, other, _chest, _ARMS)
        draw = rng.random()
        if draw < _SEATED:
            seat(pose, rng)
        elif draw < _SEATED + _OTHER_LEGS:
            other = self.motion.joints_m[self.frames(1, rng)[0]].astype(np.float64)
            exchange(pose, other, _pelvis, _LEGS)
        if rng.random() < _LYING:
            lay_down(pose, rng)
            return
        lowest = min(pose[LFOOT, 2], pose[RFOOT, 2], pose[HIP, 2] - 0.05)
        if draw < _SEATED + _OTHER_LEGS:
            pose[:, 2] += _FOOT_M - lowest


def rarity(joints_m: np.ndarray) -> np.ndarray:
    """Return (F,) probabilities that even out how low, bent and tilted poses (F, 17, 3) are.

    Poses are counted in cells of hip height over leg length, smaller knee angle and tilt of the
    trunk; each pose weighs the inverse root of its cell's count.
    """
    legs = [np.linalg.norm(joints_m[:, a] - joints_m[:, b], axis=1) for a, b, _ in _LEGS]
    shins = [np.linalg.norm(joints_m[:, b] - joints_m[:, c], axis=1) for _, b, c in _LEGS]
    length = np.maximum((legs[0] + shins[0] + legs[1] + shins[1]) / 2, 0.2)
    feet = np.minimum(joints_m[:, LFOOT, 2], joints_m[:, RFOOT, 2])
    height = (joints_m[:, HIP, 2] - feet) / length
    bend = np.min(
        [np.linalg.norm(joints_m[:, a] - joints_m[:, c], axis=1) for a, _, c in _LEGS], axis=0
    )
    trunk = joints_m[:, THORAX] - joints_m[:, HIP]
    tilt = trunk[:, 2] / np.maximum(np.linalg.norm(trunk, axis=1), 1e-6)
    cells = [
        np.clip((height * 8).astype(int), 0, 9),
        np.clip((bend / length * 6).astype(int), 0, 6),
        np.clip(((tilt + 1) * 4).astype(int), 0, 7),
    ]
    cell = (cells[0] * 7 + cells[1]) * 8 + cells[2]
    weight = 1 / np.sqrt(np.bincount(cell, minlength=560)[cell] + 20.0)
    return weight / weight.sum()


def _basis(up: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Return (3, 3) with columns left, back, up of a part of the body."""
    z = up / max(float(np.linalg.norm(up)), 1e-9)
    x = across - (across @ z) * z
    x = x / max(float(np.linalg.norm(x)), 1e-9)
    return np.stack([x, np.cross(z, x), z], axis=1)


def _pelvis(pose: np.ndarray) -> np.ndarray:
    return _basis(pose[SPINE] - pose[HIP], pose[LHIP] - pose[RHIP])


def _chest(pose: np.ndarray) -> np.ndarray:
    return _basis(pose[THORAX] - pose[SPINE], pose[LSHOULDER] - pose[RSHOULDER])


def exchange(pose, other, frame_of, limbs) -> None:
    """Give a pose (17, 3) the limbs of another one, relative to their trunks, in place."""
    turn = frame_of(pose) @ frame_of(other).T
    for limb in limbs:
        for joint in limb[1:]:
            pose[joint] = pose[limb[0]] + turn @ (other[joint] - other[limb[0]])


def seat(pose: np.ndarray, rng: np.random.Generator) -> None:
    """Bend hips and knees as somebody who sits on a chair, a stool or the ground, in place."""
    body = _pelvis(pose)
    both = rng.uniform(55, 105), rng.uniform(45, 115)
    spread = rng.uniform(-2, 22)
    for side, (hip, knee, foot) in zip((1.0, -1.0), _LEGS, strict=True):
        thigh = np.linalg.norm(pose[knee] - pose[hip])
        shin = np.linalg.norm(pose[foot] - pose[knee])
        flexion = np.radians(np.clip(both[0] + rng.normal(0, 7), 40, 120))
        bend = np.radians(np.clip(both[1] + rng.normal(0, 14), 5, 140))
        out = np.radians(spread + rng.normal(0, 6))
        # In the pelvis: x to the left, y backwards, z up.
        down = np.array([side * np.sin(out) * np.sin(flexion), 0, -np.cos(flexion)])
        down[1] = -np.cos(out) * np.sin(flexion)
        lower_angle = flexion - bend
        lower = np.array([side * np.sin(out) * np.sin(lower_angle), 0, -np.cos(lower_angle)])
        lower[1] = -np.cos(out) * np.sin(lower_angle)
        lower[0] += rng.normal(0, 0.12)
        pose[knee] = pose[hip] + body @ (thigh * down / np.linalg.norm(down))
        pose[foot] = pose[knee] + body @ (shin * lower / np.linalg.norm(lower))


def lay_down(pose: np.ndarray, rng: np.random.Generator) -> None:
    """Turn a pose onto its back, front or side, lying on the ground, in place."""
    heading = rng.uniform(0, 2 * np.pi)
    axis = np.array([np.cos(heading), np.sin(heading), 0.0])
    angle = np.radians(rng.uniform(70, 100))
    x, y, _ = axis
    skew = np.array([[0, 0, y], [0, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    pose[:] = (pose - pose[HIP]) @ turn.T + pose[HIP]
    pose[:, 2] += 0.12 - pose[:, 2].min()

"""Drives the rig of a body with 17-joint motion, and reads the joint labels off the posed rig.

Motion gives joint positions only. Bone rotations follow from directions: the pelvis from the hip
line and the lower spine, the chest from the upper spine and the shoulder line, the lower back half
way between; each limb from its two bones and the axis about which it bends (for elbows and knees
the cross product of upper and lower bone IS the anatomical hinge axis); a nearly straight limb
has no such axis and keeps the one that its parent carries along. Proportions of the motion's actor
and of the rig differ, so labels always come from the posed rig, never from the motion file.

Human3.6M order: Hip RHip RKnee RFoot LHip LKnee LFoot Spine Thorax Neck/Nose Head LShoulder LElbow
LWrist RShoulder RElbow RWrist. On the rig: mid-hip, hips, knees, ankles, mid-back, root of the
collar bones, base of the skull, crown, shoulders, elbows, wrists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.data.rendering.bodies import Rig
from trpose_ros.data.rendering.landmarks import posed_landmarks

HIP, RHIP, RKNEE, RFOOT, LHIP, LKNEE, LFOOT, SPINE, THORAX, NECK, HEAD = range(11)
LSHOULDER, LELBOW, LWRIST, RSHOULDER, RELBOW, RWRIST = range(11, 17)


@dataclass(frozen=True)
class Posed:
    """F frames of a posed rig in the world frame, metres."""

    rotations: np.ndarray  # (F, 31, 3, 3) world rotation of each bone relative to rest
    heads: np.ndarray  # (F, 31, 3)
    joints_m: np.ndarray  # (F, 17, 3) labels
    body_m: np.ndarray  # (F, 39, 3) labels of body_39, these 17 first

    def matrices(self, rig: Rig) -> np.ndarray:
        """Return the (F, 31, 3, 4) float32 skinning transforms of rest vertices."""
        moved = np.einsum('fjab,jb->fja', self.rotations, rig.heads)
        shift = self.heads - moved
        return np.concatenate([self.rotations, shift[..., None]], axis=3).astype(np.float32)


def rig_joints(rig: Rig, heads: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return the (F, 17, 3) Human3.6M joints of rigs posed to ``heads`` and ``rotations``."""
    at = {name: heads[:, i] for i, name in enumerate(rig.names)}
    head = rig.names.index('Head')
    crown = heads[:, head] + rotations[:, head] @ (rig.tails[head] - rig.heads[head])
    middle = (at['LeftUpLeg'] + at['RightUpLeg']) / 2
    collar = (at['LeftShoulder'] + at['RightShoulder']) / 2
    order = (
        middle,
        *(at[n] for n in ('RightUpLeg', 'RightLeg', 'RightFoot')),
        *(at[n] for n in ('LeftUpLeg', 'LeftLeg', 'LeftFoot')),
        at['Spine'],
        collar,
        at['Head'],
        crown,
        *(at[n] for n in ('LeftArm', 'LeftForeArm', 'LeftHand')),
        *(at[n] for n in ('RightArm', 'RightForeArm', 'RightHand')),
    )
    return np.stack(order, axis=1)


def pose_rig(rig: Rig, motion_m: np.ndarray, rng: np.random.Generator | None = None) -> Posed:
    """Pose ``rig`` to follow motion.

    motion_m is (F, 17, 3) in metres, z up. ``rng`` adds what the motion does not say (head turn,
    hand and foot angles, constant over the call); without it they stay neutral. The root follows
    the motion scaled by the ratio of leg lengths, so feet stay on the ground.
    """
    motion = np.asarray(motion_m, np.float64)
    if motion.ndim != 3 or motion.shape[1:] != (17, 3):
        raise ValueError(f'motion must be (F, 17, 3) metres, got shape {motion.shape}')
    rest_rotation = np.broadcast_to(np.eye(3), (1, len(rig.names), 3, 3))
    rest = rig_joints(rig, rig.heads[None], rest_rotation)[0]
    extra = np.zeros(8) if rng is None else rng.normal(0, 1, 8) * _EXTRA_RAD
    world = _bone_rotations(rig, rest, motion, extra)
    heads = _forward(rig, world)
    leg = _leg_length(rest[None]) / np.maximum(_leg_length(motion), 0.3)
    target = motion[:, HIP] * leg[:, None]
    joints = rig_joints(rig, heads, world)
    shift = (target - joints[:, HIP])[:, None]
    marks = posed_landmarks(rig.landmarks, rig.landmark_bones, rig.heads, heads, world)
    return Posed(
        rotations=world,
        heads=heads + shift,
        joints_m=joints + shift,
        body_m=np.concatenate([joints, marks], axis=1) + shift,
    )


_EXTRA_RAD = np.radians([20.0, 10.0, 15.0, 15.0, 35.0, 35.0, 4.0, 4.0])  # head, hands, pronation


def _bone_rotations(rig, rest, motion, extra) -> np.ndarray:
    hip_line = motion[:, LHIP] - motion[:, RHIP]
    shoulder_line = motion[:, LSHOULDER] - motion[:, RSHOULDER]
    pelvis = _align(
        (motion[:, SPINE] - motion[:, HIP], hip_line),
        (rest[SPINE] - rest[HIP], rest[LHIP] - rest[RHIP]),
    )
    chest = _align(
        (motion[:, THORAX] - motion[:, SPINE], shoulder_line),
        (rest[THORAX] - rest[SPINE], rest[LSHOULDER] - rest[RSHOULDER]),
    )
    head = _align(
        (motion[:, HEAD] - motion[:, THORAX], shoulder_line),
        (rest[HEAD] - rest[THORAX], rest[LSHOULDER] - rest[RSHOULDER]),
    )
    head = head @ _turn(2, extra[0]) @ _turn(0, extra[1])
    out = dict.fromkeys(('Spine', 'Spine1'), chest)
    out.update(dict.fromkeys(('Hips', 'LHipJoint', 'RHipJoint'), pelvis))
    out['LowerBack'] = _blend(pelvis, chest, 0.5)
    out['Neck'], out['Neck1'], out['Head'] = (
        _blend(chest, head, 0.35),
        _blend(chest, head, 0.7),
        head,
    )
    for side, joints in (
        ('Left', (LSHOULDER, LELBOW, LWRIST, LHIP, LKNEE, LFOOT)),
        ('Right', (RSHOULDER, RELBOW, RWRIST, RHIP, RKNEE, RFOOT)),
    ):
        _add_arm(out, side, joints[:3], rest, motion, chest, extra)
        _add_leg(out, side, joints[3:], rest, motion, pelvis, extra)
    return np.stack([out[name] for name in rig.names], axis=1)


def _add_arm(out, side, joints, rest, motion, chest, extra) -> None:
    shoulder, elbow, wrist = joints
    clavicle = _swing(chest, rest[shoulder] - rest[THORAX], motion[:, shoulder] - motion[:, THORAX])
    out[f'{side}Shoulder'] = _blend(chest, clavicle, 0.6)
    upper, lower = _hinged_limb(chest, rest, motion, joints)
    out[f'{side}Arm'], out[f'{side}ForeArm'] = upper, lower
    is_right = side == 'Right'
    axis = rest[wrist] - rest[elbow]
    hand = lower @ _about(axis, extra[4 + is_right]) @ _turn(0, extra[2 + is_right])
    for name in ('Hand', 'FingerBase', 'HandFinger1'):
        out[f'{side}{name}'] = hand
    out[f'{side[0]}Thumb'] = hand


def _add_leg(out, side, joints, rest, motion, pelvis, extra) -> None:
    upper, lower = _hinged_limb(pelvis, rest, motion, joints)
    out[f'{side}UpLeg'], out[f'{side}Leg'] = upper, lower
    ankle = motion[:, joints[2]]
    forward = lower @ np.array([0.0, -1.0, 0.0])
    forward[:, 2] = 0
    length = np.linalg.norm(forward, axis=1)
    near_ground = np.clip((0.22 - ankle[:, 2]) / 0.1, 0, 1)  # a standing foot lies flat
    share = near_ground * np.clip((length - 0.3) / 0.3, 0, 1)
    forward = forward / np.maximum(length, 1e-6)[:, None]
    up = np.broadcast_to([0.0, 0.0, 1.0], forward.shape)
    flat = np.stack([cross(-forward, up), -forward, up], axis=2)
    flat = np.where((length > 0.3)[:, None, None], flat, lower)
    foot = _blend(lower, flat, share) @ _turn(0, extra[6 + (side == 'Right')])
    out[f'{side}Foot'] = out[f'{side}ToeBase'] = foot


def _hinged_limb(parent, rest, motion, joints) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations of the upper and lower bone of an arm or a leg."""
    start, middle, end = joints
    rest_upper, rest_lower = rest[middle] - rest[start], rest[end] - rest[middle]
    rest_hinge = cross(rest_upper, rest_lower)
    rest_hinge = rest_hinge / np.linalg.norm(rest_hinge)
    upper = _unit(motion[:, middle] - motion[:, start])
    lower = _unit(motion[:, end] - motion[:, middle])
    carried = _swing(parent, rest_upper, upper) @ rest_hinge
    hinge = cross(upper, lower)
    bend = np.linalg.norm(hinge, axis=1, keepdims=True)
    share = np.clip((bend - 0.14) / 0.28, 0, 1)  # 8 to 25 degrees
    share = share * share * (3 - 2 * share)
    mixed = hinge / np.maximum(bend, 1e-9) * share + carried * (1 - share)
    tiny = np.linalg.norm(mixed, axis=1, keepdims=True) < 0.1
    mixed = np.where(tiny, carried, mixed)
    return (
        _align((upper, mixed), (rest_upper, rest_hinge)),
        _align((lower, mixed), (rest_lower, rest_hinge)),
    )


def _forward(rig: Rig, world: np.ndarray) -> np.ndarray:
    heads = np.zeros((len(world), len(rig.names), 3))
    for joint, parent in enumerate(rig.parents):
        if parent >= 0:
            offset = rig.heads[joint] - rig.heads[parent]
            heads[:, joint] = heads[:, parent] + world[:, parent] @ offset
    return heads


def _leg_length(joints: np.ndarray) -> np.ndarray:
    pairs = ((RHIP, RKNEE), (RKNEE, RFOOT), (LHIP, LKNEE), (LKNEE, LFOOT))
    return sum(np.linalg.norm(joints[:, a] - joints[:, b], axis=1) for a, b in pairs) / 2


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cross products of vectors (..., 3); numpy's own spends its time on axes."""
    out = np.empty(a.shape if a.shape == b.shape else np.broadcast_shapes(a.shape, b.shape))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.sqrt((v * v).sum(axis=-1, keepdims=True)), 1e-9)


def _frame(main: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return (..., 3, 3) with columns: main, second made orthogonal to it, their cross product."""
    a = _unit(main)
    b = _unit(second - (second * a).sum(-1, keepdims=True) * a)
    return np.stack([a, b, cross(a, b)], axis=-1)


def _align(target, rest) -> np.ndarray:
    """Return rotations taking a rest pair of directions to a target pair (the first exactly)."""
    return _frame(*target) @ _frame(*(np.asarray(r) for r in rest)).T


def _swing(parent: np.ndarray, rest_dir: np.ndarray, target_dir: np.ndarray) -> np.ndarray:
    """Return parent followed by the smallest rotation that brings rest_dir to target_dir."""
    a = _unit(parent @ rest_dir)
    b = _unit(target_dir)
    axis = cross(a, b)
    cosine = np.clip((a * b).sum(-1), -0.999, 1.0)
    skew = np.zeros((len(a), 3, 3))
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -axis[:, 2], axis[:, 1], -axis[:, 0]
    skew -= skew.transpose(0, 2, 1)
    rotation = np.eye(3) + skew + skew @ skew / (1 + cosine)[:, None, None]
    return rotation @ parent


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Return rotations between two; ``share`` of the second, exact at 0 and 1."""
    share = np.broadcast_to(np.asarray(share, np.float64), (len(first),))[:, None, None]
    mixed = first * (1 - share) + second * share
    return _frame(mixed[..., 0], mixed[..., 1])


def _turn(axis: int, angle: float) -> np.ndarray:
    direction = np.zeros(3)
    direction[axis] = 1
    return _about(direction, angle)


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = _unit(np.asarray(axis, np.float64))
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew

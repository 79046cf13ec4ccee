"""Metrics of bodies: bones that keep their length, feet that stand still (protocol v1, section 4).

Poses are (T, J, 3) in metres, ``skeleton`` is a name in skeletons.SKELETONS.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.evaluation.metrics.positions import MM, check_pair, finite_mean
from trpose_ros.skeletons import get_skeleton

BONE_RATIO = 1.5  # a bone longer or shorter by more than this is implausible
STANDING_M_S = 0.3  # a foot slower than this stands
_FEET = ('lank', 'rank', 'lfoo', 'rfoo', 'ltoe', 'rtoe')


def bone_lengths(poses: np.ndarray, skeleton: str) -> np.ndarray:
    """Return the bone lengths (T, B), m, in the order of Skeleton.bones."""
    poses = np.asarray(poses, dtype=np.float64)
    bones = get_skeleton(skeleton).bones
    if poses.ndim != 3 or poses.shape[1] != len(bones) + 1:
        raise ValueError(f'{skeleton} poses must be (T, {len(bones) + 1}, 3), got {poses.shape}')
    parents, children = np.array(bones).T
    return np.linalg.norm(poses[:, children] - poses[:, parents], axis=-1)


def bone_variation(poses: np.ndarray, skeleton: str) -> float:
    """Return the standard deviation of a bone over time by its mean, in %, mean over bones."""
    lengths = bone_lengths(poses, skeleton)
    mean = finite_mean(lengths, axis=0)
    deviation = np.sqrt(finite_mean((lengths - mean) ** 2, axis=0))
    usable = mean > 1e-6
    ratio = deviation[usable] / mean[usable]
    return float(finite_mean(ratio)) * 100.0


def asymmetry(poses: np.ndarray, skeleton: str) -> float:
    """Return the mean difference between a left bone and its right twin, mm."""
    tree = get_skeleton(skeleton)
    lengths = bone_lengths(poses, skeleton)
    index = {bone: i for i, bone in enumerate(tree.bones)}
    pairs = []
    for (parent, child), i in index.items():
        twin = (int(tree.mirror[parent]), int(tree.mirror[child]))
        if tree.sides[child] == 'left' and twin in index:
            pairs.append((i, index[twin]))
    if not pairs:
        return float('nan')
    left, right = np.array(pairs).T
    return float(finite_mean(np.abs(lengths[:, left] - lengths[:, right]))) * MM


def implausible_frames(predicted: np.ndarray, true: np.ndarray, skeleton: str) -> float:
    """Return the share of frames, %, in which a bone is off by more than a factor of 1.5.

    The measure is the median length of the person's true bone; the factor is this project's.
    """
    check_pair(predicted, true)
    lengths, truth = bone_lengths(predicted, skeleton), bone_lengths(true, skeleton)
    if not len(lengths):
        return float('nan')
    usual = np.array(
        [
            np.median(column[np.isfinite(column)]) if np.isfinite(column).any() else np.nan
            for column in truth.T
        ]
    )
    with np.errstate(invalid='ignore', divide='ignore'):
        ratio = lengths / np.where(usual > 1e-6, usual, np.nan)
    odd = (ratio > BONE_RATIO) | (ratio < 1.0 / BONE_RATIO)
    known = np.isfinite(ratio).any(axis=1)
    return float(finite_mean(np.where(known, odd.any(axis=1), np.nan))) * 100.0


def foot_sliding(predicted: np.ndarray, true: np.ndarray, skeleton: str, fps: float) -> float:
    """Return how far predicted feet move in a frame while the true foot stands, mm/frame.

    Poses in a frame that does not move (camera at rest), with absolute positions. A foot stands
    while its true speed is below 0.3 m/s. NaN without such a moment.
    """
    check_pair(predicted, true)
    names = get_skeleton(skeleton).joint_names
    feet = [names.index(name) for name in _FEET if name in names]
    step = np.linalg.norm(np.diff(np.asarray(predicted, float)[:, feet], axis=0), axis=-1)
    speed = np.linalg.norm(np.diff(np.asarray(true, float)[:, feet], axis=0), axis=-1) * fps
    return float(finite_mean(np.where(speed < STANDING_M_S, step, np.nan))) * MM

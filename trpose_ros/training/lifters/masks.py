"""Joints that an estimator cannot see, for training lifters: the skeleton-level twin in batches.

The conditions are those of protocol v1 on keypoints (occlusion/keypoints.py holds the exact ones,
which measure): joints at random, body parts, whole frames, and joints inside a box. Here they are
drawn for many windows at once, with random severities. A joint that is not seen is either missing
(NaN, filled as the live stream fills it) or guessed: kept with a wandering bias, jitter and jumps.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from trpose_ros.data.motion.keypoint_errors import extremes
from trpose_ros.occlusion.keypoints import SEVERITIES, DetectorNoise, in_part
from trpose_ros.skeletons import get_skeleton

_SKELETON = get_skeleton('h36m_17')
PARTS = np.array(
    [
        [in_part(name, part, side) for name in _SKELETON.joint_names]
        for part in SEVERITIES['sk_part']
        for side in 'lr'
    ]
)
_KINDS = ('seen', 'rand', 'part', 'gap', 'box')
_SHARES = (0.3, 0.2, 0.25, 0.1, 0.15)
_LONGEST_GAP = 25  # frames


def draw_hidden(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which joints (B, T, 17) bool of windows (B, T, 17, 2) are not seen."""
    batch, frames, count = joints.shape[:3]
    kind = rng.choice(len(_KINDS), batch, p=_SHARES)
    hidden = np.zeros((batch, frames, count), bool)
    rows = np.flatnonzero(kind == _KINDS.index('rand'))
    chance = rng.uniform(0.05, 0.6, (len(rows), 1, 1))
    hidden[rows] = rng.random((len(rows), frames, count)) < chance
    rows = np.flatnonzero(kind == _KINDS.index('part'))
    hidden[rows] = PARTS[rng.integers(len(PARTS), size=len(rows))][:, None]
    rows = np.flatnonzero(kind == _KINDS.index('gap'))
    length = rng.integers(1, _LONGEST_GAP + 1, (len(rows), 1))
    start = rng.integers(-_LONGEST_GAP // 2, frames, (len(rows), 1))
    t = np.arange(frames)
    hidden[rows] = ((t >= start) & (t < start + length))[..., None]
    rows = np.flatnonzero(kind == _KINDS.index('box'))
    hidden[rows] = _in_random_box(joints[rows], rng)
    return hidden


def _in_random_box(joints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which joints of (B, T, 17, 2) lie in a box that hides a part of the person."""
    low, high = extremes(joints)
    low, high = low.min(axis=1), high.max(axis=1)
    share = rng.uniform(0.25, 0.65, low.shape)
    whole = rng.random(low.shape) < 0.4  # a band from side to side, or from top to bottom
    whole[whole.all(axis=1)] = False
    share = np.where(whole, 1.0, share)
    first = low + rng.random(low.shape) * (1 - share) * (high - low)
    last = first + share * (high - low)
    inside = (joints >= first[:, None, None]) & (joints <= last[:, None, None])
    return inside.all(axis=3)


def guess(
    joints: np.ndarray, rate_hz: float, rng: np.random.Generator, noise: DetectorNoise | None = None
) -> np.ndarray:
    """Return windows (B, T, 17, 2) as a detector gives them that guesses every joint."""
    noise = noise or DetectorNoise()
    shape = joints.shape
    low, high = extremes(joints)
    extent = high - low  # (B, T, 2)
    height = extent[..., 1:].mean(axis=1)[:, None, None]  # (B, 1, 1, 1)
    keep = float(np.exp(-1.0 / (noise.bias_time_s * rate_hz)))
    drive = rng.standard_normal(shape, dtype=np.float32) * np.float32(np.sqrt(1 - keep**2))
    drive[:, 0] /= np.sqrt(1 - keep**2)
    bias = lfilter([1.0], [1.0, -keep], drive, axis=1)
    jitter = rng.standard_normal(shape, dtype=np.float32)
    guessed = joints + height * (noise.bias * bias + noise.jitter * jitter)
    leave = min(1.0, 1.0 / (noise.jump_time_s * rate_hz))
    enter = leave * noise.jump_share / (1.0 - noise.jump_share)
    away = _runs(shape[:3], enter, leave, rng)
    place = low[:, :1, None] + rng.random((shape[0], 1, *shape[2:])) * extent[:, :1, None]
    mirrored = rng.random((shape[0], 1, shape[2], 1)) < 0.5
    wrong = np.where(mirrored, joints[:, :, _SKELETON.mirror], place)
    return np.where(away[..., None], wrong, guessed).astype(np.float32)


def _runs(
    shape: tuple[int, ...], enter: float, leave: float, rng: np.random.Generator
) -> np.ndarray:
    """Return (B, T, J) bool: a state that begins and ends at random, frame by frame."""
    chance = rng.random(shape, dtype=np.float32)
    state = np.zeros(shape, bool)
    state[:, 0] = chance[:, 0] < enter / (enter + leave)
    for t in range(1, shape[1]):
        state[:, t] = np.where(state[:, t - 1], chance[:, t] >= leave, chance[:, t] < enter)
    return state

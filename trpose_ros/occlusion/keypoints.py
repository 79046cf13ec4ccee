"""The truncation conditions on 2D keypoints alone: the skeleton-level twin of protocol v1.

No image is needed: joints are declared missing and then presented the way a 2D detector would
deliver them, either dropped (0, 0 with confidence 0) or kept but wrong (``noisy``, the honest
one: real detectors answer for hidden joints too). Lifters are trained and tested with it.

The noise model's numbers are choices of this project, in shares of the person's height in the
image: a bias that wanders slowly, white jitter, and jumps to the mirrored joint or anywhere in the
person's box for a while.

Seeds are those of the image-level conditions (occlusion.seed_of), with the sk_* name as type and
the label below as severity.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from scipy.signal import lfilter

from trpose_ros.occlusion.occluder import (
    FIVE,
    OcclusionConfig,
    joints_in,
    make_occluder,
    reference_boxes,
)
from trpose_ros.skeletons import get_skeleton

SEVERITIES: dict[str, tuple[str, ...]] = {
    'sk_rand': ('0.1', '0.3', '0.5'),
    'sk_part': ('arm', 'arms', 'leg', 'legs', 'upper', 'lower'),
    'sk_gap': ('5', '10', '25', '50'),
    'sk_box': FIVE,
}
PRESENTATIONS = ('drop', 'noisy')
_GAP_CYCLE_S = 4.0
_ARM, _LEG = ('sho', 'elb', 'wri', 'han', 'fin', 'thu', 'cla'), ('hip', 'kne', 'ank', 'foo', 'toe')
_LOWER_CENTRE = ('pelv',)


@dataclass(frozen=True)
class DetectorNoise:
    """How a 2D detector errs on joints it cannot see; lengths in shares of the person's height."""

    bias: float = 0.04  # standard deviation of the wandering bias
    bias_time_s: float = 0.5  # its correlation time
    jitter: float = 0.015
    jump_share: float = 0.1  # of the missing time spent at a wrong place
    jump_time_s: float = 0.15  # mean length of a jump
    confidence: tuple[float, float] = (0.1, 0.6)  # range of the confidences given

    def __post_init__(self) -> None:
        """Validate ranges."""
        if min(self.bias, self.jitter) < 0 or min(self.bias_time_s, self.jump_time_s) <= 0:
            raise ValueError(f'noise must not be negative and times must be positive, got {self}')
        if not 0 <= self.jump_share < 1:
            raise ValueError(f'jump_share must lie in [0, 1), got {self.jump_share}')


@dataclass(frozen=True)
class SkeletonOcclusionConfig:
    """Which joints go missing and how they are presented."""

    profile: str = 'sk_rand'
    severity: int = 0
    presentation: str = 'noisy'
    draw: int = 0
    noise: DetectorNoise = field(default_factory=DetectorNoise)

    def __post_init__(self) -> None:
        """Validate every choice."""
        if self.profile not in SEVERITIES:
            raise ValueError(f'unknown profile {self.profile!r}; known are {", ".join(SEVERITIES)}')
        labels = SEVERITIES[self.profile]
        if not 0 <= self.severity < len(labels):
            raise ValueError(
                f'{self.profile} has severities 0 to {len(labels) - 1} ({", ".join(labels)}), '
                f'got {self.severity}'
            )
        if self.presentation not in PRESENTATIONS:
            raise ValueError(f'presentation must be drop or noisy, got {self.presentation!r}')

    @property
    def label(self) -> str:
        """Return the severity as it enters the seed."""
        return SEVERITIES[self.profile][self.severity]


def seed_of(config: SkeletonOcclusionConfig, identity: str) -> int:
    """Return the seed for ``identity`` = 'dataset|subject|action|camera'."""
    if identity.count('|') != 3:
        raise ValueError(f"identity must be 'dataset|subject|action|camera', got {identity!r}")
    text = f'v1|{identity}|{config.profile}|{config.label}|{config.draw}'
    return int.from_bytes(hashlib.sha256(text.encode('utf-8')).digest()[:8], 'big')


def missing_joints(
    config: SkeletonOcclusionConfig,
    joints_px: np.ndarray,
    *,
    identity: str,
    skeleton: str = 'h36m_17',
    rate_hz: float = 50.0,
    width: int = 1000,
    height: int = 1000,
) -> np.ndarray:
    """Return which joints (T, J) of one person are missing; joints_px (T, J, 2), px.

    ``rate_hz`` is the clip's frame rate; width and height (px) matter to sk_box alone.
    """
    joints_px = np.asarray(joints_px)
    names = get_skeleton(skeleton).joint_names
    if joints_px.ndim != 3 or joints_px.shape[1:] != (len(names), 2):
        raise ValueError(f'joints_px must be (T, {len(names)}, 2), got shape {joints_px.shape}')
    if not rate_hz > 0:
        raise ValueError(f'rate_hz must be positive, got {rate_hz}')
    seed, shape = seed_of(config, identity), joints_px.shape[:2]
    rng = np.random.Generator(np.random.PCG64(seed))
    if config.profile == 'sk_rand':
        return rng.random(shape) < float(config.label)
    if config.profile == 'sk_part':
        side = 'l' if rng.random() < 0.5 else 'r'
        return np.tile([in_part(name, config.label, side) for name in names], (shape[0], 1))
    if config.profile == 'sk_gap':
        gaps = _gaps(shape[0], int(config.label), round(_GAP_CYCLE_S * rate_hz), rng)
        return np.repeat(gaps[:, None], shape[1], axis=1)
    mask = OcclusionConfig(profile=config.label, draw=config.draw)
    occluder = make_occluder(mask, identity)
    missing = np.zeros(shape, bool)
    for t, box in enumerate(reference_boxes(joints_px)):
        rectangles = occluder.rectangles(width, height, box, round(t / rate_hz * 1e9))
        missing[t] = joints_in(joints_px[t], rectangles, width, height)
    return missing


def present(
    config: SkeletonOcclusionConfig,
    joints_px: np.ndarray,
    missing: np.ndarray,
    *,
    identity: str,
    skeleton: str = 'h36m_17',
    rate_hz: float = 50.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Present missing joints as a 2D detector would.

    joints_px (T, J, 2), px, and missing (T, J) of one person. Returns joints (T, J, 2), px, and
    confidences (T, J) in 0..1: joints that are not missing are unchanged with confidence 1; NaN
    joints stay NaN.
    """
    joints = np.array(joints_px, dtype=np.float64)
    missing = np.asarray(missing, dtype=bool)
    if missing.shape != joints.shape[:2]:
        raise ValueError(f'missing must be {joints.shape[:2]}, got shape {missing.shape}')
    confidence = np.ones(missing.shape)
    if config.presentation == 'drop':
        joints[missing], confidence[missing] = 0.0, 0.0
        return joints, confidence
    # The stream continues far behind the values that chose the missing joints.
    rng = np.random.Generator(np.random.PCG64(seed_of(config, identity)).jumped())
    noisy, low_high = _noisy(config.noise, joints, get_skeleton(skeleton).mirror, rate_hz, rng)
    joints[missing] = noisy[missing]
    confidence[missing] = rng.uniform(*low_high, missing.shape)[missing]
    return joints, confidence


def in_part(name: str, part: str, side: str) -> bool:
    """Say whether a joint belongs to a body part; ``side`` decides for one arm or leg."""
    arm = name[0] in 'lr' and name[1:] in _ARM
    leg = name[0] in 'lr' and name[1:] in _LEG
    lower = leg or name in _LOWER_CENTRE
    return {
        'arm': arm and name[0] == side,
        'arms': arm,
        'leg': leg and name[0] == side,
        'legs': leg,
        'upper': not lower,
        'lower': lower,
    }[part]


def _gaps(frames: int, length: int, cycle: int, rng: np.random.Generator) -> np.ndarray:
    """Return (T,) bool with one gap of ``length`` frames at a drawn place of every cycle."""
    cycle = max(cycle, 1)
    length = min(length, cycle)
    gaps = np.zeros(frames, bool)
    for first in range(0, frames, cycle):
        start = first + int(rng.integers(0, cycle - length + 1))
        gaps[start : start + length] = True
    return gaps


def _noisy(
    noise: DetectorNoise,
    joints: np.ndarray,
    mirror: np.ndarray,
    rate_hz: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the joints (T, J, 2) as a detector that guesses would place them."""
    boxes = reference_boxes(joints)
    height = np.nan_to_num(boxes[:, 3])[:, None, None] / 1.18  # the box is padded by 18 %
    keep = float(np.exp(-1.0 / (noise.bias_time_s * rate_hz)))
    drive = rng.standard_normal(joints.shape) * np.sqrt(1.0 - keep * keep)
    drive[:1] /= np.sqrt(1.0 - keep * keep)
    bias = lfilter([1.0], [1.0, -keep], drive, axis=0) if len(joints) else drive
    jitter = noise.jitter * rng.standard_normal(joints.shape)
    out = joints + height * noise.bias * bias

    leave = min(1.0, 1.0 / (noise.jump_time_s * rate_hz))
    enter = leave * noise.jump_share / (1.0 - noise.jump_share)
    chance, places = rng.random((2, *joints.shape[:2])), rng.random(joints.shape)
    away = np.zeros(joints.shape[1], bool)
    to_mirror, place = away.copy(), np.zeros((joints.shape[1], 2))
    for t in range(len(joints)):
        start = ~away & (chance[0, t] < enter)
        away = start | (away & (chance[0, t] >= leave))
        to_mirror[start], place[start] = chance[1, t, start] < 0.5, places[t, start]
        anywhere = boxes[t, :2] + place * boxes[t, 2:]
        out[t, away] = np.where(to_mirror[:, None], joints[t, mirror], anywhere)[away]
    out[~np.isfinite(joints).all(axis=-1)] = np.nan  # a jump must not invent a joint
    return out + height * jitter, noise.confidence

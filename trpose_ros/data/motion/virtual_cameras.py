"""Random cameras at a robot's height, and the 2D noise of a pose estimator.

Motion capture gives world joints; a lifter is trained on what a camera on a robot would see of
them. Cameras: 0.5 to 2.2 m above the floor, 0.8 to 7 m from the person, horizontal field of view
40 to 90 degrees, pitched, slightly rolled, sometimes driving and turning, with a lens that bends
lines where that is asked for. Near cameras cut people
off, so 2D outside [-1, 1] is ordinary input, as it is for an estimator that predicts outside the
image.

Noise, in units of the person's apparent height: jitter from frame to frame, a slow drift for each
joint (both larger for hands and feet and for joints outside the image), bursts of outliers, left
and right swapped for some frames, joints missing for some frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.motion.keypoint_errors import (
    DetectorErrors,
    extremes,
    load_fitted,
    states_of,
    with_errors,
)
from trpose_ros.skeletons import get_skeleton

SKELETON = get_skeleton('h36m_17')
ARM_JOINTS = (11, 12, 13, 14, 15, 16)
LEG_JOINTS = (1, 2, 3, 4, 5, 6)
# Hands, feet and the joints next to them are found less exactly than the trunk.
JOINT_NOISE = np.ones(17)
JOINT_NOISE[[0, 8, 9, 11, 14]] = 0.8
JOINT_NOISE[[7]] = 0.9
JOINT_NOISE[[2, 5]] = 1.2
JOINT_NOISE[[12, 15]] = 1.3
JOINT_NOISE[[3, 6]] = 1.6
JOINT_NOISE[[13, 16]] = 1.8
NEAREST_DEPTH_M = 0.25  # a joint nearer to the camera plane pushes the camera back
FARTHEST = 4.0  # 2D is clamped here, in half image widths


@dataclass(frozen=True)
class CameraConfig:
    """Ranges of the random cameras."""

    height_m: tuple[float, float] = (0.5, 2.2)
    distance_m: tuple[float, float] = (0.8, 7.0)
    fov_deg: tuple[float, float] = (40.0, 90.0)
    roll_deg: float = 3.0
    moving_share: float = setting(0.3, range=(0.0, 1.0))
    # Share of cameras with a lens that bends lines, as images are before rectification: lifters
    # take pixels as they are. Barrels mostly; cushions rarely.
    distorted_share: float = setting(0.0, range=(0.0, 1.0))
    rate_hz: float = 30.0
    tilt_deg: float = 8.0  # standard deviation of the pitch of a camera that aims at nobody

    @classmethod
    def robots(cls, rate_hz: float = 30.0) -> CameraConfig:
        """Return the wider ranges of training: cameras of vacuum cleaners and of tall arms."""
        return cls((0.2, 2.5), (0.6, 7.0), (40.0, 100.0), 5.0, rate_hz=rate_hz, tilt_deg=14.0)

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)
        for name in ('height_m', 'distance_m', 'fov_deg'):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f'{name} must be a range of positive numbers, got {(low, high)}')


@dataclass(frozen=True)
class NoiseConfig:
    """Strength of the 2D noise; lengths as a share of the person's apparent height."""

    jitter: float = 0.006
    drift: float = 0.015
    outside: float = 0.12  # further noise per half image width that a joint lies outside
    outlier_share: float = 0.25  # windows with a burst of outliers
    outlier: float = 0.15
    swap_share: float = 0.02  # windows with left and right swapped for some frames
    missing_share: float = 0.3  # windows with missing joints
    # Instead of all the above: errors fitted to an estimator, at the rate of the windows.
    errors: DetectorErrors | None = None
    rate_hz: float = 30.0

    @classmethod
    def fitted(cls, estimator: str, rate_hz: float = 30.0) -> NoiseConfig:
        """Return the errors that an estimator really makes (see keypoint_errors.py).

        ``estimator`` is one whose errors are shipped ('metrabs-m', 'metrabs-s', 'metrabs-small') or
        a file of `trpose train noise`.
        Raises ValueError for neither.
        """
        return cls(errors=load_fitted(estimator), rate_hz=rate_hz)


def look_rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Return (..., 3, 3) world (z up) to camera (x right, y down, z forward) rotations, radians.

    ``yaw`` is the heading of the optical axis in the floor plane, ``pitch`` positive upwards.
    """
    cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    forward = np.stack([cy * cp, sy * cp, sp], axis=-1)
    right = np.stack([sy, -cy, np.zeros_like(yaw)], axis=-1)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[..., None], np.sin(roll)[..., None]
    return np.stack([c * right + s * down, c * down - s * right, forward], axis=-2)


class View(NamedTuple):
    """What random cameras see."""

    joints_m: np.ndarray  # (B, T, 17, 3) in the camera frame, metres
    joints: np.ndarray  # (B, T, 17, 2) exact normalised screen coordinates
    half_height: np.ndarray  # (B,) half image height in those units (h / w)
    focal: np.ndarray  # (B,) focal length in those units


def view(world_m: np.ndarray, config: CameraConfig, rng: np.random.Generator) -> View:
    """See (B, T, 17, 3) world joints through one random, maybe moving camera per window."""
    batch, frames = world_m.shape[:2]
    root = world_m[:, frames // 2, 0]
    focal, aspect = _intrinsics(batch, config, rng)
    low, high = np.log(config.distance_m)
    distance = np.exp(rng.uniform(low, high, batch))
    bearing = rng.uniform(-np.pi, np.pi, batch)  # direction from camera to person
    height = np.asarray(rng.uniform(*config.height_m, batch))
    # The person anywhere in the image; half of the cameras aim at the trunk, half look ahead.
    half_angle = np.arctan(1 / focal)
    yaw = bearing + rng.uniform(-0.9, 0.9, batch) * half_angle
    aimed = np.arctan2(root[:, 2] + rng.uniform(-0.5, 0.5, batch) - height, distance)
    ahead = np.radians(rng.normal(0, config.tilt_deg, batch))
    pitch = np.where(rng.random(batch) < 0.6, aimed + np.radians(rng.normal(0, 6, batch)), ahead)
    roll = np.radians(rng.normal(0, config.roll_deg, batch))
    moving = rng.random(batch) < config.moving_share
    seconds = (np.arange(frames) - frames // 2) / config.rate_hz
    turn = np.where(moving, rng.normal(0, 0.3, batch), 0)[:, None] * seconds
    nod = np.where(moving, rng.normal(0, 0.1, batch), 0)[:, None] * seconds
    drive = np.where(moving, rng.normal(0, 0.4, (2, batch)), 0)
    rotation = look_rotation(
        yaw[:, None] + turn, pitch[:, None] + nod, np.repeat(roll[:, None], frames, axis=1)
    ).astype(np.float32)
    position = np.zeros((batch, frames, 3))
    position[..., 0] = (root[:, 0] - distance * np.cos(bearing))[:, None]
    position[..., 1] = (root[:, 1] - distance * np.sin(bearing))[:, None]
    position[..., 2] = height[:, None]
    position[..., :2] += drive.T[:, None] * seconds[:, None]
    relative = world_m - position[:, :, None].astype(np.float32)
    joints_m = relative @ np.swapaxes(rotation, -1, -2)
    deficit = np.maximum(NEAREST_DEPTH_M - joints_m[..., 2].min(axis=(1, 2)), 0)
    joints_m[..., 2] += deficit[:, None, None]
    joints = joints_m[..., :2] / joints_m[..., 2:]
    if config.distorted_share > 0:
        bent = np.less(rng.random(batch), config.distorted_share)
        joints = distort(joints, lenses(batch, rng) * bent[:, None])
    joints = joints * focal[:, None, None, None].astype(np.float32)
    return View(joints_m, np.clip(joints, -FARTHEST, FARTHEST), aspect, focal.astype(np.float32))


def lenses(batch: int, rng: np.random.Generator) -> np.ndarray:
    """Return (B, 4) distortion k1 k2 p1 p2 (OpenCV's order) of wide lenses on robots."""
    k1 = rng.uniform(-0.32, 0.08, batch)
    # The second coefficient of real lenses takes back some of the first.
    k2 = -0.35 * k1 + rng.normal(0, 0.02, batch)
    return np.stack([k1, k2, *rng.normal(0, 0.001, (2, batch))], axis=1)


def distort(points: np.ndarray, lens: np.ndarray) -> np.ndarray:
    """Bend normalised image points (B, T, J, 2), x / z and y / z, by a lens each (B, 4).

    Brown's polynomial folds back far outside the image; from there on points go on outwards with
    the factor that holds where it folds.
    """
    k1, k2, p1, p2 = (lens[:, i, None, None].astype(np.float32) for i in range(4))
    square = np.minimum((points**2).sum(axis=-1), _fold(lens)[:, None, None])
    factor = 1 + k1 * square + k2 * square**2
    x, y = points[..., 0], points[..., 1]
    within = np.sqrt(square / np.maximum((points**2).sum(axis=-1), 1e-12))
    u, v = x * within, y * within  # at the fold when beyond it
    shift = [2 * p1 * u * v + p2 * (square + 2 * u * u), p1 * (square + 2 * v * v) + 2 * p2 * u * v]
    return points * factor[..., None] + np.stack(shift, axis=-1)


def _fold(lens: np.ndarray) -> np.ndarray:
    """Return (B,) the squared radius at which r (1 + k1 r^2 + k2 r^4) stops growing, at most 9."""
    square = np.linspace(0, 9, 361)
    slope = 1 + 3 * lens[:, :1] * square + 5 * lens[:, 1:2] * square**2
    falls = slope <= 0
    first = np.where(falls.any(axis=1), np.maximum(falls.argmax(axis=1) - 1, 0), len(square) - 1)
    return square[first].astype(np.float32)


def _intrinsics(
    batch: int, config: CameraConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return focal lengths in half image widths, and h / w. The angle spans the longer side."""
    aspect = rng.choice(
        [0.75, 0.5625, 1.0, 0.625, 4 / 3], p=[0.4, 0.3, 0.12, 0.1, 0.08], size=batch
    )
    fov = np.radians(rng.uniform(*config.fov_deg, batch))
    return np.maximum(aspect, 1.0) / np.tan(fov / 2), aspect


def add_noise(
    joints: np.ndarray,
    half_height: np.ndarray,
    config: NoiseConfig,
    rng: np.random.Generator,
    hidden: np.ndarray | None = None,
) -> np.ndarray:
    """Return (B, T, 17, 2) joints as an estimator would give them; NaN = missing.

    ``hidden`` (B, T, 17) says which joints something lies in front of; only fitted errors differ
    there. They have no missing joints: the estimator they were fitted to guesses all.
    """
    if config.errors is not None:
        state = states_of(joints, hidden, half_height)
        return with_errors(joints, state, config.errors, config.rate_hz, rng)
    batch, frames, count = joints.shape[:3]
    low, high = extremes(joints)
    size = np.asarray(np.linalg.norm(high - low, axis=-1).mean(axis=1))  # (B,) apparent height
    beyond = np.maximum(np.abs(joints[..., 0]) - 1, 0) + np.maximum(
        np.abs(joints[..., 1]) - half_height[:, None, None], 0
    )
    quality = np.exp(rng.normal(0, 0.6, (batch, 1, 1))).astype(np.float32)
    weight = (quality * JOINT_NOISE.astype(np.float32) * size[:, None, None])[..., None]
    shape = joints.shape
    noisy = joints + _normal(rng, shape) * config.jitter * weight
    spread = config.drift * weight + config.outside * np.minimum(beyond, 1.5)[..., None]
    noisy = noisy + _slow_noise(rng, shape) * spread
    swapped = np.asarray(_bursts(rng, batch, frames, count, config.swap_share, 6).any(axis=(2, 3)))
    noisy = _swap_limbs(noisy, swapped)
    jump = _bursts(rng, batch, frames, count, config.outlier_share, 4)
    noisy = noisy + jump * _normal(rng, (batch, 1, count, 2)) * config.outlier * weight
    gone = _bursts(rng, batch, frames, count, config.missing_share, 2 * frames)
    # Some estimators keep silent about what lies outside the image.
    silent = np.less(rng.random(batch), 0.15)[:, None, None] & (beyond > 0)
    gone = gone[..., 0] | silent
    gone[gone.all(axis=2)] = False
    return np.where(gone[..., None], np.nan, noisy).astype(np.float32)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _slow_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Unit-variance noise with a correlation time of about 10 frames (first order)."""
    keep = np.float32(0.9)
    noise = _normal(rng, shape)
    for t in range(1, shape[1]):
        noise[:, t] = keep * noise[:, t - 1] + np.sqrt(1 - keep**2) * noise[:, t]
    return noise


def _bursts(
    rng: np.random.Generator, batch: int, frames: int, count: int, share: float, longest: int
) -> np.ndarray:
    """Return (B, T, J, 1) booleans: in a share of the windows some joints for a run of frames."""
    chosen = rng.random(batch) < share
    joints = rng.random((batch, count)) < rng.uniform(0.05, 0.45, (batch, 1))
    length = rng.integers(1, longest + 1, (batch, count))
    start = rng.integers(-longest, frames, (batch, count))
    t = np.arange(frames)[None, :, None]
    inside = (t >= start[:, None]) & (t < (start + length)[:, None])
    return (inside & (chosen[:, None] & joints)[:, None])[..., None]


def _swap_limbs(joints: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Swap left and right in the frames (B, T) that are true: arms, legs or both by window."""
    mirrored = joints[:, :, SKELETON.mirror]
    limbs = np.zeros((3, joints.shape[2]), bool)
    limbs[0, list(ARM_JOINTS)] = limbs[1, list(LEG_JOINTS)] = True
    limbs[2] = limbs[0] | limbs[1]
    which = limbs[np.arange(len(joints)) % 3]
    return np.where((frames[..., None] & which[:, None])[..., None], mirrored, joints)

"""Distances from a depth camera: where it has seen a body, people stand as far away as it says.

One camera does not see size, so a skeleton may be too large and too far, or too small and too
near. A depth image settles it. Behind each joint that can be seen lies a surface whose distance is
measured; the joint itself lies some centimetres inside the body. What most joints agree on is a
factor by which the skeleton moves along its rays, as in standing.py: distance and size change, the
image does not.

A depth image lies, too: it has holes, points between a body and the wall behind it, things in
front. So a joint counts only where its surroundings are measured and flat; the median over the
joints decides; and a factor is refused when few joints agree with it or when it is farther from 1
than an estimate can be wrong. Metres, camera optical frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.skeletons import get_skeleton

# How far inside the body a joint lies behind the surface in front of it: medians over rendered
# people (test/evaluation/test_depth_gain.py holds them against that).
INSIDE_M = {
    'pelv': 0.145,
    'hip': 0.11,
    'kne': 0.065,
    'ank': 0.055,
    'spin': 0.145,
    'neck': 0.10,
    'head': 0.085,
    'htop': 0.07,
    'sho': 0.063,
    'elb': 0.036,
    'wri': 0.025,
}
_SEEN = (JointState.UNKNOWN, JointState.VISIBLE)
_WINDOW = np.linspace(-1.0, 1.0, 5)  # where depth is read around a joint, in windows
_WINDOW_M = 0.03  # half a window at the distance of the joint
_LEAST_READ = 13  # of the 25 places
# Between the quartiles of a window; more is an edge. The second, times the squared distance, is the
# noise of a stereo camera.
_FLAT_M, _FLAT_NOISE = 0.06, 0.004
_LEAST_JOINTS = 4
_LEAST_SHARE = 0.5  # of the joints that could be read
_AGREE_M = 0.12  # of a joint with the others
_CLEARLY_M = 0.4  # so much farther away by estimate, somebody hides nobody
_SURFACE_SIGMA_M = 0.03  # of all joints together: bodies are thicker or thinner, in coats
_GUESS_SIGMA = 0.12  # of the logarithm of an estimated distance
_GATE = 3.5  # deviations of the estimate
_LARGEST = 2.0
_NEAR_M = 0.15
_FADE_S = 1.0  # time constant with which a correction fades that nothing renews


@dataclass(frozen=True)
class DepthConfig:
    """How long what a depth image said of a person counts."""

    memory_s: float = setting(
        0.1, 'time over which the correction of a person is averaged, s', range=(0.0, 60.0)
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


def read_at_joints(
    depth_m: np.ndarray, joints_px: np.ndarray, size: tuple[int, int], focal_px: float
) -> np.ndarray:
    """Return (N, J) distances along z, m, of what is seen at joints (N, J, 2), px.

    ``depth_m`` is (H, W) with NaN where nothing was measured; it may be smaller or larger than the
    image of ``size`` (width, height) by one factor. NaN where too little of the surroundings was
    measured, or where an edge runs through them.
    """
    height, width = depth_m.shape
    scale = width / size[0]
    centres = (np.asarray(joints_px, np.float64) + 0.5) * scale - 0.5
    known = np.isfinite(centres).all(axis=-1)
    places = np.rint(np.where(known[..., None], centres, -1.0))
    known &= (places >= 0).all(axis=-1) & (places < (width, height)).all(axis=-1)
    here = np.where(known[..., None], places, 0).astype(np.intp)
    first = depth_m[here[..., 1], here[..., 0]]
    # The window is as wide as a limb at the distance in its middle, where there is none at 3 m.
    reach = _WINDOW_M * focal_px * scale / np.where(np.isfinite(first), np.maximum(first, 0.3), 3.0)
    steps = np.maximum(reach, 1.0)[..., None] * _WINDOW
    columns = np.rint(here[..., 0, None] + steps).astype(np.intp)[..., None, :]
    rows = np.rint(here[..., 1, None] + steps).astype(np.intp)[..., :, None]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    values = depth_m[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    values = (
        np.where(inside, values, np.nan).reshape(*known.shape, _WINDOW.size**2).astype(np.float64)
    )
    values = np.sort(np.where(values > 0, values, np.nan), axis=-1)  # NaN last
    count = np.isfinite(values).sum(axis=-1)
    quartiles = [_ranked(values, count, share) for share in (0.25, 0.5, 0.75)]
    flat = quartiles[2] - quartiles[0] <= _FLAT_M + _FLAT_NOISE * quartiles[1] ** 2
    return np.where(known & flat & (count >= _LEAST_READ), quartiles[1], np.nan)


def _ranked(values: np.ndarray, count: np.ndarray, share: float) -> np.ndarray:
    """Return the value of a rank among the first ``count`` of sorted values (..., P)."""
    at = np.rint(share * np.maximum(count - 1, 0)).astype(np.intp)
    return np.take_along_axis(values, at[..., None], axis=-1)[..., 0]


def inside_m(skeleton: str) -> np.ndarray:
    """Return (J,) how far joints lie behind the surface, m; NaN for those that are not used."""
    names = get_skeleton(skeleton).joint_names
    return np.array(
        [INSIDE_M.get(n, INSIDE_M.get(n[1:] if n[0] in 'lr' else '', math.nan)) for n in names]
    )


def depth_factor(
    joints_m: np.ndarray, surface_m: np.ndarray, inside: np.ndarray, guess_sigma: float
) -> tuple[float, float] | None:
    """Return the logarithm of the factor for one skeleton, and its variance; None if refused.

    joints_m (J, 3) is the estimate, surface_m (J,) what was measured at the joints that are seen
    (NaN for others), inside (J,) the offsets, guess_sigma the deviation of the logarithm of the
    estimated distance.
    """
    z, measured = joints_m[:, 2].astype(np.float64), surface_m + inside
    usable = np.isfinite(measured) & np.isfinite(z) & (z > _NEAR_M)
    if usable.sum() < _LEAST_JOINTS:
        return None
    logs = np.log(measured[usable] / z[usable])
    middle = float(np.median(logs))
    agree = np.abs(np.expm1(logs - middle)) * measured[usable] < _AGREE_M
    if agree.sum() < max(_LEAST_JOINTS, _LEAST_SHARE * usable.sum()):
        return None
    value = float(logs[agree].mean())
    if abs(value) > min(_GATE * max(guess_sigma, _GUESS_SIGMA), math.log(_LARGEST)):
        return None
    distance = float(np.median(measured[usable]))
    spread = float(logs[agree].var()) / int(agree.sum())
    return value, spread + (_SURFACE_SIGMA_M / distance) ** 2


def behind_others(people: People) -> np.ndarray:
    """Return (N, J) bool: joints where the surface may be that of somebody nearer.

    They lie within the box around the joints of another person who is not clearly farther away.
    """
    hidden = np.zeros(people.joint_states.shape, bool)
    if len(people) < 2:
        return hidden
    px = people.joints_px.astype(np.float64)
    known = np.isfinite(px).all(axis=2, keepdims=True)
    low = np.where(known, px, np.inf).min(axis=1)
    high = np.where(known, px, -np.inf).max(axis=1)
    distances = people.joints_m[:, get_skeleton(people.skeleton).root_index, 2]
    for i in range(len(people)):
        for j in range(len(people)):
            if i != j and not distances[j] > distances[i] + _CLEARLY_M:  # NaN, too
                hidden[i] |= ((px[i] >= low[j]) & (px[i] <= high[j])).all(axis=1)
    return hidden


@dataclass
class _Memory:
    stamp_ns: int
    value: float
    variance: float


class DepthPlacing:
    """Moves tracked people to where the depth image sees them."""

    def __init__(self, config: DepthConfig | None = None) -> None:
        self.config = config or DepthConfig()
        self._memory: dict[int, _Memory] = {}

    def reset(self) -> None:
        """Forget all tracks."""
        self._memory.clear()

    def place(self, people: People, surface_m: np.ndarray) -> People:
        """Return people with corrected 3D joints and covariances.

        ``surface_m`` (N, J): what was measured at their joints, NaN for nothing. Somebody of whom
        something was measured now has ``RootSource.DEPTH``. What was measured of somebody before
        fades within a second or two: an estimate is wrong in another way when it sees another part
        of the body. Everybody else stays as he is.
        """
        if not self._memory and not np.isfinite(surface_m).any():
            return people
        joints = people.joints_m.copy()
        covariances, sources = people.covariances_m2.copy(), people.root_sources.copy()
        seen = np.isin(people.joint_states, _SEEN) & ~behind_others(people)
        inside = inside_m(people.skeleton)
        root = get_skeleton(people.skeleton).root_index
        for i in range(len(people)):
            track = int(people.track_ids[i])
            if people.track_states[i] == TrackState.LOST:
                self._memory.pop(track, None)
                continue
            if people.root_sources[i] == RootSource.NONE:
                continue
            sigma = _guess_sigma(joints[i, root], covariances[i, root])
            surface = np.where(seen[i], surface_m[i], np.nan)
            found = depth_factor(joints[i], surface, inside, sigma)
            averaged = self._averaged(track, people.stamp_ns, found)
            if averaged is None:
                continue
            log_factor, variance = averaged
            share = _GUESS_SIGMA**2 / (_GUESS_SIGMA**2 + variance)
            factor = math.exp(log_factor * share)
            joints[i] *= factor
            covariances[i] *= factor * factor
            if found is not None:
                sources[i] = RootSource.DEPTH
        return people.replace(joints_m=joints, covariances_m2=covariances, root_sources=sources)

    def _averaged(
        self, track: int, stamp_ns: int, found: tuple[float, float] | None
    ) -> tuple[float, float] | None:
        memory = self._memory.get(track) if track >= 0 else None
        if memory is None or stamp_ns < memory.stamp_ns:
            if found is not None and track >= 0:
                self._memory[track] = _Memory(stamp_ns, *found)
            return found
        if found is not None:
            elapsed_s = (stamp_ns - memory.stamp_ns) * 1e-9
            span_s = max(self.config.memory_s, elapsed_s)
            gain = elapsed_s / span_s if span_s > 0 else 1.0
            memory.value += gain * (found[0] - memory.value)
            memory.variance += gain * (found[1] - memory.variance)
            memory.stamp_ns = stamp_ns
            return memory.value, memory.variance
        age_s = (stamp_ns - memory.stamp_ns) * 1e-9
        return memory.value * math.exp(-age_s / _FADE_S), memory.variance


def _guess_sigma(position_m: np.ndarray, covariance_m2: np.ndarray) -> float:
    """Return the deviation of the logarithm of a distance that a covariance states; 0 unknown."""
    distance = float(np.linalg.norm(position_m))
    if not (np.isfinite(covariance_m2).all() and distance > 0):
        return 0.0
    ray = position_m / distance
    return math.sqrt(max(float(ray @ covariance_m2 @ ray), 0.0)) / distance

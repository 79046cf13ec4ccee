"""Where people stand: what one camera does not see, from what is known about it or about them.

A person twice as large and twice as far away gives the same image. So an estimator guesses how
large somebody is, and its distance is wrong by as much as its guess. Two facts settle it:

* the floor: a visible foot stands where its viewing ray meets the floor, which the camera's height
  and tilt say. Somebody on a table or stairs is placed wrongly;
* a person's height: the length of the skeleton, in frames in which most of it is seen.

Both give a factor by which the whole skeleton moves along its rays: distance and size change, the
image does not. Neither is exact: a foot is lifted, a low camera sees a far foot near the horizon, a
skeleton is measured too short. So each is weighted against the other and against the estimator's
own guess by the variances of their logarithms, and the factor of a track is averaged over time.
Metres, camera optical frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.skeletons import get_skeleton

_ANKLE_M, _ANKLE_SIGMA_M = 0.09, 0.05  # of an ankle above the floor: height, spread
_LOWEST_ANGLE = math.radians(2.0)  # below the horizon; nearer to it a pixel is worth metres
_ANGLE_SIGMA = math.radians(1.0)  # of a foot's direction and of the camera's tilt
# Deviations of logarithms: of the size that an estimator guesses, and of a length of its skeleton
# where the size is right.
_GUESS_SIGMA, _LENGTH_SIGMA = 0.12, 0.06
_LARGEST = 2.0  # a factor farther from 1 is a mistake, not a size
_SEEN = (JointState.UNKNOWN, JointState.VISIBLE)
# Stature over the length of a leg, trunk, neck and head: 1.033 +- 0.028 of rendered bodies.
_STATURE = 1.03


@dataclass(frozen=True)
class StandingConfig:
    """What is known about the camera over the floor, and about people."""

    camera_height_m: float = setting(
        0.0,
        'of the camera above a flat floor on which people stand, m: corrects distances and sizes; '
        '0 = not known',
        range=(0.0, 100.0),
    )
    camera_pitch_deg: float = setting(
        0.0, 'how far the camera looks down, deg; up is negative', range=(-90.0, 90.0)
    )
    camera_roll_deg: float = setting(
        0.0, 'how far its right side is lower than its left, deg', range=(-180.0, 180.0)
    )
    person_height_m: float = setting(
        0.0,
        'height of everybody in sight, m: corrects distances and sizes where the floor is not '
        'known or no foot is seen; 0 = not known',
        range=(0.0, 3.0),
    )
    memory_s: float = setting(
        3.0, 'time over which the correction of a person is averaged, s', range=(0.0, 600.0)
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)

    @property
    def known(self) -> bool:
        """Whether anything is corrected."""
        return self.camera_height_m > 0 or self.person_height_m > 0

    @property
    def floor(self) -> Floor:
        """Return the floor that height and tilt of the camera state."""
        return Floor(self.camera_height_m, self.down)

    @property
    def down(self) -> np.ndarray:
        """Return the direction to the floor, a unit vector (3,) in the camera's frame."""
        pitch, roll = math.radians(self.camera_pitch_deg), math.radians(self.camera_roll_deg)
        level = math.cos(pitch)
        return np.array([math.sin(roll) * level, math.cos(roll) * level, math.sin(pitch)])


@dataclass(frozen=True)
class Floor:
    """A flat floor as a camera sees it; a height of NaN says that it is not known just now."""

    height_m: float  # of the camera above it
    down: np.ndarray  # (3,) direction to it, a unit vector in the camera's frame


UNKNOWN_FLOOR = Floor(math.nan, np.full(3, math.nan))


_Measured = tuple[float, float]  # logarithm of a factor, and its variance


@dataclass
class _TrackMemory:
    stamp_ns: int
    measured: np.ndarray  # (2,) mean logarithm and variance
    age_s: float = 0.0


class Standing:
    """Corrects distance and size of tracked people."""

    def __init__(self, config: StandingConfig | None = None) -> None:
        self.config = config or StandingConfig()
        self._memory: dict[int, _TrackMemory] = {}

    def reset(self) -> None:
        """Forget all tracks."""
        self._memory.clear()

    def place(self, people: People, floor: Floor | None = None) -> People:
        """Return people with corrected 3D joints and covariances; unchanged where nothing is known.

        ``floor`` is that of this moment, where the camera moves; None takes that of the settings.
        People relative to their root have no distance and stay as they are, and so do those of whom
        nothing was measured yet.
        """
        if floor is None:
            if not self.config.known:
                return people
            floor = self.config.floor
        joints, covariances = people.joints_m.copy(), people.covariances_m2.copy()
        for i in range(len(people)):
            track = int(people.track_ids[i])
            if people.track_states[i] == TrackState.LOST:
                self._memory.pop(track, None)
            elif people.root_sources[i] != RootSource.NONE:
                factor = self._averaged(track, people.stamp_ns, self._measured(people, i, floor))
                joints[i] *= factor
                covariances[i] *= factor * factor
        return people.replace(joints_m=joints, covariances_m2=covariances)

    def _averaged(self, track: int, stamp_ns: int, measured: _Measured | None) -> float:
        """Return the mean factor of a track; 1 while there was none."""
        memory = self._memory.get(track) if track >= 0 else None
        if memory is None or stamp_ns < memory.stamp_ns:
            if measured is None:
                return 1.0
            memory = _TrackMemory(stamp_ns, np.array(measured))
            if track >= 0:
                self._memory[track] = memory
        elapsed_s = (stamp_ns - memory.stamp_ns) * 1e-9
        if measured is not None and elapsed_s > 0:
            memory.age_s += elapsed_s
            # The mean of all frames at first, then of those of the memory.
            span_s = min(memory.age_s + elapsed_s, max(self.config.memory_s, elapsed_s))
            memory.measured += elapsed_s / span_s * (np.array(measured) - memory.measured)
            memory.stamp_ns = stamp_ns
        log_factor, variance = memory.measured.tolist()
        return math.exp(log_factor * _GUESS_SIGMA**2 / (_GUESS_SIGMA**2 + variance))

    def _measured(self, people: People, i: int, floor: Floor) -> _Measured | None:
        """Return what one frame says about one person, None for nothing."""
        joints = people.joints_m[i].astype(np.float64)
        seen = np.isin(people.joint_states[i], _SEEN) & np.isfinite(joints).all(axis=1)
        found = []
        if floor.height_m > _ANKLE_M:
            names = get_skeleton(people.skeleton).joint_names
            feet = [names.index(n) for n in ('rank', 'lank') if n in names]
            found.append(_by_floor(joints[[j for j in feet if seen[j]]], floor))
        if self.config.person_height_m > 0:
            stature = stature_m(np.where(seen[:, None], joints, np.nan), people.skeleton)
            if stature > 0:
                found.append((math.log(self.config.person_height_m / stature), _LENGTH_SIGMA**2))
        known = [one for one in found if one is not None and abs(one[0]) < math.log(_LARGEST)]
        if not known:
            return None
        precision = sum(1 / variance for _, variance in known)
        return sum(value / variance for value, variance in known) / precision, 1 / precision


def _by_floor(feet_m: np.ndarray, floor: Floor) -> _Measured | None:
    """Return what puts the lower of some ankles (N, 3) above the floor."""
    if not len(feet_m):
        return None
    depth = feet_m @ floor.down
    lower = int(depth.argmax())
    distance = float(np.linalg.norm(feet_m[lower]))
    if distance <= 0 or depth[lower] < math.sin(_LOWEST_ANGLE) * distance:
        return None
    height = floor.height_m - _ANKLE_M
    angle = math.asin(min(float(depth[lower]) / distance, 1.0))
    variance = (_ANKLE_SIGMA_M / height) ** 2 + (_ANGLE_SIGMA / math.tan(angle)) ** 2
    return math.log(height / float(depth[lower])), variance


def stature_m(joints_m: np.ndarray, skeleton: str) -> float:
    """Return how tall a person with these joints (J, 3) is, whatever the posture.

    NaN in skeletons without trunk, and where trunk, head or both legs are not known (NaN).
    """
    at = dict(zip(get_skeleton(skeleton).joint_names, joints_m, strict=True))
    if not {'pelv', 'spin', 'htop'} <= set(at):
        return math.nan

    def chain(*parts: str) -> float:
        return sum(float(np.linalg.norm(at[a] - at[b])) for a, b in pairwise(parts))

    legs = [chain('rhip', 'rkne', 'rank'), chain('lhip', 'lkne', 'lank')]
    known = [leg for leg in legs if math.isfinite(leg)]
    if not known:
        return math.nan
    leg = sum(known) / len(known)
    return _STATURE * (leg + chain('pelv', 'spin', 'neck', 'head', 'htop'))

"""Where people stand: what one camera does not see, from what is known about it or about them.

A person twice as large and twice as far away gives the same image. So an estimator guesses how
large somebody is, and its distance is wrong by as much as its guess. Two facts settle it:

* the floor: a visible foot stands where its viewing ray meets the floor, which the camera's height
  and tilt say. Somebody on a table or stairs is placed wrongly;
* a person's height: the length of the skeleton, in frames in which most of it is seen.

Both give a factor by which the whole skeleton moves along its rays: distance and size change, the
image does not. The factor of a track is averaged, because neither a foot's pixel nor a skeleton's
length is exact in one frame. Metres, camera optical frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.skeletons import get_skeleton

_ANKLE_M = 0.08  # of an ankle above the floor
_LOWEST_ANGLE = math.radians(2.0)  # below the horizon; nearer to it a pixel is worth metres
_FACTORS = (0.5, 2.0)  # a measured factor outside is a mistake, not a size
_SEEN = (JointState.UNKNOWN, JointState.VISIBLE)
_SEEN_SHARE = 0.6  # of the joints, for a length to count
# Stature over the length of a leg, trunk, neck and head, of rendered bodies: 1.033, deviation 0.028.
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
    def down(self) -> np.ndarray:
        """Return the direction to the floor, a unit vector (3,) in the camera's frame."""
        pitch, roll = math.radians(self.camera_pitch_deg), math.radians(self.camera_roll_deg)
        level = math.cos(pitch)
        return np.array([math.sin(roll) * level, math.cos(roll) * level, math.sin(pitch)])


@dataclass
class _TrackMemory:
    stamp_ns: int
    age_s: float = 0.0
    log_factor: float = 0.0


class Standing:
    """Corrects distance and size of tracked people."""

    def __init__(self, config: StandingConfig | None = None) -> None:
        self.config = config or StandingConfig()
        self._memory: dict[int, _TrackMemory] = {}

    def reset(self) -> None:
        """Forget all tracks."""
        self._memory.clear()

    def place(self, people: People) -> People:
        """Return people with corrected 3D joints and covariances; unchanged where nothing is known.

        People relative to their root have no distance and stay as they are, and so do those of whom
        nothing was measured yet.
        """
        if not self.config.known:
            return people
        joints, covariances = people.joints_m.copy(), people.covariances_m2.copy()
        for i in range(len(people)):
            track = int(people.track_ids[i])
            if people.track_states[i] == TrackState.LOST:
                self._memory.pop(track, None)
            elif people.root_sources[i] != RootSource.NONE:
                factor = self._averaged(track, people.stamp_ns, self._factor(people, i))
                joints[i] *= factor
                covariances[i] *= factor * factor
        return people.replace(joints_m=joints, covariances_m2=covariances)

    def _averaged(self, track: int, stamp_ns: int, factor: float) -> float:
        """Return the mean factor of a track; 1 while there was none."""
        memory = self._memory.get(track) if track >= 0 else None
        measured = math.isfinite(factor)
        if memory is None or stamp_ns < memory.stamp_ns:
            if not measured:
                return 1.0
            if track >= 0:
                self._memory[track] = _TrackMemory(stamp_ns, 0.0, math.log(factor))
            return factor
        elapsed_s = (stamp_ns - memory.stamp_ns) * 1e-9
        if measured and elapsed_s > 0:
            memory.age_s += elapsed_s
            # The mean of all frames at first; a frame of the first second counts as one of many.
            span_s = min(memory.age_s + elapsed_s, max(self.config.memory_s, elapsed_s))
            memory.log_factor += elapsed_s / span_s * (math.log(factor) - memory.log_factor)
            memory.stamp_ns = stamp_ns
        return math.exp(memory.log_factor)

    def _factor(self, people: People, i: int) -> float:
        """Return what one frame says about one person; NaN for nothing."""
        joints = people.joints_m[i].astype(np.float64)
        seen = np.isin(people.joint_states[i], _SEEN) & np.isfinite(joints).all(axis=1)
        names = get_skeleton(people.skeleton).joint_names
        factor = math.nan
        if self.config.camera_height_m > 0:
            feet = [names.index(n) for n in ('rank', 'lank') if n in names]
            factor = self._by_floor(joints[[j for j in feet if seen[j]]])
        if math.isnan(factor) and self.config.person_height_m > 0 and seen.mean() >= _SEEN_SHARE:
            factor = self.config.person_height_m / stature_m(joints, people.skeleton)
        return factor if _FACTORS[0] <= factor <= _FACTORS[1] else math.nan

    def _by_floor(self, feet_m: np.ndarray) -> float:
        """Return the factor that puts the lower of some ankles (N, 3) above the floor."""
        if not len(feet_m):
            return math.nan
        depth = feet_m @ self.config.down
        lower = int(depth.argmax())
        distance = float(np.linalg.norm(feet_m[lower]))
        if distance <= 0 or depth[lower] < math.sin(_LOWEST_ANGLE) * distance:
            return math.nan
        return (self.config.camera_height_m - _ANKLE_M) / float(depth[lower])


def stature_m(joints_m: np.ndarray, skeleton: str) -> float:
    """Return how tall a person with these joints (J, 3) is, whatever the posture; NaN: unknown."""
    at = dict(zip(get_skeleton(skeleton).joint_names, joints_m, strict=True))
    if not {'pelv', 'spin', 'htop'} <= set(at):
        return math.nan

    def chain(*parts: str) -> float:
        ends = zip(parts, parts[1:], strict=False)
        return sum(float(np.linalg.norm(at[a] - at[b])) for a, b in ends)

    legs = chain('rhip', 'rkne', 'rank') + chain('lhip', 'lkne', 'lank')
    return _STATURE * (legs / 2 + chain('pelv', 'spin', 'neck', 'head', 'htop'))

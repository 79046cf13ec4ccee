"""What is known of people at a moment, as numbers for a network that no camera shows in.

Of each person are given: 2D joints as rays with scores and states, the estimator's 3D with its
covariance, the lifted 3D, and where the lifted skeleton would have to stand to fit the 2D. A
``Moment`` holds them in the frame of the ray to the root (its z axis), metres, relative to a
*base*: the weighted mean of the two skeletons, or the one that there is. So a person looks the same
wherever in the image; the camera's intrinsics show nowhere.

A ``Memory`` per person carries running means of the base with two time constants by stamps, so that
the numbers mean the same at any rate. The arrays have a leading axis for people: the live stream
gives a few, the trainer a batch; the code is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from trpose_ros.cameras import undistort_points
from trpose_ros.lifters.root import fit_to_rays
from trpose_ros.people import Camera, JointState, People
from trpose_ros.skeletons import get_skeleton

SKELETON = 'h36m_17'
JOINTS = len(get_skeleton(SKELETON).joint_names)
ROOT = get_skeleton(SKELETON).root_index
VISIBLE_SHARE, HIDDEN_SHARE = 0.5, 0.25  # of the estimator's 3D in the base
_MEAN_S = (0.1, 0.4)
_APART_S = _MEAN_S[1] - _MEAN_S[0]  # of what moves evenly the means are so far apart
_HIDDEN = (JointState.OCCLUDED, JointState.TRUNCATED, JointState.UNOBSERVED)
_STATES = (JointState.VISIBLE, *_HIDDEN)
_IN_SIGHT = (JointState.UNKNOWN, JointState.VISIBLE)
_LARGEST_M = 2.0  # inputs are cut off here
_LONGEST_S = 5.0
JOINT_VALUES = 26
COMMON_VALUES = 13
VALUES = JOINTS * JOINT_VALUES + COMMON_VALUES


@dataclass(frozen=True)
class Observation:
    """What was observed of N people; each has a moment of its own."""

    elapsed_s: np.ndarray  # (N,) since the person's moment before; 0: there was none
    rays: np.ndarray  # (N, J, 2) x / z and y / z, without distortion, NaN: missing
    scores: np.ndarray  # (N, J) 0..1, NaN: none
    states: np.ndarray  # (N, J) JointState
    estimated_m: np.ndarray  # (N, J, 3) camera frame, NaN: unknown
    covariances_m2: np.ndarray  # (N, J, 3, 3) of the estimator, NaN: unknown
    lifted_m: np.ndarray  # (N, J, 3) relative to the root, NaN: none
    fitted_m: np.ndarray  # (N, 3) root of the lifted skeleton by the 2D joints, NaN: none


@dataclass(frozen=True)
class Memory:
    """What is remembered of N people."""

    means_m: np.ndarray  # (N, 2, J, 3) of the base, camera frame, NaN: none yet
    distances: np.ndarray  # (N, 2) means of the logarithm of the root's distance in m, NaN: none
    directions: np.ndarray  # (N, 2, 3) of the root's direction, NaN: none

    @classmethod
    def empty(cls, count: int) -> Memory:
        """Return the memory of people of whom nothing is known."""
        return cls(
            np.full((count, len(_MEAN_S), JOINTS, 3), np.nan),
            np.full((count, len(_MEAN_S)), np.nan),
            np.full((count, len(_MEAN_S), 3), np.nan),
        )

    def select(self, rows: np.ndarray) -> Memory:
        """Return the memory of some of the people."""
        return Memory(*(getattr(self, f.name)[rows] for f in fields(self)))

    @classmethod
    def join(cls, parts: list[Memory]) -> Memory:
        """Return the memory of several people together."""
        return cls(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)))


@dataclass(frozen=True)
class Moment:
    """Input of the network: N people."""

    values: np.ndarray  # (N, VALUES) finite
    base_m: np.ndarray  # (N, J, 3) relative to the root, camera frame, finite
    apart_m: np.ndarray  # (N, J, 3) estimated less lifted; 0 where one is missing
    share: np.ndarray  # (N, J) of the estimator's in the base
    velocity_m_s: np.ndarray  # (N, J, 3) of the base by its running means, camera frame
    position_m: np.ndarray  # (N, 3) of the root by the estimator; 0 where it is unknown
    placed: np.ndarray  # (N,) bool: whether it is known
    rotation: np.ndarray  # (N, 3, 3) camera frame -> frame of the ray to the root
    elapsed_s: np.ndarray  # (N,)


def observe(
    people: People, lifted_m: np.ndarray, camera: Camera, elapsed_s: np.ndarray
) -> Observation:
    """Return what a frame says of its people, who are in the skeleton of the lifters."""
    points = people.joints_px.astype(np.float64)
    rays = undistort_points(points, camera)
    lifted = np.asarray(lifted_m, np.float64)
    lifted = lifted - lifted[:, ROOT : ROOT + 1]
    return Observation(
        np.asarray(elapsed_s, np.float64),
        rays,
        people.joint_scores.astype(np.float64),
        people.joint_states,
        people.joints_m.astype(np.float64),
        people.covariances_m2.astype(np.float64),
        lifted,
        fitted_roots(lifted, rays, people.joint_states),
    )


def fitted_roots(lifted_m: np.ndarray, rays: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return (N, 3) where skeletons (N, J, 3) have to stand to fit their joints in sight."""
    weights = ((states == _IN_SIGHT[0]) | (states == _IN_SIGHT[1])).astype(np.float64)
    return fit_to_rays(lifted_m, rays, weights)[0]


def step(observation: Observation, memory: Memory) -> tuple[Moment, Memory]:
    """Return the moment of an observation, and the memory with it."""
    o = observation
    fresh = ~np.isfinite(memory.means_m[:, 0]).all(axis=(1, 2))
    position = o.estimated_m[:, ROOT]
    placed = np.isfinite(position).all(axis=1)
    placed &= np.where(placed, position[:, 2], 0.0) > 0
    position = np.where(placed[:, None], position, 0.0)
    estimated = o.estimated_m - o.estimated_m[:, ROOT : ROOT + 1]
    share = _share(o.states)
    base = _base(estimated, o.lifted_m, share[..., None], memory.means_m[:, 0])
    distance, direction = _place(position, placed, o, memory)
    rotation = ray_rotation(direction)
    memory = _remember(memory, base, distance, direction, o.elapsed_s)
    joints = _joint_values(o, estimated, base, distance, rotation, memory)
    common = _common_values(o, distance, placed, rotation, memory, fresh)
    values = np.concatenate([joints.reshape(len(joints), -1), common], axis=1)
    both = np.isfinite(estimated) & np.isfinite(o.lifted_m)
    apart = np.where(both, estimated - o.lifted_m, 0.0)
    velocity = (memory.means_m[:, 0] - memory.means_m[:, 1]) / _APART_S
    moment = Moment(values, base, apart, share, velocity, position, placed, rotation, o.elapsed_s)
    return moment, memory


def ray_rotation(direction: np.ndarray) -> np.ndarray:
    """Return (..., 3, 3): the smallest rotation of unit vectors (..., 3), z > -1, onto z."""
    x, y, z = np.moveaxis(direction, -1, 0)
    share = 1.0 / (1.0 + z)
    return np.stack(
        [
            np.stack([1 - x * x * share, -x * y * share, -x], axis=-1),
            np.stack([-x * y * share, 1 - y * y * share, -y], axis=-1),
            np.stack([x, y, z], axis=-1),
        ],
        axis=-2,
    )


def _base(
    estimated: np.ndarray, lifted: np.ndarray, share: np.ndarray, before: np.ndarray
) -> np.ndarray:
    """Return (N, J, 3): the mean of the two, one of them, or what was before."""
    one, other = np.isfinite(estimated), np.isfinite(lifted)
    mixed = np.where(one, estimated, before)
    mixed = np.where(other & ~one, lifted, mixed)
    mixed = np.where(one & other, lifted + share * (estimated - lifted), mixed)
    return np.nan_to_num(mixed, nan=0.0, posinf=0.0, neginf=0.0)


def _share(states: np.ndarray) -> np.ndarray:
    """Return (N, J) how much of the base is the estimator's."""
    hidden = (states == _HIDDEN[0]) | (states == _HIDDEN[1]) | (states == _HIDDEN[2])
    return np.where(hidden, HIDDEN_SHARE, VISIBLE_SHARE)


def _place(
    position: np.ndarray, placed: np.ndarray, o: Observation, memory: Memory
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance (N,) in m, NaN unknown, and direction (N, 3) of the root."""
    fitted = np.isfinite(o.fitted_m).all(axis=1)
    where = np.where(placed[:, None], position, np.where(fitted[:, None], o.fitted_m, np.nan))
    distance = np.linalg.norm(where, axis=1)
    root = o.rays[:, ROOT]
    seen = np.concatenate([root, np.ones_like(root[:, :1])], axis=1)
    ahead = np.array([0.0, 0.0, 1.0])
    for other in (memory.directions[:, 0], seen, ahead):
        where = np.where(np.isfinite(where).all(axis=1, keepdims=True), where, other)
    return distance, where / np.linalg.norm(where, axis=1, keepdims=True)


def _remember(
    memory: Memory,
    base: np.ndarray,
    distance: np.ndarray,
    direction: np.ndarray,
    elapsed_s: np.ndarray,
) -> Memory:
    """Return the memory with a moment more; an unknown distance changes none."""
    gain = 1.0 - np.exp(-np.maximum(elapsed_s, 0.0)[:, None] / np.array(_MEAN_S))

    def mixed(known: np.ndarray, new: np.ndarray) -> np.ndarray:
        share = gain.reshape(*gain.shape, *[1] * (known.ndim - 2))
        new = np.broadcast_to(new, known.shape)
        value = np.where(np.isfinite(known), known + share * (new - known), new)
        return np.where(np.isfinite(new), value, known)

    return Memory(
        mixed(memory.means_m, base[:, None]),
        mixed(memory.distances, np.log(np.maximum(distance, 0.05))[:, None]),
        mixed(memory.directions, direction[:, None]),
    )


def _joint_values(
    o: Observation,
    estimated: np.ndarray,
    base: np.ndarray,
    distance: np.ndarray,
    rotation: np.ndarray,
    memory: Memory,
) -> np.ndarray:
    """Return (N, J, JOINT_VALUES)."""
    turned = _turned(base, rotation)
    both = np.isfinite(estimated) & np.isfinite(o.lifted_m)
    difference = _turned(np.where(both, estimated - o.lifted_m, 0.0), rotation)
    changes = [_turned(base - memory.means_m[:, k], rotation) for k in range(len(_MEAN_S))]
    seen, aside = _aside(o.rays, turned, distance, rotation)
    stated, sigmas = _sigmas(o.covariances_m2, rotation)
    scored = np.isfinite(o.scores)
    flags = [
        np.isfinite(estimated).all(axis=2),
        np.isfinite(o.lifted_m).all(axis=2),
        seen,
        scored,
        stated,
        *(o.states == state for state in _STATES),
    ]
    lengths = np.concatenate([turned, difference, *changes, aside], axis=2)
    return np.concatenate(
        [
            np.clip(lengths, -_LARGEST_M, _LARGEST_M),
            np.where(scored, o.scores, 0.0)[..., None],
            sigmas,
            np.stack(flags, axis=2).astype(np.float64),
        ],
        axis=2,
    )


def _aside(
    rays: np.ndarray, turned: np.ndarray, distance: np.ndarray, rotation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which joints (N, J) have a ray, and how far (N, J, 2) m it passes by the base."""
    lines = _turned(np.concatenate([rays, np.ones_like(rays[..., :1])], axis=2), rotation)
    depth = distance[:, None] + turned[..., 2]
    with np.errstate(invalid='ignore', divide='ignore'):
        seen = np.isfinite(lines).all(axis=2) & (lines[..., 2] > 0.05) & (depth > 0.05)
        passing = lines[..., :2] / lines[..., 2:] * depth[..., None] - turned[..., :2]
    return seen, np.where(seen[..., None], passing, 0.0)


def _sigmas(covariances: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which joints (N, J) have a covariance, and logarithms (N, J, 2) of its sigmas.

    Across and along the ray, 1 for 1 m and 0 for about 5 cm. What is not positive is unknown.
    """
    turned = rotation[:, None] @ np.nan_to_num(covariances, nan=-1.0, posinf=-1.0, neginf=-1.0)
    squares = (turned * rotation[:, None]).sum(axis=3)
    squares = np.stack([squares[..., :2].mean(axis=2), squares[..., 2]], axis=2)
    stated = np.isfinite(covariances).all(axis=(2, 3)) & (squares > 0).all(axis=2)
    logarithms = 1.0 + np.log(np.clip(squares, 1e-6, 10.0)) / 6.0
    return stated, np.where(stated[..., None], logarithms, 0.0)


def _common_values(
    o: Observation,
    distance: np.ndarray,
    placed: np.ndarray,
    rotation: np.ndarray,
    memory: Memory,
    fresh: np.ndarray,
) -> np.ndarray:
    """Return (N, COMMON_VALUES)."""
    known = np.isfinite(distance)
    logarithm = np.log(np.maximum(np.where(known, distance, 1.0), 0.05))
    fitted = np.isfinite(o.fitted_m).all(axis=1) & known
    apart = np.linalg.norm(np.where(fitted[:, None], o.fitted_m, 1.0), axis=1)
    change = np.where(known[:, None], logarithm[:, None] - memory.distances, 0.0)
    turned = np.swapaxes(rotation @ np.swapaxes(memory.directions, 1, 2), 1, 2)[..., :2]
    elapsed = np.clip(o.elapsed_s, 0.0, _LONGEST_S)
    return np.concatenate(
        [
            np.stack([placed, known, fitted, fresh], axis=1).astype(np.float64),
            (logarithm - 1.0)[:, None],
            np.clip(np.where(fitted, np.log(np.maximum(apart, 0.05)) - logarithm, 0), -1, 1)[
                :, None
            ],
            np.clip(np.nan_to_num(change), -1, 1),
            np.clip(turned.reshape(len(turned), -1), -1, 1) * 10.0 / 2.0,
            (np.log(elapsed + 0.005) + 3.4)[:, None] / 2.0,
        ],
        axis=1,
    )


def _turned(vectors: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return vectors (N, J, 3) in the frame of the ray."""
    return vectors @ np.swapaxes(rotation, 1, 2)

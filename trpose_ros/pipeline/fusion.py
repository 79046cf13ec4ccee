"""Fusion: the estimator's metric 3D and the lifted 3D become one skeleton with a covariance.

The estimator sees one image: it knows where the person is, and its joints are good while they can
be seen. The lifter sees a window of 2D poses: it carries hidden joints through time, but it knows
no position, only a skeleton relative to the root. So

* the skeleton is the lifted one plus a share of what the estimator's differs by, averaged over
  ``smoothing_s``: motion comes from the lifter, which does not flicker, and what stays wrong in it,
  such as a person's size, is corrected slowly. The share is ``estimator_share`` for a joint that
  can be seen and ``hidden_share`` for a joint that cannot; it fades over ``fade_s`` when a joint
  appears or disappears, so that the skeleton does not jump at that moment;
* the root is the estimator's metric root, smoothed by an alpha-beta filter (a level and a speed,
  updated by the time between stamps). Its direction is left alone: the image measures it far
  better than its depth, so only the depth is smoothed, over ``root_smoothing_s``;
* the covariance of a joint begins with a share of the estimator's own, where there is one. Else it
  is a prior (``sigma_visible_m``, ``sigma_hidden_m``) and, along the viewing ray, a share of the
  distance. Added are a quarter of the running mean square of what the two skeletons disagree by
  (the error of a mean of two values whose errors are independent) and, along the ray, the running
  mean square of the residuals of the depth filter. The shares are fitted so that the ellipsoids
  hold what they say (``inside95_percent`` of ``trpose evaluate``).

All memory is kept per track and by stamps; there is no frame count. Metres, camera optical frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import Camera, JointState, People, RootSource, TrackState

_RESIDUAL_TIME_S = 1.0  # memory of the running mean squares
# Shares of the estimator's covariance and of the distance. Source: the two rendered clips of
# `trpose evaluate --quick` (held out from all training), metrabs-s with videopose3d, in the six
# conditions of docs/evaluation.md; the priors below were fitted on the same results.
_ESTIMATOR_VARIANCE = 0.6
_DEPTH_SHARE = 0.1
_HIDDEN = (JointState.OCCLUDED, JointState.TRUNCATED, JointState.UNOBSERVED)


@dataclass(frozen=True)
class FusionConfig:
    """Weights and time constants of the fusion."""

    estimator_share: float = setting(
        0.5,
        "share of the estimator's 3D in a joint that can be seen; the rest is lifted",
        range=(0.0, 1.0),
    )
    hidden_share: float = setting(
        0.25, "share of the estimator's 3D in a joint that is hidden or cut off", range=(0.0, 1.0)
    )
    fade_s: float = setting(
        0.1, 'time over which a share fades when a joint appears or disappears, s', range=(0.0, 5.0)
    )
    smoothing_s: float = setting(
        0.5,
        "time over which the estimator's difference from the lifted skeleton is "
        'averaged, s; 0 switches it off',
        range=(0.0, 60.0),
    )
    root_smoothing_s: float = setting(
        0.2,
        'time constant of the smoothing of the root depth, s; 0 switches it off',
        range=(0.0, 5.0),
    )
    sigma_visible_m: float = setting(
        0.06,
        'standard deviation of a visible joint whose estimator states none, m',
        range=(0.0, 1.0),
    )
    sigma_hidden_m: float = setting(0.15, 'the same of a hidden joint, m', range=(0.0, 1.0))

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass
class _TrackMemory:
    """What the fusion remembers of one track."""

    stamp_ns: int
    age_s: float = 0.0
    shares: np.ndarray | None = None  # (J,)
    offset_m: np.ndarray | None = None  # (J, 3) averaged estimated minus lifted, NaN: unknown
    disagreement_m2: np.ndarray | None = None  # (J, 3) running mean square
    depth_m: float = float('nan')
    depth_speed: float = 0.0
    depth_variance_m2: float = 0.0


class Fusion:
    """Joins the estimator's and the lifted skeletons of a stream of frames."""

    weights_id = ''  # constants have none
    alone = False  # whether it improves people without a lifter

    def __init__(self, config: FusionConfig | None = None) -> None:
        self.config = config or FusionConfig()
        self._memory: dict[int, _TrackMemory] = {}

    def reset(self, track_id: int | None = None) -> None:
        """Forget one track, or all of them."""
        if track_id is None:
            self._memory.clear()
        else:
            self._memory.pop(track_id, None)

    def fuse(self, people: People, lifted_m: np.ndarray, camera: Camera, root: int = 0) -> People:
        """Return ``people`` with fused 3D joints, covariances and root sources.

        Args:
            people: the estimator's result for one frame, already in the lifter's skeleton.
            lifted_m: (N, J, 3) root-relative lifted skeletons in metres; rows of NaN where the
                lifter had nothing to say: such people keep their 3D.
            camera: intrinsics of the frame, for the reprojection error.
            root: index of the root joint.

        Raises:
            ValueError: if the shapes do not match.

        """
        if lifted_m.shape != people.joints_m.shape:
            raise ValueError(
                f'lifted_m must have shape {people.joints_m.shape}, got {lifted_m.shape}; '
                "convert the people to the lifter's skeleton first"
            )
        joints = people.joints_m.astype(np.float64)
        covariances = people.covariances_m2.astype(np.float64)
        sources = people.root_sources.copy()
        for i in range(len(people)):
            if people.track_states[i] == TrackState.LOST:
                self.reset(int(people.track_ids[i]))
            elif np.isfinite(lifted_m[i]).any():
                memory = self._step(int(people.track_ids[i]), people.stamp_ns)
                joints[i], covariances[i], sources[i] = self._person(
                    memory, people, i, np.asarray(lifted_m[i], np.float64), root
                )
                memory.age_s += (people.stamp_ns - memory.stamp_ns) * 1e-9
                memory.stamp_ns = people.stamp_ns
        errors = reprojection_errors_px(joints, people, camera)
        errors[sources == RootSource.NONE] = np.nan  # relative to the root: nowhere in the image
        return people.replace(
            joints_m=joints.astype(np.float32),
            covariances_m2=covariances.astype(np.float32),
            root_sources=sources,
            reprojection_errors_px=errors,
        )

    def _step(self, track_id: int, stamp_ns: int) -> _TrackMemory:
        """Return the memory of a track, empty when it is new or time did not move forward."""
        memory = self._memory.get(track_id) if track_id >= 0 else None
        if memory is None or stamp_ns <= memory.stamp_ns:
            memory = _TrackMemory(stamp_ns)
            if track_id >= 0:
                self._memory[track_id] = memory
        return memory

    def _person(
        self, memory: _TrackMemory, people: People, i: int, lifted: np.ndarray, root: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Fuse one person: (J, 3) joints in m, (J, 3, 3) covariances in m2, root source."""
        elapsed_s = (people.stamp_ns - memory.stamp_ns) * 1e-9
        estimated = people.joints_m[i].astype(np.float64)
        origin = estimated[root]
        relative = estimated - origin
        lifted = lifted - lifted[root]
        hidden = np.isin(people.joint_states[i], _HIDDEN)
        skeleton = self._skeleton(memory, relative, lifted, hidden, elapsed_s)
        position, ray_m2, source = self._root(memory, origin, elapsed_s)
        covariance = self._disagreement(memory, relative - lifted, elapsed_s)
        stated = _ESTIMATOR_VARIANCE * people.covariances_m2[i].astype(np.float64)
        known = np.isfinite(stated).all(axis=(1, 2))
        prior = np.where(hidden, self.config.sigma_hidden_m, self.config.sigma_visible_m) ** 2
        covariance += np.where(known[:, None, None], stated, prior[:, None, None] * np.eye(3))
        if source == RootSource.NONE:
            return skeleton, covariance, source
        covariance[~known] += depth_covariance(position)
        ray = position / np.linalg.norm(position)
        return skeleton + position, covariance + ray_m2 * np.outer(ray, ray), source

    def _skeleton(
        self,
        memory: _TrackMemory,
        relative: np.ndarray,
        lifted: np.ndarray,
        hidden: np.ndarray,
        elapsed_s: float,
    ) -> np.ndarray:
        """Return the lifted skeleton (J, 3), drawn towards the estimated one."""
        config = self.config
        target = np.where(hidden, config.hidden_share, config.estimator_share)
        if memory.shares is None:
            memory.shares = target
        else:
            memory.shares = memory.shares + _gain(elapsed_s, config.fade_s) * (
                target - memory.shares
            )
        offset = self._offset(memory, relative - lifted, elapsed_s)
        drawn = lifted + memory.shares[:, None] * np.nan_to_num(offset, nan=0.0)
        return np.where(np.isfinite(lifted), drawn, relative)

    def _offset(self, memory: _TrackMemory, difference: np.ndarray, elapsed_s: float) -> np.ndarray:
        """Average (J, 3) differences: all of them at first, then those of ``smoothing_s``."""
        known = memory.offset_m
        if known is None:
            known = np.full_like(difference, np.nan)
        # The first difference counts as long as the one that follows it.
        span_s = min(memory.age_s + 2 * elapsed_s, self.config.smoothing_s)
        gain = 1.0 if span_s <= 0 else min(1.0, elapsed_s / span_s)
        mixed = known + gain * (difference - known)
        mixed = np.where(np.isfinite(known), mixed, difference)
        memory.offset_m = np.where(np.isfinite(difference), mixed, known)
        return memory.offset_m

    def _root(
        self, memory: _TrackMemory, origin: np.ndarray, elapsed_s: float
    ) -> tuple[np.ndarray, float, int]:
        """Smooth the depth of the root: position (3,), variance along the ray, source."""
        if not np.isfinite(origin).all() or origin[2] <= 0:
            return np.zeros(3), 0.0, int(RootSource.NONE)
        smoothing_s = self.config.root_smoothing_s
        if smoothing_s == 0 or not np.isfinite(memory.depth_m):
            memory.depth_m = float(origin[2])
            return origin, memory.depth_variance_m2, int(RootSource.ESTIMATOR)
        alpha = _gain(elapsed_s, smoothing_s)
        beta = alpha * alpha / (2.0 - alpha)
        predicted = memory.depth_m + memory.depth_speed * elapsed_s
        residual = float(origin[2]) - predicted
        memory.depth_m = max(predicted + alpha * residual, 0.05)
        memory.depth_speed += beta / max(elapsed_s, 1e-3) * residual
        memory.depth_variance_m2 += _gain(elapsed_s, _RESIDUAL_TIME_S) * (
            residual * residual - memory.depth_variance_m2
        )
        position = origin * (memory.depth_m / origin[2])
        return position, memory.depth_variance_m2, int(RootSource.FUSED)

    @staticmethod
    def _disagreement(memory: _TrackMemory, difference: np.ndarray, elapsed_s: float) -> np.ndarray:
        """Return a quarter of the running mean square disagreement as covariances (J, 3, 3)."""
        square = np.nan_to_num(difference * difference, nan=0.0)
        if memory.disagreement_m2 is None:
            memory.disagreement_m2 = square
        else:
            memory.disagreement_m2 = memory.disagreement_m2 + _gain(elapsed_s, _RESIDUAL_TIME_S) * (
                square - memory.disagreement_m2
            )
        return 0.25 * memory.disagreement_m2[:, :, None] * np.eye(3)


def depth_covariance(position_m: np.ndarray) -> np.ndarray:
    """Return (3, 3) m2 of a position (3,) whose direction is measured and whose distance is not."""
    return np.outer(position_m, position_m) * _DEPTH_SHARE**2


def reprojection_errors_px(joints_m: np.ndarray, people: People, camera: Camera) -> np.ndarray:
    """Mean distance between projected 3D joints and the 2D joints inside the image, (N,) px.

    NaN where a person has no joint with both.
    """
    from trpose_ros.cameras import project

    n = len(people)
    errors = np.full(n, np.nan, np.float32)
    if n == 0:
        return errors
    measured = people.joints_px.astype(np.float64)
    distances = np.linalg.norm(project(joints_m, camera) - measured, axis=-1)
    inside = (
        (measured >= -0.5).all(axis=-1)
        & (measured[..., 0] <= people.width - 0.5)
        & (measured[..., 1] <= people.height - 0.5)
    )
    usable = inside & np.isfinite(distances)
    some = usable.any(axis=1)
    sums = np.where(usable, distances, 0.0).sum(axis=1)
    errors[some] = sums[some] / usable.sum(axis=1)[some]
    return errors


def _gain(elapsed_s: float, time_s: float) -> float:
    """Share of a new value in an exponential mean with the time constant ``time_s``."""
    return 1.0 if time_s <= 0 else 1.0 - float(np.exp(-max(elapsed_s, 0.0) / time_s))

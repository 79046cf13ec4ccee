"""People as shapes for RViz and Foxglove: plain arrays; recordings/messages.py makes messages.

Per person one list of bones and one list of joints, under stable names, so that a viewer updates
them in place; a track that is gone is deleted explicitly, and a node that dies leaves nothing
behind because markers live only about three frames. Colours are those of the drawings: the side
of the body, or the state of a joint that is hidden or cut off. The alpha value is the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.drawing.overlay import joint_colours
from trpose_ros.people import People, TrackState
from trpose_ros.skeletons import get_skeleton
from trpose_ros.transforms import quaternion_of

_MIN_ALPHA = 0.25
_PERIODS = 3.0  # frame periods that a marker lives
_JOINTS_PER_TRACK = 1000  # identities of the sigma spheres: track * this + joint


@dataclass(frozen=True)
class MarkersConfig:
    """What the markers look like."""

    bone_width_m: float = setting(0.025, 'width of the bones, m', range=(0.001, 1.0))
    joint_diameter_m: float = setting(0.05, 'diameter of the joints, m', range=(0.001, 1.0))
    sigma_spheres: bool = setting(False, 'also draw the one-sigma ellipsoid of each joint')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Shape:
    """One marker: ``kind`` is LINE_LIST, SPHERE_LIST or SPHERE."""

    namespace: str
    identity: int
    kind: str
    points_m: np.ndarray  # (P, 3)
    colours: np.ndarray  # (P, 4) RGBA in 0..1
    scale_m: tuple[float, float, float]
    orientation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)  # x, y, z, w


class MarkerStream:
    """Turns a stream of people into shapes and remembers which ones are on display."""

    def __init__(self, config: MarkersConfig | None = None) -> None:
        self.config = config or MarkersConfig()
        self._shown: set[tuple[str, int]] = set()
        self._last_ns: int | None = None
        self._period_s = 1.0 / 30.0

    def update(self, people: People) -> tuple[list[Shape], list[tuple[str, int]], float]:
        """Return the shapes to show, the (namespace, id) to delete, and the lifetime in s."""
        shapes = people_shapes(people, self.config)
        names = {(shape.namespace, shape.identity) for shape in shapes}
        gone, self._shown = sorted(self._shown - names), names
        if self._last_ns is not None and people.stamp_ns > self._last_ns:
            period_s = min((people.stamp_ns - self._last_ns) * 1e-9, 1.0)
            self._period_s += 0.2 * (period_s - self._period_s)
        self._last_ns = people.stamp_ns
        return shapes, gone, _PERIODS * self._period_s

    def clear(self) -> list[tuple[str, int]]:
        """Forget everything; return the (namespace, id) to delete."""
        gone, self._shown, self._last_ns = sorted(self._shown), set(), None
        return gone


def people_shapes(people: People, config: MarkersConfig) -> list[Shape]:
    """Return the shapes of everybody who is not LOST and has a joint with a position."""
    skeleton = get_skeleton(people.skeleton)
    bones = np.array(skeleton.bones, dtype=np.intp).reshape(-1, 2)
    shapes = []
    for i in range(len(people)):
        known = np.isfinite(people.joints_m[i]).all(axis=1)
        if people.track_states[i] == TrackState.LOST or not known.any():
            continue
        # People without a track are told apart by their order; real tracks count from 0.
        identity = int(people.track_ids[i]) if people.track_ids[i] >= 0 else -1 - i
        colours = _colours_rgba(people, i)
        joints = people.joints_m[i].astype(np.float64)
        ends = bones[known[bones].all(axis=1)].ravel()
        width, size = config.bone_width_m, config.joint_diameter_m
        # A bone has the colour of its far end, the child, at both ends.
        bone_colours = colours[np.repeat(ends[1::2], 2)]
        if len(ends):
            shapes.append(
                Shape('bones', identity, 'LINE_LIST', joints[ends], bone_colours, (width, 0, 0))
            )
        shapes.append(
            Shape('joints', identity, 'SPHERE_LIST', joints[known], colours[known], (size,) * 3)
        )
        if config.sigma_spheres:
            shapes += _sigma_shapes(people, i, identity, colours)
    return shapes


def _colours_rgba(people: People, i: int) -> np.ndarray:
    """(J, 4) RGBA in 0..1 of one person's joints."""
    scores = np.nan_to_num(people.joint_scores[i].astype(np.float64), nan=1.0)
    alphas = _MIN_ALPHA + (1.0 - _MIN_ALPHA) * np.clip(scores, 0.0, 1.0)
    colours = np.array(joint_colours(people, i), np.float64) / 255.0
    return np.concatenate([colours, alphas[:, None]], axis=1)


def _sigma_shapes(people: People, i: int, identity: int, colours: np.ndarray) -> list[Shape]:
    """One-sigma ellipsoids of the joints whose covariance is known and positive."""
    shapes = []
    for j, covariance in enumerate(people.covariances_m2[i].astype(np.float64)):
        if not np.isfinite(covariance).all() or not np.isfinite(people.joints_m[i, j]).all():
            continue
        values, axes = np.linalg.eigh((covariance + covariance.T) / 2.0)
        if values[0] <= 0.0:
            continue
        if np.linalg.det(axes) < 0.0:
            axes[:, 0] *= -1.0
        colour = colours[j].copy()
        colour[3] = _MIN_ALPHA
        x, y, z = (2.0 * np.sqrt(values)).tolist()
        qx, qy, qz, qw = quaternion_of(axes).tolist()
        shapes.append(
            Shape(
                'sigma',
                identity * _JOINTS_PER_TRACK + j,
                'SPHERE',
                people.joints_m[i, j : j + 1].astype(np.float64),
                colour[None],
                (x, y, z),
                (qx, qy, qz, qw),
            )
        )
    return shapes

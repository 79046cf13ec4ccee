"""Where several cameras stand: extrinsics of each in one world frame.

World coordinates are X = rotation @ x + position of camera coordinates x (optical frame, metres).
What knows the place of a camera at a time is an ``Extrinsics``: a ``Rig`` does for cameras that
stand still, a buffer of transforms may do for those that move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from trpose_ros.people import Camera

# A rotation that is written with three digits is orthonormal to about that.
_ORTHONORMAL = 0.02
# A camera farther than this from the others has its place in millimetres, not metres.
_FARTHEST_M = 200.0
_UNIT_ROUNDING = 1e-3


class Placement(NamedTuple):
    """A camera's place."""

    rotation: np.ndarray  # (3, 3) camera to world
    position_m: np.ndarray  # (3,) of the camera in the world


class Extrinsics(Protocol):
    """Whoever knows where cameras are."""

    def extrinsics(self, frame_id: str, stamp_ns: int) -> Placement | None:
        """Return the place of an optical frame at a time; None where it is not known."""
        ...


@dataclass(frozen=True)
class RigCamera:
    """One camera of a rig; '' and None where a file says nothing."""

    name: str
    placement: Placement
    frame_id: str = ''  # of its images
    topic: str = ''  # of its people
    info_topic: str = ''  # of its intrinsics
    image_topic: str = ''  # of its images, where one recording has several
    recording: str = ''  # file of its images, or the name of it
    intrinsics: Camera | None = None
    time_offset_s: float = 0.0  # added to its stamps

    @property
    def frame(self) -> str:
        """Return the name under which extrinsics are asked for."""
        return self.frame_id or self.name


@dataclass(frozen=True)
class Rig:
    """Cameras that stand still."""

    cameras: tuple[RigCamera, ...]
    world: str = 'world'  # frame_id of results
    notes: tuple[str, ...] = ()  # what is odd about the file

    def __post_init__(self) -> None:
        """Refuse what no rig has; raises ValueError naming the camera."""
        for kind in ('name', 'frame_id', 'topic'):
            given = [getattr(camera, kind) for camera in self.cameras if getattr(camera, kind)]
            twice = sorted({value for value in given if given.count(value) > 1})
            if twice:
                raise ValueError(f'{kind} {twice[0]!r} is that of two cameras: each has its own')

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the cameras."""
        return tuple(camera.name for camera in self.cameras)

    def __getitem__(self, name: str) -> RigCamera:
        """Return a camera; raises ValueError naming those there are."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise ValueError(f'no camera {name!r:.80} in the calibration; it has {list(self.names)}')

    def only(self, names: tuple[str, ...]) -> Rig:
        """Return the rig of some of its cameras, in that order; raises as ``__getitem__``."""
        return Rig(tuple(self[name] for name in names), self.world, self.notes)

    def extrinsics(self, frame_id: str, stamp_ns: int) -> Placement | None:
        """Return the place of an optical frame, by its frame_id or the camera's name."""
        for camera in self.cameras:
            if frame_id in (camera.frame, camera.name):
                return camera.placement
        return None


def placement_of(rotation: np.ndarray, position_m: np.ndarray) -> Placement:
    """Return a place from a camera-to-world rotation (3, 3) and a position (3,).

    A rotation that is rounded is made orthonormal. Raises ValueError for one that is none (it
    mirrors, scales, or has other numbers than a rotation) and for values that are not finite.
    """
    rotation = np.asarray(rotation, np.float64)
    position_m = np.asarray(position_m, np.float64).ravel()
    if rotation.shape != (3, 3) or position_m.shape != (3,):
        raise ValueError(
            f'a rotation has 3x3 numbers and a position 3, got {rotation.shape} and '
            f'{position_m.shape}'
        )
    if not (np.isfinite(rotation).all() and np.isfinite(position_m).all()):
        raise ValueError(f'numbers must be finite, got {rotation.tolist()}, {position_m.tolist()}')
    error = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    if error > _ORTHONORMAL or np.linalg.det(rotation) < 0:
        why = 'mirrors' if error <= _ORTHONORMAL else f'is off by {error:.3g}'
        raise ValueError(
            f'{np.round(rotation, 4).tolist()} is no rotation (R R^T must be one, its determinant '
            f'+1; it {why}): look whether rows and columns, or axes, are exchanged'
        )
    u, _, v = np.linalg.svd(rotation)
    return Placement(u @ v, position_m)


def from_quaternion(quaternion_xyzw: np.ndarray, position_m: np.ndarray) -> Placement:
    """Return a place from a camera-to-world quaternion (4,) in the order x, y, z, w.

    Raises ValueError for one that is not of length one.
    """
    q = np.asarray(quaternion_xyzw, np.float64).ravel()
    length = float(np.linalg.norm(q)) if q.shape == (4,) else float('nan')
    if not abs(length - 1.0) <= _ORTHONORMAL:
        raise ValueError(
            f'quaternion_xyzw takes four numbers of length one, got {q.tolist()} of length '
            f'{length:.3g}'
        )
    x, y, z, w = q / length
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return placement_of(np.array(rotation), position_m)


def inverted(rotation: np.ndarray, translation_m: np.ndarray) -> Placement:
    """Return the place of a camera whose world-to-camera transform is R X + t."""
    there = placement_of(rotation, translation_m)
    return Placement(there.rotation.T, -there.rotation.T @ there.position_m)


def unit_note(placements: dict[str, Placement]) -> str:
    """Say that positions look like millimetres or another small unit; '' when they do not."""
    if len(placements) < 2:
        return ''
    positions = np.array([place.position_m for place in placements.values()])
    apart = np.linalg.norm(positions[:, None] - positions, axis=-1)
    if apart.max() > _FARTHEST_M:
        return (
            f'cameras are up to {apart.max():.0f} m apart: positions seem to be in millimetres or '
            "centimetres; write metres, or unit: mm, unit: cm beside 'cameras'"
        )
    if apart.max() < _UNIT_ROUNDING:
        return f'all cameras stand in one place ({apart.max():.2g} m apart): nothing has a depth'
    return ''

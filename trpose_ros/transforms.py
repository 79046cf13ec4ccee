"""Rigid transforms between coordinate frames, and people seen from another frame.

A quaternion is (x, y, z, w), as in ROS. ``a_from_b`` takes points of frame b to frame a, so that
``a_from_b @ b_from_c`` is ``a_from_c``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trpose_ros.people import People, RootSource

_NEARLY_EQUAL = 1.0 - 1e-9  # cosine of half the angle below which rotations are blended linearly


@dataclass(frozen=True)
class Transform:
    """A rotation, then a translation."""

    quaternion: np.ndarray  # (4,) of length 1: x, y, z, w
    translation_m: np.ndarray  # (3,)

    @property
    def rotation(self) -> np.ndarray:
        """Return the rotation matrix (3, 3)."""
        x, y, z, w = self.quaternion.tolist()
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    def __matmul__(self, first: Transform) -> Transform:
        """Return the transform that does ``first`` and then this one."""
        turned = _product(self.quaternion, first.quaternion)
        return Transform(
            turned / np.linalg.norm(turned),
            self.rotation @ first.translation_m + self.translation_m,
        )

    def inverse(self) -> Transform:
        """Return the transform back."""
        back = self.quaternion * (-1.0, -1.0, -1.0, 1.0)
        return Transform(back, -(self.rotation.T @ self.translation_m))


IDENTITY = Transform(np.array([0.0, 0.0, 0.0, 1.0]), np.zeros(3))


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the quaternion of rotation b followed by rotation a."""
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(vector, a[3] * b[3] - a[:3] @ b[:3])


def interpolate(first: Transform, second: Transform, share: float) -> Transform:
    """Return what lies between two transforms: the first for a share of 0, the second for 1.

    The translation runs on a straight line, the rotation on the shorter arc at constant speed
    (slerp; Shoemake, SIGGRAPH 1985), as in tf2.
    """
    a, b = first.quaternion, second.quaternion
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    weights = 1.0 - share, share
    if cosine < _NEARLY_EQUAL:
        angle = np.arccos(cosine)
        weights = np.sin((1.0 - share) * angle), np.sin(share * angle)
    turned = weights[0] * a + weights[1] * b
    moved = first.translation_m + share * (second.translation_m - first.translation_m)
    return Transform(turned / np.linalg.norm(turned), moved)


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Return the quaternion (4,) of a rotation matrix (3, 3), by its largest component."""
    trace = np.trace(rotation)
    squares = np.concatenate([2.0 * np.diag(rotation) - trace, [trace]]) + 1.0
    k = int(np.argmax(squares))  # 4 times the square of component k
    if k == 3:
        vector = np.array(
            [
                rotation[2, 1] - rotation[1, 2],
                rotation[0, 2] - rotation[2, 0],
                rotation[1, 0] - rotation[0, 1],
                squares[3],
            ]
        )
    else:
        a, b = (k + 1) % 3, (k + 2) % 3
        vector = np.empty(4)
        vector[k] = squares[k]
        vector[a] = rotation[a, k] + rotation[k, a]
        vector[b] = rotation[b, k] + rotation[k, b]
        vector[3] = rotation[b, a] - rotation[a, b]
    return vector / np.linalg.norm(vector)


def people_seen_from(people: People, frame_id: str, transform: Transform) -> People:
    """Return people whose 3D joints and covariances are those of another frame.

    ``transform`` takes points of the people's frame to ``frame_id``. Joints relative to the root
    are turned and stay relative. 3D is in double precision, because a frame such as a map may be
    far away; what lies in the image stays as it is.
    """
    rotation = transform.rotation
    joints = people.joints_m.astype(np.float64) @ rotation.T
    placed = people.root_sources != RootSource.NONE
    joints[placed] += transform.translation_m
    covariances = rotation @ people.covariances_m2.astype(np.float64) @ rotation.T
    return people.replace(frame_id=frame_id, joints_m=joints, covariances_m2=covariances)

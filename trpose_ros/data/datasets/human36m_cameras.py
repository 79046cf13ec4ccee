"""The cameras of Human3.6M: intrinsics, poses, the projection of the published archives.

Four cameras, the same for all subjects; their poses change with the subject. Intrinsics are given
as (fx, fy, cx, cy, k1, k2, k3, p1, p2), focal lengths divided by half the width and the centre
normalised like keypoints (x in -1..1, both axes divided by the width), or in pixels. A pose is a
unit quaternion (w, x, y, z) that turns camera axes into world axes, and the position of the
camera in the world, metres.

The archives with 3D positions carry no camera poses. They are found, in this order, in
``cameras_h36m.json`` (written by ``trpose data prepare human36m``), in the data set's own
``metadata.xml``, or by resection: the ground-truth 2D archive is nothing but the projection of the
3D archive, so the pose of a camera follows from both to a fraction of a millimetre.

The tangential term of this projection is not quite OpenCV's (it enters the radial factor), which
:func:`to_camera` ignores: at most 0.3 px inside the image.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.optimize import least_squares

from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.people import Camera
from trpose_ros.writing import write_text

CAMERAS = ('54138969', '55011271', '58860488', '60457274')
SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))
POSES_FILE = 'cameras_h36m.json'
# fx fy cx cy in pixels, then k1 k2 k3 p1 p2; calibration of the data set.
_INTRINSICS_PX = (
    (1145.0494528, 1143.7811852, 512.5415325, 515.4514907),
    (1149.6756077, 1147.5917101, 508.8486075, 508.0649257),
    (1149.1407156, 1148.7989426, 519.8158621, 501.4026761),
    (1145.5113888, 1144.7739601, 514.9682164, 501.8820167),
)
_DISTORTION = (
    (-0.207098916173, 0.247775182128, -0.003075150307, -0.000975698873, -0.001424471615),
    (-0.194213628769, 0.240408539772, 0.006819975562, -0.001619026647, -0.002740894444),
    (-0.208338186145, 0.255488008261, -0.002460497431, 0.001484386972, -0.000759999326),
    (-0.198384091258, 0.218323677778, -0.008947807364, -0.000587205577, -0.001813362003),
)
_RESECTION_POINTS = 3000
_RESECTION_LIMIT_PX = 2.0


@dataclass(frozen=True)
class CameraPose:
    """Where a camera stands."""

    orientation: np.ndarray  # (4,) unit quaternion w x y z, camera to world
    position_m: np.ndarray  # (3,) in the world


def normalised_intrinsics(camera: int) -> np.ndarray:
    """Return the (9,) float64 vector of camera 0..3 in the form of the published archives."""
    fx, fy, cx, cy = _INTRINSICS_PX[camera]
    width, height = SIZES[camera]
    half = width / 2
    head = (fx / half, fy / half, cx / half - 1, cy / half - height / width)
    return np.array([*head, *_DISTORTION[camera]])


def to_camera(camera: int) -> Camera:
    """Return camera 0..3 with OpenCV's distortion k1 k2 p1 p2 k3."""
    fx, fy, cx, cy = _INTRINSICS_PX[camera]
    k1, k2, k3, p1, p2 = _DISTORTION[camera]
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    width, height = SIZES[camera]
    return Camera(width, height, matrix, np.array([k1, k2, p2, p1, k3]))


def project_normalised(
    joints_m: np.ndarray, intrinsics: np.ndarray, linear: bool = False
) -> np.ndarray:
    """Project camera-frame points (..., 3) to normalised screen coordinates (..., 2).

    x/z and y/z are clamped to [-1, 1] first, as the published projection does: a point behind the
    camera or far outside lands at the border of that square instead of at infinity. ``linear``
    leaves the distortion out. intrinsics is the (9,) vector of :func:`normalised_intrinsics`.
    """
    focal, centre = intrinsics[:2], intrinsics[2:4]
    with np.errstate(divide='ignore', invalid='ignore'):
        plane = np.clip(joints_m[..., :2] / joints_m[..., 2:], -1, 1)
    if not linear:
        plane = _distort(plane, intrinsics[4:7], intrinsics[7:9])
    return focal * plane + centre


def _distort(plane: np.ndarray, radial: np.ndarray, tangential: np.ndarray) -> np.ndarray:
    square = (plane**2).sum(axis=-1, keepdims=True)
    powers = np.concatenate([square, square**2, square**3], axis=-1)
    factor = 1 + (powers * radial).sum(axis=-1, keepdims=True)
    factor = factor + (plane * tangential).sum(axis=-1, keepdims=True)
    return plane * factor + tangential * square


def undistort_normalised(screen: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Return x/z, y/z (..., 2) of normalised screen coordinates inside the image."""
    target = (screen - intrinsics[2:4]) / intrinsics[:2]
    plane = target.copy()
    for _ in range(30):  # contraction by about 0.2 a step inside these images
        plane = plane - (_distort(plane, intrinsics[4:7], intrinsics[7:9]) - target)
    return plane


def rotation(orientation: np.ndarray) -> np.ndarray:
    """Return the (3, 3) matrix of a unit quaternion w x y z; raises DataError for a bad one."""
    q = np.asarray(orientation, np.float64)
    if q.shape != (4,) or not np.isfinite(q).all() or abs(np.linalg.norm(q) - 1) > 1e-3:
        raise DataError(f'{q.tolist()} is not a unit quaternion (w, x, y, z)')
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion(matrix: np.ndarray) -> np.ndarray:
    """Return the (4,) unit quaternion w x y z, w >= 0, of a rotation matrix."""
    m = np.asarray(matrix, np.float64)
    trace = np.trace(m)
    # Columns of 4 q q^T: the longest one is the best conditioned.
    outer = np.array(
        [
            [1 + trace, m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], 1 + 2 * m[0, 0] - trace, m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]],
            [m[0, 2] - m[2, 0], m[0, 1] + m[1, 0], 1 + 2 * m[1, 1] - trace, m[1, 2] + m[2, 1]],
            [m[1, 0] - m[0, 1], m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], 1 + 2 * m[2, 2] - trace],
        ]
    )
    q = outer[np.argmax(np.diag(outer))]
    q = q / np.linalg.norm(q)
    return q if q[0] >= 0 else -q


def world_to_camera(world_m: np.ndarray, pose: CameraPose) -> np.ndarray:
    """Return world points (..., 3) in the frame of the camera."""
    return (world_m - pose.position_m) @ rotation(pose.orientation)


def camera_to_world(joints_m: np.ndarray, pose: CameraPose) -> np.ndarray:
    """Return camera-frame points (..., 3) in the world."""
    return joints_m @ rotation(pose.orientation).T + pose.position_m


def pose_matrix(pose: CameraPose) -> np.ndarray:
    """Return the (4, 4) matrix world to camera."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(pose.orientation).T
    matrix[:3, 3] = -matrix[:3, :3] @ pose.position_m
    return matrix


def resect(world_m: np.ndarray, px: np.ndarray, camera: int, where: str) -> CameraPose:
    """Return the pose of camera 0..3 from world points (P, 3) and their pixels (P, 2).

    Raises DataError when the two do not belong together (more than 2 px apart in the median, as
    with detections instead of the ground-truth archive).
    """
    width, height = SIZES[camera]
    intrinsics = normalised_intrinsics(camera)
    good = np.isfinite(world_m).all(axis=1) & np.isfinite(px).all(axis=1)
    # Only inside the image is the distortion invertible and the clamp inactive.
    good &= ((px > 0) & (px < (width, height))).all(axis=1)
    world, pixels = world_m[good].astype(np.float64), px[good].astype(np.float64)
    step = max(1, len(world) // _RESECTION_POINTS)
    world, pixels = world[::step], pixels[::step]
    if len(world) < 20:
        raise DataError(f'{where}: {len(world)} joints inside the image do not tell the camera')
    screen = pixels * 2 / width - (1, height / width)
    plane = undistort_normalised(screen, intrinsics)
    good, turn, shift = cv2.solvePnP(world, plane, np.eye(3), None, flags=cv2.SOLVEPNP_SQPNP)
    if not good:
        raise DataError(f'{where}: no camera fits the 2D and the 3D archive')

    def residual(values: np.ndarray) -> np.ndarray:
        points = world @ cv2.Rodrigues(values[:3])[0].T + values[3:]
        return ((project_normalised(points, intrinsics) - screen) * width / 2).ravel()

    start = np.concatenate([turn.ravel(), shift.ravel()])
    found = least_squares(residual, start, method='lm', xtol=1e-12, ftol=1e-12).x
    error = float(np.median(np.linalg.norm(residual(found).reshape(-1, 2), axis=1)))
    if not error < _RESECTION_LIMIT_PX:
        raise DataError(
            f'{where}: 2D and 3D archive are {error:.1f} px apart at best; the camera poses need '
            'data_2d_h36m_gt.npz made from the same data_3d_h36m.npz'
        )
    matrix = cv2.Rodrigues(found[:3])[0]
    return CameraPose(quaternion(matrix.T), -matrix.T @ found[3:])


def read_metadata(path: Path) -> dict[str, list[CameraPose]]:
    """Return subject -> four poses from the data set's metadata.xml.

    Its element ``w0`` lists, for each camera, 11 subjects with three angles (rotations about x,
    y, z, multiplied in that order) and the position in mm, then the intrinsics. Raises DataError.
    """
    try:
        text = ElementTree.parse(path).getroot().findtext('.//w0')
        values = np.array([float(v) for v in (text or '').strip(' []\n\t').split()])
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise DataError(f'{path} is not the metadata.xml of Human3.6M: {error}') from error
    if values.size != 300:
        raise DataError(f'{path}: w0 has {values.size} numbers, expected 300')
    poses = values[:264].reshape(4, 11, 6)
    return {
        f'S{subject + 1}': [
            CameraPose(quaternion(_angles(row[:3]).T), row[3:] / 1000) for row in poses[:, subject]
        ]
        for subject in range(11)
    }


def _angles(angles: np.ndarray) -> np.ndarray:
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def read_poses(folder: Path, anew: bool = False) -> dict[str, list[CameraPose]]:
    """Return subject -> poses from cameras_h36m.json (unless ``anew``) or metadata.xml.

    Raises MissingDataError when there is neither and DataError for a damaged file.
    """
    written = folder / POSES_FILE
    if written.is_file() and not anew:
        try:
            content = json.loads(written.read_text())
            return {
                subject: [
                    CameraPose(np.array(c['orientation']), np.array(c['position_m'], np.float64))
                    for c in cameras
                ]
                for subject, cameras in content.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f'{written} is damaged ({error!r}); delete it and prepare again'
            ) from error
    if (folder / 'metadata.xml').is_file():
        return read_metadata(folder / 'metadata.xml')
    raise MissingDataError(f'neither {written} nor {folder / "metadata.xml"} exists')


def write_poses(path: Path, poses: Mapping[str, list[CameraPose]]) -> None:
    """Write cameras_h36m.json, at once or not at all."""
    content = {
        subject: [
            {'orientation': p.orientation.tolist(), 'position_m': p.position_m.tolist()}
            for p in cameras
        ]
        for subject, cameras in poses.items()
    }
    write_text(path, json.dumps(content, indent=1))

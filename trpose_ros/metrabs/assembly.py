"""From poses in crop frames to people in the camera's frame and image: pure numpy geometry.

Order, as in the published wrapper: undo rotation and mirroring of every variant, apply the
joint transform (a matrix that turns the network's joints into those of all supported skeletons),
project into the image, move to the world frame, select the skeleton's joints, average variants.
Units are those of the input (mm for published networks); nothing here depends on them.
"""

from __future__ import annotations

import numpy as np

from trpose_ros import cameras
from trpose_ros.metrabs.crops import distort_polynomial
from trpose_ros.people import Camera


def to_camera_frame(
    poses: np.ndarray, rotation: np.ndarray, flip: np.ndarray, mirror: np.ndarray
) -> np.ndarray:
    """Return poses (A, N, J, 3) in the camera frame.

    ``poses`` are in the crop frames given by ``rotation`` (A, N, 3, 3); ``flip`` (A,) says which
    variants were mirrored, ``mirror`` (J,) is the mirror image of each joint.
    """
    turned = np.einsum('anjc,ancd->anjd', poses, rotation)  # by the transpose: crop -> camera
    return np.where(flip[:, None, None, None], turned[:, :, mirror], turned)


def transform_joints(poses: np.ndarray, matrix: np.ndarray | None) -> np.ndarray:
    """Apply a joint transform (J, K) to poses (..., J, C); None leaves them alone."""
    if matrix is None:
        return poses
    if matrix.shape[0] != poses.shape[-2]:
        raise ValueError(
            f'joint transform of shape {matrix.shape} does not fit {poses.shape[-2]} joints'
        )
    return np.einsum('...jc,jk->...kc', poses, matrix)


def project_poses(poses: np.ndarray, camera: Camera, compatible: bool = False) -> np.ndarray:
    """Return pixels (..., 2) of camera points (..., 3); NaN at or behind the camera.

    ``compatible`` projects points behind the camera, too, and applies the distortion polynomial
    beyond its valid range, as the original does.
    """
    if not compatible:
        return cameras.project(poses, camera)
    normalised = poses[..., :2] / poses[..., 2:]
    normalised = distort_polynomial(normalised, camera.distortion)
    return normalised @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]


def to_world_frame(poses: np.ndarray, extrinsic: np.ndarray) -> np.ndarray:
    """Move camera points (..., 3) to the world frame; ``extrinsic`` (4, 4) is world -> camera."""
    inverse = np.linalg.inv(np.asarray(extrinsic, np.float64))
    return poses @ inverse[:3, :3].T + inverse[:3, 3]

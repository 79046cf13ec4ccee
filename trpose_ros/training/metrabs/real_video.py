"""A crop network on a real person: a video from calibrated cameras with 3D truth.

The pack ``real_video`` is for validation alone: nothing is trained on it. Boxes are those of the
true joints, so that the network is measured and not the detector.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from trpose_ros.archives import pack_arrays
from trpose_ros.cameras import project
from trpose_ros.data.rendering.bodies import PackError, shared_data_dir
from trpose_ros.data.rendering.crops import joint_box, reference_box
from trpose_ros.data.rendering.hiding import CONDITIONS, hide
from trpose_ros.metrabs import warps_cpu
from trpose_ros.metrabs.augmentation import augmentation_table
from trpose_ros.metrabs.crops import box_views, crop_views
from trpose_ros.metrabs.loss import project_mm
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.people import Camera
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.metrabs.batches import Batch
from trpose_ros.training.metrabs.measure import run

_STEP = 4  # every so manieth frame of 60 Hz
_PCK = 0.2  # of the torso
_HIPS = ('RHip', 'LHip')


def on_real_video(model: Metrabs) -> dict:
    """Return ``{'clean': {'mpjpe_mm', 'pck'}, ...}``, {} where the pack is not there.

    Twelve joints relative to the middle of the hips; ``pck``: share of joints nearer than 0.2 of
    the torso in the image, hidden ones included.
    """
    try:
        folder = shared_data_dir('real_video')
    except PackError:
        return {}
    results = {}
    for condition in ('clean', *CONDITIONS):
        errors, found = [], []
        for batch, truth_m, indices in batches(folder, model.config.proc_side, condition):
            with torch.no_grad():
                poses, _ = run(model, batch)
            px = project_mm(poses, batch.intrinsics)[:, indices].numpy()
            poses_m = poses[:, indices].numpy() / 1000
            errors.append(relative(poses_m) - relative(truth_m))
            true_px = batch.joints_px.numpy()
            torso = np.linalg.norm(true_px[:, 6] - true_px[:, 0], axis=-1)
            found.append(np.linalg.norm(px - true_px, axis=-1) < _PCK * torso[:, None])
        distance = np.linalg.norm(np.concatenate(errors), axis=-1)
        results[condition] = {
            'mpjpe_mm': round(1000 * float(distance.mean()), 1),
            'pck': round(float(np.concatenate(found).mean()), 3),
        }
    return results


def relative(joints_m: np.ndarray) -> np.ndarray:
    """Return joints (B, 12, 3) relative to the middle of the hips, joints 0 and 3."""
    return joints_m - (joints_m[:, :1] + joints_m[:, 3:4]) / 2


def batches(
    folder: Path, side: int, condition: str
) -> Iterator[tuple[Batch, np.ndarray, list[int]]]:
    """Yield, for each camera, crops with ``joints_px`` (B, 12, 2), truth (B, 12, 3) m and indices.

    The indices say which of the network's joints are meant; the truth is in the crops' frames.
    """
    body = get_skeleton('body_39')
    truth = pack_arrays(folder / 'truth.npz', 'names', 'cameras', 'world_m', *'KDRt')
    names = [str(name) for name in truth['names']]
    indices = [body.index(_NAMES[name]) for name in names]
    rng = np.random.default_rng(11)
    for k, name in enumerate(truth['cameras'].tolist()):
        own = {key: truth[key][k] for key in ('K', 'D', 'R', 't')}
        path = folder / f'{name}.mp4'
        frames = _frames(path)
        height, width = frames[0].shape[:2]
        camera = Camera(width, height, own['K'].astype(float), own['D'].astype(float))
        rows: dict[str, list] = {key: [] for key in ('image', 'intrinsics', 'px', 'm')}
        for number, image in enumerate(frames):
            joints = truth['world_m'][number * _STEP] @ own['R'].T + own['t'].reshape(3)
            centre, size = joint_box(project(joints, camera), len(joints))
            box = np.array([[*(centre - size / 2), size, size]])
            views = crop_views(
                box_views(box, camera, side), camera, side, augmentation_table(1, 'centred')
            )
            crop = warps_cpu.render(image, camera, views, np.ones(1))[0, 0]
            turned = joints @ views.rotation[0, 0].T
            seen = turned @ views.intrinsics[0, 0].T
            px = seen[:, :2] / seen[:, 2:]
            if condition != 'clean':
                hide(crop, reference_box(px, len(px)), condition, rng, exact=True)
            for key, value in zip(rows, (crop, views.intrinsics[0, 0], px, turned), strict=True):
                rows[key].append(value)
        images = np.stack(rows['image']).transpose(0, 3, 1, 2)
        count = len(images)
        yield (
            Batch(
                images=torch.from_numpy(np.ascontiguousarray(images)),
                intrinsics=torch.tensor(np.stack(rows['intrinsics']), dtype=torch.float32),
                joints_m=torch.full((count, 1, 3), torch.nan),
                joints_px=torch.tensor(np.stack(rows['px']), dtype=torch.float32),
                states=torch.zeros((count, 1), dtype=torch.uint8),
            ),
            np.stack(rows['m']),
            indices,
        )


_NAMES = {
    side + there: side.lower() + here
    for side in 'RL'
    for there, here in (
        ('Hip', 'hip'),
        ('Knee', 'kne'),
        ('Ankle', 'ank'),
        ('Shoulder', 'sho'),
        ('Elbow', 'elb'),
        ('Wrist', 'wri'),
    )
}


def _frames(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    number = 0
    while True:
        good, image = capture.read()
        if not good:
            break
        if number % _STEP == 0:
            frames.append(np.ascontiguousarray(image[..., ::-1]))
        number += 1
    capture.release()
    return frames

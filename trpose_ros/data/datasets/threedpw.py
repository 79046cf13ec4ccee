"""3DPW, 3D Poses in the Wild (von Marcard et al., ECCV 2018): sequence pickles, moving camera.

``sequenceFiles/{train,validation,test}/NAME.pkl`` is a dictionary written by Python 2, one list
item per actor: ``jointPositions`` (T, 72), the 24 SMPL joints in world metres, ``poses2d``
(T, 3, 18), detections in the order of COCO with a neck (x, y, confidence; all zero where fewer
than six joints were found), ``campose_valid`` (T,), whether the camera of a frame was aligned to
the image for that actor. ``cam_poses`` (T, 4, 4) world to camera and ``cam_intrinsics`` belong to
all. 30 Hz; images of 1920 x 1080 or upright ones. The pickles are read without running them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.cameras import project
from trpose_ros.data.datasets.image_sources import ImageFiles
from trpose_ros.data.datasets.pickled_numbers import load_pickle
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Images, Sample, check_metres, finite_rows
from trpose_ros.people import Camera

FPS = 30.0
SPLIT_FOLDERS = {'train': 'train', 'val': 'validation', 'test': 'test'}
# Where each COCO joint lies among the 18 of the detections (which have a neck, number 1).
COCO_OF_18 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
_NEEDED = ('sequence', 'jointPositions', 'cam_poses', 'cam_intrinsics')


@register_dataset(
    name='threedpw',
    title='3DPW (3D Poses in the Wild)',
    obtain='3DPW from virtualhumans.mpi-inf.mpg.de/3DPW: sequenceFiles.zip and, for the images, '
    'imageFiles.zip',
    licence='research use only, by agreement with the publisher',
    layout=(
        ('sequenceFiles/train/NAME.pkl', 'sequences to train on'),
        ('sequenceFiles/validation/NAME.pkl', 'sequences to validate on'),
        ('sequenceFiles/test/NAME.pkl', 'sequences to test on'),
        ('imageFiles/NAME/image_00000.jpg', 'the images (optional)'),
    ),
    needs=('sequenceFiles/*/*.pkl',),
)
def load(folder: Path, split: str | None = None, keypoints: str = 'projected') -> Iterator[Sample]:
    """Iterate over 3DPW, one sample per sequence and actor.

    keypoints is 'projected' (the 3D joints through the camera, smpl_24) or 'detected' (the
    detections of the data set, coco_17). Frames without an aligned camera are not valid. Raises
    MissingDataError and DataError.
    """
    if keypoints not in ('projected', 'detected'):
        raise ValueError(f"keypoints must be 'projected' or 'detected', got {keypoints!r}")
    found = 0
    for name, part in SPLIT_FOLDERS.items():
        if split not in (None, name):
            continue
        for path in sorted((folder / 'sequenceFiles' / part).glob('*.pkl')):
            found += 1
            yield from _sequence(folder, path, name, keypoints)
    if not found:
        raise DATASETS['threedpw'].missing(folder, f'no sequences ({split or "any split"})')


def _sequence(folder: Path, path: Path, split: str, keypoints: str) -> Iterator[Sample]:
    content = load_pickle(path)
    missing = [key for key in _NEEDED if not isinstance(content, dict) or key not in content]
    if missing:
        raise DataError(f'{path} lacks {missing}; it is not a sequence of 3DPW')
    poses = _array(content['cam_poses'], path, 'cam_poses')
    matrix = _array(content['cam_intrinsics'], path, 'cam_intrinsics')
    if poses.ndim != 3 or poses.shape[1:] != (4, 4) or matrix.shape != (3, 3):
        raise DataError(
            f'{path}: cam_poses must be (T, 4, 4) and cam_intrinsics (3, 3), got {poses.shape} '
            f'and {matrix.shape}'
        )
    sequence = str(content['sequence'])
    images = _images(folder / 'imageFiles' / sequence, len(poses))
    width, height = _size(images, matrix)
    camera = Camera(width, height, matrix)
    for person, value in enumerate(content['jointPositions']):
        where = f'{path}, actor {person}'
        world = _array(value, path, 'jointPositions')
        if world.shape != (len(poses), 72):
            raise DataError(
                f'{where}: jointPositions must be ({len(poses)}, 72), got {world.shape}'
            )
        world = world.reshape(-1, 24, 3)
        check_metres(world, 'smpl_24', where)
        rotated = np.einsum('tij,tnj->tni', poses[:, :3, :3], world)
        joints_m = (rotated + poses[:, None, :3, 3]).astype(np.float32)
        valid = finite_rows(joints_m) & _aligned(content, person, len(poses), where)[:, None]
        if keypoints == 'projected':
            px, skeleton_px = project(joints_m, camera).astype(np.float32), ''
        else:
            px, skeleton_px = _detected(content, person, len(poses), where), 'coco_17'
        yield Sample(
            dataset='threedpw',
            subject=sequence,
            action=sequence,
            camera_name=f'actor{person}',  # a mask is drawn for each actor: the name tells them
            split=split,
            fps=FPS,
            skeleton='smpl_24',
            skeleton_px=skeleton_px,
            width=width,
            height=height,
            valid=valid,
            joints_px=px,
            joints_m=joints_m,
            world_m=world.astype(np.float32),
            camera=camera,
            world_to_camera=poses,
            person=person,
            frame_numbers=np.arange(len(poses)),
            images=images,
        )


def _array(value: Any, path: Path, name: str) -> np.ndarray:
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f'{path}: {name} is not an array of numbers ({error})') from error


def _aligned(content: dict, person: int, frames: int, where: str) -> np.ndarray:
    """Return (T,) whether the camera was aligned to the image; True where the file does not say."""
    flags = content.get('campose_valid')
    if flags is None or len(flags) == 0:
        return np.ones(frames, bool)
    if len(flags) <= person or np.shape(flags[person]) != (frames,):
        raise DataError(f'{where}: campose_valid must have {frames} flags for each actor')
    return np.asarray(flags[person]).astype(bool)


def _detected(content: dict, person: int, frames: int, where: str) -> np.ndarray:
    detections = content.get('poses2d')
    if detections is None or len(detections) <= person:
        raise DataError(f"{where}: the file has no detections; use keypoints='projected'")
    found = np.asarray(detections[person])
    if found.shape != (frames, 3, 18) or found.dtype.kind not in 'fiu':
        raise DataError(f'{where}: poses2d must be ({frames}, 3, 18), got {found.shape}')
    found = found.transpose(0, 2, 1)[:, COCO_OF_18].astype(np.float32)
    return np.where(found[..., 2:] > 0, found[..., :2], np.float32(np.nan))


def _images(folder: Path, frames: int) -> Images | None:
    files = sorted(folder.glob('image_*.jpg'))
    if not files:
        return None
    if len(files) < frames:
        raise DataError(
            f'{folder} has {len(files)} images but the sequence {frames} frames; extract '
            'imageFiles.zip again'
        )
    return ImageFiles(files[:frames])


def _size(images: Images | None, matrix: np.ndarray) -> tuple[int, int]:
    """Return (width, height): of the first image, else twice the principal point."""
    if images is not None:
        height, width = images[0].shape[:2]
        return width, height
    return round(2 * float(matrix[0, 2])), round(2 * float(matrix[1, 2]))

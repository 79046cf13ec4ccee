"""HumanEva-I (Sigal et al., IJCV 2010) from the 15-joint archives that lifters are tested on.

``data_3d_humaneva15.npz`` holds 15 joints in world metres, ``data_2d_humaneva15_*.npz`` pixels of
the three colour cameras (640 x 480, 60 Hz): ground truth (gt) or detections. Subjects are named
'Train/S1' and 'Validate/S1', takes 'Walking 1 chunk0': frames with a corrupt annotation are cut
out, and what remains between them is a chunk. The archives carry no cameras; they are found from
the ground-truth 2D and the 3D joints of all takes of a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trpose_ros.data.datasets.camera_fit import fit_camera
from trpose_ros.data.datasets.keypoint_archives import KeypointArchive, read_archive
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Sample, check_metres, finite_rows
from trpose_ros.people import Camera

CAMERAS = ('C1', 'C2', 'C3')
SIZE = (640, 480)
FPS = 60.0
SKELETON = 'humaneva_15'
_ARCHIVE_3D = 'data_3d_humaneva15.npz'
_Fitted = dict[tuple[str, int], tuple[Camera, np.ndarray]]


@register_dataset(
    name='humaneva',
    title='HumanEva-I',
    obtain='HumanEva-I from humaneva.is.tue.mpg.de (registration); the archives are made from it '
    'by the preparation scripts of VideoPose3D',
    licence='research use only, by agreement with the publisher',
    layout=(
        (_ARCHIVE_3D, '3D positions of all subjects'),
        ('data_2d_humaneva15_gt.npz', 'ground-truth 2D; also gives the cameras'),
        ('data_2d_humaneva15_NAME.npz', 'detections, for example detectron_pt_coco (optional)'),
    ),
    needs=(_ARCHIVE_3D, 'data_2d_humaneva15_*.npz'),
)
def load(folder: Path, split: str | None = None, keypoints: str = 'gt') -> Iterator[Sample]:
    """Iterate over HumanEva-I, one sample per subject, chunk and camera.

    keypoints names the 2D archive, data_2d_humaneva15_KEYPOINTS.npz. 'Train/...' is the training
    split, everything else the test split. Raises MissingDataError and DataError.
    """
    info = DATASETS['humaneva']
    path = folder / f'data_2d_humaneva15_{keypoints}.npz'
    truth = folder / 'data_2d_humaneva15_gt.npz'
    for needed in (folder / _ARCHIVE_3D, path, truth):
        if not needed.is_file():
            raise info.missing(folder, f'{needed.name} is not there')
    positions = read_positions(folder / _ARCHIVE_3D)
    archive = read_archive(path)
    fitted = _fit(positions, archive if keypoints == 'gt' else read_archive(truth))
    for subject, takes in positions.items():
        part = 'train' if subject.startswith('Train/') else 'test'
        if split not in (None, part):
            continue
        for take, world in takes.items():
            for camera in range(len(CAMERAS)):
                yield _sample(archive, subject, take, camera, part, world, fitted)


def read_positions(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return subject -> take -> (T, 15, 3) float32 world metres; raises DataError."""
    positions = load_npz(path).get('positions_3d')
    if not isinstance(positions, dict) or not positions:
        raise DataError(
            f'{path} holds no positions_3d; an archive of a few hundred bytes was made without '
            'the converted originals (run the conversion of HumanEva first)'
        )
    result: dict[str, dict[str, np.ndarray]] = {}
    for subject, takes in positions.items():
        result[subject] = {}
        for take, value in takes.items():
            where = f'{path}: {subject}, {take}'
            joints = np.asarray(value)
            if joints.ndim != 3 or joints.shape[1:] != (15, 3) or joints.dtype.kind != 'f':
                raise DataError(f'{where} must be (T, 15, 3), got {joints.dtype} {joints.shape}')
            if not np.isfinite(joints).all():
                continue  # a chunk kept in spite of its corrupt frames: the standard leaves it out
            check_metres(joints, SKELETON, where)
            result[subject][take] = joints.astype(np.float32)
    return result


def _fit(positions: dict[str, dict[str, np.ndarray]], truth: KeypointArchive) -> _Fitted:
    """Return the cameras of each person from all of its takes; calibration is per person."""
    people: dict[str, list[tuple[str, str]]] = {}
    for subject, takes in positions.items():
        people.setdefault(_person(subject), []).extend((subject, take) for take in takes)
    fitted: _Fitted = {}
    for person, entries in people.items():
        for camera in range(len(CAMERAS)):
            px, world = [], []
            for subject, take in entries:
                joints = positions[subject][take]
                two = truth.take(subject, take, camera)
                count = min(len(joints), len(two))
                px.append(two[:count].reshape(-1, 2))
                world.append(joints[:count].reshape(-1, 3))
            if px:
                where = f'{truth.path}: {person}, camera {CAMERAS[camera]}'
                fitted[person, camera] = fit_camera(
                    np.concatenate(px), np.concatenate(world), *SIZE, where
                )
    return fitted


def _person(subject: str) -> str:
    return subject.rpartition('/')[2]


def _sample(
    archive: KeypointArchive,
    subject: str,
    take: str,
    camera: int,
    split: str,
    world: np.ndarray,
    fitted: _Fitted,
) -> Sample:
    px = archive.take(subject, take, camera)
    if len(px) < len(world):
        raise DataError(
            f'{archive.path}: {subject}, {take} has {len(px)} frames but the 3D archive '
            f'{len(world)}; the archives do not belong together'
        )
    px = px[: len(world)]
    intrinsics, pose = fitted[_person(subject), camera]
    joints_m = (world @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32)
    return Sample(
        dataset='humaneva',
        subject=subject,
        action=take,
        camera_name=CAMERAS[camera],
        split=split,
        fps=FPS,
        skeleton=SKELETON,
        skeleton_px='' if archive.skeleton == SKELETON else archive.skeleton,
        width=SIZE[0],
        height=SIZE[1],
        valid=finite_rows(joints_m),
        joints_px=px,
        joints_m=joints_m,
        world_m=world,
        camera=intrinsics,
        world_to_camera=pose,
        frame_numbers=np.arange(len(px)),
    )

"""MuPoTS-3D and MuCo-3DHP (Mehta et al., 3DV 2018): several people in one picture.

MuPoTS-3D, the test set: ``TS1`` to ``TS20`` with ``annot.mat`` (cells ``annotations`` (F, P) of
structures with ``annot2`` (2, 17) px, ``annot3`` and ``univ_annot3`` (3, 17) mm in the camera
frame, ``isValidFrame``), ``occlusion.mat`` (cells ``occlusion_labels`` (F, P) of 17 flags, 1 is
hidden) and images ``img_000000.jpg``. 17 joints in the order of MPI-INF-3DHP; 30 Hz;
TS1 to TS5 are 2048 x 2048, the others 1920 x 1080.

MuCo-3DHP, the training set, is composited from MPI-INF-3DHP. It is read from the annotation file
that is in common use, ``MuCo-3DHP.json`` in the manner of COCO: 21 joints (the same 17, then hands
and toes, which are left out), ``keypoints_img`` px, ``keypoints_cam`` mm, ``keypoints_vis``, and
``f``, ``c`` for each image. Every person in every image is a sample of one frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.data.datasets.camera_fit import fit_intrinsics
from trpose_ros.data.datasets.image_sources import ImageFiles
from trpose_ros.data.datasets.mat_files import read_mat
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Images, Sample, check_metres, finite_rows
from trpose_ros.people import Camera

SKELETON = 'mpi_inf_3dhp_17'
FPS = 30.0
_SQUARE = tuple(f'TS{number}' for number in range(1, 6))
_MUCO = 'MuCo-3DHP.json'


@register_dataset(
    name='mupots',
    title='MuPoTS-3D (test) and MuCo-3DHP (training)',
    obtain='MuPoTS-3D from vcai.mpi-inf.mpg.de/projects/SingleShotMultiPerson; MuCo-3DHP from the '
    'same page, its annotation file MuCo-3DHP.json as the RootNet repository links it',
    licence='research use only, by agreement with the publisher',
    layout=(
        ('MultiPersonTestSet/TS1/annot.mat', 'annotations, TS1 to TS20'),
        ('MultiPersonTestSet/TS1/occlusion.mat', 'hidden joints'),
        ('MultiPersonTestSet/TS1/img_000000.jpg', 'images (optional)'),
        (_MUCO, 'annotations of MuCo-3DHP'),
        ('unaugmented_set/', 'images of MuCo-3DHP as its annotations name them (optional)'),
    ),
    needs=('MultiPersonTestSet/TS*/annot.mat', _MUCO),
)
def load(folder: Path, split: str | None = None, universal: bool = False) -> Iterator[Sample]:
    """Iterate over the training set (MuCo-3DHP) and the test set (MuPoTS-3D).

    Test: one sample per sequence and person. Training: one sample of one frame per person and
    image. universal chooses the joints with the bones of one universal body for the test set;
    those do not project onto the 2D joints, so the samples have no camera. Raises
    MissingDataError and DataError.
    """
    found = 0
    if split in (None, 'train') and (folder / _MUCO).is_file():
        found += 1
        yield from _muco(folder)
    if split in (None, 'test'):
        paths = (folder / 'MultiPersonTestSet').glob('TS*/annot.mat')
        for path in sorted(paths, key=lambda p: (len(p.parent.name), p.parent.name)):
            found += 1
            yield from _mupots(path, universal)
    if not found and split != 'val':
        raise DATASETS['mupots'].missing(folder, f'no {split or "training or test"} annotations')


def _mupots(path: Path, universal: bool) -> Iterator[Sample]:
    name = path.parent.name
    cells = _cells(path, 'annotations')
    people = [
        _person([_structure(cell, f'{path}, frame {frame}') for frame, cell in enumerate(column)])
        for column in cells.T
    ]
    width, height = (2048, 2048) if name in _SQUARE else (1920, 1080)
    camera = None
    if not universal:
        px = np.concatenate([p['annot2'][p['valid']] for p in people])
        joints = np.concatenate([p['annot3'][p['valid']] for p in people])
        camera = fit_intrinsics(px, joints, width, height, str(path), 15.0)
    occlusion = path.with_name('occlusion.mat')
    hidden = _hidden(occlusion, cells.shape) if occlusion.is_file() else None
    images = _images(path.parent, len(cells))
    for number, person in enumerate(people):
        joints_m = person['univ_annot3' if universal else 'annot3']
        check_metres(joints_m, SKELETON, f'{path}, person {number} (divided by 1000)')
        good = finite_rows(person['annot2']) & finite_rows(joints_m) & person['valid'][:, None]
        yield Sample(
            dataset='mupots',
            subject=name,
            action=name,
            camera_name=f'person{number}',
            split='test',
            fps=FPS,
            skeleton=SKELETON,
            width=width,
            height=height,
            valid=good,
            joints_px=person['annot2'],
            joints_m=joints_m,
            camera=camera,
            occluded=None if hidden is None else hidden[:, number],
            person=number,
            frame_numbers=np.arange(len(cells)),
            images=images,
        )


def _cells(path: Path, name: str) -> np.ndarray:
    cells = read_mat(path, (name,))[name]
    if cells.ndim != 2 or cells.dtype != object or 0 in cells.shape:
        raise DataError(f'{path}: {name} must be cells (frames, people), got {cells.shape}')
    return cells


def _structure(cell: Any, where: str) -> dict[str, np.ndarray]:
    try:
        record = np.asarray(cell)[0, 0]
        values: dict[str, np.ndarray] = {
            'valid': np.array(bool(np.ravel(record['isValidFrame'])[0]))
        }
        for name, channels, scale in (
            ('annot2', 2, 1.0),
            ('annot3', 3, 1000.0),
            ('univ_annot3', 3, 1000.0),
        ):
            value = np.asarray(record[name], np.float64)
            if value.shape != (channels, 17):
                raise DataError(f'{where}: {name} must be ({channels}, 17), got {value.shape}')
            values[name] = (value.T / scale).astype(np.float32)
    except (IndexError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f'{where} must have annot2, annot3, univ_annot3 and isValidFrame ({error})'
        ) from error
    return values


def _person(frames: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stack the frames of one person; where it is not annotated, joints are NaN, not zero."""
    person = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
    for name in ('annot2', 'annot3', 'univ_annot3'):
        person[name][~person['valid']] = np.nan
    return person


def _hidden(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    cells = _cells(path, 'occlusion_labels')
    if cells.shape != shape:
        raise DataError(f'{path} is for {cells.shape} frames and people, annot.mat for {shape}')
    hidden = np.zeros((*shape, 17), bool)
    for frame, row in enumerate(cells):
        for person, cell in enumerate(row):
            flags = np.ravel(cell)
            if flags.size != 17:
                raise DataError(f'{path}, frame {frame}: {flags.size} flags for 17 joints')
            hidden[frame, person] = flags.astype(bool)
    return hidden


def _images(folder: Path, frames: int) -> Images | None:
    files = sorted(folder.glob('img_*.jpg'))
    if not files:
        return None
    if len(files) < frames:
        raise DataError(f'{folder} has {len(files)} images of {frames}; extract them again')
    return ImageFiles(files[:frames])


def _muco(folder: Path) -> Iterator[Sample]:
    path = folder / _MUCO
    try:
        content = json.loads(path.read_bytes())
        pictures = {entry['id']: entry for entry in content['images']}
        annotations = content['annotations']
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{path} is not the annotation file of MuCo-3DHP ({error!r})') from error
    seen: dict[Any, int] = {}
    for number, annotation in enumerate(annotations):
        where = f'{path}, annotation {number}'
        try:
            picture = pictures[annotation['image_id']]
            person = seen[annotation['image_id']] = seen.get(annotation['image_id'], -1) + 1
            yield _muco_sample(folder, picture, annotation, person, where)
        except (KeyError, TypeError, IndexError) as error:
            raise DataError(f'{where} lacks a field or names no image ({error!r})') from error


def _muco_sample(folder: Path, picture: dict, annotation: dict, person: int, where: str) -> Sample:
    try:
        px = np.array(annotation['keypoints_img'], np.float32)
        joints = np.array(annotation['keypoints_cam'], np.float32)
        seen = np.array(annotation['keypoints_vis']).ravel().astype(bool)
    except ValueError as error:
        raise DataError(f'{where}: joints are not numbers ({error})') from error
    if px.shape != (21, 2) or joints.shape != (21, 3) or seen.shape != (21,):
        raise DataError(
            f'{where}: expected 21 joints, got {px.shape}, {joints.shape}, {seen.shape}'
        )
    px, joints_m, seen = px[None, :17], joints[None, :17] / 1000, seen[None, :17]
    check_metres(joints_m, SKELETON, f'{where} (divided by 1000)')
    focal, centre = picture['f'], picture['c']
    matrix = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]], np.float64)
    name = str(picture['file_name'])
    file = folder / name
    return Sample(
        dataset='mupots',
        subject='MuCo',
        action=name,
        camera_name=f'person{person}',
        split='train',
        fps=FPS,
        skeleton=SKELETON,
        width=int(picture['width']),
        height=int(picture['height']),
        valid=finite_rows(px) & finite_rows(joints_m),
        joints_px=px,
        joints_m=joints_m,
        camera=Camera(int(picture['width']), int(picture['height']), matrix),
        occluded=~seen,
        person=person,
        frame_numbers=np.zeros(1, np.int64),
        images=ImageFiles([file]) if file.is_file() else None,
    )

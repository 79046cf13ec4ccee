"""Human3.6M (Ionescu et al., PAMI 2014) from the archives that lifters are trained on.

``data_3d_h36m.npz`` holds 32 joints in world metres per subject and take, ``data_2d_h36m_*.npz``
pixels per camera: ground truth (gt) or detections (cpn_ft_h36m_dbb, detectron_ft_h36m,
detectron_pt_coco, sh_pt_mpii, ...). 17 of the 32 joints are kept; both shoulders hang on the
neck after that. 50 Hz. Where the videos are at hand (S1/Videos/*.mp4), samples carry images.

Rules of the standard protocol: train on S1 S5 S6 S7 S8, test on S9 S11; S2 S3 S4 have 2D only
(semi-supervision). S11's unnumbered take of Directions is corrupt and dropped. 2D may be longer
than 3D and is cut. Errors are averaged over the frames of an action (the name before the first
space, all its takes, subjects and cameras), then over the 15 actions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from trpose_ros.cameras import denormalise_screen
from trpose_ros.data.datasets import human36m_cameras as cameras
from trpose_ros.data.datasets.image_sources import VideoFrames
from trpose_ros.data.datasets.keypoint_archives import KeypointArchive, read_archive
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import (
    DataError,
    Images,
    MissingDataError,
    Sample,
    check_metres,
    finite_rows,
)

KEPT_JOINTS = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
TRAIN_SUBJECTS = ('S1', 'S5', 'S6', 'S7', 'S8')
TEST_SUBJECTS = ('S9', 'S11')
UNLABELLED_SUBJECTS = ('S2', 'S3', 'S4')
CORRUPT_TAKES = (('S11', 'Directions'),)
FPS = 50.0
ACTIONS = (
    *('Directions', 'Discussion', 'Eating', 'Greeting', 'Phoning', 'Photo', 'Posing', 'Purchases'),
    *('Sitting', 'SittingDown', 'Smoking', 'Waiting', 'WalkDog', 'Walking', 'WalkTogether'),
)
# Names of the same actions in the original video files.
_VIDEO_NAMES = {'Photo': 'TakingPhoto', 'WalkDog': 'WalkingDog'}
_ARCHIVE_3D = 'data_3d_h36m.npz'


def action_of(take: str) -> str:
    """Return the action of a take: 'Walking 1' -> 'Walking'."""
    return take.split(' ')[0]


def average_over_actions(takes: Mapping[tuple[str, str], tuple[float, int]]) -> dict[str, float]:
    """Return the mean error of each action, and their mean under 'average'.

    takes maps (subject, take) to (sum of the frame errors, number of frames). Within an action
    all frames count the same; the average gives all actions the same weight. Raises ValueError
    when there is nothing to average.
    """
    totals: dict[str, list[float]] = {}
    for (_, take), (total, frames) in takes.items():
        entry = totals.setdefault(action_of(take), [0.0, 0.0])
        entry[0] += total
        entry[1] += frames
    means = {action: total / n for action, (total, n) in sorted(totals.items()) if n > 0}
    if not means:
        raise ValueError('no frames to average over')
    return {**means, 'average': float(np.mean(list(means.values())))}


def read_positions(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return subject -> take -> (T, 17, 3) float32 world metres of data_3d_h36m.npz.

    Raises MissingDataError and DataError (joint count, unit by bone lengths, NaN).
    """
    positions = load_npz(path).get('positions_3d')
    if not isinstance(positions, dict):
        raise DataError(f'{path} has no dictionary positions_3d; it is not {_ARCHIVE_3D}')
    result: dict[str, dict[str, np.ndarray]] = {}
    for subject, takes in positions.items():
        result[subject] = {}
        for take, joints in takes.items():
            where = f'{path}: {subject}, {take}'
            joints = np.asarray(joints)
            if joints.ndim != 3 or joints.shape[1:] != (32, 3) or joints.dtype.kind != 'f':
                raise DataError(f'{where} must be (T, 32, 3), got {joints.dtype} {joints.shape}')
            if (subject, take) in CORRUPT_TAKES:
                continue
            joints = joints[:, KEPT_JOINTS].astype(np.float32)
            if not np.isfinite(joints).all():
                frame = int(np.argmin(np.isfinite(joints).all(axis=(1, 2))))
                raise DataError(f'{where} has NaN in frame {frame}; obtain the archive again')
            check_metres(joints, 'h36m_17', where)
            result[subject][take] = joints
    return result


def find_poses(
    folder: Path,
    positions: Mapping[str, Mapping[str, np.ndarray]],
    subjects: tuple[str, ...],
    anew: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, list[cameras.CameraPose]]:
    """Return the four camera poses of the subjects, from a file or by resection.

    ``anew`` ignores what ``prepare`` wrote earlier; ``progress`` is called with the subjects so
    far and in all. Raises MissingDataError when neither a file
    with poses nor the ground-truth 2D archive lies in ``folder``, DataError when they do not fit.
    """
    try:
        known = cameras.read_poses(folder, anew)
        if all(subject in known for subject in subjects):
            return {subject: known[subject] for subject in subjects}
    except MissingDataError:
        pass
    path = folder / 'data_2d_h36m_gt.npz'
    if not path.is_file():
        raise DATASETS['human36m'].missing(
            folder, f'the camera poses of {", ".join(subjects)} need {path.name} or metadata.xml'
        )
    archive = read_archive(path)
    found = {}
    for done, subject in enumerate(subjects, 1):
        found[subject] = _resect_all(archive, subject, positions[subject])
        if progress is not None:
            progress(done, len(subjects))
    return found


def _resect_all(
    archive: KeypointArchive, subject: str, takes: Mapping[str, np.ndarray]
) -> list[cameras.CameraPose]:
    poses = []
    for camera, name in enumerate(cameras.CAMERAS):
        world, px = [], []
        for take, joints in takes.items():
            step = max(1, len(joints) // 40)
            two = archive.take(subject, take, camera)[: len(joints)]
            world.append(joints[: len(two) : step].reshape(-1, 3))
            px.append(two[::step].reshape(-1, 2))
        where = f'{archive.path}: {subject}, camera {name}'
        poses.append(cameras.resect(np.concatenate(world), np.concatenate(px), camera, where))
    return poses


@register_dataset(
    name='human36m',
    title='Human3.6M',
    obtain='Human3.6M from vision.imar.ro/human3.6m (registration); data_3d_h36m.npz and the 2D '
    'archives are made from it by the preparation scripts of VideoPose3D',
    licence='academic use only, by agreement with the publisher',
    layout=(
        (_ARCHIVE_3D, '3D positions of all subjects'),
        ('data_2d_h36m_gt.npz', 'ground-truth 2D; also gives the camera poses'),
        ('data_2d_h36m_NAME.npz', 'detections, for example cpn_ft_h36m_dbb (optional)'),
        ('metadata.xml', 'camera poses, from the original download (optional)'),
        ('S9/Videos/*.mp4', 'original videos (optional)'),
    ),
    needs=(_ARCHIVE_3D, 'data_2d_h36m_*.npz'),
)
def load(
    folder: Path,
    split: str | None = None,
    keypoints: str = 'gt',
    subjects: tuple[str, ...] | None = None,
    actions: tuple[str, ...] | None = None,
) -> Iterator[Sample]:
    """Iterate over Human3.6M, one sample per subject, take and camera.

    keypoints names the 2D archive, data_2d_h36m_KEYPOINTS.npz; 'projected' needs none and
    projects the 3D positions. Subjects without 3D (S2 S3 S4) are given only when named in
    ``subjects``. ``actions`` are names without numbers. Raises MissingDataError and DataError.
    """
    info = DATASETS['human36m']
    path = folder / f'data_2d_h36m_{keypoints}.npz'
    if keypoints != 'projected' and not path.is_file():
        raise info.missing(folder, f'{path.name} is not there')
    if not (folder / _ARCHIVE_3D).is_file():
        raise info.missing(folder, f'{_ARCHIVE_3D} is not there')
    positions = read_positions(folder / _ARCHIVE_3D)
    archive = None if keypoints == 'projected' else read_archive(path)
    if subjects is None:
        chosen = {'train': TRAIN_SUBJECTS, 'test': TEST_SUBJECTS, 'val': ()}
        subjects = TRAIN_SUBJECTS + TEST_SUBJECTS if split is None else chosen[split]
        subjects = tuple(s for s in subjects if s in positions)
    labelled = tuple(s for s in subjects if s in positions)
    poses = find_poses(folder, positions, labelled) if labelled else {}
    for subject in subjects:
        takes: list[str] = list(positions.get(subject, {}))
        if subject not in positions:
            if archive is None or subject not in archive.positions:
                raise DataError(f'{folder}: subject {subject} is in neither archive')
            takes = list(archive.positions[subject])
        for take in takes:
            if actions is not None and action_of(take) not in actions:
                continue
            for camera in range(len(cameras.CAMERAS)):
                world = positions.get(subject, {}).get(take)
                pose = poses[subject][camera] if subject in poses else None
                yield _sample(folder, subject, take, camera, world, pose, archive)


def _sample(
    folder: Path,
    subject: str,
    take: str,
    camera: int,
    world: np.ndarray | None,
    pose: cameras.CameraPose | None,
    archive: KeypointArchive | None,
) -> Sample:
    width, height = cameras.SIZES[camera]
    joints_m = matrix = None
    if world is not None and pose is not None:
        joints_m = cameras.world_to_camera(world.astype(np.float64), pose).astype(np.float32)
        matrix = cameras.pose_matrix(pose)
    skeleton_px = ''
    if archive is None:
        if joints_m is None:
            raise DataError(f'{subject} has no 3D positions to project')
        screen = cameras.project_normalised(joints_m, cameras.normalised_intrinsics(camera))
        px = denormalise_screen(screen, width, height).astype(np.float32)
    else:
        px = archive.take(subject, take, camera)
        skeleton_px = archive.skeleton
        if world is not None:
            if len(px) < len(world):
                raise DataError(
                    f'{archive.path}: {subject}, {take}, camera {camera} has {len(px)} frames but '
                    f'the 3D archive {len(world)}; the archives do not belong together'
                )
            px = px[: len(world)]
    valid = finite_rows(px) if world is None else np.ones((len(px), 17), bool)
    skeleton = 'h36m_17' if world is not None else skeleton_px
    return Sample(
        dataset='human36m',
        subject=subject,
        action=take,
        camera_name=cameras.CAMERAS[camera],
        split='test' if subject in TEST_SUBJECTS else 'train',
        fps=FPS,
        skeleton=skeleton,
        skeleton_px='' if skeleton_px == skeleton else skeleton_px,
        width=width,
        height=height,
        valid=valid,
        joints_px=px,
        joints_m=joints_m,
        world_m=world,
        camera=cameras.to_camera(camera),
        world_to_camera=matrix,
        frame_numbers=np.arange(len(px)),
        images=_images(folder, subject, take, camera, len(px)),
    )


def _images(folder: Path, subject: str, take: str, camera: int, frames: int) -> Images | None:
    action, _, number = take.partition(' ')
    names = {action, _VIDEO_NAMES.get(action, action)}
    for name in sorted(names):
        stem = f'{name} {number}'.strip()
        path = folder / subject / 'Videos' / f'{stem}.{cameras.CAMERAS[camera]}.mp4'
        if path.is_file():
            video = VideoFrames(path)
            if len(video) < frames:
                raise DataError(f'{path} has {len(video)} frames, the annotation {frames}')
            return video
    return None


def prepare(folder: Path, progress: Callable[[int, int], object] | None = None) -> Path:
    """Find the camera poses of all subjects once and write cameras_h36m.json; return its path."""
    if not (folder / _ARCHIVE_3D).is_file():
        raise DATASETS['human36m'].missing(folder, f'{_ARCHIVE_3D} is not there')
    positions = read_positions(folder / _ARCHIVE_3D)
    path = folder / cameras.POSES_FILE
    cameras.write_poses(path, find_poses(folder, positions, tuple(positions), True, progress))
    return path

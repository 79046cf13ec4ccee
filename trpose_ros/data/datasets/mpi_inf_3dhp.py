"""MPI-INF-3DHP (Mehta et al., 3DV 2017): the original annotations and the archives of P-STMO.

Original: ``S1/Seq1/annot.mat`` holds, for each of 14 cameras, 2D (F, 56) in pixels and 3D (F, 84)
of 28 joints in millimetres in the camera frame, ``camera.calibration`` the cameras as text. The
test set, ``TS1/annot_data.mat``, holds 17 joints and ``valid_frame``. ``univ_annot3`` is the same
motion with bones scaled to one universal body, which the published figures use.

P-STMO's ``data_train_3dhp.npz`` and ``data_test_3dhp.npz`` hold 17 joints of the eight cameras
at chest height (0 1 2 4 5 6 7 8), universal 3D in millimetres, ground-truth 2D. Their root for
the metrics is joint 14, the pelvis. Universal 3D does not project onto the 2D joints, so those
samples have an image size but no camera.

Images are 2048 x 2048 at 25 or 50 Hz, but TS5 and TS6 are 1920 x 1080.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trpose_ros.data.datasets.camera_fit import fit_intrinsics
from trpose_ros.data.datasets.image_sources import ImageFiles, VideoFrames
from trpose_ros.data.datasets.mat_files import read_mat
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Images, Sample, check_metres, finite_rows
from trpose_ros.people import Camera

CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
# Indices into the 28 joints that give mpi_inf_3dhp_17.
JOINTS_17 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
_TRAIN_SIZE = (2048, 2048)
_TEST_SIZES = {'TS5': (1920, 1080), 'TS6': (1920, 1080)}
# All sequences last about four minutes; those recorded at 50 Hz have more than 12000 frames.
_FRAMES_AT_50_HZ = 9000
_FILES = ('data_train_3dhp.npz', 'data_test_3dhp.npz')


def frame_rate(frames: int) -> float:
    """Return the rate of a training sequence with that many frames: 25 or 50 Hz."""
    return 50.0 if frames > _FRAMES_AT_50_HZ else 25.0


@register_dataset(
    name='mpi_inf_3dhp',
    title='MPI-INF-3DHP',
    obtain='MPI-INF-3DHP from vcai.mpi-inf.mpg.de/3dhp-dataset; or data_train_3dhp.npz and '
    'data_test_3dhp.npz, which the P-STMO repository links',
    licence='research use only, by agreement with the publisher',
    layout=(
        ('S1/Seq1/annot.mat', 'original annotations, eight subjects, two sequences each'),
        ('S1/Seq1/camera.calibration', 'original cameras'),
        ('S1/Seq1/imageSequence/video_0.avi', 'original videos (optional)'),
        ('TS1/annot_data.mat', 'original test annotations, TS1 to TS6'),
        ('TS1/imageSequence/img_000001.jpg', 'original test images (optional)'),
        ('data_train_3dhp.npz', "P-STMO's training archive, instead of the originals"),
        ('data_test_3dhp.npz', "P-STMO's test archive, instead of the originals"),
    ),
    needs=('S*/Seq*/annot.mat', 'TS*/annot_data.mat', *_FILES),
)
def load(
    folder: Path,
    split: str | None = None,
    source: str = 'auto',
    universal: bool = False,
    cameras: tuple[int, ...] = CAMERAS,
) -> Iterator[Sample]:
    """Iterate over MPI-INF-3DHP, one sample per sequence and camera.

    source is 'original', 'pstmo', or 'auto' for whatever is there (originals first). universal
    chooses univ_annot3 for the originals; P-STMO's archives are always universal. Raises
    MissingDataError and DataError; ImportError when test annotations are HDF5 without h5py.
    """
    if source not in ('auto', 'original', 'pstmo'):
        raise ValueError(f"source must be 'auto', 'original' or 'pstmo', got {source!r}")
    info = DATASETS['mpi_inf_3dhp']
    found = 0
    if split in (None, 'train'):
        originals = sorted(folder.glob('S*/Seq*/annot.mat')) if source != 'pstmo' else []
        for path in originals:
            found += 1
            yield from _original(path, cameras, universal)
        if not originals and source != 'original' and (folder / _FILES[0]).is_file():
            found += 1
            yield from _pstmo_train(folder / _FILES[0], cameras)
    if split in (None, 'test'):
        originals = sorted(folder.glob('TS*/annot_data.mat')) if source != 'pstmo' else []
        for path in originals:
            found += 1
            yield _original_test(path, universal)
        if not originals and source != 'original' and (folder / _FILES[1]).is_file():
            found += 1
            yield from _pstmo_test(folder / _FILES[1])
    if not found and split != 'val':
        raise info.missing(folder, f'no {split or "training or test"} annotations are there')


def read_calibration(path: Path) -> dict[int, tuple[Camera, np.ndarray]]:
    """Return camera number -> (camera, world-to-camera matrix (4, 4) in metres).

    The text file lists per camera ``name``, ``size``, ``intrinsic`` and ``extrinsic`` (4 x 4,
    row by row, millimetres). Raises DataError naming the line that cannot be read.
    """
    fields: dict[str, list[str]] = {}
    found: dict[int, tuple[Camera, np.ndarray]] = {}
    for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
        words = line.split()
        if not words:
            continue
        fields[words[0]] = words[1:]
        if words[0] != 'extrinsic':
            continue
        try:
            size = [int(float(v)) for v in fields['size']]
            inner = np.array([float(v) for v in fields['intrinsic']]).reshape(4, 4)[:3, :3]
            pose = np.array([float(v) for v in fields['extrinsic']]).reshape(4, 4)
            pose[:3, 3] /= 1000
            found[int(fields['name'][0])] = (Camera(size[0], size[1], inner), pose)
        except (KeyError, ValueError, IndexError) as error:
            raise DataError(f'{path}, line {number}: not a camera calibration ({error})') from error
    if not found:
        raise DataError(f'{path} names no camera; obtain the file again')
    return found


def _original(path: Path, numbers: tuple[int, ...], universal: bool) -> Iterator[Sample]:
    key = 'univ_annot3' if universal else 'annot3'
    content = read_mat(path, ('annot2', key))
    two, three = content['annot2'].ravel(), content[key].ravel()
    subject, sequence = path.parts[-3], path.parts[-2]
    calibration = path.with_name('camera.calibration')
    known = read_calibration(calibration) if calibration.is_file() else {}
    for number in numbers:
        where = f'{path}, camera {number}'
        if number >= len(two) or number >= len(three):
            raise DataError(f'{where}: the file has {len(two)} cameras')
        px = _joints(two[number], 28, 2, where)
        joints_m = _joints(three[number], 28, 3, where) / 1000
        check_metres(joints_m, 'mpi_inf_3dhp_28', f'{where} (divided by 1000)')
        if len(px) != len(joints_m):
            raise DataError(f'{where}: {len(px)} frames of 2D but {len(joints_m)} of 3D')
        camera, pose = known.get(number, (None, None))
        if camera is None and not universal:
            camera = fit_intrinsics(px, joints_m, *_TRAIN_SIZE, where)
        video = path.parent / 'imageSequence' / f'video_{number}.avi'
        images: Images | None = VideoFrames(video) if video.is_file() else None
        frames = len(px)
        if images is not None and len(images) < frames:
            frames = len(images)  # S6/Seq2, camera 2: the video ends early
        yield Sample(
            dataset='mpi_inf_3dhp',
            subject=subject,
            action=sequence,
            camera_name=str(number),
            split='train',
            fps=frame_rate(len(px)),
            skeleton='mpi_inf_3dhp_28',
            width=camera.width if camera else _TRAIN_SIZE[0],
            height=camera.height if camera else _TRAIN_SIZE[1],
            valid=(finite_rows(px) & finite_rows(joints_m))[:frames],
            joints_px=px[:frames],
            joints_m=joints_m[:frames],
            camera=None if universal else camera,
            world_to_camera=pose,
            frame_numbers=np.arange(frames),
            images=images,
        )


def _joints(values: np.ndarray, joints: int, channels: int, where: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != joints * channels or values.dtype.kind not in 'fiu':
        raise DataError(
            f'{where}: expected (F, {joints * channels}) for {joints} joints, got {values.shape}'
        )
    return values.reshape(len(values), joints, channels).astype(np.float32)


def _original_test(path: Path, universal: bool) -> Sample:
    key = 'univ_annot3' if universal else 'annot3'
    content = read_mat(path, ('annot2', key, 'valid_frame'))
    name = path.parts[-2]
    # MATLAB order: (2 or 3, 17, 1, F)
    arrays = []
    for field, channels in (('annot2', 2), (key, 3)):
        value = content[field]
        if value.ndim < 3 or value.shape[:2] != (channels, 17):
            raise DataError(f'{path}: {field} must be ({channels}, 17, 1, F), got {value.shape}')
        arrays.append(np.moveaxis(value.reshape(channels, 17, -1), -1, 0).swapaxes(1, 2))
    px, joints_m = arrays[0].astype(np.float32), (arrays[1] / 1000).astype(np.float32)
    flags = np.asarray(content['valid_frame']).ravel().astype(bool)
    if not len(px) == len(joints_m) == len(flags):
        raise DataError(
            f'{path}: {len(px)} frames of 2D, {len(joints_m)} of 3D, {len(flags)} flags'
        )
    width, height = _TEST_SIZES.get(name, _TRAIN_SIZE)
    good = finite_rows(px) & finite_rows(joints_m) & flags[:, None]
    check_metres(joints_m[flags], 'mpi_inf_3dhp_17', f'{path} (divided by 1000)')
    camera = None
    if not universal and flags.any():
        camera = fit_intrinsics(px[flags], joints_m[flags], width, height, str(path), 15.0)
    files = sorted((path.parent / 'imageSequence').glob('img_*.jpg'))
    if files and len(files) < len(px):
        raise DataError(f'{path.parent / "imageSequence"} has {len(files)} images of {len(px)}')
    return Sample(
        dataset='mpi_inf_3dhp',
        subject=name,
        action=name,
        camera_name='0',
        split='test',
        fps=25.0,
        skeleton='mpi_inf_3dhp_17',
        width=width,
        height=height,
        valid=good,
        joints_px=px,
        joints_m=joints_m,
        camera=camera,
        frame_numbers=np.arange(len(px)),
        images=ImageFiles(files) if files else None,
    )


def _archive(path: Path) -> dict:
    content = load_npz(path).get('data')
    if not isinstance(content, dict) or not content:
        raise DataError(f'{path} has no dictionary data; it is not an archive of P-STMO')
    return content


def _pstmo_train(path: Path, numbers: tuple[int, ...]) -> Iterator[Sample]:
    for sequence, cameras in _archive(path).items():
        subject, _, take = str(sequence).partition(' ')
        try:
            takes = {int(camera): value for camera, value in cameras[0].items()}
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
            raise DataError(
                f'{path}: {sequence} must be a list with one dict of cameras'
            ) from error
        for number in numbers:
            if number in takes:
                where = f'{path}: {sequence}, camera {number}'
                value = takes[number]
                yield _pstmo(where, value, subject, take, str(number), 'train', _TRAIN_SIZE)


def _pstmo_test(path: Path) -> Iterator[Sample]:
    for name, value in _archive(path).items():
        size = _TEST_SIZES.get(str(name), _TRAIN_SIZE)
        yield _pstmo(f'{path}: {name}', value, str(name), str(name), '0', 'test', size)


def _pstmo(
    where: str,
    value: dict,
    subject: str,
    action: str,
    camera_name: str,
    split: str,
    size: tuple[int, int],
) -> Sample:
    try:
        px, joints = np.asarray(value['data_2d']), np.asarray(value['data_3d'])
    except (KeyError, TypeError, IndexError) as error:
        raise DataError(f'{where} must have data_2d and data_3d') from error
    if px.ndim != 3 or px.shape[1:] != (17, 2) or joints.shape != (*px.shape[:2], 3):
        raise DataError(
            f'{where}: expected (F, 17, 2) and (F, 17, 3), got {px.shape} and {joints.shape}'
        )
    joints_m = (joints / 1000).astype(np.float32)
    check_metres(joints_m, 'mpi_inf_3dhp_17', f'{where} (divided by 1000)')
    px = px.astype(np.float32)
    good = finite_rows(px) & finite_rows(joints_m)
    flags = np.asarray(value.get('valid', np.ones(len(px)))).ravel().astype(bool)
    if len(flags) == len(px):
        good &= flags[:, None]
    elif int(flags.sum()) != len(px):  # the archive keeps valid frames only, flags tell of all
        raise DataError(f'{where}: {len(flags)} flags, {int(flags.sum())} set, {len(px)} frames')
    return Sample(
        dataset='mpi_inf_3dhp',
        subject=subject,
        action=action,
        camera_name=camera_name,
        split=split,
        fps=frame_rate(len(px)) if split == 'train' else 25.0,
        skeleton='mpi_inf_3dhp_17',
        width=size[0],
        height=size[1],
        valid=good,
        joints_px=px,
        joints_m=joints_m,
        frame_numbers=np.flatnonzero(flags) if len(flags) != len(px) else np.arange(len(px)),
    )

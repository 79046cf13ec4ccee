"""Chooses the reader of a file of keypoints by what it is."""

from __future__ import annotations

from pathlib import Path

from trpose_ros.keypoints.arrays import read_npy, read_npz
from trpose_ros.keypoints.clip import PIXELS, UNITS, KeypointError, Keypoints
from trpose_ros.keypoints.documents import read_json, read_openpose
from trpose_ros.keypoints.tables import read_csv
from trpose_ros.skeletons import get_skeleton

_KINDS = '.npz, .npy, .json, .csv, or a folder of OpenPose'


def read_keypoints(
    path: str | Path, *, skeleton: str = '', unit: str = '', take: str = ''
) -> Keypoints:
    """Read keypoints from a file or folder.

    Args:
        path: of one of the kinds in docs/lift.md.
        skeleton: order of the joints, where the file does not say it.
        unit: one of clip.UNITS; '' is what the format means (pixels, or shares for MediaPipe).
        take: part of a file that holds several.

    Raises:
        KeypointError, DataError: the file does not hold what is needed; says what to do.
        OSError: it cannot be read.

    """
    path = Path(path)
    if unit not in ('', *UNITS):
        raise KeypointError(f'--unit must be one of {", ".join(UNITS)}, got {unit!r:.80}')
    if skeleton:
        get_skeleton(skeleton)
    suffix = path.suffix.lower()
    if path.is_dir():
        return read_openpose(path, unit)
    if not path.exists():
        raise KeypointError(f'{path} does not exist')
    if not path.is_file():
        raise KeypointError(f'{path} is no file; keypoints are {_KINDS}')
    if path.stat().st_size == 0:
        raise KeypointError(f'{path} is empty (0 bytes)')
    if suffix == '.npz':
        return read_npz(path, skeleton, unit or PIXELS, take)
    if suffix == '.npy':
        return read_npy(path, skeleton, unit or PIXELS)
    if suffix == '.json':
        return read_json(path, unit)
    if suffix == '.csv':
        return read_csv(path, skeleton, unit)
    raise KeypointError(f'{path}: keypoints are {_KINDS}; videos are for `trpose run` and `replay`')

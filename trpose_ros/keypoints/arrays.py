"""Plain arrays of keypoints (npy, npz) and archives of the VideoPose3D format.

An array is (T, J, 2), (T, J, 3) with scores, or (T, N, J, 2 or 3) with N people; people stay in
their place. Nothing in a file is executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.archives import ARRAY_ERRORS
from trpose_ros.data.datasets.keypoint_archives import KeypointArchive, read_archive
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.keypoints.clip import Collector, KeypointError, Keypoints
from trpose_ros.skeletons import SKELETONS

_BY_COUNT = {25: 'openpose_25', 33: 'mediapipe_33'}


def read_npy(path: Path, skeleton: str, unit: str) -> Keypoints:
    """Read the one array of an npy file."""
    try:
        with path.open('rb') as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False)
    except ARRAY_ERRORS as error:
        raise KeypointError(
            f'{path} is no readable npy file of numbers ({error!s:.200})'
        ) from error
    return from_array(str(path), array, skeleton, unit)


def read_npz(path: Path, skeleton: str, unit: str, take: str) -> Keypoints:
    """Read an archive of the VideoPose3D format, or an npz of plain arrays."""
    content = load_npz(path)
    if 'positions_2d' in content:
        return _from_archive(read_archive(path), take)
    arrays = {n: v for n, v in content.items() if isinstance(v, np.ndarray) and _fits(v)}
    if take and take not in arrays:
        raise KeypointError(f'{path} has no array {take!r} of keypoints; it has {_names(arrays)}')
    if not arrays:
        held = {n: getattr(v, 'shape', type(v).__name__) for n, v in content.items()}
        raise KeypointError(
            f'{path} holds {held!s:.300}: neither positions_2d and metadata, as VideoPose3D has '
            'them, nor an array (T, J, 2 or 3)'
        )
    if len(arrays) > 1 and not take:
        raise KeypointError(f'{path} has several arrays: name one of {_names(arrays)} with --take')
    name = take or next(iter(arrays))
    return from_array(f'{path} ({name})', arrays[name], skeleton, unit)


def _fits(array: np.ndarray) -> bool:
    return array.ndim in (3, 4) and array.shape[-1] in (2, 3) and array.dtype.kind in 'fiu'


def _names(names: Any) -> str:
    return f'{", ".join(map(str, names))!s:.300}' or 'none'


def from_array(name: str, array: np.ndarray, skeleton: str, unit: str) -> Keypoints:
    """Return the keypoints of an array (T, J, C) or (T, N, J, C), C = 2 or 3."""
    if not _fits(array):
        raise KeypointError(
            f'{name} is {array.dtype} {array.shape}; keypoints are (T, J, 2), (T, J, 3) with '
            'scores, or (T, N, J, 2 or 3) with N people'
        )
    several = array.ndim == 4
    people = array if several else array[:, None]
    collector = Collector(name, skeleton_of(name, people.shape[2], skeleton), unit)
    for t, frame in enumerate(people.astype(np.float64)):
        collector.frame(t)
        for n, person in enumerate(frame):
            if np.isfinite(person[:, :2]).all(axis=1).any():
                scores = person[:, 2] if person.shape[1] == 3 else None
                collector.add(t, person, scores, n)
    return collector.done()


def skeleton_of(name: str, joints: int, wanted: str) -> str:
    """Return the skeleton that is wanted, or the only one of so many joints, or raise."""
    if wanted:
        return wanted
    if joints in _BY_COUNT:
        return _BY_COUNT[joints]
    fitting = [n for n, s in SKELETONS.items() if s.num_joints == joints]
    raise KeypointError(
        f'{name} has {joints} joints and does not say which: give --skeleton, one of '
        f'{", ".join(fitting or SKELETONS)}'
    )


def _from_archive(archive: KeypointArchive, take: str) -> Keypoints:
    """Return one action of one video: cameras of a custom archive are its people."""
    subject, action, cameras = _take(archive, take)
    items = archive.positions[subject][action]
    custom = subject in archive.sizes
    if cameras is None:
        present = [i for i, item in enumerate(items) if item is not None]
        if not custom and len(present) > 1:
            raise KeypointError(
                f'{archive.path}: {subject}/{action} has {len(present)} cameras: name one, as in '
                f'--take {subject}/{action}/{present[0]}'
            )
        cameras = present
    collector = Collector(
        f'{archive.path}: {subject}/{action}', archive.skeleton, size=archive.sizes.get(subject)
    )
    for person in cameras:
        pixels = archive.take(subject, action, person).astype(np.float64)
        scores = _scores(items[person], pixels.shape)
        for t in range(len(pixels)):
            collector.frame(t)
            if np.isfinite(pixels[t]).all(axis=1).any():
                collector.add(t, pixels[t], None if scores is None else scores[t], person)
    return collector.done()


def _scores(item: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    array = np.asarray(item)
    return array[..., 2].astype(np.float64) if array.shape == (*shape[:2], 3) else None


def _take(archive: KeypointArchive, take: str) -> tuple[str, str, Sequence[int] | None]:
    """Return subject, action and cameras (None: not named) of an archive."""
    known = [(s, a) for s, actions in archive.positions.items() for a in actions]
    names = [f'{s}/{a}' for s, a in known]
    if not known:
        raise KeypointError(f'{archive.path} holds no keypoints')
    if not take:
        if len(known) > 1:
            raise KeypointError(
                f'{archive.path} has {len(known)} takes: name one with --take, one of '
                f'{", ".join(names)!s:.300}'
            )
        return *known[0], None
    if take in names:
        return *known[names.index(take)], None
    head, _, camera = take.rpartition('/')
    if head in names and camera.isdecimal() and len(camera) < 6:
        return *known[names.index(head)], [int(camera)]
    raise KeypointError(
        f'{archive.path} has no take {take!r:.80}; it has {", ".join(names)!s:.300}'
    )

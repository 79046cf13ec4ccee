"""Archives of 2D keypoints in the format that VideoPose3D introduced.

``positions_2d``: dict subject -> action -> list with one (T, J, 2) float32 array of pixels per
camera; a third number, a score, is left out. ``metadata``: dict with ``num_joints``,
``keypoints_symmetry`` = [left joints, right joints], usually ``layout_name`` (the Human3.6M
ground-truth file lacks it) and, in archives made from one's own videos, ``video_metadata`` {video:
{'w', 'h'}}. Both are pickled objects, read here without running them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.samples import DataError
from trpose_ros.skeletons import SKELETONS, Skeleton

_LARGEST = 100_000  # px, of an image's side
# Order of preference where the symmetry alone decides between conventions of equal size.
_PREFERRED = ('h36m_17', 'coco_17', 'humaneva_15', 'mpi_inf_3dhp_17')


@dataclass(frozen=True)
class KeypointArchive:
    """One archive: pixels of every subject, action and camera, and what they mean."""

    path: Path
    positions: dict[str, dict[str, list[np.ndarray]]]
    skeleton: str
    layout_name: str  # as the file says; '' when it does not
    left: tuple[int, ...]
    right: tuple[int, ...]
    sizes: dict[str, tuple[int, int]]  # video -> (width, height), of custom archives

    @property
    def num_joints(self) -> int:
        """Return the number of joints J."""
        return SKELETONS[self.skeleton].num_joints

    def take(self, subject: str, action: str, camera: int) -> np.ndarray:
        """Return (T, J, 2) float32 pixels; raises DataError when absent or of a wrong shape."""
        where = f'{self.path}: {subject!s:.80}, {action!s:.80}, camera {camera}'
        cameras = self.positions.get(subject, {}).get(action)
        if cameras is None or camera >= len(cameras):
            raise DataError(f'{where} is not in the archive; obtain one made for the same takes')
        try:
            px = np.asarray(cameras[camera])
        except (ValueError, TypeError) as error:
            raise DataError(f'{where} is no array of pixels ({error!s:.200})') from error
        if px.ndim == 3 and px.shape[2] == 3:  # x, y and a score
            px = px[..., :2]
        if px.ndim != 3 or px.shape[1:] != (self.num_joints, 2) or px.dtype.kind not in 'fiu':
            raise DataError(
                f'{where} must be (T, {self.num_joints}, 2) pixels, got {px.dtype} {px.shape}'
            )
        return px.astype(np.float32)


def read_archive(path: Path) -> KeypointArchive:
    """Read a 2D archive.

    Raises MissingDataError when the file is absent and DataError when it is damaged, lacks a
    part, or orders its joints in no known way.
    """
    content = load_npz(path)
    for key in ('positions_2d', 'metadata'):
        if not isinstance(content.get(key), dict):
            raise DataError(
                f'{path} has no dictionary {key!r} (it holds {sorted(content)!s:.200}); it is '
                'not a 2D archive of the VideoPose3D format'
            )
    metadata = content['metadata']
    try:
        left, right = (tuple(int(i) for i in side) for side in metadata['keypoints_symmetry'])
        num_joints = int(metadata['num_joints'])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f'{path}: metadata must have num_joints and keypoints_symmetry = [left, right], got '
            f'{sorted(map(str, metadata))!s:.200}'
        ) from error
    layout = str(metadata.get('layout_name', ''))
    return KeypointArchive(
        path=path,
        positions=_positions(content['positions_2d'], path),
        skeleton=_skeleton(layout, num_joints, left, right, path),
        layout_name=layout,
        left=left,
        right=right,
        sizes=_sizes(metadata.get('video_metadata', {}), path),
    )


def _positions(positions: dict, path: Path) -> dict[str, dict[str, list[np.ndarray]]]:
    for subject, actions in positions.items():
        if not isinstance(actions, dict):
            raise DataError(f'{path}: subject {subject!r:.80} must be a dict of actions')
        for action, cameras in actions.items():
            if not isinstance(cameras, (list, tuple, np.ndarray)):
                raise DataError(
                    f'{path}: {subject!s:.80}, {action!s:.80} must be a list, one item per camera'
                )
    return positions


def _sizes(videos: Any, path: Path) -> dict[str, tuple[int, int]]:
    try:
        sizes = {str(name): (int(v['w']), int(v['h'])) for name, v in videos.items()}
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f'{path}: video_metadata must be {{video: {{w, h}}}}') from error
    bad = {name: size for name, size in sizes.items() if not 0 < min(size) <= max(size) <= _LARGEST}
    if bad:
        raise DataError(f'{path}: image sizes must be positive, up to {_LARGEST} px: {bad!s:.200}')
    return sizes


def _sides(skeleton: Skeleton) -> tuple[set[int], set[int]]:
    sides = skeleton.sides
    return (
        {i for i, side in enumerate(sides) if side == 'left'},
        {i for i, side in enumerate(sides) if side == 'right'},
    )


def _skeleton(
    layout: str, num_joints: int, left: tuple[int, ...], right: tuple[int, ...], path: Path
) -> str:
    """Return the skeleton whose sides are those of the symmetry: the one fact all files have."""
    if max((*left, *right), default=-1) >= num_joints or min((*left, *right), default=0) < 0:
        raise DataError(f'{path}: keypoints_symmetry names joints beyond the {num_joints} known')
    names = [*_PREFERRED, *(n for n in SKELETONS if n not in _PREFERRED)]
    fitting = [
        name
        for name in names
        if name in SKELETONS
        and SKELETONS[name].num_joints == num_joints
        and _sides(SKELETONS[name]) == (set(left), set(right))
    ]
    if not fitting:
        known = {n: s.num_joints for n, s in SKELETONS.items()}
        raise DataError(
            f'{path}: {num_joints} joints (layout {layout!r:.80}) with left {list(left)!s:.80} '
            f'and right {list(right)!s:.80} fit no known skeleton; known are {known}'
        )
    wanted = layout.split('_')[0]
    return next((name for name in fitting if wanted and name.startswith(wanted)), fitting[0])

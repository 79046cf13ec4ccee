"""BVH: a skeleton with bones of constant length that turn, for Blender; one file a track.

The bones are as long as their median over the track. Rotations say in which direction each bone
points in each frame; positions cannot tell how a bone turns about itself, so it turns as little as
possible. The pelvis turns with the hips and the spine. Where several bones leave a joint, no single
rotation points all of them, so each has a joint of length zero there (``pelv_rhip``), which turns
it alone: joints come out where they were, but for the lengths of bones.

Metres, y up, x right and z towards the camera. Gaps are filled in linearly: BVH has no gaps.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from trpose_ros.exports.files import EXPORTS, Export
from trpose_ros.exports.tracks import Film, films
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import write_text

_ORDER = 'ZXY'  # as Blender and most others write it; the middle axis is the one least used
_TINY = 1e-9
# Directions of the bones at rest: arms to the sides, everything else upright; left is +x.
_REST = {
    **{'rhip': (-1, 0, 0), 'lhip': (1, 0, 0)},
    **dict.fromkeys(('rkne', 'rank', 'lkne', 'lank'), (0, -1, 0)),
    **dict.fromkeys(('spin', 'neck', 'head', 'htop'), (0, 1, 0)),
    **dict.fromkeys(('lsho', 'lelb', 'lwri'), (1, 0, 0)),
    **dict.fromkeys(('rsho', 'relb', 'rwri'), (-1, 0, 0)),
}
_SKELETON = get_skeleton('h36m_17')
_NAMES, _PARENTS = _SKELETON.joint_names, _SKELETON.parents


@EXPORTS.register('bvh')
def write_bvh(export: Export, base: Path) -> list[Path]:
    """Write ``base``-ID.bvh for each track; raises ValueError for a joint that is never known."""
    paths = []
    for film in films(export.frames, export.rate_hz):
        path = base.parent / f'{base.name}-{film.track_id}.bvh'
        write_text(path, _text(film))
        paths.append(path)
    return paths


def _children(joint: int) -> list[int]:
    return [child for child, parent in enumerate(_PARENTS) if parent == joint]


def _text(film: Film) -> str:
    joints = _filled(film)
    spans = joints[:, 1:] - joints[:, list(_PARENTS[1:])]
    lengths = np.concatenate([[0.0], np.median(np.linalg.norm(spans, axis=2), axis=0)])
    head, channels = _Tree(joints, lengths).write()
    values = np.concatenate(channels, axis=1)
    lines = ['HIERARCHY', *head, 'MOTION', f'Frames: {len(joints)}']
    lines.append(f'Frame Time: {1 / film.rate_hz:.8f}')
    lines += [' '.join(f'{v:.6f}' for v in row) for row in values]
    return '\n'.join(lines) + '\n'


def _filled(film: Film) -> np.ndarray:
    """Return (F, 17, 3) with gaps filled linearly."""
    joints = film.joints_m.copy()
    times = np.arange(len(joints))
    for j, name in enumerate(_NAMES):
        known = np.isfinite(joints[:, j]).all(axis=1)
        if not known.any():
            raise ValueError(
                f'track {film.track_id} has no joint {name!r}, which BVH needs: write csv, npz, '
                'json or trc, or give people of h36m_17'
            )
        for axis in range(3):
            joints[:, j, axis] = np.interp(times, times[known], joints[known, j, axis])
    return joints


class _Tree:
    """Writes the hierarchy and, in the same order, the channels of each joint."""

    def __init__(self, joints: np.ndarray, lengths: np.ndarray) -> None:
        self._joints, self._lengths = joints, lengths
        self._lines: list[str] = []
        self._channels: list[np.ndarray] = []

    def write(self) -> tuple[list[str], list[np.ndarray]]:
        """Return the lines and the (F, C) channels."""
        turn = _pelvis(self._joints)
        self._open('ROOT', _NAMES[0], np.zeros(3), 0, True)
        self._channels += [self._joints[:, 0], euler_angles(turn)]
        self._below(0, turn, 1)
        self._lines.append('}')
        return self._lines, self._channels

    def _open(self, kind: str, name: str, offset: np.ndarray, depth: int, root: bool) -> None:
        pad = '  ' * depth
        places = 'Xposition Yposition Zposition ' if root else ''
        turns = ' '.join(f'{axis}rotation' for axis in _ORDER)
        self._lines += [
            f'{pad}{kind} {name}',
            f'{pad}{{',
            f'{pad}  OFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}',
            f'{pad}  CHANNELS {6 if root else 3} {places}{turns}',
        ]

    def _below(self, joint: int, turn: np.ndarray, depth: int) -> None:
        """Write the bones that leave a joint, which is turned by (F, 3, 3) ``turn`` already."""
        children = _children(joint)
        pad = '  ' * depth
        for child in children:
            branch = f'{_NAMES[joint]}_{_NAMES[child]}'
            self._open('JOINT', branch, np.zeros(3), depth, False)
            swing = self._swing(joint, child, turn)
            self._channels.append(euler_angles(swing))
            self._bone(child, turn @ swing, depth + 1)
            self._lines.append(f'{pad}}}')

    def _bone(self, child: int, turn: np.ndarray, depth: int) -> None:
        """Write the joint at the end of a bone, and what follows."""
        pad = '  ' * depth
        offset = np.array(_REST[_NAMES[child]]) * self._lengths[child]
        after = _children(child)
        if not after:
            self._lines += [f'{pad}JOINT {_NAMES[child]}', f'{pad}{{']
            self._lines.append(f'{pad}  OFFSET {offset[0]:.6f} {offset[1]:.6f} {offset[2]:.6f}')
            self._lines.append(f'{pad}  CHANNELS 3 {" ".join(f"{a}rotation" for a in _ORDER)}')
            self._channels.append(np.zeros((len(self._joints), 3)))
            self._end(offset, pad)
            return
        self._open('JOINT', _NAMES[child], offset, depth, False)
        if len(after) > 1:
            self._channels.append(np.zeros((len(self._joints), 3)))
            self._below(child, turn, depth + 1)
        else:
            swing = self._swing(child, after[0], turn)
            self._channels.append(euler_angles(swing))
            self._bone(after[0], turn @ swing, depth + 1)
        self._lines.append(f'{pad}}}')

    def _end(self, offset: np.ndarray, pad: str) -> None:
        """Close a last joint with a short end, which gives it a direction."""
        tip = offset / max(float(np.linalg.norm(offset)), _TINY) * 0.05
        self._lines += [f'{pad}  End Site', f'{pad}  {{']
        self._lines.append(f'{pad}    OFFSET {tip[0]:.6f} {tip[1]:.6f} {tip[2]:.6f}')
        self._lines += [f'{pad}  }}', f'{pad}}}']

    def _swing(self, joint: int, child: int, turn: np.ndarray) -> np.ndarray:
        """Return (F, 3, 3): the shortest turn of a bone, in the axes of ``turn``."""
        span = self._joints[:, child] - self._joints[:, joint]
        local = np.einsum('fji,fj->fi', turn, span)
        rest = np.array(_REST[_NAMES[child]], np.float64)
        length = np.linalg.norm(local, axis=1, keepdims=True)
        return shortest_turns(
            rest, np.where(length > _TINY, local / np.maximum(length, _TINY), rest)
        )


def shortest_turns(rest: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Return (F, 3, 3) rotations that take one unit vector (3,) to each of (F, 3)."""
    axis = np.cross(rest, directions)
    sine, cosine = np.linalg.norm(axis, axis=1), directions @ rest
    other = np.eye(3)[np.abs(rest).argmin()]
    across = np.cross(rest, other) / np.linalg.norm(np.cross(rest, other))
    unit = np.where((sine > _TINY)[:, None], axis / np.maximum(sine, _TINY)[:, None], across)
    return Rotation.from_rotvec(unit * np.arctan2(sine, cosine)[:, None]).as_matrix()


def _pelvis(joints: np.ndarray) -> np.ndarray:
    """Return (F, 3, 3): x from the right hip to the left, y along the spine as far as it goes."""
    index = _SKELETON.index
    x = joints[:, index('lhip')] - joints[:, index('rhip')]
    up = joints[:, index('spin')] - joints[:, 0]
    x = _unit(x, np.array([1.0, 0, 0]))
    up = up - (up * x).sum(axis=1, keepdims=True) * x
    fallback = np.cross(np.array([0, 0, 1.0]), x)
    up = _unit(up, _unit(fallback, np.array([0, 1.0, 0])))
    return np.stack([x, up, np.cross(x, up)], axis=2)


def _unit(vectors: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > _TINY, vectors / np.maximum(length, _TINY), fallback)


def euler_angles(turns: np.ndarray) -> np.ndarray:
    """Return (F, 3) angles in degrees, the way round that goes on from the frame before."""
    with warnings.catch_warnings():  # where two axes coincide one angle is free: any will do
        warnings.simplefilter('ignore', UserWarning)
        angles = Rotation.from_matrix(turns).as_euler(_ORDER)
    return np.asarray(np.degrees(np.unwrap(angles, axis=0)))

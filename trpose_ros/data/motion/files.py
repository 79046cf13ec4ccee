"""Reads motion capture as it is published: Acclaim (ASF/AMC) and Biovision (BVH) files.

Both describe a tree of rigid bones and angles per frame; what comes out here is where the ends of
the bones are. Acclaim: the skeleton is a file of its own, bones have a direction and a length in
the rest pose and an axis in which their angles are meant; the CMU database counts lengths in
inches divided by 0.45. Biovision: skeleton and frames in one file, joints have an offset from
their parent and rotations in the order of their channels; units are whatever the author used.

Positions are those of the file: y up, unscaled for BVH, metres for Acclaim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from trpose_ros.data.samples import DataError, MissingDataError

_INCH_M = 0.0254
_CMU_RATE_HZ = 120.0
_LARGEST = 1e6  # of any number: degrees, and lengths in whatever unit
_MOST_PLACES = 10_000_000  # joints times frames
_CHANNEL = re.compile('[XYZxyz](position|rotation)')
_ROOT_AXES = {'tx', 'ty', 'tz', 'rx', 'ry', 'rz'}


@dataclass(frozen=True)
class Motion:
    """Where every named point of a skeleton is, frame by frame."""

    points: dict[str, np.ndarray]  # name -> (T, 3), y up
    rate_hz: float
    rotations: dict[str, np.ndarray] = field(default_factory=dict)  # name -> (T, 3, 3), global

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(next(iter(self.points.values())))


# --- Acclaim ---------------------------------------------------------------------------------


@dataclass
class _Bone:
    name: str
    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: np.ndarray = field(default_factory=lambda: np.zeros(3))  # degrees
    axis_order: str = 'XYZ'
    dof: tuple[str, ...] = ()
    parent: str = ''


@dataclass(frozen=True)
class AcclaimSkeleton:
    """The bones of an ASF file, parents before children; lengths in its own unit."""

    path: Path
    bones: tuple[_Bone, ...]
    metres: float  # per unit of length
    degrees: bool
    root_order: tuple[str, ...]


def read_asf(path: Path) -> AcclaimSkeleton:
    """Read a skeleton; raises MissingDataError and DataError naming the line."""
    bones: dict[str, _Bone] = {}
    length, degrees, section = 1.0, True, ''
    order: tuple[str, ...] = ('tx', 'ty', 'tz', 'rx', 'ry', 'rz')
    links: list[list[str]] = []
    bone = _Bone('')
    for number, words in _lines(path):
        try:
            if words[0].startswith(':'):
                section = words[0]
            elif section == ':units' and words[0] == 'length':
                (length,) = _numbers(words[1:2], 1)
                if length <= 0:
                    raise ValueError('a unit of length must be positive')
            elif section == ':units' and words[0] == 'angle':
                degrees = words[1].startswith('deg')
            elif section == ':root' and words[0] == 'order':
                order = tuple(word.lower() for word in words[1:])
                if set(order) != _ROOT_AXES or len(order) != 6:
                    raise ValueError(f'the root needs each of {sorted(_ROOT_AXES)} once')
            elif section == ':bonedata':
                bone = _bone_line(bone, words, bones)
            elif section == ':hierarchy' and words[0] not in ('begin', 'end'):
                links.append(words)
        except (IndexError, ValueError) as error:
            raise DataError(
                f'{path}, line {number}: {" ".join(words)!r:.80}: {error!s:.200}'
            ) from error
    ordered: list[_Bone] = []
    for parent, *children in links:
        for child in children:
            if child not in bones:
                raise DataError(f'{path}: the hierarchy names {child!r:.80}, which is no bone')
            bones[child].parent = parent
            ordered.append(bones[child])
    if not ordered:
        raise DataError(f'{path} has no hierarchy of bones; it is not a complete ASF file')
    seen = {'root'}
    for item in ordered:
        if item.parent not in seen:
            raise DataError(f'{path}: bone {item.name!r:.80} comes before its parent')
        seen.add(item.name)
    return AcclaimSkeleton(path, tuple(ordered), _INCH_M / length, degrees, order)


def _bone_line(bone: _Bone, words: list[str], bones: dict[str, _Bone]) -> _Bone:
    key, *values = words
    if key == 'begin':
        return _Bone('')
    if key == 'name':
        bone.name = values[0]
        bones[bone.name] = bone
    elif key == 'direction':
        direction = _numbers(values[:3], 3)
        bone.direction = direction / max(float(np.linalg.norm(direction)), 1e-12)
    elif key == 'length':
        (bone.length,) = _numbers(values[:1], 1).tolist()
    elif key == 'axis':
        bone.axis = _numbers(values[:3], 3)
        bone.axis_order = values[3] if len(values) > 3 else 'XYZ'
        _check_turns(bone.axis_order)
    elif key == 'dof':
        bone.dof = tuple(value.lower() for value in values)
        if not set(bone.dof) <= {*_ROOT_AXES, 'l'}:
            raise ValueError(f'a bone moves along {sorted(_ROOT_AXES)}')
        _check_turns(''.join(axis[1:] for axis in bone.dof if axis.startswith('r')))
    return bone


def _numbers(words: list[str], count: int) -> np.ndarray:
    """Return (count,) numbers; raises ValueError for other ones than motion capture has."""
    values = np.array([float(word) for word in words])
    if values.shape != (count,):
        raise ValueError(f'{count} numbers are needed, got {len(values)}')
    if not (np.abs(values) <= _LARGEST).all():
        raise ValueError(f'numbers must be finite and lie in -{_LARGEST:g}..{_LARGEST:g}')
    return values


def _check_turns(letters: str) -> None:
    """Raise ValueError unless rotations about these axes, in order, can be meant."""
    same = any(a == b for a, b in zip(letters.upper(), letters.upper()[1:], strict=False))
    if len(letters) > 3 or same or not set(letters.upper()) <= set('XYZ'):
        raise ValueError(f'rotations about {letters[:20]!r}: up to three axes, neighbours differ')


def _check_places(joints: int, frames: int, path: Path) -> None:
    if joints * frames > _MOST_PLACES:
        raise DataError(
            f'{path} has {joints} joints in {frames} frames, more than {_MOST_PLACES}: cut it'
        )


def read_amc(path: Path, skeleton: AcclaimSkeleton, rate_hz: float = _CMU_RATE_HZ) -> Motion:
    """Read the angles and place the bones; the points are the far ends, by the bone's name.

    Frame rates are not in the file; the CMU database was recorded at 120 Hz. Raises
    MissingDataError and DataError naming the line.
    """
    dof = {bone.name: bone.dof for bone in skeleton.bones} | {'root': skeleton.root_order}
    values: dict[str, list[list[float]]] = {name: [] for name, axes in dof.items() if axes}
    frames, degrees = 0, skeleton.degrees
    for number, words in _lines(path):
        if words[0].startswith(':'):
            degrees = {':degrees': True, ':radians': False}.get(words[0].lower(), degrees)
        elif len(words) == 1 and words[0].isdigit():
            frames += 1
        elif words[0] not in values or len(words) != len(dof[words[0]]) + 1:
            raise DataError(
                f'{path}, line {number}: {words[0]!r:.80} with {len(words) - 1} values does not '
                f'fit {skeleton.path.name}; the motion belongs to another skeleton'
            )
        else:
            try:
                values[words[0]].append(_numbers(words[1:], len(words) - 1).tolist())
            except ValueError as error:
                raise DataError(f'{path}, line {number}: {error!s:.200}') from error
    counts = {name: len(rows) for name, rows in values.items()}
    if frames == 0 or set(counts.values()) != {frames}:
        wrong = {name: count for name, count in counts.items() if count != frames}
        raise DataError(f'{path} announces {frames} frames but holds {wrong or "none"}')
    _check_places(len(skeleton.bones), frames, path)
    arrays = {name: np.array(rows) for name, rows in values.items()}
    return _place_acclaim(skeleton, arrays, degrees, rate_hz)


def _place_acclaim(
    skeleton: AcclaimSkeleton, values: dict[str, np.ndarray], degrees: bool, rate_hz: float
) -> Motion:
    root = values['root']
    columns = [skeleton.root_order.index(axis) for axis in ('tx', 'ty', 'tz')]
    rotations = {'root': _turns(root, skeleton.root_order, degrees)}
    points = {'root': root[:, columns] * skeleton.metres}
    for bone in skeleton.bones:
        # Angles are meant in the bone's own axes: there and back around the local rotation.
        axes = Rotation.from_euler(bone.axis_order.lower(), bone.axis, degrees=skeleton.degrees)
        there = axes.as_matrix()
        turn = rotations[bone.parent]
        if any(axis.startswith('r') for axis in bone.dof):
            turn = turn @ there @ _turns(values[bone.name], bone.dof, degrees) @ there.T
        rotations[bone.name] = turn
        reach = bone.direction * (bone.length * skeleton.metres)
        points[bone.name] = points[bone.parent] + turn @ reach
    return Motion(points, rate_hz, rotations)


def _turns(values: np.ndarray, order: tuple[str, ...], degrees: bool) -> np.ndarray:
    """Return (T, 3, 3): the rotations among the columns, the first one applied first."""
    picked = [(i, axis[1]) for i, axis in enumerate(order) if axis.startswith('r')]
    letters = ''.join(letter for _, letter in picked)
    angles = values[:, [i for i, _ in picked]]
    return Rotation.from_euler(letters, angles, degrees=degrees).as_matrix()


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return (number, words) of all lines but empty ones and comments."""
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    content = path.read_text(errors='replace').splitlines()
    return [
        (number, words)
        for number, line in enumerate(content, 1)
        if (words := line.split()) and not words[0].startswith('#')
    ]


# --- Biovision -------------------------------------------------------------------------------


@dataclass
class _Joint:
    name: str
    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: tuple[str, ...] = ()


def read_bvh(path: Path) -> Motion:
    """Read a BVH file; points are joints by name, ends of chains as 'NAME.end'.

    Raises MissingDataError and DataError naming the line.
    """
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    head, mark, tail = path.read_text(errors='replace').partition('MOTION')
    if not mark:
        raise DataError(f'{path} has no MOTION part; it is not a complete BVH file')
    joints = _hierarchy(head, path)
    frames, rate_hz, values = _bvh_motion(tail, path)
    width = sum(len(joint.channels) for joint in joints)
    if width == 0 or values.size != frames * width:
        raise DataError(
            f'{path} announces {frames} frames of {width} channels but holds {values.size} '
            'numbers; it is cut off or damaged'
        )
    _check_places(len(joints), frames, path)
    return _place_bvh(joints, values.reshape(frames, width), rate_hz)


def _hierarchy(text: str, path: Path) -> list[_Joint]:
    joints: list[_Joint] = []
    stack: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        try:
            if not words or words[0] in ('HIERARCHY', '{'):
                continue
            if words[0] in ('ROOT', 'JOINT', 'End'):
                parent = stack[-1] if stack else -1
                name = f'{joints[parent].name}.end' if words[0] == 'End' else words[1]
                joints.append(_Joint(name, parent))
                stack.append(len(joints) - 1)
            elif words[0] == 'OFFSET':
                joints[stack[-1]].offset = _numbers(words[1:4], 3)
            elif words[0] == 'CHANNELS':
                joints[stack[-1]].channels = _channels(words)
            elif words[0] == '}':
                stack.pop()
            else:
                raise ValueError('unknown keyword')
        except (IndexError, ValueError) as error:
            raise DataError(
                f'{path}, line {number}: {line.strip()!r:.80}: {error!s:.200}'
            ) from error
    if stack or not joints:
        raise DataError(f'{path}: the hierarchy is not closed')
    return joints


def _channels(words: list[str]) -> tuple[str, ...]:
    """Return the channels of a line; raises ValueError for what no joint can have."""
    channels = tuple(words[2:])
    if int(words[1]) != len(channels) or not all(map(_CHANNEL.fullmatch, channels)):
        raise ValueError('a number, and so many of Xposition .. Zrotation, are needed')
    _check_turns(''.join(c[0] for c in channels if c[1:] == 'rotation'))
    return channels


def _bvh_motion(text: str, path: Path) -> tuple[int, float, np.ndarray]:
    words = text.split()
    try:
        frames, period = int(words[words.index('Frames:') + 1]), words.index('Time:') + 1
        rate_hz = 1 / float(words[period])
        values = np.array(words[period + 1 :], np.float64)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise DataError(f'{path}: the MOTION part cannot be read ({error!s:.200})') from error
    if not ((np.abs(values) <= _LARGEST).all() and 0 < rate_hz <= _LARGEST):
        raise DataError(f'{path}: the MOTION part holds values that no motion has')
    return frames, rate_hz, values


def _place_bvh(joints: list[_Joint], values: np.ndarray, rate_hz: float) -> Motion:
    points: dict[str, np.ndarray] = {}
    rotations: dict[str, np.ndarray] = {}
    column = 0
    for joint in joints:
        part = values[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        shift = np.tile(joint.offset, (len(values), 1))
        letters, angles = '', []
        for i, channel in enumerate(joint.channels):
            axis, kind = channel[0].lower(), channel[1:].lower()
            if kind == 'position':  # given instead of the offset, not on top of it
                shift[:, 'xyz'.index(axis)] = part[:, i]
            else:
                letters += axis.upper()  # intrinsic: each about the axes turned so far
                angles.append(part[:, i])
        turn = np.tile(np.eye(3), (len(values), 1, 1))
        if letters:
            turn = Rotation.from_euler(letters, np.stack(angles, 1), degrees=True).as_matrix()
        if joint.parent >= 0:
            parent = joints[joint.parent].name
            shift = points[parent] + np.einsum('tij,tj->ti', rotations[parent], shift)
            turn = rotations[parent] @ turn
        points[joint.name], rotations[joint.name] = shift, turn
    return Motion(points, rate_hz, rotations)

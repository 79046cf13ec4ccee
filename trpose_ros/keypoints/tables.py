"""CSV of keypoints, in two shapes, told by the header.

Long: a line a joint, with the columns ``frame``, ``joint``, ``x``, ``y``, and ``id`` and ``score``
where there are any. Wide: a line a person, with ``frame``, perhaps ``id``, and columns
``JOINT_x``, ``JOINT_y`` and perhaps ``JOINT_score`` for each joint; a joint is a name
('left_shoulder', 'lsho') or a number. Instead of frames there may be times.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path

import numpy as np

from trpose_ros.keypoints.arrays import skeleton_of
from trpose_ros.keypoints.clip import PIXELS, SHARES, Collector, KeypointError, Keypoints
from trpose_ros.skeletons import get_skeleton

_ALIASES = {
    'frame_id': 'frame',
    'frame_number': 'frame',
    **dict.fromkeys(('track_id', 'person', 'person_id'), 'id'),
    **dict.fromkeys(('confidence', 'visibility', 'likelihood', 'c', 'v'), 'score'),
    **dict.fromkeys(('landmark', 'keypoint', 'landmark_id'), 'joint'),
    **dict.fromkeys(('x_px', 'u'), 'x'),
    **dict.fromkeys(('y_px',), 'y'),
}
_TIMES = {'stamp_ns': 1.0, 'timestamp_ms': 1e6, 'time_s': 1e9}
_WIDE = re.compile(r'(?:(.+?)_(x|y|score|confidence|visibility|likelihood|c|v)|(x|y|c|v|s)_?(\d+))')
_MOST_LINES = 20_000_000
_SIDES = {'left': 'l', 'right': 'r'}
_PARTS = {
    'shoulder': 'sho', 'elbow': 'elb', 'wrist': 'wri', 'knee': 'kne', 'ankle': 'ank',
    'foot_index': 'tip', 'eye_inner': 'eyein', 'eye_outer': 'eyeout', 'big_toe': 'tip',
    'small_toe': 'small',
}  # fmt: skip
_MIDDLE = {'pelvis': 'pelv', 'spine': 'spin', 'head_top': 'htop', 'mid_hip': 'pelv', 'hip': 'pelv'}


def read_csv(path: Path, skeleton: str, unit: str) -> Keypoints:
    """Read a CSV file; raises KeypointError naming the line."""
    try:
        with path.open(encoding='utf-8-sig', newline='') as stream:
            rows = csv.reader(stream)
            header = [_ALIASES.get(name, name) for name in (c.strip().lower() for c in next(rows))]
            lines = [(number, row) for number, row in enumerate(rows, 2) if any(row)]
    except StopIteration:
        raise KeypointError(f'{path} is empty') from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise KeypointError(f'{path} is no readable CSV ({error!s:.200})') from error
    if len(lines) > _MOST_LINES:
        raise KeypointError(f'{path} has {len(lines)} lines, too many: cut it')
    time = next((name for name in ('frame', *_TIMES) if name in header), '')
    if not time:
        raise KeypointError(
            f'{path} has the columns {header!s:.200}, without frame, {", ".join(_TIMES)}'
        )
    for number, row in lines:
        if len(row) != len(header):
            raise KeypointError(
                f'{path}, line {number}: {len(row)} values under {len(header)} columns'
            )
    read = _long if {'joint', 'x', 'y'} <= set(header) else _wide
    return read(path, header, lines, time, skeleton, unit)


def _long(
    path: Path, header: list[str], lines: list, time: str, skeleton: str, unit: str
) -> Keypoints:
    at = {name: header.index(name) for name in header}
    named = [joint_name(row[at['joint']]) for _, row in lines]
    skeleton = _skeleton(path, list(dict.fromkeys(named)), skeleton)
    people: dict[tuple[float, int], np.ndarray] = defaultdict(
        lambda: np.full((get_skeleton(skeleton).num_joints, 3), np.nan)
    )
    for (number, row), joint in zip(lines, named, strict=True):
        where = f'{path}, line {number}'
        key = _value(row[at[time]], where, True), _track(row, at, where)
        person = people[key]
        place = _place(joint, skeleton, where)
        if np.isfinite(person[place]).any():
            raise KeypointError(f'{where}: joint {joint!r:.40} of frame {key[0]:g} comes twice')
        columns = ('x', 'y', 'score')
        person[place] = [_value(row[at[c]], where) if c in at else np.nan for c in columns]
    return _collected(path, people, time, skeleton, unit, 'score' in at)


def _wide(
    path: Path, header: list[str], lines: list, time: str, skeleton: str, unit: str
) -> Keypoints:
    columns: dict[str, dict[str, int]] = defaultdict(dict)
    for place, name in enumerate(header):
        if (match := _WIDE.fullmatch(name)) and name not in (time, 'id'):
            joint, what = (match[1], match[2]) if match[1] else (match[4], match[3])
            columns[joint_name(joint)][what if what in 'xy' else 'score'] = place
    columns = {j: c for j, c in columns.items() if {'x', 'y'} <= set(c)}
    if not columns:
        raise KeypointError(
            f'{path} has the columns {header!s:.200}; joint, x, y or JOINT_x, JOINT_y are needed'
        )
    skeleton = _skeleton(path, list(columns), skeleton)
    at = {name: header.index(name) for name in (time, 'id') if name in header}
    places = {j: _place(j, skeleton, str(path)) for j in columns}
    people: dict[tuple[float, int], np.ndarray] = {}
    for n, (number, row) in enumerate(lines):
        where = f'{path}, line {number}'
        person = np.full((get_skeleton(skeleton).num_joints, 3), np.nan)
        for joint, found in columns.items():
            for axis, what in enumerate(('x', 'y', 'score')):
                if what in found:
                    person[places[joint], axis] = _value(row[found[what]], where)
        # without ids several lines may be of one frame: each is a person, told apart by its line
        track = _track(row, at, where)
        key = _value(row[at[time]], where, True), track if track >= 0 else -1 - n
        if key in people:
            raise KeypointError(f'{where}: id {key[1]} comes twice in frame {key[0]:g}')
        people[key] = person
    return _collected(
        path, people, time, skeleton, unit, any('score' in c for c in columns.values())
    )


def _collected(
    path: Path,
    people: dict[tuple[float, int], np.ndarray],
    time: str,
    skeleton: str,
    unit: str,
    scored: bool,
) -> Keypoints:
    collector = Collector(
        str(path), skeleton, unit or (SHARES if skeleton == 'mediapipe_33' else PIXELS)
    )
    numbers = {value: int(value) for value, _ in people}
    if time != 'frame':
        numbers = {value: n for n, value in enumerate(sorted(numbers))}
        for value, n in numbers.items():
            collector.time(n, round(value * _TIMES[time]))
    for (value, track), person in people.items():
        scores = person[:, 2] if scored else None
        collector.frame(numbers[value])
        if np.isfinite(person[:, :2]).all(axis=1).any():
            collector.add(numbers[value], person, scores, max(track, -1))
    return collector.done()


def joint_name(text: str) -> str:
    """Return the short name of a joint: 'LEFT_SHOULDER' is 'lsho'; numbers stay."""
    name = text.strip().lower().replace(' ', '_').replace('-', '_')
    side, _, part = name.partition('_')
    if side == 'mouth' and part in _SIDES:
        return f'{_SIDES[part]}mouth'
    if side in _SIDES and part:
        return _SIDES[side] + _PARTS.get(part, part)
    return _MIDDLE.get(name, name)


def _skeleton(path: Path, joints: list[str], wanted: str) -> str:
    """Return the skeleton: the one that is wanted, or the one that has these names, or count."""
    if wanted:
        return wanted
    if not all(joint.isdecimal() for joint in joints):
        for name in ('coco_17', 'h36m_17', 'openpose_25', 'mediapipe_33'):
            if set(joints) == set(get_skeleton(name).joint_names):
                return name
    return skeleton_of(str(path), len(joints), '')


def _place(joint: str, skeleton: str, where: str) -> int:
    names = get_skeleton(skeleton).joint_names
    if joint.isdecimal() and len(joint) < 6 and int(joint) < len(names):
        return int(joint)
    if joint not in names:
        raise KeypointError(
            f'{where}: {skeleton} has no joint {joint!r:.40}; it has {", ".join(names)}; name '
            'another order with --skeleton'
        )
    return names.index(joint)


def _track(row: list[str], at: dict[str, int], where: str) -> int:
    return int(_value(row[at['id']], where, True)) if 'id' in at and row[at['id']].strip() else -1


def _value(text: str, where: str, whole: bool = False) -> float:
    """Return a number, NaN for nothing; ``whole``: it counts or orders, and must be one."""
    try:
        value = float(text) if text.strip() else float('nan')
    except ValueError:
        raise KeypointError(f'{where}: {text!r:.40} is no number') from None
    if whole and not np.isfinite(value):
        raise KeypointError(f'{where}: a frame, time or id is {text!r:.40}: give every line one')
    return value

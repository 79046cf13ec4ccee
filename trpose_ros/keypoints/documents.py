"""JSON as other programs write keypoints: which program, told by what the document holds.

COCO: annotations ({'images', 'annotations'}) and results ([{'image_id', 'keypoints'}, ...], which
AlphaPose and detectron2 write, too). MMPose: {'instance_info': [{'frame_id', 'instances'}]}.
MediaPipe has no format of its own: its landmarks as dicts with x, y and visibility, in a list of
frames. OpenPose: one file a frame, in a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.keypoints.clip import (
    PIXELS,
    SHARES,
    Collector,
    KeypointError,
    Keypoints,
    frames_of,
    numbers,
)
from trpose_ros.people import JointState

_MOST_BYTES = 2 << 30
_FORMATS = 'COCO annotations or results, MMPose, MediaPipe, OpenPose'
# Orders whose first 17 are COCO's: Halpe, COCO-WholeBody.
_BEGIN_AS_COCO = (17, 26, 133, 136)
_TIMES = {'stamp_ns': 1.0, 'timestamp_us': 1e3, 'timestamp_ms': 1e6, 'time_s': 1e9}
_FRAMES = ('frame', 'frame_id', 'frame_number', 'frame_index')
_FIELDS = ('pose_landmarks', 'landmarks', 'poseLandmarks')


def load(path: Path) -> Any:
    """Return the content of a JSON file; raises KeypointError."""
    if path.stat().st_size > _MOST_BYTES:
        raise KeypointError(f'{path} is larger than {_MOST_BYTES >> 30} GB: cut it')
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError, MemoryError) as error:
        raise KeypointError(f'{path} is no readable JSON ({error!s:.200})') from error


def read_json(path: Path, unit: str = '') -> Keypoints:
    """Read a JSON file of any of the formats, ``unit`` instead of theirs; raises KeypointError."""
    content = load(path)
    if not content:
        raise KeypointError(f'{path} is empty: {content!r}')
    reader = _reader(content)
    if reader is None:
        held = sorted(content) if isinstance(content, dict) else content
        raise KeypointError(
            f'{path} holds {held!s:.200}, which is none of {_FORMATS}; write a CSV of frame, '
            'joint, x, y instead'
        )
    try:
        return reader(content, str(path), unit)
    except KeypointError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise KeypointError(f'{path} is damaged: {type(error).__name__}: {error!s:.200}') from error


def _reader(content: Any) -> Callable[[Any, str, str], Keypoints] | None:
    if isinstance(content, dict):
        if 'annotations' in content and 'images' in content:
            return _annotations
        if 'instance_info' in content:
            return lambda c, name, unit: _mmpose(c['instance_info'], name, unit)
        if 'people' in content:
            return lambda c, name, unit: from_openpose([(0, c)], name, unit)
        if 'frames' in content:
            return _mediapipe
        return None
    first = content[0] if isinstance(content, list) else None
    if isinstance(first, list):
        return _mediapipe
    if not isinstance(first, dict):
        return None
    if 'image_id' in first and 'keypoints' in first:
        return _results
    if 'instances' in first:
        return _mmpose
    if 'keypoint_scores' in first:
        return lambda c, name, unit: _mmpose([{'frame_id': 0, 'instances': c}], name, unit)
    return _mediapipe if any(key in first for key in (*_FIELDS, 'visibility')) else None


def _coco(values: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (17, 2) joints and (17,) third numbers; COCO writes zeros for what is not there."""
    array = numbers(values, where).reshape(-1)
    if array.size % 3 or array.size // 3 not in _BEGIN_AS_COCO:
        raise KeypointError(
            f'{where}: keypoints are {array.size} numbers; COCO has 17 times x, y and a flag or '
            'score'
        )
    table = array.reshape(-1, 3)[:17]
    joints = table[:, :2].copy()
    joints[(table == 0).all(axis=1)] = np.nan
    return joints, table[:, 2]


def _flags(flags: np.ndarray) -> np.ndarray:
    """Return what COCO's 0, 1, 2 say: not labelled, not visible, visible."""
    named = [JointState.UNKNOWN, JointState.OCCLUDED, JointState.VISIBLE]
    return np.array(named, np.uint8)[flags.astype(int)]


def _annotations(content: Any, name: str, unit: str) -> Keypoints:
    images = {image['id']: image for image in content['images']}
    sizes = {(i.get('width'), i.get('height')) for i in images.values()}
    if len(sizes) > 1:
        raise KeypointError(f'{name}: images have {len(sizes)} sizes, so they are no clip')
    names = {key: i.get('frame_id', i.get('file_name', key)) for key, i in images.items()}
    numbers_ = frames_of(list(names.values()))
    collector = Collector(
        name, 'coco_17', unit or PIXELS, size=_size(*next(iter(sizes), (None, None)))
    )
    for value in names.values():
        collector.frame(numbers_[value])
    for person in content['annotations']:
        if not person.get('keypoints'):
            continue
        key = person['image_id']
        if key not in names:
            raise KeypointError(
                f'{name}: an annotation is of image {key!r:.80}, which is not there'
            )
        frame = numbers_[names[key]]
        joints, flags = _coco(person['keypoints'], f'{name}, frame {frame}')
        flagged = np.isin(flags, (0, 1, 2)).all()
        collector.add(
            frame,
            joints,
            None if flagged else flags,
            int(person.get('track_id', -1)),
            _flags(flags) if flagged else None,
        )
    return collector.done()


def _results(content: Any, name: str, unit: str) -> Keypoints:
    numbers_ = frames_of([person['image_id'] for person in content])
    collector = Collector(name, 'coco_17', unit or PIXELS)
    for person in content:
        frame = numbers_[person['image_id']]
        joints, scores = _coco(person['keypoints'], f'{name}, frame {frame}')
        track = person.get('track_id', person.get('idx', -1))
        collector.add(frame, joints, scores, int(track) if isinstance(track, (int, float)) else -1)
    return collector.done()


def _mmpose(content: Any, name: str, unit: str) -> Keypoints:
    collector = Collector(name, 'coco_17', unit or PIXELS)
    for place, frame in enumerate(content):
        number = int(frame.get('frame_id', place))
        collector.frame(number)
        for person in frame['instances']:
            where = f'{name}, frame {number}'
            joints = numbers(person['keypoints'], where)
            if joints.ndim != 2 or len(joints) not in _BEGIN_AS_COCO:
                raise KeypointError(
                    f'{where}: keypoints are {joints.shape}; orders that begin with the 17 of '
                    f'COCO have {_BEGIN_AS_COCO} joints'
                )
            scores = person.get('keypoint_scores')
            scores = None if scores is None else numbers(scores, where).ravel()[:17]
            collector.add(number, joints[:17], scores, int(person.get('track_id', -1)))
    return collector.done()


def _mediapipe(content: Any, name: str, unit: str) -> Keypoints:
    """Read frames that are lists of landmarks, or dicts that hold such lists."""
    head = content if isinstance(content, dict) else {}
    collector = Collector(
        name,
        'mediapipe_33',
        unit or SHARES,
        size=_size(head.get('width'), head.get('height')),
        rate_hz=float(head['fps']) if head.get('fps') else None,
    )
    frames = head.get('frames', content)
    if isinstance(frames[0], dict) and 'visibility' in frames[0]:
        frames = [frames]  # the landmarks of one picture
    for place, frame in enumerate(frames):
        number, people = place, frame
        if isinstance(frame, dict):
            number = int(next((frame[key] for key in _FRAMES if key in frame), place))
            people = next((frame[key] for key in _FIELDS if frame.get(key)), [])
            for key, scale in _TIMES.items():
                if key in frame:
                    collector.time(number, round(float(frame[key]) * scale))
        if isinstance(people, dict):  # the message of the older interface
            people = people.get('landmark', [])
        collector.frame(number)
        people = people or []
        if people and isinstance(people[0], dict):
            people = [people]
        for person in people:
            scores = [mark.get('visibility') for mark in person]
            collector.add(number, [(mark['x'], mark['y']) for mark in person], scores)
    return collector.done()


def read_openpose(folder: Path, unit: str = '') -> Keypoints:
    """Read a folder of NAME_000000000012_keypoints.json, one a frame."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == '.json')
    if not files:
        raise KeypointError(
            f'{folder} holds no .json files; OpenPose writes them with --write_json'
        )
    number = frames_of([path.name for path in files])
    frames = []
    for path in files:
        content = load(path)
        if not isinstance(content, dict) or not isinstance(content.get('people'), list):
            held = sorted(content) if isinstance(content, dict) else content
            raise KeypointError(f'{path} has no people as OpenPose writes them: {held!s:.200}')
        frames.append((number[path.name], content))
    return from_openpose(frames, str(folder), unit)


def from_openpose(frames: list[tuple[int, Any]], name: str, unit: str = '') -> Keypoints:
    """Return the people of OpenPose's frames, each (number, content)."""
    collector = Collector(name, 'openpose_25', unit or PIXELS)
    for number, content in frames:
        collector.frame(number)
        for person in content['people']:
            where = f'{name}, frame {number}'
            table = numbers(person['pose_keypoints_2d'], where).ravel()
            if table.size != 75:
                raise KeypointError(
                    f'{where}: {table.size} numbers; BODY_25 has 75: run OpenPose with '
                    '--model_pose BODY_25'
                )
            points = table.reshape(25, 3)
            joints, scores = points[:, :2].copy(), points[:, 2]
            joints[scores <= 0] = np.nan  # what was not found is written as zeros
            if np.isfinite(joints).any():
                track = numbers(person.get('person_id', [-1]), where).ravel()
                collector.add(number, joints, scores, int(track[0]) if track.size else -1)
    return collector.done()


def _size(width: Any, height: Any) -> tuple[int, int] | None:
    known = all(isinstance(v, (int, float)) and 0 < v <= 100_000 for v in (width, height))
    return (int(width), int(height)) if known else None

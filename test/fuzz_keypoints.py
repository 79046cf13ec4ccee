"""Keypoints of other programs: valid documents and tables, their damage, their reader."""

from __future__ import annotations

import json
import random
from itertools import islice
from pathlib import Path
from typing import Any

from fuzz_damage import damaged_text, damaged_value
from fuzz_messages import Make, Read, door

from trpose_ros.keypoints.clip import KeypointError
from trpose_ros.keypoints.read import read_keypoints


def _documents() -> list[Any]:
    """Return keypoints of one person in two frames, as other programs write them as JSON."""
    flat = [float(i % 90) for i in range(51)]
    marks = [{'x': 0.3, 'y': 0.01 * i, 'visibility': 0.9} for i in range(33)]
    image = {'id': 1, 'file_name': 'a1.jpg', 'width': 640, 'height': 480}
    pairs = [[float(i), 9.0] for i in range(17)]
    person = {'keypoints': pairs, 'keypoint_scores': [0.5] * 17, 'track_id': 2}
    return [
        {'images': [image], 'annotations': [{'image_id': 1, 'keypoints': flat, 'track_id': 1}]},
        [{'image_id': n, 'keypoints': flat, 'score': 0.9} for n in (1, 2)],
        {'instance_info': [{'frame_id': n, 'instances': [person]} for n in (1, 2)]},
        {'fps': 30, 'width': 64, 'height': 48, 'frames': [{'frame': 3, 'landmarks': marks}]},
        [{'pose_landmarks': [marks], 'timestamp_ms': n} for n in (1, 2)],
        {'people': [{'person_id': [1], 'pose_keypoints_2d': [5.0] * 75}]},
    ]


@door('keypoints of other programs', 20, KeypointError)
def _foreign_keypoints(folder: Path) -> Make:
    seeds, document, table = _documents(), folder / 'a.json', folder / 'a.csv'
    lines = [f'{t},1,{j},{9 + j},5,0.5' for t in (0, 1) for j in range(17)]
    text = '\n'.join(['frame,id,joint,x,y,score', *lines])

    def damage(r: random.Random) -> Read:
        if r.random() < 0.2:
            table.write_text(damaged_text(r, text), 'utf-8', 'surrogateescape')
            return lambda: read_keypoints(table, skeleton='coco_17')
        parts = json.JSONEncoder(default=str).iterencode(damaged_value(r, r.choice(seeds)))
        words = ''.join(islice(parts, 50_000))  # a damaged value may have become very large
        words = words if r.random() < 0.7 else damaged_text(r, words)
        document.write_text(words, 'utf-8', 'surrogateescape')
        return lambda: read_keypoints(document)

    return damage

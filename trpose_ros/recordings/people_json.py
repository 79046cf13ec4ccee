"""People as JSON: what is known, in plain names; what is not known is null, never a zero.

docs/pictures.md describes every field. Lengths are metres in the camera's optical frame (x right,
y down, z forward) or pixels of the whole picture, pixel centres at integers.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from trpose_ros.people import Camera, Edge, JointState, People, RootSource
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import Draft, write_error

_PX_DIGITS, _M_DIGITS = 2, 5  # a hundredth of a pixel, a hundredth of a millimetre


def plain(values: Any, digits: int | None = None) -> Any:
    """Return numbers, arrays and lists as JSON takes them: NaN and infinity become None."""
    if isinstance(values, np.ndarray):
        values = values.astype(np.float64).tolist()
    if isinstance(values, (list, tuple)):
        return [plain(value, digits) for value in values]
    if isinstance(values, (float, np.floating)):
        if not math.isfinite(values):
            return None
        return float(values) if digits is None else round(float(values), digits)
    return values


def skeleton_record(name: str) -> dict[str, Any]:
    """Return the joints of a skeleton and the tree over them."""
    skeleton = get_skeleton(name)
    return {
        'name': name,
        'joints': list(skeleton.joint_names),
        'parents': list(skeleton.parents),
        'root': skeleton.root_index,
    }


def camera_record(camera: Camera) -> dict[str, Any]:
    """Return the intrinsics, whether they are assumed, and the field of view they mean."""
    axis = 0 if camera.width >= camera.height else 1
    span = (camera.width, camera.height)[axis]
    return {
        'model': camera.model,
        'matrix': plain(camera.matrix, 4),
        'distortion': plain(camera.distortion),
        'assumed': camera.assumed,
        'fov_deg': round(math.degrees(2 * math.atan(span / 2 / camera.matrix[axis, axis])), 3),
    }


def person_records(people: People) -> list[dict[str, Any]]:
    """Return one record for each person, numbered as they are drawn."""
    return [_person(people, i) for i in range(len(people))]


def _person(people: People, i: int) -> dict[str, Any]:
    cut = int(people.cut_edges[i])
    edges = [str(edge.name).lower() for edge in Edge if edge.value & cut]
    states = [JointState(int(state)).name.lower() for state in people.joint_states[i]]
    joints_m, covariances = people.joints_m[i], people.covariances_m2[i]
    in_space = bool(np.isfinite(joints_m).all(axis=1).any())
    known = bool(np.isfinite(covariances).all(axis=(1, 2)).any())
    return {
        'id': int(people.track_ids[i]),
        'score': plain(float(people.scores[i]), 4),
        'box_px': plain(people.boxes_px[i], _PX_DIGITS),
        'visible_fraction': plain(float(people.visible_fractions[i]), 4),
        'cut_edges': edges,
        'joints_2d_px': _rows(people.joints_px[i], _PX_DIGITS),
        'joints_3d_m': _rows(joints_m, _M_DIGITS) if in_space else None,
        'joint_states': states,
        'joint_scores': plain(people.joint_scores[i], 4),
        'covariances_m2': _rows(_significant(covariances), None) if known else None,
        'root_source': RootSource(int(people.root_sources[i])).name.lower(),
        'reprojection_error_px': plain(float(people.reprojection_errors_px[i]), _PX_DIGITS),
    }


def _rows(values: np.ndarray, digits: int | None) -> list[Any]:
    """Return one entry for each joint: None for a joint of which a part is not known."""
    whole = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return [plain(row, digits) if known else None for row, known in zip(values, whole, strict=True)]


def _significant(values: np.ndarray) -> np.ndarray:
    """Round to four significant digits."""
    values = values.astype(np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):
        digits = 3 - np.floor(np.log10(np.abs(values)))
    scale = 10.0 ** np.where(np.isfinite(digits), digits, 0)
    return np.asarray(np.round(values * scale) / scale)


class PeopleFile:
    """Writes one JSON file picture by picture; a context manager, complete or not at all.

    Only the entry that is being written is held in memory.
    """

    def __init__(self, path: Path, head: dict[str, Any], entries: str) -> None:
        """Begin the file with the fields of ``head``; ``entries`` names the list that follows."""
        self.path = path
        self._draft = Draft(path)
        self._file: TextIO = self._draft.temporary.open(
            'w',
            encoding='utf-8',
            errors='backslashreplace',  # a lone surrogate: \\udc80 is JSON
        )
        self._separator = ''
        fields = ',\n'.join(_field(name, value) for name, value in head.items())
        try:
            self._write(f'{{\n{fields},\n {json.dumps(entries)}: [')
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> PeopleFile:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if not self._file.closed:  # not finished
            with suppress(OSError):  # what waits to be written may not fit any more
                self._file.close()
        self._draft.discard()

    def add(self, entry: dict[str, Any]) -> None:
        """Append an entry to the list, in a line of its own."""
        self._write(f'{self._separator}\n  {_dumps(entry)}')
        self._separator = ','

    def finish(self, tail: dict[str, Any]) -> None:
        """Write the fields behind the list and put the file in its place."""
        self._write('\n ]')
        for name, value in tail.items():
            self._write(f',\n{_field(name, value)}')
        self._write('\n}\n')
        try:
            self._file.close()
        except OSError as error:
            raise write_error(self.path, error) from error
        self._draft.finish()

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as error:
            raise write_error(self.path, error) from error


def _field(name: str, value: Any) -> str:
    return f' {json.dumps(name)}: {_dumps(value)}'


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

"""Reading the calibration of several cameras: our YAML, Kalibr's camchain, lists in JSON.

Ours::

    world: map                      # frame_id of results
    unit: m                         # of positions: m (default), cm or mm
    cameras:
      front:
        frame_id: front_optical     # of its images
        position_m: [0.0, -3.0, 1.2]                # of the camera in the world
        quaternion_xyzw: [-0.7071, 0.0, 0.0, 0.7071]  # camera (x right, y down, z forward) to world
        topic: /front/lifter_node/people            # of its people; this is the default
        intrinsics: {K: [600, 0, 320, 0, 600, 240, 0, 0, 1], size: [640, 480], distortion: []}

``camera_to_world`` (4x4) or ``world_to_camera`` (4x4) may stand instead of position and quaternion;
``image_topic`` and ``recording`` say where a recording has its images, ``time_offset_s`` is added
to its stamps. Kalibr's camchain gives each camera by the one before (T_cn_cnm1): the first one's
optical frame is the world. JSON as that of CMU Panoptic has a list ``cameras`` with name,
resolution, K, distCoef, R and t (world to camera, cm there: by size, or by ``unit``).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.cameras import camera_from_info_fields
from trpose_ros.multiview.rig import (
    Placement,
    Rig,
    RigCamera,
    from_quaternion,
    inverted,
    placement_of,
    unit_note,
)
from trpose_ros.people import Camera
from trpose_ros.yaml_files import load_yaml

_UNITS = {'m': 1.0, 'cm': 0.01, 'mm': 0.001}
_MOST_CAMERAS = 64
_LARGEST_BYTES = 4 << 20
_OURS = (
    *('frame_id', 'topic', 'camera_info_topic', 'image_topic', 'recording', 'time_offset_s'),
    'intrinsics',
    *('position_m', 'position', 'quaternion_xyzw', 'camera_to_world', 'world_to_camera'),
)
_MODELS = {'pinhole': '', 'radtan': 'plumb_bob', 'equidistant': 'equidistant', 'none': ''}


def read_rig(path: str | Path) -> Rig:
    """Return the cameras that a file describes.

    Raises ValueError, naming the file, the camera and what is wrong with it, for a file that is
    no such calibration or one that no cameras can have; OSError when it cannot be opened.
    """
    path = Path(path)
    content = _load(path)
    try:
        if _is_camchain(content):
            return _checked(_camchain(content), 1.0, 'cam0', ())
        cameras = content.get('cameras') if isinstance(content, dict) else content
        unit = _unit(content)
        world = str(content.get('world', 'world')) if isinstance(content, dict) else 'world'
        if isinstance(cameras, list):
            return _from_list(cameras, unit, world)
        if not isinstance(cameras, dict) or not cameras:
            raise ValueError(
                "it has no 'cameras': one entry each with position_m and quaternion_xyzw, or "
                'camera_to_world (docs/several_cameras.md)'
            )
        _few(len(cameras))
        found = [_ours(str(name), entry) for name, entry in cameras.items()]
        return _checked(found, unit or 1.0, world, ())
    except ValueError as error:
        raise ValueError(f'{path}: {error!s:.600}') from error
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(
            f'{path} is no calibration of several cameras ({error!r:.200}); '
            'docs/several_cameras.md has the formats'
        ) from error


def is_rig(path: str | Path) -> bool:
    """Say whether a calibration file is one of several cameras; raises as ``read_rig``."""
    content = _load(Path(path))
    return (
        isinstance(content, list)
        or _is_camchain(content)
        or (isinstance(content, dict) and 'cameras' in content)
    )


def _load(path: Path) -> Any:
    if path.suffix.lower() != '.json':
        return load_yaml(path, _LARGEST_BYTES)
    with path.open('rb') as file:
        data = file.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise ValueError(f'{path} has more than {_LARGEST_BYTES >> 20} MB: no calibration has')
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error!s:.200})') from error


def _few(count: int) -> None:
    if count > _MOST_CAMERAS:
        raise ValueError(f'{count} cameras: at most {_MOST_CAMERAS} are taken; leave some out')


def _unit(content: Any) -> float | None:
    name = content.get('unit') if isinstance(content, dict) else None
    if name is None:
        return None
    if name not in _UNITS:
        raise ValueError(f'unit must be one of {list(_UNITS)}, got {name!r:.40}')
    return _UNITS[name]


def _checked(cameras: list[RigCamera], scale: float, world: str, notes: tuple[str, ...]) -> Rig:
    """Return the rig with positions in metres; raises ValueError for those that are not."""
    scaled = [
        dataclasses.replace(
            camera,
            placement=Placement(camera.placement.rotation, camera.placement.position_m * scale),
        )
        for camera in cameras
    ]
    note = unit_note({camera.name: camera.placement for camera in scaled})
    if note:
        raise ValueError(note)
    return Rig(tuple(scaled), world, notes)


def _ours(name: str, entry: Any) -> RigCamera:
    """Return a camera of our own format; the error names it."""
    try:
        if not isinstance(entry, dict):
            raise ValueError(f'is {entry!r:.40}, not a list of its values')
        unknown = sorted(str(key) for key in entry if key not in _OURS)
        if unknown:
            raise ValueError(f'has {unknown[0]!r:.40}, which means nothing; known are {_OURS}')
        offset = float(entry.get('time_offset_s', 0.0))
        if not abs(offset) <= 1e10:
            raise ValueError(f'time_offset_s must be seconds, got {offset}')
        words = {
            key: str(entry.get(key) or '')
            for key in ('frame_id', 'topic', 'image_topic', 'recording')
        }
        given = entry.get('intrinsics')
        return RigCamera(
            name,
            _placement(entry),
            intrinsics=None if given is None else _intrinsics(given),
            time_offset_s=offset,
            info_topic=str(entry.get('camera_info_topic') or ''),
            **words,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'camera {name!r:.80}: {error}') from error


def _placement(entry: dict[str, Any]) -> Placement:
    position = entry.get('position_m', entry.get('position'))
    ways = [
        key for key in ('quaternion_xyzw', 'camera_to_world', 'world_to_camera') if key in entry
    ]
    if len(ways) != 1 or (position is None) == (ways[0] == 'quaternion_xyzw'):
        raise ValueError(
            'needs position_m with quaternion_xyzw, or camera_to_world, or world_to_camera: one '
            f'of these, got {sorted(key for key in entry if key in _OURS[7:])}'
        )
    if ways[0] == 'quaternion_xyzw':
        return from_quaternion(_numbers(entry['quaternion_xyzw']), _numbers(position))
    matrix = _square(entry[ways[0]])
    if ways[0] == 'camera_to_world':
        return placement_of(matrix[:3, :3], matrix[:3, 3])
    return inverted(matrix[:3, :3], matrix[:3, 3])


def _numbers(values: Any) -> np.ndarray:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f'numbers are wanted, got {values!r:.80}') from error


def _square(values: Any) -> np.ndarray:
    """Return a (4, 4) matrix from 16 or 12 numbers, in rows or not."""
    matrix = _numbers(values)
    if matrix.size == 12:
        matrix = np.concatenate([matrix.reshape(3, 4), [[0.0, 0.0, 0.0, 1.0]]])
    if matrix.size != 16:
        raise ValueError(f'a transform has 4x4 numbers, got {matrix.size}')
    matrix = matrix.reshape(4, 4)
    if np.abs(matrix[3] - [0, 0, 0, 1]).max() > 1e-6:
        raise ValueError(f'the last row of a transform is 0 0 0 1, got {matrix[3].tolist()}')
    return matrix


def _intrinsics(given: Any) -> Camera:
    """Return the camera of K, size and distortion."""
    k = _numbers(given['K']).ravel()
    width, height = (int(value) for value in given['size'])
    distortion = _numbers(given.get('distortion') or []).ravel()
    return _camera(width, height, k, distortion, str(given.get('model', '')))


def _camera(width: int, height: int, k: np.ndarray, d: np.ndarray, model: str) -> Camera:
    if not model:
        model = 'rational_polynomial' if d.size > 5 else 'plumb_bob'
    camera = camera_from_info_fields(width, height, k, d, model)
    centre = camera.matrix[:2, 2] / [width, height]
    if not ((centre > 0.1) & (centre < 0.9)).all():
        raise ValueError(
            f'the principal point {camera.matrix[:2, 2].tolist()} is not near the middle of '
            f'{width}x{height} px: K and size seem to be of different images'
        )
    return camera


def _is_camchain(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get('cam0'), dict)


def _camchain(content: dict[str, Any]) -> list[RigCamera]:
    """Return the cameras of Kalibr; each stands by the one before."""
    names = [name for name in content if name.startswith('cam') and name[3:].isdigit()]
    names.sort(key=lambda name: int(name[3:]))
    _few(len(names))
    cameras: list[RigCamera] = []
    to_camera = np.eye(4)
    for place, name in enumerate(names):
        try:
            entry = content[name]
            if place:
                to_camera = _square(entry['T_cn_cnm1']) @ to_camera
            fx, fy, cx, cy = _numbers(entry['intrinsics'])[-4:]
            k = np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1])
            if entry.get('camera_model', 'pinhole') != 'pinhole':
                raise ValueError(f'camera_model {entry["camera_model"]!r:.40} is not known here')
            model = str(entry.get('distortion_model', 'none'))
            if model not in _MODELS:
                raise ValueError(f'distortion_model {model!r:.40} is not one of {list(_MODELS)}')
            width, height = (int(value) for value in entry['resolution'])
            lens = _numbers(entry.get('distortion_coeffs') or []).ravel()
            cameras.append(
                RigCamera(
                    name,
                    inverted(to_camera[:3, :3], to_camera[:3, 3]),
                    image_topic=str(entry.get('rostopic', '')),
                    intrinsics=_camera(width, height, k, lens, _MODELS[model]),
                )
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f'camera {name!r}: {error}') from error
    return cameras


def _from_list(entries: list[Any], unit: float | None, world: str) -> Rig:
    """Return the cameras of a list with K, R and t (world to camera)."""
    _few(len(entries))
    cameras = []
    for place, entry in enumerate(entries):
        name = str(entry.get('name', f'camera{place}')) if isinstance(entry, dict) else str(place)
        try:
            rotation = _numbers(entry['R']).reshape(3, 3)
            there = inverted(rotation, _numbers(entry['t']))
            width, height = (int(value) for value in entry.get('resolution', entry.get('size')))
            lens = _numbers(entry.get('distCoef', entry.get('distortion')) or []).ravel()
            k = _numbers(entry['K']).ravel()
            cameras.append(
                RigCamera(
                    name,
                    there,
                    frame_id=str(entry.get('frame_id', '')),
                    image_topic=str(entry.get('image_topic', '')),
                    recording=str(entry.get('recording', '')),
                    intrinsics=_camera(width, height, k, lens, str(entry.get('model', ''))),
                )
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f'camera {name!r:.80}: {error!s:.200}') from error
    notes: tuple[str, ...] = ()
    if unit is None:
        unit = 1.0
        positions = np.array([camera.placement.position_m for camera in cameras]).reshape(-1, 3)
        extent = float(np.ptp(positions, axis=0).max(initial=0.0))
        for name, size in _UNITS.items():
            if extent > 50.0 and extent * size < 12.0:
                unit = size
                notes = (
                    f'cameras are {extent:.0f} units apart: taken for {name}; say unit: {name} '
                    "beside 'cameras' to have it certain",
                )
                break
    return _checked(cameras, unit, world, notes)

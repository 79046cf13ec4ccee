"""Which recording is which camera's, when several are given with a calibration of several.

By what is said (NAME=PATH), by the calibration (``recording``, ``image_topic``), by the file's
name, by the frame_id of its images; as a last resort by the order, which is noted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from trpose_ros.multiview.rig import Rig, RigCamera
from trpose_ros.recordings import messages
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.sources import SourceOptions
from trpose_ros.recordings.video import VIDEO_SUFFIXES, is_url

_IMAGES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


@dataclasses.dataclass(frozen=True)
class CameraRecording:
    """Where the images of one camera are."""

    camera: str
    path: str
    image_topic: str | None = None

    def options(self, given: SourceOptions, rig: Rig) -> SourceOptions:
        """Return how to open it: with the intrinsics of the calibration, where there are no own."""
        return dataclasses.replace(
            given,
            image_topic=self.image_topic or given.image_topic,
            calibration=rig[self.camera].intrinsics or given.calibration,
        )


def recordings_of(
    sources: Sequence[str], rig: Rig, notes: list[str]
) -> tuple[CameraRecording, ...]:
    """Return the recordings of cameras in the order of the rig.

    What is not certain is added to ``notes``. Raises ValueError where nobody can say whose a
    recording is, for two of one camera and for fewer than two cameras, with the remedy;
    BagError for one that cannot be opened.
    """
    found: dict[str, CameraRecording] = {}
    left: list[str] = []
    for source in sources:
        name, equals, path = source.partition('=')
        if equals and name in rig.names:
            _take(found, CameraRecording(name, path))
        elif equals and not Path(source).exists():
            rig[name]  # raises, and names the cameras there are
        else:
            left.append(source)
    if len(left) == 1 and not found and len(rig.cameras) > 1:
        return _of_one(left[0], rig, notes)
    unsure = []
    for path in left:
        camera = _by_name(path, rig) or _by_frame(path, rig)
        if camera is None:
            unsure.append(path)
        else:
            _take(found, CameraRecording(camera.name, path, camera.image_topic or None))
    free = [name for name in rig.names if name not in found]
    if unsure and len(unsure) != len(free):
        raise ValueError(
            f'nobody can say which camera {unsure[0]} is of; the calibration has {list(rig.names)}:'
            f' write it as {free[0] if free else rig.names[0]}={unsure[0]}'
        )
    for name, path in zip(free, unsure, strict=False):
        _take(found, CameraRecording(name, path, rig[name].image_topic or None))
        notes.append(
            f'{path} is taken for camera {name!r}, by the order of the calibration: write '
            f'{name}={path} to have it certain'
        )
    return _sorted(found, rig, notes)


def _take(found: dict[str, CameraRecording], one: CameraRecording) -> None:
    if one.camera in found:
        raise ValueError(
            f'{found[one.camera].path} and {one.path} are both of camera {one.camera!r}: write '
            'NAME=PATH for each'
        )
    found[one.camera] = one


def _sorted(
    found: dict[str, CameraRecording], rig: Rig, notes: list[str]
) -> tuple[CameraRecording, ...]:
    missing = [name for name in rig.names if name not in found]
    if len(found) < 2:
        raise ValueError(
            f'several cameras are wanted, there is a recording of {list(found)} alone; the '
            f'calibration has {list(rig.names)}'
        )
    if missing:
        notes.append(f'there is no recording of {", ".join(missing)}: the others go on without')
    return tuple(found[name] for name in rig.names if name in found)


def _by_name(path: str, rig: Rig) -> RigCamera | None:
    """Return the camera whose recording a file is called after."""
    name, stem = Path(path).name, Path(path).stem
    for camera in rig.cameras:
        if camera.recording and Path(camera.recording).name in (name, stem):
            return camera
    inside = [camera for camera in rig.cameras if camera.name in stem]
    longest = max((len(camera.name) for camera in inside), default=0)
    best = [camera for camera in inside if len(camera.name) == longest]
    return best[0] if len(best) == 1 else None


def _is_bag(path: str) -> bool:
    return not (
        path.startswith('/dev/') or is_url(path) or Path(path).suffix.lower() in VIDEO_SUFFIXES
    )


def _by_frame(path: str, rig: Rig) -> RigCamera | None:
    """Return the camera whose frame_id the first image of a recording has."""
    if not _is_bag(path):
        return None
    with BagReader(path) as bag:
        topics = [name for name, kind in bag.topics.items() if kind in _IMAGES]
        for entry in bag.messages(topics):
            frame_id = entry.message.header.frame_id
            return next((c for c in rig.cameras if c.frame_id and c.frame_id == frame_id), None)
    return None


def _of_one(path: str, rig: Rig, notes: list[str]) -> tuple[CameraRecording, ...]:
    """Return the cameras of one recording, each by its own topic."""
    if not _is_bag(path):
        raise ValueError(
            f'{path} is one video, the calibration has the cameras {list(rig.names)}: give a '
            'recording of each, as NAME=PATH'
        )
    with BagReader(path) as bag:
        topics = sorted(name for name, kind in bag.topics.items() if kind in _IMAGES)
        frames = {} if len(topics) < 2 else {t: _first_frame(bag, t) for t in topics}
    found: dict[str, CameraRecording] = {}
    for camera in rig.cameras:
        said = [t for t in topics if camera.image_topic and t in _spellings(camera.image_topic)]
        by_frame = [t for t in topics if camera.frame_id and frames.get(t) == camera.frame_id]
        by_name = [t for t in topics if camera.name in t.split('/')]
        for choice in (said, by_frame, by_name):
            if choice:
                _take(found, CameraRecording(camera.name, path, choice[0]))
                break
    if len(found) < 2:
        raise ValueError(
            f'{path} has the image topics {topics}, of which {len(found)} are those of cameras of '
            f'the calibration ({list(rig.names)}): add image_topic to each camera there, or give a '
            'recording of each, as NAME=PATH'
        )
    return _sorted(found, rig, notes)


def _spellings(topic: str) -> tuple[str, ...]:
    return topic, f'{topic}/compressed'


def _first_frame(bag: BagReader, topic: str) -> str:
    for entry in bag.messages([topic]):
        return str(entry.message.header.frame_id)
    return ''

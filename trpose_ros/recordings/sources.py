"""Where offline frames come from: a recording, a video file, a camera device or pictures.

A source yields frames with their stamps and cameras, and, where a recording holds ground truth,
the true people and the reference box that the truncation protocol measures occlusions against.
Frames that cannot be decoded are counted and named in ``problems``, and the next one follows.

Pictures are frames that have nothing to do with each other: ``picture_source`` opens them, and
``open_source`` refuses them, because its callers track people from one frame to the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from trpose_ros.cameras import camera_from_fov
from trpose_ros.people import Camera, Frame, People
from trpose_ros.recordings import messages
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.image_codec import ImageError
from trpose_ros.recordings.picture_files import PICTURE_SUFFIXES
from trpose_ros.recordings.pictures import MAX_MEGAPIXELS
from trpose_ros.recordings.video import VIDEO_SUFFIXES, VideoReader

_IMAGES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


class SourceError(Exception):
    """A source holds no images of the kind asked for, or several; the message says which."""


@dataclass(frozen=True)
class SourceFrame:
    """A frame and what is known about it."""

    frame: Frame
    truth: People | None = None
    reference_box_px: np.ndarray | None = None  # (4,)


class Source(Protocol):
    """A stream of frames; a context manager."""

    name: str
    identity: str  # 'dataset|subject|action|camera': part of the seed of occlusions
    total: int  # frames to come, 0 unknown
    rate_hz: float  # 0 unknown
    problems: list[str]

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the frames in order."""
        ...

    def close(self) -> None:
        """Free what the source holds."""
        ...


@dataclass(frozen=True)
class SourceOptions:
    """Which topics of a recording to use, and what to take for the camera without camera_info."""

    image_topic: str | None = None
    camera_info_topic: str | None = None
    truth_topic: str | None = None
    fov_deg: float = 55.0  # assumed where nothing is known
    calibration: Camera | None = None  # where there is no camera_info; of pictures as stored
    max_megapixels: float = MAX_MEGAPIXELS  # of one picture
    results: Path | None = None  # folder whose pictures are results, and not to be read


def open_source(path: str | Path, options: SourceOptions | None = None) -> Source:
    """Open a bag file or folder, a video file or a /dev/video device.

    Raises:
        BagError, VideoError, SourceError: when it cannot be read, with the reason.

    """
    options = options or SourceOptions()
    suffix = Path(path).suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        raise SourceError(f'{path} is a picture: `trpose run` takes those; give a video or a bag')
    if str(path).startswith('/dev/') or suffix in VIDEO_SUFFIXES:
        return VideoSource(path, options)
    return BagSource(path, options)


def read_frames(path: str | Path, options: SourceOptions | None = None) -> Iterator[Frame]:
    """Yield the frames of a recording or a video from its beginning; raises as ``open_source``."""
    source = open_source(path, options)
    try:
        for entry in source.frames():
            yield entry.frame
    finally:
        source.close()


class VideoSource:
    """Frames of a video file or a camera; the field of view is assumed."""

    def __init__(self, path: str | Path, options: SourceOptions) -> None:
        self.name = Path(path).name
        self.identity = _identity('video', path, 'none')
        self.problems: list[str] = []
        self._video = VideoReader(path)
        self._options = options
        self.total = self._video.frame_count
        self.rate_hz = self._video.rate_hz

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the frames in order."""
        camera: Camera | None = None
        for stamp_ns, image in self._video.frames():
            height, width = image.shape[:2]
            if camera is None or (camera.width, camera.height) != (width, height):
                camera = self._options.calibration
                if camera is None or (camera.width, camera.height) != (width, height):
                    if camera is not None:
                        self.problems.append(misfit(camera, f'{width}x{height}', self._options))
                    camera = camera_from_fov(width, height, self._options.fov_deg)
            yield SourceFrame(Frame(image, stamp_ns, camera, 'camera'))

    def close(self) -> None:
        """Close the video."""
        self._video.__exit__()


class BagSource:
    """Frames of one image topic of a recording, with camera_info and ground truth."""

    def __init__(self, path: str | Path, options: SourceOptions) -> None:
        self.name = Path(path).name
        self._bag = BagReader(path)
        try:
            self.image_topic = _image_topic(self._bag.topics, options.image_topic)
            self.identity = _identity('bag', path, self.image_topic)
            self.info_topic = _info_topic(
                self._bag.topics, self.image_topic, options.camera_info_topic
            )
            self.truth_topic = _truth_topic(self._bag.topics, options.truth_topic)
            self._fov_deg = options.fov_deg
            self._calibration = options.calibration
            self.problems = self._bag.problems
            self.total = self._bag.counts[self.image_topic]
            self.truth = self._read_truth()
            self.reference_boxes = reference_boxes_by_stamp(self.truth)
            self._first_camera = self._read_first_camera()
            self.rate_hz = self._measure_rate()
        except BaseException:
            self._bag.close()
            raise

    def close(self) -> None:
        """Close the recording."""
        self._bag.close()

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the frames in the order of recording.

        A frame without ground truth has the reference box of the last one before it that has, the
        first frames that of the first.
        """
        camera = self._first_camera
        box = next(iter(self.reference_boxes.values()), None)
        wanted = [self.image_topic] + ([self.info_topic] if self.info_topic else [])
        bad = 0
        for entry in self._bag.messages(wanted):
            if entry.topic == self.info_topic:
                try:
                    camera = messages.read_camera(entry.message)
                except ValueError:
                    continue  # named when the first camera was looked for
                continue
            try:
                image = messages.read_image(entry.message)
            except (ImageError, ValueError) as error:
                bad += 1
                if bad == 1:
                    self.problems.append(f'{self.image_topic} at {entry.log_ns} ns: {error}')
                continue
            stamp_ns, frame_id = messages.origin_of(entry.message)
            frame = Frame(image, stamp_ns, self._fitting(camera, image), frame_id)
            box = self.reference_boxes.get(stamp_ns, box)
            yield SourceFrame(frame, self.truth.get(stamp_ns), box)
        if bad > 1:
            self.problems.append(f'{self.image_topic}: {bad} images in all cannot be decoded')

    def _fitting(self, camera: Camera | None, image: np.ndarray) -> Camera:
        """Return the camera if it fits the image, else the calibration, else an assumed one."""
        height, width = image.shape[:2]
        for known in (camera, self._calibration):
            if known is not None and (known.width, known.height) == (width, height):
                return known
        note = (
            f'{self.image_topic}: no camera_info for {width}x{height}, a field of view of '
            f'{self._fov_deg:g} degrees is assumed; depths and sizes are as good as this guess'
        )
        if note not in self.problems:
            self.problems.append(note)
        return camera_from_fov(width, height, self._fov_deg)

    def _read_first_camera(self) -> Camera | None:
        """Return the first usable camera, so that frames before it have one too."""
        if self.info_topic is None:
            return None
        for entry in self._bag.messages([self.info_topic]):
            try:
                return messages.read_camera(entry.message)
            except ValueError as error:
                note = f'{self.info_topic}: {error}'
                if note not in self.problems:
                    self.problems.append(note)
        return None

    def _read_truth(self) -> dict[int, People]:
        if self.truth_topic is None:
            return {}
        found = {}
        for entry in self._bag.messages([self.truth_topic]):
            try:
                people = messages.read_people(entry.message)
            except ValueError as error:
                note = f'{self.truth_topic}: {error}'
                if note not in self.problems:
                    self.problems.append(note)
                continue
            found[people.stamp_ns] = people
        return found

    def _measure_rate(self) -> float:
        """Median rate of the first frames, Hz."""
        stamps = []
        for entry in self._bag.messages([self.image_topic]):
            stamps.append(entry.log_ns)
            if len(stamps) > 20:
                break
        periods = np.diff(stamps)
        periods = periods[periods > 0]
        return float(1e9 / np.median(periods)) if len(periods) else 0.0


def misfit(calibration: Camera, size: str, options: SourceOptions) -> str:
    """Say that a calibration is of another size than an image ('640x480'), and what is assumed."""
    return (
        f'the calibration is of {calibration.width}x{calibration.height} px, not {size}: a field '
        f'of view of {options.fov_deg:g} degrees is assumed'
    )


def reference_boxes_by_stamp(truth: dict[int, People]) -> dict[int, np.ndarray]:
    """Return the protocol's reference boxes (4,) of the first person, by stamp."""
    from trpose_ros.occlusion.occluder import reference_boxes

    stamps = [s for s in sorted(truth) if len(truth[s])]
    if not stamps:
        return {}
    boxes = reference_boxes(np.stack([truth[s].joints_px[0] for s in stamps]))
    boxes = boxes.astype(np.float32)  # as a message carries them: live and replay agree exactly
    return dict(zip(stamps, boxes, strict=True))


def _identity(dataset: str, path: str | Path, action: str) -> str:
    return '|'.join(word.replace('|', '_') for word in (dataset, Path(path).stem, action, '0'))


def _image_topic(topics: dict[str, str], wanted: str | None) -> str:
    images = sorted(name for name, kind in topics.items() if kind in _IMAGES)
    if wanted is not None:
        if wanted not in images:
            raise SourceError(f'no image topic {wanted!r}; image topics are {images}')
        return wanted
    plain = [n for n in images if 'depth' not in n.lower() and 'annotated' not in n]
    candidates = plain or images
    if not candidates:
        raise SourceError(f'no image topic; topics are {sorted(topics)}')
    if len(candidates) > 1:
        raise SourceError(f'several image topics, choose one with --image-topic: {candidates}')
    return candidates[0]


def _info_topic(topics: dict[str, str], image_topic: str, wanted: str | None) -> str | None:
    infos = sorted(name for name, kind in topics.items() if kind == messages.CAMERA_INFO)
    if wanted is not None:
        if wanted not in infos:
            raise SourceError(f'no camera_info topic {wanted!r}; there are {infos}')
        return wanted
    parts = image_topic.removesuffix('/compressed').split('/')[:-1]
    beside = '/'.join([*parts, 'camera_info'])
    if beside in infos:
        return beside
    return infos[0] if len(infos) == 1 else None


def _truth_topic(topics: dict[str, str], wanted: str | None) -> str | None:
    people = sorted(name for name, kind in topics.items() if kind == messages.PERSON_ARRAY)
    if wanted is not None:
        if wanted not in people:
            raise SourceError(f'no ground-truth topic {wanted!r}; PersonArray topics: {people}')
        return wanted
    truths = [name for name in people if 'truth' in name]
    return truths[0] if truths else None

"""Where offline frames come from: a recording, a video file, a camera device or pictures.

A source yields frames with their stamps and cameras, and, where a recording holds ground truth,
the true people and the reference box that the truncation protocol measures occlusions against.
Frames that cannot be decoded are counted and named in ``problems``, and the next one follows.

Pictures are frames that have nothing to do with each other: ``picture_source`` opens them, and
``open_source`` refuses them, because its callers track people from one frame to the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from trpose_ros.cameras import camera_from_fov
from trpose_ros.people import Camera, Frame, People
from trpose_ros.recordings import messages
from trpose_ros.recordings.bags import BagMessage, BagReader
from trpose_ros.recordings.camera_book import (
    EMPTY_FRAME,
    CameraBook,
    CameraConfig,
    first_infos,
    paired,
    rectified_note,
)
from trpose_ros.recordings.depth_track import open_depth
from trpose_ros.recordings.image_codec import DARK_ROW, ImageError, Stream
from trpose_ros.recordings.picture_files import PICTURE_SUFFIXES, are_pictures
from trpose_ros.recordings.pictures import MAX_MEGAPIXELS
from trpose_ros.recordings.stamps import SKIPPED, StampWatch, say_nothing, stamp_notes
from trpose_ros.recordings.video import VIDEO_SUFFIXES, VideoReader, is_url

_VIDEO_TYPES = ('CompressedVideo', 'FFMPEGPacket')
_IMAGES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


class SourceError(Exception):
    """A source holds no images of the kind asked for, or several; the message says which."""


@dataclass(frozen=True)
class SourceFrame:
    """A frame and what is known about it."""

    frame: Frame
    truth: People | None = None
    reference_box_px: np.ndarray | None = None  # (4,)
    depth_m: np.ndarray | None = None  # (H, W) of the same camera, NaN where nothing was measured


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
    depth_topic: str | None = None
    camera: CameraConfig = field(default_factory=CameraConfig)
    calibration: Camera | None = None  # where there is no camera_info; of pictures as stored
    max_megapixels: float = MAX_MEGAPIXELS  # of one picture
    results: Path | None = None  # folder whose pictures are results, and not to be read


def open_source(path: str | Path, options: SourceOptions | None = None) -> Source:
    """Open a bag file or folder, a video file or address (rtsp://...), or a /dev/video device.

    Raises:
        BagError, VideoError, SourceError: when it cannot be read, with the reason.

    """
    options = options or SourceOptions()
    suffix = Path(path).suffix.lower()
    live = str(path).startswith('/dev/') or is_url(path) or suffix in VIDEO_SUFFIXES
    if live and options.depth_topic is not None:
        raise SourceError(f'{path} has no topics: depth images come from recordings alone')
    if suffix in PICTURE_SUFFIXES:
        raise SourceError(f'{path} is a picture: `trpose run` takes those; give a video or a bag')
    if live:
        return VideoSource(path, options)
    if Path(path).is_dir() and are_pictures([path]) and _has_pictures(Path(path)):
        raise SourceError(f'{path} is a folder of pictures: `trpose run` takes those')
    return BagSource(path, options)


def _has_pictures(folder: Path) -> bool:
    return any(p.suffix.lower() in PICTURE_SUFFIXES for p in folder.iterdir())


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
                    camera = camera_from_fov(width, height, self._options.camera.fov_deg)
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
            self.info_topic = info_topic(
                self._bag.topics, self.image_topic, options.camera_info_topic
            )
            self.truth_topic = _truth_topic(self._bag.topics, options.truth_topic)
            self._config, any_frame = options.camera, options.camera.any_frame
            self._calibration = options.calibration
            self.problems = self._bag.problems
            self._note_camera(options.camera_info_topic)
            self.total = self._bag.counts[self.image_topic]
            self.rate_hz = self._look_at_times()
            self.truth = self._read_truth()
            self._depth = open_depth(path, options.depth_topic, self._time_ns, any_frame)
            self.reference_boxes = reference_boxes_by_stamp(self.truth)
        except BaseException:
            self._bag.close()
            raise

    def close(self) -> None:
        """Close the recording."""
        self._bag.close()
        if self._depth is not None:
            self._depth.close()

    def frames(self) -> Iterator[SourceFrame]:
        """Yield the frames in the order of recording.

        A frame without ground truth has the reference box of the last one before it that has, the
        first frames that of the first. Images whose stamps do not fit are left out and counted.
        """
        book = CameraBook(self._config, wait=False)
        for entry in self._first_infos:
            self._add(book, entry)
        box = next(iter(self.reference_boxes.values()), None)
        stream, bad, dark, watch, odd = Stream(), 0, 0, StampWatch(), Counter[str]()
        for entry in self._images(book):
            try:
                image = messages.read_image(entry.message, stream)
            except (ImageError, ValueError) as error:
                bad += 1
                if bad == 1:
                    self.problems.append(f'{self.image_topic} at {entry.log_ns} ns: {error}')
                continue
            if not entry.message.header.frame_id:
                self._note(f'{self.image_topic}: images have {EMPTY_FRAME}')
            stream.look(image)
            dark += 'dark' in stream.notes()
            stamp_ns = self._time_ns(entry)
            odd[problem := watch.check(stamp_ns)] += 1
            if problem == SKIPPED:
                continue
            frame = Frame(
                image, stamp_ns, self._camera(book, entry, image), entry.message.header.frame_id
            )
            box = self.reference_boxes.get(stamp_ns, box)
            depth_m = None if self._depth is None else self._depth.find(frame)
            yield SourceFrame(frame, self.truth.get(stamp_ns), box, depth_m)
        if self._depth is not None:
            self.problems += self._depth.problems()
        if bad > 1:
            self.problems.append(f'{self.image_topic}: {bad} images in all cannot be decoded')
        self.problems += stamp_notes(self.image_topic, odd)
        notes = stream.notes()
        if 'bits' in notes:
            self._note(f'{self.image_topic}: {notes["bits"]}')
        if dark:
            self._note(
                f'{self.image_topic}: {dark + DARK_ROW - 1} images in a row and more are nearly '
                'black: nobody can be found in them'
            )

    def _images(self, book: CameraBook) -> Iterator[BagMessage]:
        """Yield the messages with images, each when its camera_info is in the book or overdue."""
        infos = [self.info_topic] if self.info_topic else []
        entries = self._bag.messages([self.image_topic, *infos])
        return paired(entries, book, infos, lambda entry: self._add(book, entry), self._time_ns)

    def _add(self, book: CameraBook, entry: BagMessage) -> bool:
        """Take a camera_info into the book; return whether it can be used."""
        try:
            book.add(entry.message, self._time_ns(entry))
        except ValueError as error:
            self._note(f'{self.info_topic}: {error}')
            return False
        return True

    def _camera(self, book: CameraBook, entry: BagMessage, image: np.ndarray) -> Camera:
        """Return the camera of an image: that of the book, the calibration, or an assumed one."""
        height, width = image.shape[:2]
        stamp_ns, frame_id = self._time_ns(entry), entry.message.header.frame_id
        camera, reason = book.find(stamp_ns, width, height, frame_id)
        known = self._calibration
        if not reason:
            return camera
        if known is not None and (known.width, known.height) == (width, height):
            return known
        if reason.startswith('no camera_info'):
            reason = f'no camera_info for {width}x{height}'
        self._note(f'{self.image_topic}: {book.assumption(reason)}')
        return camera

    def _note(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _note_camera(self, wanted: str | None) -> None:
        """Find the first camera_info of each frame_id, for frames before it; say what is odd."""
        self._first_infos: list[BagMessage] = []
        self._by_log = False
        if self.info_topic is None:
            return
        if wanted is None and self.info_topic != _info_beside(self.image_topic):
            self._note(
                f'{self.image_topic}: there is no camera_info beside it, so the only one in the '
                f'recording is taken: {self.info_topic}'
            )
        self._first_infos = first_infos(
            self._bag.messages([self.info_topic]),
            lambda entry: self._add(CameraBook(self._config, wait=False), entry),
        )
        for entry in self._first_infos:
            note = rectified_note(self.image_topic, entry.message, self._config.rectified)
            if note:
                self._note(note)

    def _read_truth(self) -> dict[int, People]:
        if self.truth_topic is None:
            return {}
        found, stamps = {}, []
        for entry in self._bag.messages([self.truth_topic]):
            try:
                people = messages.read_people(entry.message)
            except ValueError as error:
                note = f'{self.truth_topic}: {error}'
                if note not in self.problems:
                    self.problems.append(note)
                continue
            stamps.append(people.stamp_ns)
            stamp_ns = self._time_ns(entry)
            found[stamp_ns] = people.replace(stamp_ns=stamp_ns)
        if say_nothing(stamps) and not self._by_log:
            self.problems.append(
                f'{self.truth_topic} is left out: its stamps are zero or repeated, so nobody can '
                'say which image it is the truth of'
            )
            return {}
        return found

    def _time_ns(self, entry: BagMessage) -> int:
        """Return the stamp of a message, or its time of recording where stamps say nothing."""
        return entry.log_ns if self._by_log else messages.stamp_ns(entry.message)

    def _look_at_times(self) -> float:
        """Decide which times to go by; return the median rate of the first frames, Hz."""
        logs, stamps = [], []
        for entry in self._bag.messages([self.image_topic]):
            logs.append(entry.log_ns)
            stamps.append(messages.stamp_ns(entry.message))
            if len(logs) > 20:
                break
        self._by_log = say_nothing(stamps)
        if self._by_log:
            self.problems.append(
                f'{self.image_topic}: the stamps of the images are zero or repeated; the times of '
                'recording are taken instead. They are as even as the recorder was: let the '
                'camera driver stamp its images'
            )
        periods = np.diff(logs)
        periods = periods[periods > 0]
        return float(1e9 / np.median(periods)) if len(periods) else 0.0


def misfit(calibration: Camera, size: str, options: SourceOptions) -> str:
    """Say that a calibration is of another size than an image ('640x480'), and what is assumed."""
    return (
        f'the calibration is of {calibration.width}x{calibration.height} px, not {size}: a field '
        f'of view of {options.camera.fov_deg:g} degrees is assumed'
    )


def reference_boxes_by_stamp(truth: dict[int, People]) -> dict[int, np.ndarray]:
    """Return the protocol's reference boxes (4,) of the first person, by stamp.

    Only people in the first one's skeleton have one: a box spans the same joints in every frame.
    """
    from trpose_ros.occlusion.occluder import reference_boxes

    stamps = [s for s in sorted(truth) if len(truth[s])]
    stamps = [s for s in stamps if truth[s].skeleton == truth[stamps[0]].skeleton]
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
        videos = [n for n, kind in topics.items() if kind.rpartition('/')[2] in _VIDEO_TYPES]
        if videos:
            raise SourceError(
                f'{videos} hold video streams ({topics[videos[0]]}), which are not read: play the '
                'recording, republish them as images (image_transport republish, or '
                "foxglove's and ffmpeg_image_transport's decoders) and record those"
            )
        raise SourceError(f'no image topic; topics are {sorted(topics)}')
    if len(candidates) > 1:
        raise SourceError(f'several image topics, choose one with --image-topic: {candidates}')
    return candidates[0]


def info_topic(topics: dict[str, str], image_topic: str, wanted: str | None) -> str | None:
    """Return the camera_info topic of an image topic: beside it, or the only one."""
    infos = sorted(name for name, kind in topics.items() if kind == messages.CAMERA_INFO)
    if wanted is not None:
        if wanted not in infos:
            raise SourceError(f'no camera_info topic {wanted!r}; there are {infos}')
        return wanted
    beside = _info_beside(image_topic)
    if beside in infos:
        return beside
    return infos[0] if len(infos) == 1 else None


def _info_beside(image_topic: str) -> str:
    parts = image_topic.removesuffix('/compressed').split('/')[:-1]
    return '/'.join([*parts, 'camera_info'])


def _truth_topic(topics: dict[str, str], wanted: str | None) -> str | None:
    people = sorted(name for name, kind in topics.items() if kind == messages.PERSON_ARRAY)
    if wanted is not None:
        if wanted not in people:
            raise SourceError(f'no ground-truth topic {wanted!r}; PersonArray topics: {people}')
        return wanted
    truths = [name for name in people if 'truth' in name]
    return truths[0] if truths else None

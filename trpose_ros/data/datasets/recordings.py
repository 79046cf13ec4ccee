"""Recordings (rosbag2) with ground-truth people as a data set: any bag, one's own included.

The truth is a topic of PersonArray whose name contains 'truth', or one named by the caller.
Images and camera come from the topics beside it where the recording has them. A person is
followed by its track id, or, where ids are missing, by its place in the array. The camera is that
of the truth's frame_id and size.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trpose_ros.data.registry import DATASETS, register_dataset
from trpose_ros.data.samples import DataError, Sample, check_metres, finite_rows
from trpose_ros.people import Camera, JointState, People
from trpose_ros.recordings import messages
from trpose_ros.recordings.bags import BagError, BagMessage, BagReader
from trpose_ros.recordings.camera_book import CameraBook, CameraConfig, first_infos, paired
from trpose_ros.recordings.image_codec import ImageError, Stream
from trpose_ros.recordings.sources import info_topic
from trpose_ros.recordings.stamps import say_nothing
from trpose_ros.skeletons import get_skeleton

_SUFFIXES = ('.mcap', '.db3')
_IMAGES = (messages.IMAGE, messages.COMPRESSED_IMAGE)


@register_dataset(
    name='recordings',
    title='Recordings with ground-truth people',
    obtain='your own recordings, or rendered ones: trpose data clip',
    licence='that of the recording',
    layout=(
        ('*.mcap', 'recordings with a topic of PersonArray named ...truth...'),
        ('NAME/metadata.yaml', 'the same as bag folders'),
    ),
    needs=('*.mcap', '*.db3', '*/metadata.yaml', 'metadata.yaml'),
)
def load(
    folder: Path, split: str | None = None, truth_topic: str | None = None, images: bool = True
) -> Iterator[Sample]:
    """Iterate over the recordings in ``folder`` (or the one it names), one sample per person.

    All samples are of the test split. Frames in which a person is not there are NaN and not
    valid. images=False leaves the images out. Raises MissingDataError, and DataError for an
    unreadable recording or one without truth.
    """
    paths = find_bags(folder)
    if not paths:
        raise DATASETS['recordings'].missing(folder, 'no recording is there')
    if split not in (None, 'test'):
        return
    for path in paths:
        yield from _recording(path, truth_topic, images)


def find_bags(folder: Path) -> list[Path]:
    """Return the bag files and bag folders in ``folder``, or itself when it is one."""
    if folder.is_file() or (folder / 'metadata.yaml').is_file():
        return [folder]
    files = [p for p in sorted(folder.iterdir()) if p.suffix in _SUFFIXES and p.is_file()]
    return files + sorted(p.parent for p in folder.glob('*/metadata.yaml'))


class BagImages:
    """The images of one topic, found again by their stamps; going forward is cheap."""

    def __init__(self, path: Path, topic: str, stamps: list[int], by_log: bool = False) -> None:
        """Take the stamps of the images; with ``by_log`` these are times of recording."""
        self._path, self._topic, self._stamps, self._by_log = path, topic, stamps, by_log
        self._bag: BagReader | None = None
        self._stream = Stream()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._stamps)

    def __getstate__(self) -> dict:
        """Leave the open recording behind when a worker process gets a copy."""
        return {**self.__dict__, '_bag': None, '_messages': None}

    def __getitem__(self, index: int) -> np.ndarray:
        """Return image ``index`` as (H, W, 3) uint8 RGB; raises DataError when undecodable."""
        wanted = self._stamps[index]
        for again in range(2):
            if self._bag is None or again:
                self._rewind()
            for message in self._messages:
                if _time_ns(message, self._by_log) == wanted:
                    try:
                        return messages.read_image(message.message, self._stream)
                    except (ImageError, ValueError) as error:
                        raise DataError(f'{self._path}, {self._topic}: {error}') from error
        raise DataError(f'{self._path}, {self._topic}: no image with stamp {wanted}')

    def _rewind(self) -> None:
        if self._bag is not None:
            self._bag.close()
        self._bag = BagReader(self._path)
        weakref.finalize(self, self._bag.close)
        self._messages = self._bag.messages([self._topic])


def _recording(path: Path, truth_topic: str | None, with_images: bool) -> Iterator[Sample]:
    try:
        with BagReader(path) as bag:
            topic = _truth(bag.topics, truth_topic, path)
            truth, by_log = _read_truth(bag, topic)
            camera = _camera(bag, topic, by_log)
            kinds = [name for name, kind in sorted(bag.topics.items()) if kind in _IMAGES]
            picture_topic = kinds[0] if len(kinds) == 1 and with_images else None
            pictures = []
            if picture_topic is not None:
                pictures = [_time_ns(m, by_log) for m in bag.messages([picture_topic])]
    except (BagError, ValueError) as error:
        raise DataError(f'{path}: {error}') from error
    truth = sorted({people.stamp_ns: people for people in truth}.values(), key=lambda p: p.stamp_ns)
    stamps = [people.stamp_ns for people in truth]
    images = None
    if picture_topic is not None and set(stamps) <= set(pictures):
        images = BagImages(path, picture_topic, stamps, by_log)
    ids = sorted({key for people in truth for key in _keys(people)})
    for number, key in enumerate(ids):
        sample = _person(path, truth, key, number, camera)
        yield sample.replace(images=images)


def _read_truth(bag: BagReader, topic: str) -> tuple[list[People], bool]:
    """Return the people, and whether their stamps are times of recording: theirs say nothing."""
    entries = [(m, messages.read_people(m.message)) for m in bag.messages([topic])]
    by_log = say_nothing([people.stamp_ns for _, people in entries])
    return [people.replace(stamp_ns=_time_ns(m, by_log)) for m, people in entries], by_log


def _time_ns(message: BagMessage, by_log: bool) -> int:
    return message.log_ns if by_log else messages.stamp_ns(message.message)


def _truth(topics: dict[str, str], wanted: str | None, path: Path) -> str:
    people = sorted(n for n, kind in topics.items() if kind == messages.PERSON_ARRAY)
    found = [n for n in people if (n == wanted if wanted else 'truth' in n)]
    if not found:
        raise DataError(
            f'{path} has no topic {wanted or "of PersonArray with truth in its name"}; its '
            f'PersonArray topics are {people}: name one with truth_topic'
        )
    return found[0]


def _camera(bag: BagReader, truth_topic: str, by_log: bool) -> Camera | None:
    """Return the camera that the truth is of; None without a usable camera_info.

    Raises DataError where the intrinsics may be another camera's, and where they change.
    """
    infos = _info_topics(bag.topics)
    book, of_frame = CameraBook(CameraConfig(), wait=False), dict[str, tuple[Camera, str]]()

    def add(entry: BagMessage) -> bool:
        try:
            camera = book.add(entry.message, _time_ns(entry, by_log))
        except ValueError:
            return False  # an uncalibrated camera publishes zeros; a later message may be better
        frame_id = entry.message.header.frame_id
        known, topic = of_frame.setdefault(frame_id, (camera, entry.topic))
        if topic != entry.topic and known is not camera:
            raise DataError(
                f'{topic} and {entry.topic} are of different cameras and have one frame_id, '
                f'{frame_id!r}: record the camera_info of one camera alone'
            )
        return True

    for topic in infos:
        first_infos(bag.messages([topic]), add)
    if not of_frame:
        return None
    found: dict[int, Camera] = {}
    entries = bag.messages([truth_topic, *infos])
    for entry in paired(entries, book, infos, add, lambda entry: _time_ns(entry, by_log)):
        people = entry.message
        camera, reason = book.find(
            _time_ns(entry, by_log),
            people.image_width,
            people.image_height,
            people.header.frame_id,
        )
        if reason:
            raise DataError(f'{truth_topic}: {reason}')
        found[id(camera)] = camera
    if len(found) > 1:
        raise DataError(
            f'{truth_topic}: camera_info changes between its frames ({len(found)} cameras), and a '
            'sample has one: record images that are not cropped or zoomed'
        )
    return next(iter(found.values()), None)


def _info_topics(topics: dict[str, str]) -> list[str]:
    """Return the camera_info topic of the only image topic, or else all."""
    images = [name for name, kind in topics.items() if kind in _IMAGES]
    beside = info_topic(topics, images[0], None) if len(images) == 1 else None
    infos = sorted(name for name, kind in topics.items() if kind == messages.CAMERA_INFO)
    return infos if beside is None else [beside]


def _keys(people: People) -> list[int]:
    """Return what each person is followed by: its track id, or -1 - its place."""
    return [int(t) if t >= 0 else -1 - place for place, t in enumerate(people.track_ids)]


def _person(
    path: Path, truth: list[People], key: int, number: int, camera: Camera | None
) -> Sample:
    skeleton = truth[0].skeleton
    if any(people.skeleton != skeleton for people in truth):
        raise DataError(f'{path}: the skeleton changes in the middle of the truth')
    joints = get_skeleton(skeleton).num_joints
    px = np.full((len(truth), joints, 2), np.nan, np.float32)
    joints_m = np.full((len(truth), joints, 3), np.nan, np.float32)
    hidden = np.zeros((len(truth), joints), bool)
    for frame, people in enumerate(truth):
        keys = _keys(people)
        if key in keys:
            place = keys.index(key)
            px[frame], joints_m[frame] = people.joints_px[place], people.joints_m[place]
            hidden[frame] = people.joint_states[place] == JointState.OCCLUDED
    check_metres(joints_m, skeleton, f'{path}, person {number}')
    periods = np.diff([people.stamp_ns for people in truth])
    return Sample(
        dataset='recordings',
        subject=path.stem,
        action=path.stem,
        camera_name=f'person{number}',
        split='test',
        fps=float(1e9 / np.median(periods)) if len(periods) else 1.0,
        skeleton=skeleton,
        width=truth[0].width,
        height=truth[0].height,
        valid=finite_rows(px) & finite_rows(joints_m),
        joints_px=px,
        joints_m=joints_m,
        camera=camera,
        occluded=hidden,
        person=number,
        frame_numbers=np.arange(len(truth)),
    )

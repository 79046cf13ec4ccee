"""Which intrinsics belong to which image.

Cameras publish a CameraInfo with the stamp of each image; then the one with the very same stamp
is right, even if every image is cropped differently. Others publish one now and then, or once for
ever: then the newest one holds. It must be of the image's size and, where both are named, of its
frame_id: another camera's intrinsics would be wrong in silence. Without any that fits, a field of
view is assumed, and said.

Several cameras may publish on one topic, at the very same moments: what counts for an image is the
CameraInfo of its own frame_id, and where an image names none, nobody can say which is its own.

The nodes and the readers of recordings ask the same book.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trpose_ros.cameras import camera_from_fov, camera_from_info_fields, crop_camera
from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import Camera

if TYPE_CHECKING:
    from trpose_ros.recordings.bags import BagMessage

EMPTY_FRAME = (
    'an empty frame_id: results have it, too, and RViz shows none of them; give the camera driver '
    'a frame_id'
)
_KEPT = 64  # stamps whose cameras are remembered, and frame_ids
SYNC_WAIT_S = 0.05  # a CameraInfo may arrive a little after its image


@dataclass(frozen=True)
class CameraConfig:
    """How the intrinsics of images are found."""

    rectified: bool = setting(
        False, 'the images are rectified: take the intrinsics of P, no distortion'
    )
    fov_deg: float = setting(
        55.0,
        'field of view along the larger side that is assumed without camera_info, deg',
        range=(5.0, 170.0),
    )
    camera_info_wait_s: float = setting(
        0.5, 'wait so long for the first camera_info, s', range=(0.0, 10.0)
    )
    any_frame: bool = setting(
        False, 'take camera_info whose frame_id is another than that of the images'
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


def camera_of_info(message: Any, rectified: bool = False) -> Camera:
    """Return the camera of a CameraInfo (rclpy's or rosbags'), binning and region applied.

    With ``rectified`` the image is taken for undistorted: intrinsics from P, no distortion.
    Raises ValueError with the remedy for an uncalibrated or impossible calibration.
    """
    camera = camera_from_info_fields(
        message.width,
        message.height,
        np.asarray(message.p).reshape(3, 4)[:, :3].ravel() if rectified else message.k,
        np.zeros(0) if rectified else message.d,
        '' if rectified else message.distortion_model,
    )
    roi, across, down = message.roi, max(message.binning_x, 1), max(message.binning_y, 1)
    x, y, width, height = 0, 0, int(message.width), int(message.height)
    if roi.width > 0 and roi.height > 0:
        x, y, width, height = roi.x_offset, roi.y_offset, int(roi.width), int(roi.height)
    elif across == down == 1:
        return camera
    width, height = width - width % across, height - height % down  # what is left is not read
    return crop_camera(camera, x, y, width, height, (1.0 / across, 1.0 / down))


def rectified_note(topic: str, message: Any, rectified: bool) -> str:
    """Return what is odd about the name of an image topic and its CameraInfo; '' when nothing."""
    d, k = np.asarray(message.d, np.float64), np.asarray(message.k, np.float64).reshape(3, 3)
    called = 'image_rect' in topic
    if called and not rectified and d.any():
        return (
            f'{topic} is called as rectified images are, and camera_info has distortion: where '
            'the pixels are undistorted, set rectified (the intrinsics of P count then)'
        )
    p = np.asarray(message.p, np.float64).reshape(3, 4)[:, :3]
    if rectified and not called and (d.any() or not np.allclose(k, p)):
        return (
            f'rectified is set, but {topic} is not called image_rect*: the intrinsics of P are '
            'taken, without distortion; where the pixels are those of the lens, leave it out'
        )
    return ''


class CameraBook:
    """Remembers cameras by stamp. Thread-safe: one thread adds, another one asks."""

    def __init__(self, config: CameraConfig, wait: bool = True) -> None:
        """Take the rules; ``wait`` False is for recordings, of which nothing is under way."""
        self.config = config
        self._wait = wait
        self._first_wait_s = config.camera_info_wait_s if wait else 0.0
        self._condition = threading.Condition()
        self._by_stamp: OrderedDict[int, dict[str, Camera]] = OrderedDict()  # by frame_id
        self._newest: OrderedDict[str, Camera] = OrderedDict()  # by frame_id, the last one is last
        self._asked: deque[tuple[int, str]] = deque(maxlen=_KEPT)
        self._in_step: bool | None = None  # images and cameras come with equal stamps; None: ?
        self._unusable = ''
        self._closed = False

    def add(self, message: Any, stamp_ns: int) -> Camera:
        """Remember the CameraInfo of the image with this stamp; raises as ``camera_of_info``."""
        try:
            camera = camera_of_info(message, self.config.rectified)
        except ValueError as error:
            self._unusable = str(error)
            raise
        frame_id = message.header.frame_id.strip('/')
        with self._condition:
            _put(self._newest, frame_id, camera)
            _put(self._by_stamp, stamp_ns, {**self._by_stamp.get(stamp_ns, {}), frame_id: camera})
            for asked_ns, asked in self._asked:
                if asked_ns == stamp_ns and self._may_be(frame_id, asked):
                    self._in_step = True  # it came after its image
            self._condition.notify_all()
        return camera

    def close(self) -> None:
        """End all waiting."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def may_come(self, stamp_ns: int, frame_id: str = '') -> bool:
        """Whether the CameraInfo of the image with this stamp may still come."""
        return self._in_step is not False and not self._of(stamp_ns, frame_id.strip('/'))

    def find(
        self, stamp_ns: int, width: int, height: int, frame_id: str = ''
    ) -> tuple[Camera, str]:
        """Return the camera of an image, and why it is assumed ('' when it is not)."""
        frame_id = frame_id.strip('/')
        with self._condition:
            if self._first_wait_s > 0:
                self._condition.wait_for(
                    lambda: self._fitting(self._newest, frame_id) or self._closed,
                    self._first_wait_s,
                )
                self._first_wait_s = 0.0
            if self._in_step and self._wait:
                self._condition.wait_for(
                    lambda: self._of(stamp_ns, frame_id) or self._closed, SYNC_WAIT_S
                )
            found = self._of(stamp_ns, frame_id)
            self._in_step = bool(found)
            self._asked.append((stamp_ns, frame_id))
            found = found or self._fitting(self._newest, frame_id)
            reason = self._misfit(found, width, height, frame_id)
        if not reason:
            return next(reversed(found.values())), ''
        return self.assumed(width, height), reason

    def _of(self, stamp_ns: int, frame_id: str) -> dict[str, Camera]:
        """Return the cameras, by frame_id, that may be that of an image with this stamp."""
        return self._fitting(self._by_stamp.get(stamp_ns, {}), frame_id)

    def _fitting(self, cameras: Mapping[str, Camera], frame_id: str) -> dict[str, Camera]:
        """Return that of this frame_id; without it, those that may be, all for an image without."""
        if frame_id and frame_id in cameras:
            return {frame_id: cameras[frame_id]}
        return {name: c for name, c in cameras.items() if self._may_be(name, frame_id)}

    def _may_be(self, info_frame: str, frame_id: str) -> bool:
        """Whether both frames are alike, or one is not named, or any will do."""
        named = info_frame and frame_id
        return self.config.any_frame or not named or info_frame == frame_id

    def assumed(self, width: int, height: int) -> Camera:
        """Return the camera that is assumed for images of this size."""
        return camera_from_fov(width, height, self.config.fov_deg)

    def assumption(self, reason: str) -> str:
        """Return in words what is assumed for this reason."""
        return (
            f'{reason}: a field of view of {self.config.fov_deg:g} degrees is assumed, depths and '
            'sizes are as good as this guess; every result says so'
        )

    def _misfit(self, found: dict[str, Camera], width: int, height: int, frame_id: str) -> str:
        """Say why none of these is the camera of an image; '' when the last one is."""
        if not found and not self._newest:
            if self._unusable:
                return f'camera_info cannot be used ({self._unusable})'
            return 'no camera_info was received'
        if not found:
            return (
                f'camera_info is of frame {_named(self._newest)}, the image of {frame_id!r}, so it '
                "may be another camera's (any_frame takes it)"
            )
        if not self.config.any_frame and len({id(camera) for camera in found.values()}) > 1:
            return (
                f'camera_info is of the frames {_named(found)}, and the image names none: give '
                'the camera driver a frame_id (any_frame takes the newest camera_info)'
            )
        camera = next(reversed(found.values()))
        if (camera.width, camera.height) != (width, height):
            return (
                f'camera_info is for {camera.width}x{camera.height}, the image is {width}x{height}'
            )
        return ''


def first_infos(
    entries: Iterable[BagMessage], usable: Callable[[BagMessage], bool]
) -> list[BagMessage]:
    """Return the first usable camera_info of each frame_id, until one comes a second time."""
    found: dict[str, BagMessage] = {}
    for entry in entries:
        if usable(entry):
            frame_id = entry.message.header.frame_id
            if frame_id in found:
                break
            found[frame_id] = entry
    return list(found.values())


def paired(
    entries: Iterable[BagMessage],
    book: CameraBook,
    info_topics: Collection[str],
    add: Callable[[BagMessage], object],
    time_ns: Callable[[BagMessage], int],
) -> Iterator[BagMessage]:
    """Yield what is no camera_info, each when its own is in the book or overdue.

    ``add`` puts a camera_info into the book, ``time_ns`` tells a message's stamp.
    """
    waiting: deque[BagMessage] = deque()
    for entry in entries:
        if entry.topic in info_topics:
            add(entry)
        else:
            waiting.append(entry)
        while waiting and not (
            info_topics
            and entry.log_ns - waiting[0].log_ns <= SYNC_WAIT_S * 1e9
            and book.may_come(time_ns(waiting[0]), waiting[0].message.header.frame_id)
        ):
            yield waiting.popleft()
    yield from waiting


def _put(memory: OrderedDict, key: Any, value: Any) -> None:
    """Enter the newest; forget the oldest of more than are kept."""
    memory[key] = value
    memory.move_to_end(key)
    while len(memory) > _KEPT:
        memory.popitem(last=False)


def _named(cameras: Mapping[str, Camera]) -> str:
    return ', '.join(repr(name) for name in sorted(cameras))

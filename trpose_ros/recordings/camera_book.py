"""Which intrinsics belong to which image.

Cameras publish a CameraInfo with the stamp of each image; then the one with the very same stamp
is right, even if every image is cropped differently. Others publish one now and then, or once for
ever: then the newest one holds. It must be of the image's size and, where both are named, of its
frame_id: another camera's intrinsics would be wrong in silence. Without any that fits, a field of
view is assumed, and said.

The nodes and the readers of recordings ask the same book. The same fields give the same Camera
object, so that what is computed from a camera (maps, projections) is computed once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np

from trpose_ros.cameras import camera_from_fov, camera_from_info_fields, crop_camera
from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import Camera

EMPTY_FRAME = (
    'an empty frame_id: results have it, too, and RViz shows none of them; give the camera driver '
    'a frame_id'
)
_KEPT = 64  # cameras remembered by stamp, and by their fields
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
        self._by_stamp: OrderedDict[int, tuple[Camera, str]] = OrderedDict()
        self._by_fields: OrderedDict[tuple, Camera] = OrderedDict()
        self._newest: tuple[Camera, str] | None = None  # with its frame_id
        self._asked: deque[int] = deque(maxlen=_KEPT)
        self._in_step: bool | None = None  # images and cameras come with equal stamps; None: ?
        self._unusable = ''
        self._closed = False

    def add(self, message: Any, stamp_ns: int) -> Camera:
        """Remember the CameraInfo of the image with this stamp; raises as ``camera_of_info``."""
        try:
            camera = self._interned(_key_of(message), lambda: self._read(message))
        except ValueError as error:
            self._unusable = str(error)
            raise
        entry = camera, message.header.frame_id
        with self._condition:
            self._newest = entry
            self._by_stamp.pop(stamp_ns, None)
            self._by_stamp[stamp_ns] = entry
            while len(self._by_stamp) > _KEPT:
                self._by_stamp.popitem(last=False)
            if stamp_ns in self._asked:  # it came after its image
                self._in_step = True
            self._condition.notify_all()
        return camera

    def close(self) -> None:
        """End all waiting."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def may_come(self, stamp_ns: int) -> bool:
        """Whether the CameraInfo of the image with this stamp may still come."""
        return self._in_step is not False and stamp_ns not in self._by_stamp

    def find(
        self, stamp_ns: int, width: int, height: int, frame_id: str = ''
    ) -> tuple[Camera, str]:
        """Return the camera of an image, and why it is assumed ('' when it is not)."""
        with self._condition:
            if self._newest is None and self._first_wait_s > 0:
                self._condition.wait_for(lambda: self._newest or self._closed, self._first_wait_s)
                self._first_wait_s = 0.0
            if self._in_step and self._wait:
                self._condition.wait_for(
                    lambda: stamp_ns in self._by_stamp or self._closed, SYNC_WAIT_S
                )
            entry = self._by_stamp.get(stamp_ns)
            self._in_step = entry is not None
            self._asked.append(stamp_ns)
            entry = entry or self._newest
        reason = self._misfit(entry, width, height, frame_id)
        if entry is not None and not reason:
            return entry[0], ''
        return self.assumed(width, height), reason

    def assumed(self, width: int, height: int) -> Camera:
        """Return the camera that is assumed for images of this size."""
        fov_deg = self.config.fov_deg
        return self._interned(
            (width, height, fov_deg), lambda: camera_from_fov(width, height, fov_deg)
        )

    def assumption(self, reason: str) -> str:
        """Return in words what is assumed for this reason."""
        return (
            f'{reason}: a field of view of {self.config.fov_deg:g} degrees is assumed, depths and '
            'sizes are as good as this guess; every result says so'
        )

    def _misfit(
        self, entry: tuple[Camera, str] | None, width: int, height: int, frame_id: str
    ) -> str:
        if entry is None:
            if self._unusable:
                return f'camera_info cannot be used ({self._unusable})'
            return 'no camera_info was received'
        camera, info_frame = entry
        if not self.config.any_frame and _another(info_frame, frame_id):
            return (
                f'camera_info is of frame {info_frame!r}, the image of {frame_id!r}, so it may be '
                "another camera's (any_frame takes it)"
            )
        if (camera.width, camera.height) != (width, height):
            return (
                f'camera_info is for {camera.width}x{camera.height}, the image is {width}x{height}'
            )
        return ''

    def _read(self, message: Any) -> Camera:
        return camera_of_info(message, self.config.rectified)

    def _interned(self, key: tuple, make: Any) -> Camera:
        camera = self._by_fields.get(key)
        if camera is None:
            camera = self._by_fields[key] = make()
            while len(self._by_fields) > _KEPT:
                self._by_fields.popitem(last=False)
        return camera


def _another(one: str, other: str) -> bool:
    """Whether both frames are named, and not alike."""
    one, other = one.strip('/'), other.strip('/')
    return bool(one and other and one != other)


def _key_of(message: Any) -> tuple:
    roi = message.roi
    arrays = (np.asarray(values, np.float64).tobytes() for values in (message.k, message.d))
    return (
        message.width,
        message.height,
        message.distortion_model,
        *arrays,
        np.asarray(message.p, np.float64).tobytes(),
        message.binning_x,
        message.binning_y,
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
    )

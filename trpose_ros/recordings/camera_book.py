"""Which intrinsics belong to which image.

Cameras publish a CameraInfo with the stamp of each image; then the one with the very same stamp
is right, even if every image is cropped differently. Others publish one now and then: then the
newest one of the image's size holds. Without any, a field of view is assumed, and said.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from trpose_ros.cameras import camera_from_fov
from trpose_ros.people import Camera

_KEPT = 64  # cameras remembered by stamp
_SYNC_WAIT_S = 0.05  # a CameraInfo may arrive a little after its image


class CameraBook:
    """Remembers cameras by stamp. Thread-safe: one thread adds, another one asks."""

    def __init__(self, fov_deg: float, first_wait_s: float) -> None:
        """Assume ``fov_deg`` where nothing fits; the first image waits ``first_wait_s`` for it."""
        self.fov_deg = fov_deg
        self._first_wait_s = first_wait_s
        self._condition = threading.Condition()
        self._by_stamp: OrderedDict[int, Camera] = OrderedDict()
        self._newest: Camera | None = None
        self._in_step = False  # images and cameras came with equal stamps
        self._closed = False

    def add(self, camera: Camera, stamp_ns: int) -> None:
        """Remember the camera of the image with this stamp."""
        with self._condition:
            self._newest = camera
            self._by_stamp.pop(stamp_ns, None)
            self._by_stamp[stamp_ns] = camera
            while len(self._by_stamp) > _KEPT:
                self._by_stamp.popitem(last=False)
            self._condition.notify_all()

    def close(self) -> None:
        """End all waiting."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def find(self, stamp_ns: int, width: int, height: int) -> tuple[Camera, str]:
        """Return the camera of an image, and why it is assumed ('' when it is not)."""
        with self._condition:
            if self._newest is None and self._first_wait_s > 0:
                self._condition.wait_for(lambda: self._newest or self._closed, self._first_wait_s)
                self._first_wait_s = 0.0
            if self._newest is None:
                return self._assumed(width, height, 'no camera_info was received')
            if self._in_step:
                self._condition.wait_for(
                    lambda: stamp_ns in self._by_stamp or self._closed, _SYNC_WAIT_S
                )
            exact = self._by_stamp.get(stamp_ns)
            self._in_step = exact is not None
            camera = self._newest if exact is None else exact
        if (camera.width, camera.height) == (width, height):
            return camera, ''
        reason = f'camera_info is for {camera.width}x{camera.height}, the image is {width}x{height}'
        return self._assumed(width, height, reason)

    def _assumed(self, width: int, height: int, reason: str) -> tuple[Camera, str]:
        return camera_from_fov(width, height, self.fov_deg), reason

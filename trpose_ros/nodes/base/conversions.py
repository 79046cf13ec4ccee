"""Messages of ROS: those of recordings/messages.py out of rclpy's classes, and what only ROS has.

A field of any count of numbers is an ``array.array``. rclpy's generated constructors and setters
copy into it element by element, 10 ms and more for an image; so arrays go into that of the new
message at once.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np

from trpose_ros.recordings import messages
from trpose_ros.recordings.image_codec import ImageError, Stream, UnknownEncodingError
from trpose_ros.recordings.messages import MessageFields
from trpose_ros.recordings.picture_headers import MAX_MEGAPIXELS


class RosMessageMaker(MessageFields):
    """Makes the messages that nodes publish."""

    def new(self, msgtype: str, /, **values: Any) -> Any:
        """Return a message; fields that are not given have rclpy's defaults."""
        return self.class_of(msgtype)(**values)

    @staticmethod
    @functools.cache
    def class_of(msgtype: str) -> Any:
        """Return the class of a message.

        Raises ImportError or AttributeError where it is not installed.
        """
        package, _, name = msgtype.split('/')
        return getattr(importlib.import_module(f'{package}.msg'), name)

    def fill(self, message: Any, name: str, values: np.ndarray) -> Any:
        """Put an array into a field; return the message."""
        getattr(message, name).frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        return message


make = RosMessageMaker()


def read_image(
    message: Any, stream: Stream | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> np.ndarray:
    """Return an Image or CompressedImage as (H, W, 3) uint8 RGB, as messages.read_image does.

    Encodings that image_codec does not know go through cv_bridge when it is installed. Raises
    ImageError, which names the offending value, for everything that cannot be decoded.
    """
    try:
        return messages.read_image(message, stream, max_megapixels)
    except UnknownEncodingError as error:
        return _through_cv_bridge(message, error)


@functools.cache
def _cv_bridge() -> Any:
    """Return a CvBridge, or None where it is not installed or does not fit this numpy."""
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError):
        return None
    return CvBridge()


def _through_cv_bridge(message: Any, unknown: UnknownEncodingError) -> np.ndarray:
    if (bridge := _cv_bridge()) is None:
        raise ImageError(f'{unknown}; for others install cv_bridge') from unknown
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding='rgb8'))
    except Exception as error:  # cv_bridge raises CvBridgeError, cv2.error, TypeError, ...
        raise ImageError(
            f'image encoding {message.encoding!r} cannot be converted by cv_bridge: {error}'
        ) from error

"""What the nodes share that take camera images: topics, decoding, intrinsics, the worker.

The callbacks only store. One worker thread takes the newest image; images that a slow model has
no time for are dropped, oldest first, and counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trpose_ros.configuration import check_fields, setting
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.people import Camera, Frame
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import EMPTY_FRAME, CameraBook, CameraConfig, rectified_note
from trpose_ros.recordings.image_codec import ImageError, Stream
from trpose_ros.recordings.picture_headers import MAX_MEGAPIXELS
from trpose_ros.recordings.stamps import REMEDIES, SKIPPED, StampWatch

IMAGE = Topic(
    'image', Image, 'in', 'camera images; the newest one wins', 'best effort', steady=True
)
COMPRESSED = Topic(
    'image/compressed',
    CompressedImage,
    'in',
    'the same as JPEG or PNG; follows a remapping of `image`',
    'best effort',
    when='image_transport is compressed',
    steady=True,
)
CAMERA_INFO = Topic(
    'camera_info', CameraInfo, 'in', 'intrinsics of the images', 'best effort', depth=10
)
_REPEATED_ROW = 3  # so many repeated stamps in a row are a condition, fewer an incident


@dataclass(frozen=True)
class ImageConfig:
    """How images come in."""

    image_transport: str = setting(
        'raw', 'kind of images to subscribe to', choices=('raw', 'compressed')
    )
    max_megapixels: float = setting(
        MAX_MEGAPIXELS,
        'compressed images of more pixels are not decoded, millions',
        range=(0.1, 1000.0),
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class CameraListener:
    """Keeps the CameraBook of a node up to date and says when something is wrong with it."""

    def __init__(self, node: StageNode, config: CameraConfig, image_topic: str = '') -> None:
        """Listen; ``image_topic`` is compared with ``rectified`` where the node knows it."""
        self._node = node
        self._image_topic = image_topic
        self._noted = ''
        self.book = CameraBook(config)
        node.subscribe(CAMERA_INFO, self._on_camera_info)
        node.subscribe(CAMERA_INFO, self._on_camera_info, latched=True)  # published once, before

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self.book.add(message, messages.origin_of(message)[0])
        except ValueError as error:
            self._node.warn('camera_info', f'camera_info is unusable: {error}')
            return
        self._node.statistics.clear_warning('camera_info')
        if self._image_topic:
            note = rectified_note(self._image_topic, message, self.book.config.rectified)
            if note and note != self._noted:
                self._noted = note
                self._node.get_logger().warning(note)

    def find(self, stamp_ns: int, width: int, height: int, frame_id: str) -> Camera:
        """Return the camera of an image; an assumed one is said once and flagged in it."""
        camera, reason = self.book.find(stamp_ns, width, height, frame_id)
        if reason:
            self._node.warn('intrinsics_assumed', self.book.assumption(reason))
        else:
            self._node.statistics.clear_warning('intrinsics_assumed')
        return camera


class StampListener:
    """Counts stamps that do not behave, says what that means, and in diagnostics while it lasts."""

    def __init__(self, node: StageNode, what: str) -> None:
        self._node = node
        self._what = what
        self._watch = StampWatch()
        self._row = 0  # messages without a time of their own, one after the other

    def check(self, stamp_ns: int) -> str:
        """Return the name of the problem of the next stamp, '' when it is fine.

        A message with an ``odd_stamps`` problem is to be left out.
        """
        problem = self._watch.check(stamp_ns)
        if problem not in ('zero_stamps', 'repeated_stamps'):
            self._row = 0
            self._node.statistics.clear_warning('stamps')
        if not problem:
            return problem
        count, text = self._node.statistics.note(problem), f'{self._what} {REMEDIES[problem]}'
        if problem in ('zero_stamps', 'repeated_stamps'):
            self._row += 1
            if problem == 'zero_stamps' or self._row >= _REPEATED_ROW:
                self._node.warn('stamps', text)
                return problem
        if count == 1 or problem == 'time_jumps':
            self._node.get_logger().warning(text)
        return problem


class ImageNode(StageNode):
    """A node that does something with each image; a subclass says what in ``work_on``."""

    def work_on(self, frame: Frame, message: Any, received_ns: int) -> None:
        """Work on one image, in the worker thread; exceptions are counted and reported."""
        raise NotImplementedError

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._worker: Worker | None = None
        self._cameras: CameraListener | None = None
        self._max_megapixels = MAX_MEGAPIXELS
        self._stamps = StampListener(self, 'image')
        self._stream = Stream()

    def start(self) -> None:
        """Subscribe to images and intrinsics, start the worker."""
        config = self.parameters[ImageConfig]
        self._max_megapixels = config.max_megapixels
        self._stamps, self._stream = StampListener(self, 'image'), Stream()
        self._worker = Worker(self._work, name=self.get_name(), on_error=self._on_error)
        topic = self.resolve_topic_name(IMAGE.name)
        self._cameras = CameraListener(self, self.parameters[CameraConfig], topic)
        if config.image_transport == 'compressed':
            # Appended after remapping: compressed images live beside the raw ones.
            self.subscribe(COMPRESSED, self._on_image, f'{topic}/compressed')
        else:
            self.subscribe(IMAGE, self._on_image)

    def halt(self, timeout_s: float | None = None) -> bool:
        """Let the frame that is being worked on end."""
        if self._cameras is not None:
            self._cameras.book.close()
        ended = self._worker is None or self._worker.stop(timeout_s)
        if ended:
            self._worker = self._cameras = None
        return ended

    @property
    def dropped(self) -> int:
        """Images dropped since the node was activated."""
        return 0 if self._worker is None else self._worker.dropped

    def facts(self) -> dict[str, str]:
        """Return the drops."""
        return {'dropped_frames': str(self.dropped)}

    def _on_image(self, message: Image | CompressedImage) -> None:
        worker = self._worker
        if worker is not None:
            worker.put((message, time.time_ns()))

    def _work(self, item: tuple[Any, int]) -> None:
        message, received_ns = item
        stamp_ns, frame_id = messages.origin_of(message)
        try:
            image = conversions.read_image(message, self._stream, self._max_megapixels)
        except ImageError as error:
            self.report(f'image skipped: {error}', error)
            return
        if self._stamps.check(stamp_ns) == SKIPPED:
            return
        if not frame_id and self.statistics.note('empty_frame_id') == 1:
            self.get_logger().warning(f'images have {EMPTY_FRAME}')
        self._look(image)
        assert self._cameras is not None
        camera = self._cameras.find(stamp_ns, image.shape[1], image.shape[0], frame_id)
        self.work_on(Frame(image, stamp_ns, camera, frame_id), message, received_ns)

    def _look(self, image: np.ndarray) -> None:
        """Say what is odd about the images of this camera."""
        self._stream.look(image)
        notes = self._stream.notes()
        if 'bits' in notes and self.statistics.note(f'{self._stream.bits}_bit_images') == 1:
            self.get_logger().info(notes['bits'])
        if 'dark' not in notes:
            self.statistics.clear_warning('dark_images')
        elif 'dark_images' not in self.statistics.warnings:
            self.warn('dark_images', notes['dark'])

    def _on_error(self, error: Exception) -> None:
        self.report(f'frame skipped: {type(error).__name__}: {error}', error)


def system_ns(node: Node) -> int:
    """Return the node's clock, ns: stamps of what has no image."""
    return node.get_clock().now().nanoseconds

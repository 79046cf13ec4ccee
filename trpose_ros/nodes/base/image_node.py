"""What the nodes share that take camera images: topics, decoding, intrinsics, the worker.

The callbacks only store. One worker thread takes the newest image; images that a slow model has
no time for are dropped, oldest first, and counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trpose_ros.configuration import check_fields, setting
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.camera_book import CameraBook
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.base.stamp_book import REMEDIES, StampWatch
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.people import Frame
from trpose_ros.recordings.image_codec import ImageError
from trpose_ros.recordings.picture_headers import MAX_MEGAPIXELS

IMAGE = Topic('image', Image, 'in', 'camera images; the newest one wins', 'best effort')
COMPRESSED = Topic(
    'image/compressed',
    CompressedImage,
    'in',
    'the same as JPEG or PNG; follows a remapping of `image`',
    'best effort',
    when='image_transport is compressed',
)
CAMERA_INFO = Topic(
    'camera_info', CameraInfo, 'in', 'intrinsics of the images', 'best effort', depth=10
)


@dataclass(frozen=True)
class ImageConfig:
    """How images and intrinsics come in."""

    image_transport: str = setting(
        'raw', 'kind of images to subscribe to', choices=('raw', 'compressed')
    )
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

    def __init__(self, node: StageNode, config: Any, rectified: bool = False) -> None:
        self._node = node
        self._rectified = rectified
        self.book = CameraBook(config.fov_deg, config.camera_info_wait_s)
        node.subscribe(CAMERA_INFO, self._on_camera_info)

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            camera = conversions.camera_from_message(message, rectified=self._rectified)
        except ValueError as error:
            self._node.warn('camera_info', f'camera_info is unusable: {error}')
            return
        self._node.statistics.clear_warning('camera_info')
        self.book.add(camera, conversions.origin_of(message)[0])

    def find(self, stamp_ns: int, width: int, height: int) -> Any:
        """Return the camera of an image; an assumed one is said once and flagged in it."""
        camera, reason = self.book.find(stamp_ns, width, height)
        if reason:
            self._node.warn(
                'intrinsics_assumed',
                f'{reason}: a field of view of {self.book.fov_deg:g} degrees is assumed, '
                'depths and sizes are as good as this guess; every result says so',
            )
        else:
            self._node.statistics.clear_warning('intrinsics_assumed')
        return camera


class StampListener:
    """Counts stamps that do not behave, and says what that means when it begins."""

    def __init__(self, node: StageNode, what: str) -> None:
        self._node = node
        self._what = what
        self._watch = StampWatch()

    def check(self, stamp_ns: int) -> str:
        """Return the name of the problem of the next stamp, '' when it is fine."""
        problem = self._watch.check(stamp_ns)
        if problem and (self._node.statistics.note(problem) == 1 or problem == 'time_jumps'):
            self._node.get_logger().warning(f'{self._what} {REMEDIES[problem]}')
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

    def start(self) -> None:
        """Subscribe to images and intrinsics, start the worker."""
        config = self.parameters[ImageConfig]
        self._max_megapixels = config.max_megapixels
        self._stamps = StampListener(self, 'image')
        self._worker = Worker(self._work, name=self.get_name(), on_error=self._on_error)
        self._cameras = CameraListener(self, config, config.rectified)
        if config.image_transport == 'compressed':
            # Appended after remapping: compressed images live beside the raw ones.
            name = self.resolve_topic_name(IMAGE.name) + '/compressed'
            self.subscribe(COMPRESSED, self._on_image, name)
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
        stamp_ns, frame_id = conversions.origin_of(message)
        try:
            image = conversions.image_from_message(message, self._max_megapixels)
        except ImageError as error:
            self.report(f'image skipped: {error}', error)
            return
        self._stamps.check(stamp_ns)
        assert self._cameras is not None
        camera = self._cameras.find(stamp_ns, image.shape[1], image.shape[0])
        self.work_on(Frame(image, stamp_ns, camera, frame_id), message, received_ns)

    def _on_error(self, error: Exception) -> None:
        self.report(f'frame skipped: {type(error).__name__}: {error}', error)


def system_ns(node: Node) -> int:
    """Return the node's clock, ns: stamps of what has no image."""
    return node.get_clock().now().nanoseconds

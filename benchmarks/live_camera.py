"""A camera for benchmarks: plays the images of the sample recording, collects what comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

import trpose_ros
from trpose_ros.cameras import camera_from_fov
from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.people import People
from trpose_ros.recordings import messages
from trpose_ros.recordings.sources import open_source

SAMPLE = Path(trpose_ros.__file__).with_name('samples') / 'walk.mcap'
RATE_HZ = 30.0


def sample_images(width: int, height: int) -> list[np.ndarray]:
    """Return the frames of the sample, letterboxed to a size."""
    source = open_source(SAMPLE)
    images = [entry.frame.image for entry in source.frames()]
    source.close()
    result = []
    for image in images:
        scale = min(width / image.shape[1], height / image.shape[0])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        canvas = np.zeros((height, width, 3), np.uint8)
        x, y = (width - size[0]) // 2, (height - size[1]) // 2
        canvas[y : y + size[1], x : x + size[0]] = cv2.resize(image, size)
        result.append(canvas)
    return result


class Camera:
    """Plays images and collects what comes back, in a domain of its own."""

    def __init__(self, width: int, height: int, domain: int) -> None:
        self.images = sample_images(width, height)
        self.camera = camera_from_fov(width, height, assumed=False)
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = Node('camera', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        quality = qos_profile_sensor_data
        self._images = self.node.create_publisher(Image, 'image', quality)
        self._infos = self.node.create_publisher(CameraInfo, 'camera_info', quality)
        self.people: list[People] = []
        self.lifted: list[People] = []
        self.node.create_subscription(PersonArray, 'pose_node/people', self._keep(self.people), 50)
        self.node.create_subscription(
            PersonArray, 'lifter_node/people', self._keep(self.lifted), 50
        )
        self.sent = 0
        self.stamps_ns: list[int] = []
        self._next_s = 0.0

    @staticmethod
    def _keep(box: list[People]) -> Callable[[PersonArray], None]:
        return lambda message: box.append(messages.read_people(message))

    def close(self) -> None:
        """End."""
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def until(self, condition: Callable[[], bool], limit_s: float = 120.0) -> None:
        """Spin until something holds."""
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError('the nodes did not answer; are the machine and the logs fine?')
            self.executor.spin_once(timeout_sec=0.01)

    def ready(self, topic: str = 'image', count: int = 1) -> None:
        """Wait until somebody takes the images (or whatever), and this side has matched them."""
        self.until(lambda: self.node.count_subscribers(topic) >= count)
        if topic == 'image':
            self.until(lambda: self._images.get_subscription_count() >= count)

    def send(self) -> None:
        """Send the next image and its intrinsics now; the stamp is the wall clock."""
        # Forwards and backwards: the person never jumps.
        period = 2 * len(self.images) - 2
        index = self.sent % period
        image = self.images[index if index < len(self.images) else period - index]
        stamp_ns = time.time_ns()
        self._infos.publish(conversions.make.camera_info(self.camera, stamp_ns, 'optical'))
        self._images.publish(conversions.make.image(image, stamp_ns, 'optical'))
        self.sent += 1
        self.stamps_ns.append(stamp_ns)

    def play(
        self,
        seconds: float,
        each: Callable[[], None] | None = None,
        rate_hz: float = RATE_HZ,
    ) -> None:
        """Send at the camera's rate."""
        begin = time.monotonic()
        for i in range(round(seconds * rate_hz)):
            self.send()
            if each is not None:
                each()
            while (left_s := begin + (i + 1) / rate_hz - time.monotonic()) > 0:
                self.executor.spin_once(timeout_sec=left_s)

"""Listening for some seconds to everything that looks like a camera.

Images are asked for as the image nodes ask for them. Besides, publishers and subscriptions of each
image topic are compared, whosever they are: quality of service that does not fit means silence.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.image_node import CAMERA_INFO, COMPRESSED, IMAGE
from trpose_ros.nodes.camera_seen import CameraSeen, Endpoint, Survey, info_topics_of
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraBook, CameraConfig, rectified_note
from trpose_ros.recordings.image_codec import ImageError

_NAME = 'trpose_doctor'
_MOST = 8  # topics listened to
_SETTLED_S, _LONGEST_S = 1.5, 8.0  # of looking for others: without anything new, and in all
_STEP_S = 0.05
_KINDS: dict[str, Any] = {messages.IMAGE: Image, messages.COMPRESSED_IMAGE: CompressedImage}
# Of our nodes, which draw when somebody listens; depth in a format of its own.
_NO_CAMERA = ('/image_annotated', '/compressedDepth')


def survey(seconds: float, domain_id: int | None = None) -> Survey:
    """Find the image topics that are published, and listen to them for ``seconds``.

    Raises what rclpy raises where it cannot start.
    """
    with _node(domain_id) as (node, executor):
        published = _published(node, executor)
        topics = sorted(
            (name, kind)
            for name, types in published.items()
            for kind in types
            if kind in _KINDS and not name.removesuffix('/compressed').endswith(_NO_CAMERA)
        )
        listeners = [_Listener(node, name, kind, published) for name, kind in topics[:_MOST]]
        _match(listeners, executor)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            executor.spin_once(timeout_sec=max(end_s - time.monotonic(), 0.0))
        cameras = [listener.close() for listener in listeners]
    return Survey(seconds, cameras, published, [name for name, _ in topics[_MOST:]])


@contextmanager
def _node(domain_id: int | None) -> Iterator[tuple[Node, SingleThreadedExecutor]]:
    """Give a node in a context of its own."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain_id)
    try:
        node = Node(_NAME, context=context, enable_rosout=False, start_parameter_services=False)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            yield node, executor
        finally:
            executor.shutdown()
            node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)


def _published(node: Node, executor: SingleThreadedExecutor) -> dict[str, list[str]]:
    """Return the types of all topics that somebody else publishes, when nothing new turns up.

    On a busy machine the first one may take seconds, so nothing at all is waited for to the end.
    """
    begin_s = changed_s = time.monotonic()
    found: dict[str, list[str]] = {}
    own = ('/rosout', '/parameter_events')
    while time.monotonic() - begin_s < _LONGEST_S:
        if found and time.monotonic() - changed_s > _SETTLED_S:
            break
        executor.spin_once(timeout_sec=_STEP_S)
        now = {
            name: list(types)
            for name, types in node.get_topic_names_and_types()
            if name not in own and node.count_publishers(name)
        }
        if now != found:
            found, changed_s = now, time.monotonic()
    return found


def _match(listeners: list[_Listener], executor: SingleThreadedExecutor) -> None:
    """Wait until the publishers are connected, which takes a moment on a busy machine."""
    end_s = time.monotonic() + _LONGEST_S
    while time.monotonic() < end_s and not all(one.is_connected() for one in listeners):
        executor.spin_once(timeout_sec=_STEP_S)


class _Listener:
    """Listens to one image topic and its camera_info."""

    def __init__(self, node: Node, topic: str, kind: str, published: dict[str, list[str]]) -> None:
        self.seen = CameraSeen(topic, kind)
        self._node = node
        self._book = CameraBook(CameraConfig(), wait=False)
        self._first: Any = None
        self._last_info: Any = None
        asked = IMAGE if kind == messages.IMAGE else COMPRESSED
        self._profile = asked.profile()
        patient = asked.profile()
        patient.depth = 10  # the rate is measured here, so nothing may be dropped
        self._subscriptions = [
            node.create_subscription(_KINDS[kind], topic, self._on_image, patient)
        ]
        infos = [n for n in info_topics_of(topic) if messages.CAMERA_INFO in published.get(n, ())]
        if infos:
            self.seen.info_topic = infos[0]
            profile = _latched_too(node, infos[0])
            self._subscriptions.append(
                node.create_subscription(CameraInfo, infos[0], self._on_info, profile)
            )

    def is_connected(self) -> bool:
        """Whether each subscription has a publisher; those of Humble do not tell."""
        return all(
            not hasattr(one, 'get_publisher_count') or one.get_publisher_count() > 0
            for one in self._subscriptions
        )

    def _on_image(self, message: Any) -> None:
        seen = self.seen
        stamp_ns, frame_id = messages.origin_of(message)
        seen.arrivals_s.append(time.monotonic())
        seen.stamps_ns.append(stamp_ns)
        seen.frame_ids.add(frame_id)
        if self._first is None:
            self._first = message

    def _on_info(self, message: CameraInfo) -> None:
        stamp_ns, frame_id = messages.origin_of(message)
        self.seen.info_stamps_ns.append(stamp_ns)
        self.seen.info_frame_ids.add(frame_id)
        self._last_info = message
        with suppress(ValueError):  # the book says so when it is asked
            self._book.add(message, stamp_ns)

    def close(self) -> CameraSeen:
        """Return what was seen, the first image read and its camera looked for."""
        seen = self.seen
        publishers = self._node.get_publishers_info_by_topic(seen.topic)
        seen.publishers = [_endpoint(info) for info in publishers]
        seen.conflicts = self._conflicts(publishers)
        if self._first is None:
            return seen
        seen.encoding = getattr(self._first, 'encoding', '') or getattr(self._first, 'format', '')
        try:
            image = conversions.read_image(self._first)
        except ImageError as error:
            seen.unreadable = str(error)
            return seen
        seen.height, seen.width = image.shape[:2]
        frame_id = messages.origin_of(self._first)[1]
        seen.assumed = self._book.find(seen.stamps_ns[0], seen.width, seen.height, frame_id)[1]
        if self._last_info is not None:
            seen.rectified_note = rectified_note(seen.topic, self._last_info, rectified=False)
        return seen

    def _conflicts(self, publishers: list[Any]) -> list[str]:
        """Say which publishers do not fit what our nodes ask, and who else waits in vain."""
        wanting = [('the nodes of trpose_ros', self._profile)]
        for info in self._node.get_subscriptions_info_by_topic(self.seen.topic):
            if info.node_name != _NAME:
                wanting.append((str(_endpoint(info)), info.qos_profile))
        found = []
        for info in publishers:
            for name, profile in wanting:
                fits, why = qos_check_compatible(info.qos_profile, profile)
                if fits == QoSCompatibility.ERROR:
                    reason = why.strip().rstrip(';').removeprefix('ERROR: ')
                    found.append(f'{_endpoint(info)} sends, {name} gets nothing: {reason}')
        return found


def _latched_too(node: Node, topic: str) -> QoSProfile:
    """Return the nodes' profile for camera_info, latched where all who publish it offer that.

    What was sent before somebody listened comes reliably or not at all.
    """
    profile = CAMERA_INFO.profile()
    offers = {
        (info.qos_profile.reliability, info.qos_profile.durability)
        for info in node.get_publishers_info_by_topic(topic)
    }
    if offers == {(ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL)}:
        ((profile.reliability, profile.durability),) = offers
    return profile


def _endpoint(info: Any) -> Endpoint:
    name = f'{info.node_namespace.rstrip("/")}/{info.node_name}'
    profile = info.qos_profile
    return Endpoint(name, profile.reliability.name.lower(), profile.durability.name.lower())

"""recorder: writes topics into a bag, as `ros2 bag record` does, without needing it.

Messages go into the bag as they came, except images: those are compressed to JPEG, or the bag
would grow by a gigabyte a minute. The time of recording is when a message arrived. The bag is
complete when the recorder ends; after SIGINT or SIGTERM too.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.recordings import messages
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagError, BagWriter
from trpose_ros.recordings.image_codec import ImageError, Stream

_LOOK_PERIOD_S = 0.1
_QUEUE = 300


class Recorder(Node):
    """Subscribes to the topics named by its parameter as soon as somebody publishes them."""

    def __init__(self, name: str = 'recorder', **options: Any) -> None:
        """Open the bag; raises BagError or ValueError with the reason."""
        super().__init__(name, **options)
        path = self.declare_parameter('bag', '').value
        topics = self.declare_parameter('topics', ['']).value
        self._quality = int(self.declare_parameter('jpeg_quality', 85).value)
        self._wanted = {self.resolve_topic_name(topic) for topic in topics if topic}
        if not path:
            raise ValueError('parameter bag names no file to write')
        if not self._wanted:
            raise ValueError('parameter topics names nothing to record')
        if not 1 <= self._quality <= 100:
            raise ValueError(f'jpeg_quality must lie in 1..100, got {self._quality}')
        self._writer = BagWriter(path)
        self._make = MessageMaker(self._writer.typestore)
        self._lock = threading.Lock()
        self._failure: OSError | None = None  # why the bag could not be written
        self._refused: set[str] = set()
        self._subscribed: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._streams: defaultdict[str, Stream] = defaultdict(Stream)
        self._images: Worker[tuple[str, Any, int]] = Worker(
            self._compress, name='images', on_error=self._on_error, length=_QUEUE
        )
        self.create_timer(_LOOK_PERIOD_S, self._look)

    def finish(self) -> bool:
        """Write what waits and finish the bag; say why, and return False, when that fails."""
        try:
            self.close()
        except (BagError, OSError) as error:
            if error is not self._failure:  # that one has been said
                print(f'recorder: {error}', file=sys.stderr, flush=True)
            return False
        return True

    def close(self) -> None:
        """Write what waits, finish the bag; raises what went wrong, also while recording."""
        written = threading.Event()
        self._images.put(('', written, 0))  # behind all others
        written.wait()
        self._images.stop()
        if self._failure is not None:
            raise self._failure
        with self._lock:
            self._writer.close()
        counts = ', '.join(f'{name} {n}' for name, n in sorted(self.counts.items()))
        print(f'recorder: {self._writer.path.name}: {counts or "nothing"}', flush=True)
        if self._images.dropped:
            print(f'recorder: {self._images.dropped} images were dropped', flush=True)

    def _look(self) -> None:
        """Subscribe to wanted topics that have appeared."""
        missing = self._wanted - self._subscribed - self._refused
        if not missing:
            return
        for topic, types in self.get_topic_names_and_types():
            if topic in missing:
                self._subscribe(topic, types[0])

    def _subscribe(self, topic: str, msgtype: str) -> None:
        try:
            kind = conversions.make.class_of(msgtype)
        except (ImportError, AttributeError):
            kind = None
        if kind is None or msgtype not in self._writer.typestore.fielddefs:
            self._refused.add(topic)
            self.get_logger().warning(f'{topic}: type {msgtype} is not known, not recorded')
            return
        infos = self.get_publishers_info_by_topic(topic)
        if not infos:
            return  # seen, but not yet who publishes it: the next look
        latched = all(
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in infos
        )
        reliable = all(info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos)
        profile = QoSProfile(
            depth=100,
            reliability=(ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT),
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
        )
        image = msgtype == messages.IMAGE
        callback = self._image_callback(topic) if image else self._raw_callback(topic, msgtype)
        self.create_subscription(kind, topic, callback, profile, raw=not image)
        self._subscribed.add(topic)

    def _raw_callback(self, topic: str, msgtype: str) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            log_ns = time.time_ns()
            self._write(topic, lambda: self._writer.write_serialized(topic, msgtype, data, log_ns))

        return write

    def _image_callback(self, topic: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            self._images.put((topic, message, time.time_ns()))

        return keep

    def _compress(self, item: tuple[str, Any, int]) -> None:
        topic, message, log_ns = item
        if isinstance(message, threading.Event):
            message.set()
            return
        stamp_ns, frame_id = messages.origin_of(message)
        try:
            image = conversions.read_image(message, self._streams[topic])
        except ImageError as error:
            self.get_logger().warning(f'{topic}: {error}', throttle_duration_sec=10.0)
            return
        small = self._make.compressed_image(image, stamp_ns, frame_id, self._quality)
        self._write(topic, lambda: self._writer.write(f'{topic}/compressed', small, log_ns))

    def _write(self, topic: str, write: Callable[[], None]) -> None:
        """Write one message; a bag that cannot be written ends the recording."""
        with self._lock:
            if self._failure is not None:
                return
            try:
                write()
            except OSError as error:
                self._failure = error
        if self._failure is not None:
            print(f'recorder: {self._failure}', file=sys.stderr, flush=True)
            self.context.try_shutdown()
            return
        self.counts[topic] += 1

    def _on_error(self, error: Exception) -> None:
        self.get_logger().error(f'{type(error).__name__}: {error}', throttle_duration_sec=10.0)


def main(args: Sequence[str] | None = None) -> int:
    """Record until told to end; return the exit code."""
    recorder, code = None, 0
    try:
        rclpy.init(args=None if args is None else list(args))
        recorder = Recorder()
        rclpy.spin(recorder)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (BagError, ValueError, OSError, ParameterException) as error:
        print(f'recorder: {error}', file=sys.stderr, flush=True)
        code = 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not tear the bag
        if recorder is not None and not recorder.finish():
            code = 1
        rclpy.try_shutdown()
    return code


if __name__ == '__main__':
    sys.exit(main())

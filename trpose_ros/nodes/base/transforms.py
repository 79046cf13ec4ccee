"""tf for the nodes: transforms by name and time, from tf2_ros or, without it, from our own buffer.

A ROS installation has tf2_ros, whose buffer is taken. An environment of wheels has neither it nor
tf2_msgs: that message is built with ours, and what comes on /tf and /tf_static is kept in
transform_buffer.py. Both answer, and fail, in the same words.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from rclpy.time import Time

from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.base.transform_buffer import KEPT_NS, TransformBuffer, TransformError
from trpose_ros.recordings.transform_messages import TF_MESSAGE, read_transforms, transform_of
from trpose_ros.transforms import IDENTITY, Transform

TF = Topic('/tf', TF_MESSAGE, 'in', 'transforms', depth=100, when='a frame is asked for')
TF_STATIC = Topic(
    '/tf_static',
    TF_MESSAGE,
    'in',
    'transforms that never change',
    'latched',
    depth=100,
    when='a frame is asked for',
)
_PERIOD_S = 0.004  # between two looks for a transform that has not come


class Transforms(ABC):
    """Transforms between named frames."""

    @abstractmethod
    def _lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """Return what takes points of ``source`` to ``target``; raises TransformError."""

    @abstractmethod
    def time_jumped(self) -> None:
        """Forget what belongs to a time that has begun again."""

    @abstractmethod
    def close(self) -> None:
        """Listen no more."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """Return what takes points of ``source`` to ``target`` at a time.

        Raises:
            TransformError: if there is none; says which frame or time is missing, and the remedy.

        """
        target, source = target.lstrip('/'), source.lstrip('/')
        if not source:
            raise TransformError(
                'empty_frame_id', 'the images have no frame_id: set it in the driver of the camera'
            )
        if source == target:
            return IDENTITY
        if stamp_ns == 0:  # tf2 takes it for "the latest"
            raise TransformError('zero_stamp', 'a stamp of zero has no place in time')
        return self._lookup(target, source, stamp_ns)

    def wait(
        self,
        target: str,
        source: str,
        stamp_ns: int,
        until_s: float,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Transform:
        """Return ``lookup`` as soon as it succeeds, until a moment of the monotonic clock, s.

        Raises:
            TransformError: the last one, at once where waiting cannot help.

        """
        while True:
            try:
                return self.lookup(target, source, stamp_ns)
            except TransformError as error:
                if not error.may_come or time.monotonic() >= until_s or stopping():
                    raise
            time.sleep(_PERIOD_S)


class OwnTransforms(Transforms):
    """What comes on /tf and /tf_static, without tf2_ros."""

    def __init__(self, node: StageNode, ignored: str) -> None:
        """Listen; frames whose names begin with ``ignored`` are this node's own."""
        self._node = node
        self._ignored = ignored
        self._buffer = TransformBuffer()
        node.subscribe(TF, self._on_tf)
        node.subscribe(TF_STATIC, self._on_static)

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        return self._buffer.lookup(target, source, stamp_ns)

    def time_jumped(self) -> None:
        """Nothing: the buffer sees it by the stamps of each frame."""

    def close(self) -> None:
        """Nothing: subscriptions end with the activity of the node."""

    def _on_tf(self, message: Any) -> None:
        self._add(message, False)

    def _on_static(self, message: Any) -> None:
        self._add(message, True)

    def _add(self, message: Any, static: bool) -> None:
        for parent, child, stamp_ns, transform in read_transforms(message):
            if self._ignored and child.startswith(self._ignored):
                continue
            try:
                self._buffer.add(parent, child, stamp_ns, transform, static)
            except TransformError as error:
                self._node.statistics.note('transforms_refused')
                self._node.report(str(error))


class Tf2Transforms(Transforms):
    """tf2_ros of a ROS installation."""

    def __init__(self, node: StageNode, tf2: Any) -> None:
        """Listen, with the module tf2_ros."""
        from rclpy.duration import Duration

        self._tf2 = tf2
        self._buffer = tf2.Buffer(cache_time=Duration(nanoseconds=KEPT_NS))
        self._listener = tf2.TransformListener(self._buffer, node)

    def _lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        tf2, moment = self._tf2, Time(nanoseconds=stamp_ns)
        try:
            message = self._buffer.lookup_transform_core(target, source, moment)
        except tf2.LookupException as error:
            raise TransformError('missing_frame', f'{error}', may_come=True) from error
        except tf2.ConnectivityException as error:
            raise TransformError('disconnected', f'{error}', may_come=True) from error
        except tf2.ExtrapolationException as error:
            past = 'into the past' in str(error)
            reason = 'past' if past else 'future'
            raise TransformError(reason, f'{error}', may_come=not past) from error
        except tf2.TransformException as error:
            raise TransformError('refused', f'{error}') from error
        return transform_of(message.transform)

    def time_jumped(self) -> None:
        """Forget all but static transforms: tf2 would refuse what is older than its memory."""
        self._buffer.clear()

    def close(self) -> None:
        """Listen no more."""
        self._listener.unregister()


def listen_to_tf(node: StageNode, ignored: str = '') -> Transforms:
    """Return transforms that are kept up to date until the node is deactivated.

    Raises:
        ValueError: where neither tf2_ros nor tf2_msgs is installed.

    """
    try:
        import tf2_ros
    except ImportError:
        check_messages()
        return OwnTransforms(node, ignored)
    return Tf2Transforms(node, tf2_ros)


def check_messages() -> None:
    """Raise ValueError with the remedy where the message of tf is not installed."""
    try:
        TF.kind  # noqa: B018
    except (ImportError, AttributeError) as error:
        raise ValueError(
            'transforms need tf2_msgs, which is not installed: apt install ros-$ROS_DISTRO-tf2-ros '
            '(or, without a ROS installation, make messages)'
        ) from error

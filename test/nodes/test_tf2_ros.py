"""tf2_ros of a ROS installation behind the same interface, by a stand-in with its names.

tf2_ros is on no index. The stand-in has the classes, arguments and words of errors of Humble's and
Jazzy's tf2_ros that are used here; anything else raises.
"""

import sys
import time
import types

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from geometry_msgs.msg import TransformStamped

from trpose_ros.nodes.base import transforms
from trpose_ros.nodes.base.transform_buffer import TransformError

STAMP_NS = 1_700_000_000_500_000_000


class TransformException(Exception):  # noqa: N818 - its real name
    pass


class LookupException(TransformException):
    pass


class ConnectivityException(TransformException):
    pass


class ExtrapolationException(TransformException):
    pass


class InvalidArgumentException(TransformException):
    pass


class Buffer:
    def __init__(self, cache_time=None):
        assert cache_time.nanoseconds == 10_000_000_000
        self.error = None
        self.asked = []
        self.cleared = 0

    def lookup_transform_core(self, target_frame, source_frame, time):
        self.asked.append((target_frame, source_frame, time.nanoseconds))
        if self.error is not None:
            raise self.error
        found = TransformStamped()
        found.transform.translation.x = 3.0
        found.transform.rotation.w = 1.0
        return found

    def clear(self):
        self.cleared += 1


class TransformListener:
    def __init__(self, buffer, node, *, spin_thread=False, qos=None, static_qos=None):
        self.buffer, self.node, self.over = buffer, node, False

    def unregister(self):
        self.over = True


@pytest.fixture
def tf2(monkeypatch):
    module = types.ModuleType('tf2_ros')
    kinds = (TransformException, LookupException, ConnectivityException, ExtrapolationException)
    for kind in (*kinds, InvalidArgumentException, Buffer, TransformListener):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    found = transforms.listen_to_tf(node := object())
    assert found._listener.node is node
    return found


def test_tf2_ros_is_taken_where_it_is_installed(tf2):
    got = tf2.lookup('map', '/camera', STAMP_NS)
    np.testing.assert_array_equal(got.translation_m, [3, 0, 0])
    assert tf2._buffer.asked == [('map', 'camera', STAMP_NS)]
    tf2.time_jumped()
    assert tf2._buffer.cleared == 1
    tf2.close()
    assert tf2._listener.over


@pytest.mark.parametrize(
    ('error', 'reason', 'may_come'),
    [
        (LookupException('"map" passed to lookupTransform does not exist'), 'missing_frame', True),
        (ConnectivityException('not part of the same tree'), 'disconnected', True),
        (ExtrapolationException('would require extrapolation into the future.'), 'future', True),
        (ExtrapolationException('would require extrapolation into the past.'), 'past', False),
        (ExtrapolationException('only one data point, at another time'), 'future', True),
        (
            InvalidArgumentException('source_frame in tf2 frame_ids cannot be empty'),
            'refused',
            False,
        ),
    ],
)
def test_its_errors_have_our_names(tf2, error, reason, may_come):
    tf2._buffer.error = error
    with pytest.raises(TransformError, match=str(error)[:12]) as caught:
        tf2.lookup('map', 'camera', STAMP_NS)
    assert (caught.value.reason, caught.value.may_come) == (reason, may_come)


def test_waiting_ends_with_the_transform_the_limit_or_what_cannot_come(tf2):
    tf2._buffer.error = LookupException('no map')
    begin = time.monotonic()
    with pytest.raises(TransformError):
        tf2.wait('map', 'camera', STAMP_NS, begin + 0.03)
    assert len(tf2._buffer.asked) > 1
    assert time.monotonic() >= begin + 0.03
    with pytest.raises(TransformError):
        tf2.wait('map', 'camera', STAMP_NS, float('inf'), stopping=lambda: True)
    tf2._buffer.error, asked = ExtrapolationException('into the past'), len(tf2._buffer.asked)
    with pytest.raises(TransformError):
        tf2.wait('map', 'camera', STAMP_NS, float('inf'))
    assert len(tf2._buffer.asked) == asked + 1
    tf2._buffer.error = None
    tf2.wait('map', 'camera', STAMP_NS, 0.0)  # what is there needs no time


def test_what_tf2_would_misunderstand_never_reaches_it(tf2):
    for source, stamp_ns, reason in (('', STAMP_NS, 'empty_frame_id'), ('cam', 0, 'zero_stamp')):
        with pytest.raises(TransformError) as caught:
            tf2.lookup('map', source, stamp_ns)
        assert caught.value.reason == reason
    assert tf2.lookup('cam', '/cam', 0) is transforms.IDENTITY
    assert tf2._buffer.asked == []

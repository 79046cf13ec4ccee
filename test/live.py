"""Real rclpy in a test: a node under test and a tester node, each test in a domain of its own."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time

import domain_coordinator
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions

STEP_NS = 33_333_333
START_NS = 1_700_000_000_000_000_000
LATEST = 240.0  # seconds until a test gives up; nothing waits that long when it works


class Live:
    """A node under test (optional) and a tester, spinning in a thread.

    A transition destroys subscriptions, which the executor may be about to wait for: it raises
    InvalidHandle then, now and then on a busy machine. So whatever destroys something is done by
    the executor itself, between two waits, as it does what a life cycle service asks for: ``ask``.
    """

    def __init__(self, context, domain):
        self.context, self.domain = context, domain
        self.tester = Node('tester', context=context)
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(self.tester)
        self.nodes = []
        self.inbox: dict[str, list] = {}
        self.diagnostics: dict[str, object] = {}
        self.listen('/diagnostics', DiagnosticArray, self._on_diagnostics)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self):
        while not self._over.is_set():
            self.executor.spin_once()

    def _on_diagnostics(self, message):
        for status in message.status:
            self.diagnostics[status.name] = status

    def add(self, make, remap=(), **parameters):
        """Make a node with parameters and remappings; it is not configured."""
        arguments = ['--ros-args']
        for before, after in remap:
            arguments += ['-r', f'{before}:={after}']
        node = make(
            context=self.context,
            cli_args=arguments,
            parameter_overrides=[Parameter(k, value=v) for k, v in parameters.items()],
        )
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def start(self, make, remap=(), **parameters):
        """Make a node, configure and activate it."""
        node = self.add(make, remap, **parameters)
        assert self.ask(node.trigger_configure) == SUCCESS
        assert self.ask(node.trigger_activate) == SUCCESS
        return node

    def ask(self, call, *arguments):
        """Let the executor call something between two waits; return what it returned."""
        task = self.executor.create_task(call, *arguments)
        self.wait(task.done)
        return task.result()

    def settle(self):
        """Wait until the nodes have taken what was published here until now.

        It lies in the readers' queues already. The first call ends before some wait of the executor
        at the latest, which finds it; the second one comes after what that wait has found.
        """
        self.ask(bool)
        self.ask(bool)

    def status(self, node, condition, latest_s=LATEST):
        """Return what a node says of itself in /diagnostics once a condition on that holds.

        The node is asked at once, and again while it does not; by itself it speaks once a second.
        """
        name = node.get_fully_qualified_name()
        self.diagnostics.pop(name, None)

        def holds():
            return name in self.diagnostics and condition(self.diagnostics[name])

        end = time.monotonic() + latest_s
        while not holds():
            assert time.monotonic() < end, self.report()
            self.ask(node.publish_diagnostics)
            again = time.monotonic() + 0.05
            while not holds() and time.monotonic() < again:
                time.sleep(0.002)
        return self.diagnostics[name]

    def listen(self, topic, kind, callback=None, qos=10):
        """Subscribe; without a callback messages are collected in the returned list."""
        box = self.inbox.setdefault(topic, [])
        return_box = box if callback is None else None
        self.tester.create_subscription(kind, topic, callback or box.append, qos)
        return return_box

    def camera_publishers(self, reliability=ReliabilityPolicy.BEST_EFFORT):
        """Publishers of image and camera_info; not matched yet."""
        qos = QoSProfile(depth=5, reliability=reliability)
        return (
            self.tester.create_publisher(Image, 'image', qos),
            self.tester.create_publisher(CameraInfo, 'camera_info', qos_profile_sensor_data),
        )

    def connected(self, node, *topics):
        """Wait until a node of this process and the tester have matched, either side of each topic.

        Then nothing is lost: within a process DDS hands a message over in the call of publish.
        """
        for topic in topics:
            name = node.resolve_topic_name(topic)

            def matched(name=name):
                counts = [_matches(end) for n in (node, self.tester) for end in _ends(n, name)]
                return len(counts) >= 2 and all(counts)

            self.wait(matched)

    def publish_until(self, condition, publish, period_s=0.3, latest_s=LATEST):
        """Call ``publish(stamp_ns)`` with advancing stamps until a condition holds.

        This is how a node in another process is reached. Each side of a topic matches by itself: a
        publisher counts a subscription some 0.01 to 0.4 s before that subscription knows the
        publisher, and what is sent in between is lost; so is a result for which the node has not
        yet matched the subscription here. Nobody here can see that, and best effort may lose a
        message at any time: only an answer shows that there will be answers.
        """
        end = time.monotonic() + latest_s
        for stamp_ns in itertools.count(START_NS, STEP_NS):
            publish(stamp_ns)
            again = time.monotonic() + period_s
            while time.monotonic() < again:
                if condition():
                    return
                time.sleep(0.002)
            assert time.monotonic() < end, self.report()

    def text_of(self, name):
        """What a node says in diagnostics; '' before it said anything."""
        return self.diagnostics[name].message if name in self.diagnostics else ''

    def wait(self, condition, latest_s=LATEST):
        """Wait until a condition holds; fails the test when it never does."""
        end = time.monotonic() + latest_s
        while not condition():
            assert time.monotonic() < end, self.report()
            time.sleep(0.002)

    def report(self):
        """What the nodes have said of themselves, for a test that fails."""
        states = [f'{name}: {values_of(s)}' for name, s in sorted(self.diagnostics.items())]
        return '\n'.join(['the condition never held', *states])

    def close(self):
        # The executor first, and not while it waits: it must not wait for what is gone.
        # A task ends its wait; woken without work to do it would go on waiting.
        self.executor.create_task(self._over.set)
        self._thread.join()
        self.executor.shutdown()
        for node in self.nodes:
            assert node.close()
            node.destroy_node()
        self.tester.destroy_node()
        rclpy.try_shutdown(context=self.context)


def _ends(node, name):
    """Publishers and subscriptions of a node on a topic."""
    return [end for end in (*node.publishers, *node.subscriptions) if end.topic_name == name]


def _matches(end):
    if hasattr(end, 'get_subscription_count'):
        return end.get_subscription_count()
    if hasattr(end, 'get_publisher_count'):
        return end.get_publisher_count()
    return 1  # a subscription of Humble does not tell; within a process both sides match at once


@contextlib.contextmanager
def live():
    with domain_coordinator.domain_id() as domain:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=int(domain))
        world = Live(context, int(domain))
        try:
            yield world
        finally:
            world.close()


def values_of(status):
    return {entry.key: entry.value for entry in status.values}


def image(stamp_ns, width=640, height=480, level=100):
    return conversions.make.image(np.full((height, width, 3), level, np.uint8), stamp_ns, 'optical')


def collect_people(world, topic='pose_node/people'):
    return world.listen(topic, PersonArray)


SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE

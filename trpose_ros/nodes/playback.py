"""Playback of a recording under conditions, by a program that does not run the nodes itself.

Player, occlusion_node, pose_node and lifter_node run somewhere in the ROS domain; the demonstration
and the evaluation wait for their connections, set a condition and play a pass. The node that asks
lives in the calling program and spins only while that waits: ``wait`` calls a function of the
caller all the time, which may show progress or raise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from trpose_ros.evaluation.conditions import Condition
from trpose_ros.msg import PersonArray
from trpose_ros.recordings import messages

_STEP_S = 0.05
_ANSWER_S = 30.0
# Topic, who publishes it, who subscribes to it: what the nodes need of each other.
_LINKS = (
    ('camera/image', 'player', ('occlusion_node',)),
    ('camera/camera_info', 'player', ('occlusion_node',)),
    ('ground_truth', 'player', ()),
    ('occlusion_node/image', 'occlusion_node', ('pose_node',)),
    ('occlusion_node/camera_info', 'occlusion_node', ('pose_node', 'lifter_node')),
    ('occlusion_node/report', 'occlusion_node', ('pose_node',)),
    ('pose_node/people', 'pose_node', ('lifter_node',)),
    ('lifter_node/people', 'lifter_node', ()),
    ('lifter_node/markers', 'lifter_node', ()),
)


class PlaybackError(RuntimeError):
    """A pass cannot be played; the message says why."""


def connections(space: str, listeners: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Return the least numbers of connections without which something would be lost.

    Args:
        space: namespace of the nodes, '' or with a slash in front.
        listeners: by topic of ``_LINKS``: how many others subscribe to it.

    Returns:
        by node (full name), by the name of a connection in its diagnostics, such as
        'publishers of /image': least number.

    """
    wanted: dict[str, dict[str, int]] = {}
    for name, sender, receivers in _LINKS:
        topic = f'{space}/{name}'
        count = len(receivers) + listeners.get(name, 0)
        wanted.setdefault(f'{space}/{sender}', {})[f'subscribers of {topic}'] = count
        for receiver in receivers:
            wanted.setdefault(f'{space}/{receiver}', {})[f'publishers of {topic}'] = 1
    return wanted


class Playback:
    """Has the nodes of one ROS domain play a recording; a context manager."""

    def __init__(self, domain_id: int, space: str = '', name: str = 'playback') -> None:
        self._space = space
        self._context = rclpy.Context()
        rclpy.init(
            args=[],  # not those of the process, which may be a node's
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._setters: dict[str, AsyncParameterClient] = {}
        self._diagnostics: dict[str, dict[str, str]] = {}  # by node
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)
        self.arrived = 0  # results since ``restart_count`` was called
        self._arrived_s = time.monotonic()

    def __enter__(self) -> Playback:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait(self, ready: Callable[[], bool], timeout_s: float, tick: Callable[[], None]) -> bool:
        """Spin until ``ready``; return whether it was before the time was over."""
        end_s = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > end_s:
                return False
            self._executor.spin_once(timeout_sec=_STEP_S)
            tick()
        return True

    def unconnected(self, wanted: Mapping[str, Mapping[str, int]]) -> list[str]:
        """Return which connections nodes still miss, by what they say of themselves.

        Publisher and subscription match each for itself, some 0.1 s apart: what a publisher sends
        in between is lost. So it is not enough to ask the graph, or one side.

        ``wanted`` is what ``connections`` returns.
        """
        missing = []
        for node, connections in wanted.items():
            said = self._diagnostics.get(node)
            if said is None:
                missing.append(f'{node}: says nothing')
                continue
            for name, least in connections.items():
                count = int(said.get(name, 0))
                if count < least:
                    missing.append(f'{node}: {count} {name}, not {least}')
        return missing

    def wait_for_nodes(
        self,
        listeners: Mapping[str, int],
        timeout_s: float,
        tick: Callable[[], None],
        others: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Wait until everybody has found everybody: nothing is lost from then on.

        Args:
            listeners: see ``connections``.
            timeout_s: for loading the networks.
            tick: see ``wait``.
            others: returns what else is missing.

        Raises:
            PlaybackError: a node cannot start, or the time is over.

        """
        wanted = connections(self._space, listeners)

        def missing() -> list[str]:
            return [*self.unconnected(wanted), *others()]

        def look() -> None:
            tick()
            for node in wanted:
                words = self._diagnostics.get(node, {}).get('last_error', '')
                if words.startswith('configure failed'):
                    raise PlaybackError(f'{node}: {words}')

        if not self.wait(lambda: not missing(), timeout_s, look):
            words = '; '.join(missing())
            raise PlaybackError(f'after {timeout_s:.0f} s the nodes are not connected: {words}')

    def set_condition(self, condition: Condition, tick: Callable[[], None]) -> None:
        """Let the occlusion_node hide parts so; raises PlaybackError where it refuses."""
        # One by one: the severity of one condition may be none of the next one.
        for values in (
            {'severity': -1, 'realisation': 'main'},
            {'profile': condition.profile, 'draw': condition.draw},
            {'severity': condition.severity, 'realisation': condition.realisation},
        ):
            self.set_parameters('occlusion_node', values, f'condition {condition.name}', tick)

    def play(self, timeout_s: float, tick: Callable[[], None]) -> tuple[int, list[str]]:
        """Play a pass; return how many images were sent, and what could not be read.

        Raises PlaybackError when the player cannot.
        """
        played, answer = self.trigger(f'{self._space}/player/play', timeout_s, tick)
        if not played:
            raise PlaybackError(f'the recording cannot be played: {answer}')
        count, *problems = answer.split('; ')
        return int(count.split()[0]), problems

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnostics |= messages.read_diagnostics(message)

    def watch(self, topic: str) -> None:
        """Count the PersonArrays of a topic from now on."""
        self._node.create_subscription(PersonArray, topic, self._on_people, 10)

    def restart_count(self) -> None:
        """Count from zero."""
        self.arrived = 0
        self._arrived_s = time.monotonic()

    @property
    def quiet_s(self) -> float:
        """Return for how long nothing has arrived."""
        return time.monotonic() - self._arrived_s

    def _on_people(self, _: PersonArray) -> None:
        self.arrived += 1
        self._arrived_s = time.monotonic()

    def set_parameters(
        self, node: str, values: dict[str, Any], purpose: str, tick: Callable[[], None]
    ) -> None:
        """Set parameters of a node; raises PlaybackError where that is refused."""
        name = f'{self._space}/{node}'
        client = self._setters.setdefault(name, AsyncParameterClient(self._node, name))
        refused = f'{name} does not answer'
        if self.wait(client.services_are_ready, _ANSWER_S, tick):
            future = client.set_parameters([Parameter(key, value=v) for key, v in values.items()])
            if self.wait(future.done, _ANSWER_S, tick):
                results = future.result().results
                refused = '; '.join(r.reason for r in results if not r.successful)
        if refused:
            raise PlaybackError(f'{purpose}: {refused}')

    def trigger(self, service: str, timeout_s: float, tick: Callable[[], None]) -> tuple[bool, str]:
        """Call a std_srvs/Trigger service; return its answer."""
        client = self._node.create_client(Trigger, service)
        try:
            if not self.wait(client.service_is_ready, timeout_s, tick):
                return False, f'{service} is not there'
            future = client.call_async(Trigger.Request())
            if not self.wait(future.done, timeout_s, tick):
                return False, f'{service} did not answer within {timeout_s:.0f} s'
            return future.result().success, future.result().message
        finally:
            self._node.destroy_client(client)

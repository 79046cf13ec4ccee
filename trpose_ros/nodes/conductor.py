"""What the demonstration asks of the running nodes; the node of a program that drives others.

It lives in the calling program and spins only while that waits: ``wait`` calls a function of the
caller all the time, which may show progress or raise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from trpose_ros.msg import PersonArray
from trpose_ros.recordings import messages

_STEP_S = 0.05


class Conductor:
    """Talks to nodes in one ROS domain; a context manager."""

    def __init__(self, domain_id: int, name: str = 'conductor') -> None:
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
        self.arrived = 0  # results since ``count`` was called
        self.last_stamp_ns = 0
        self._arrived_s = time.monotonic()

    def __enter__(self) -> Conductor:
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

        Args:
            wanted: by node (full name), by the name of a connection in its diagnostics, such as
                'publishers of /image': least number.

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

    def said(self, node: str, key: str) -> str:
        """Return a value of a node's last diagnostics, '' where there is none."""
        return self._diagnostics.get(node, {}).get(key, '')

    def subscribers(self, topic: str) -> int:
        """Return how many subscribe to a topic, as far as the graph knows."""
        return self._node.count_subscribers(topic)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._diagnostics |= messages.read_diagnostics(message)

    def watch(self, topic: str) -> None:
        """Count the PersonArrays of a topic from now on."""
        self._node.create_subscription(PersonArray, topic, self._on_people, 10)

    def restart_count(self) -> None:
        """Count from zero."""
        self.arrived, self.last_stamp_ns = 0, 0
        self._arrived_s = time.monotonic()

    @property
    def quiet_s(self) -> float:
        """Return for how long nothing has arrived."""
        return time.monotonic() - self._arrived_s

    def _on_people(self, message: PersonArray) -> None:
        self.arrived += 1
        self.last_stamp_ns, _ = messages.origin_of(message)
        self._arrived_s = time.monotonic()

    def set_parameters(
        self, node: str, values: dict[str, Any], timeout_s: float, tick: Callable[[], None]
    ) -> str:
        """Set parameters of a node; return why that was refused, '' when it was not."""
        client = self._setters.setdefault(node, AsyncParameterClient(self._node, node))
        if not self.wait(client.services_are_ready, timeout_s, tick):
            return f'{node} does not answer'
        future = client.set_parameters([Parameter(name, value=v) for name, v in values.items()])
        if not self.wait(future.done, timeout_s, tick):
            return f'{node} does not answer'
        return '; '.join(r.reason for r in future.result().results if not r.successful)

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

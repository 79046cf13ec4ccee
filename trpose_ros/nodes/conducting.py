"""Playing a recording under one condition after the other, from a thread of the evaluation node.

It waits for the nodes by what they say of their own connections (see Conductor), so that nothing
is lost at the beginning, and has a ROS context of its own: the node goes on listening meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trpose_ros.evaluation.conditions import Condition
from trpose_ros.nodes.conductor import Conductor

if TYPE_CHECKING:
    from trpose_ros.nodes.evaluation import EvaluationNode

_ANSWER_S = 30.0
_LONGEST_S = 7 * 24 * 3600.0  # of a recording
_NODES = ('player', 'occlusion_node', 'pose_node', 'lifter_node')


class ConductError(RuntimeError):
    """A pass cannot be played; the message says why."""


class _StoppedError(Exception):
    """The node was told to end."""


class Conducting:
    """Plays the passes in its own thread; ``node.end`` is called behind the last one."""

    def __init__(self, node: EvaluationNode, plan: Sequence[Condition], config: Any) -> None:
        self._node = node
        self._plan = plan
        self._config = config
        self._space = node.get_namespace().rstrip('/')
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='conducting', daemon=False)
        self._thread.start()

    def stop(self, timeout_s: float | None = None) -> bool:
        """Give up; return whether the thread has ended."""
        self._stopping.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _tick(self) -> None:
        if self._stopping.is_set():
            raise _StoppedError

    def _run(self) -> None:
        failure = ''
        try:
            with Conductor(self._node.context.get_domain_id(), 'evaluation_conductor') as conductor:
                self._wait_for_nodes(conductor)
                for number, condition in enumerate(self._plan, 1):
                    self._node.get_logger().info(
                        f'pass {number} of {len(self._plan)}: {condition.name}'
                    )
                    self._play(conductor, condition)
        except _StoppedError:
            return
        except ConductError as error:
            failure = str(error)
        except Exception as error:  # whatever it is, the process must not wait for ever
            failure = f'{type(error).__name__}: {error}'
        self._node.end(failure)

    def _wanted(self) -> dict[str, dict[str, int]]:
        """Return the connections without which something would be lost, by node."""

        def topic(name: str) -> str:
            return f'{self._space}/{name}'

        image, info = topic('camera/image'), topic('camera/camera_info')
        altered, report = topic('occlusion_node/image'), topic('occlusion_node/report')
        fitting = topic('occlusion_node/camera_info')
        people, lifted = topic('pose_node/people'), topic('lifter_node/people')
        wanted = {
            'player': {
                f'subscribers of {image}': 1,
                f'subscribers of {info}': 1,
                f'subscribers of {topic("ground_truth")}': 1,
            },
            'occlusion_node': {
                f'publishers of {image}': 1,
                f'publishers of {info}': 1,
                f'subscribers of {altered}': 1,
                f'subscribers of {fitting}': 2,
                f'subscribers of {report}': 2,
            },
            'pose_node': {
                f'publishers of {altered}': 1,
                f'publishers of {fitting}': 1,
                f'publishers of {report}': 1,
                f'subscribers of {people}': self._config.pose_listeners,
            },
            'lifter_node': {
                f'publishers of {people}': 1,
                f'publishers of {fitting}': 1,
                f'subscribers of {lifted}': 1,
            },
        }
        return {f'{self._space}/{name}': wanted[name] for name in _NODES}

    def _wait_for_nodes(self, conductor: Conductor) -> None:
        wanted = self._wanted()

        def missing() -> list[str]:
            mine = [name for name, n in self._node.connections().items() if n == '0']
            mine = [name for name in mine if name.startswith('publishers')]
            return [*conductor.unconnected(wanted), *(f'nobody: {name}' for name in mine)]

        def tick() -> None:
            self._tick()
            for node in wanted:
                words = conductor.said(node, 'last_error')
                if words.startswith('configure failed'):
                    raise ConductError(f'{node}: {words}')

        if not conductor.wait(lambda: not missing(), self._config.start_s, tick):
            raise ConductError(
                f'after {self._config.start_s:.0f} s the nodes are not connected: '
                + '; '.join(missing())
            )

    def _play(self, conductor: Conductor, condition: Condition) -> None:
        node = f'{self._space}/occlusion_node'
        # One by one: the severity of one condition may be none of the next one.
        for values in (
            {'severity': -1, 'realisation': 'main'},
            {'profile': condition.profile, 'draw': condition.draw},
            {'severity': condition.severity, 'realisation': condition.realisation},
        ):
            refused = conductor.set_parameters(node, values, _ANSWER_S, self._tick)
            if refused:
                raise ConductError(f'condition {condition.name}: {refused}')
        self._node.begin(condition)
        played, answer = conductor.trigger(f'{self._space}/player/play', _LONGEST_S, self._tick)
        count, *problems = answer.split('; ')
        if not played:
            raise ConductError(f'the recording cannot be played: {answer}')
        self._node.add_played(int(count.split()[0]), problems)
        conductor.wait(self._node.is_complete, _LONGEST_S, self._tick)

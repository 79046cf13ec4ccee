"""The passes of an evaluation: a thread of the evaluation node has one played after the other.

It has a ROS context of its own, so that the node goes on listening meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trpose_ros.evaluation.conditions import Condition
from trpose_ros.nodes.playback import Playback, PlaybackError

if TYPE_CHECKING:
    from trpose_ros.nodes.evaluation import EvaluationNode

_LONGEST_S = 7 * 24 * 3600.0  # of a recording


class _StoppedError(Exception):
    """The node was told to end."""


class PassThread:
    """Has the passes of a plan played; ``node.end`` is called behind the last one."""

    def __init__(self, node: EvaluationNode, plan: Sequence[Condition], config: Any) -> None:
        self._node = node
        self._plan = plan
        self._config = config
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='passes', daemon=False)
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
            domain, space = self._node.context.get_domain_id(), self._node.get_namespace()
            with Playback(domain, space.rstrip('/'), 'evaluation_playback') as playback:
                self._wait_for_nodes(playback)
                for number, condition in enumerate(self._plan, 1):
                    self._node.get_logger().info(
                        f'pass {number} of {len(self._plan)}: {condition.name}'
                    )
                    playback.set_condition(condition, self._tick)
                    self._node.begin(condition)
                    self._node.add_played(*playback.play(_LONGEST_S, self._tick))
                    playback.wait(self._node.is_complete, _LONGEST_S, self._tick)
        except _StoppedError:
            return
        except PlaybackError as error:
            failure = str(error)
        except Exception as error:  # whatever it is, the process must not wait for ever
            failure = f'{type(error).__name__}: {error}'
        self._node.end(failure)

    def _wait_for_nodes(self, playback: Playback) -> None:
        """Wait for the nodes of the recording, and for those that the evaluation listens to."""

        def missing() -> list[str]:
            mine = [name for name, n in self._node.connections().items() if n == '0']
            return [f'nobody: {name}' for name in mine if name.startswith('publishers')]

        listeners = {
            'ground_truth': 1,
            'occlusion_node/report': 1,
            'pose_node/people': self._config.pose_listeners - 1,
            'lifter_node/people': 1,
        }
        playback.wait_for_nodes(listeners, self._config.start_s, self._tick, missing)

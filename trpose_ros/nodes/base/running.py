"""Runs nodes in a process: start, spin, end.

The executor runs in the main thread and all its callbacks only store, so that one thread is
enough. A model is loaded inside a callback: SIGINT interrupts that at once. A frame that is being
worked on at the end may finish; if it does not within four seconds, the process ends without it,
because a launch file kills what does not end within five. For the same reason the interpreter is
not taken down piece by piece: with torch that is a second of the processor, and many on a machine
that has other things to do.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger

from trpose_ros.nodes.base.stage_node import STOP_TIMEOUT_S, StageNode

N = TypeVar('N', bound=StageNode)


class _IntoRosLog(logging.Handler):
    """Passes the library's log to that of ROS."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand over one record."""
        logger = get_logger(record.name)
        say = {logging.WARNING: logger.warning, logging.INFO: logger.info}
        if record.levelno >= logging.ERROR:
            logger.error(record.getMessage())
        else:
            say.get(record.levelno, logger.debug)(record.getMessage())


def run(
    classes: Sequence[Callable[[], N]],
    args: Sequence[str] | None = None,
    exit_code: Callable[[Sequence[N]], int] = lambda nodes: 0,
) -> int:
    """Make the nodes, spin until SIGINT, SIGTERM or shutdown, then end the process.

    Args:
        classes: what makes the nodes.
        args: command line; None takes that of the process.
        exit_code: asked at the end, with the closed nodes, for the code to end the process with.

    Returns:
        1 when a parameter makes a start impossible; otherwise it does not return.

    """
    nodes: list[N] = []
    executor = None
    ended, code = True, 0
    try:
        rclpy.init(args=None if args is None else list(args))
        _forward_log()
        executor = SingleThreadedExecutor()
        for make in classes:
            nodes.append(make())
            executor.add_node(nodes[-1])
        _start_soon(nodes)
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (
        rclpy.exceptions.ParameterException,
        InvalidParameterTypeException,
        InvalidParameterValueException,
    ) as error:
        get_logger('trpose_ros').fatal(f'cannot start: {error}')
        return 1
    except RuntimeError:  # RCLError: a callback published while the end had begun
        if rclpy.ok():
            raise
    finally:
        # From here on the end is under way: a second Ctrl-C must not tear it apart.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ended = _close(nodes)
        code = exit_code(nodes)
        if ended:
            executor = None
            _forget(nodes)
        rclpy.try_shutdown()
    if not ended:
        print('a frame is still being worked on: ending without it', file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # everything is closed; the interpreter would wait for a thread that works


def _close(nodes: Sequence[StageNode]) -> bool:
    """Close all, each in what is left of the time; return whether all ended."""
    limit_s = time.monotonic() + STOP_TIMEOUT_S
    ended = [node.close(max(limit_s - time.monotonic(), 0.0)) for node in nodes]
    return all(ended)


def _forget(nodes: list[N]) -> None:
    """Destroy nodes and the last references to them, with which the middleware frees its memory.

    Otherwise each end of a process would leave 70 MB in /dev/shm.
    """
    while nodes:
        nodes.pop().destroy_node()  # leaves the graph at once, not when its lease ends
    gc.collect()


def _forward_log() -> None:
    logger = logging.getLogger('trpose_ros')
    logger.addHandler(_IntoRosLog())
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _start_soon(nodes: Sequence[StageNode]) -> None:
    """Let the executor start the nodes, so that they can be asked and stopped meanwhile."""

    def start() -> None:
        timer.cancel()
        for node in nodes:
            node.autostart()

    # Not the time of the nodes, which may be simulated and stand still.
    timer = nodes[0].create_timer(0.0, start, clock=Clock(clock_type=ClockType.STEADY_TIME))

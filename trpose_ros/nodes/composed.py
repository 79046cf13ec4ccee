"""pose_node and lifter_node in one process: one interpreter and one copy of the libraries."""

from __future__ import annotations

from collections.abc import Sequence

from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.nodes.pose_node import PoseNode


def main(args: Sequence[str] | None = None) -> int:
    """Run both nodes until they are told to end; return the exit code."""
    return run([PoseNode, LifterNode], args)

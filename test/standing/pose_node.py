"""The real pose node, in a process that knows the network of metrabs_stand_in.py."""

import metrabs_stand_in  # noqa: F401  (registers its backbone)

from trpose_ros.nodes.pose_node import main

__all__ = ['main']

"""A pose and a lifter node for each of several cameras in one process, which share one network.

    ros2 run trpose_ros cameras --cameras front,rear --image-topic /{camera}/image_raw

Nodes of a camera lie in its namespace (/front/pose_node, /front/lifter_node). ``{camera}`` in the
name of a topic stands for the camera's name; a relative name lies in its namespace anyway.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.utilities import remove_ros_args

from trpose_ros.estimators.shared import SharedEstimators
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import StageNode
from trpose_ros.nodes.fusion_node import FusionNode
from trpose_ros.nodes.launch_arguments import camera_names, of_camera
from trpose_ros.nodes.lifter_node import LifterNode
from trpose_ros.nodes.pose_node import PoseNode


def makers(given: argparse.Namespace) -> list[Callable[[], StageNode]]:
    """Return what makes the nodes; raises RuntimeError for names that no camera can have."""
    estimators = SharedEstimators()
    outer = given.namespace.strip('/')
    found: list[Callable[[], StageNode]] = []
    for camera in camera_names(given.cameras):
        options: dict[str, Any] = {
            'namespace': f'/{outer}/{camera}' if outer else f'/{camera}',
            'cli_args': _remappings(given, camera),
        }
        found.append(partial(PoseNode, estimators=estimators, **options))
        found.append(partial(LifterNode, **options))
    if given.fusion:
        found.append(partial(FusionNode, namespace=f'/{outer}'))
    return found


def _remappings(given: argparse.Namespace, camera: str) -> list[str]:
    names = {
        'image': of_camera(given.image_topic, camera),
        'camera_info': of_camera(given.camera_info_topic, camera),
        'people': 'pose_node/people',
        'boxes': of_camera(given.boxes_topic, camera),
    }
    remaps = [('-r', f'{before}:={after}') for before, after in names.items() if before != after]
    return ['--ros-args', *(word for pair in remaps for word in pair)] if remaps else []


def parsed(args: Sequence[str]) -> argparse.Namespace:
    """Return the options, without those of ROS; a wrong one ends the process with 2."""
    parser = argparse.ArgumentParser(prog='cameras', description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--cameras', required=True, help='their names: front,rear')
    parser.add_argument('--namespace', default='', help='of all nodes, before those of the cameras')
    parser.add_argument('--image-topic', default='image')
    parser.add_argument('--camera-info-topic', default='camera_info')
    parser.add_argument('--boxes-topic', default='boxes')
    parser.add_argument('--fusion', action='store_true', help='join the people of all cameras')
    return parser.parse_args(list(args))


def main(args: Sequence[str] | None = None) -> int:
    """Run all nodes until they are told to end; return the exit code."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        nodes = makers(parsed(remove_ros_args(['cameras', *given])[1:]))
    except RuntimeError as error:
        print(f'cameras: {error}', file=sys.stderr)
        return 2
    return run(nodes, given)

"""``trpose messages`` and ``trpose node``: the nodes where ROS comes from wheels.

On a robot colcon and ``ros2 run`` do the same.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated

import typer

from trpose_ros.commands.output import FrameBar, Json, Quiet, Voice

app = typer.Typer(add_completion=False, rich_markup_mode=None, help='Nodes with ROS from wheels.')
NODES = (
    *('pose_node', 'lifter_node', 'occlusion_node', 'viewer_node', 'fusion_node', 'hri_bridge'),
    *('composed', 'cameras', 'player', 'recorder', 'evaluation'),
)


@app.command()
def messages(
    jobs: Annotated[
        int, typer.Option(min=0, max=64, help='compilers at a time; 0: a core each, at most four')
    ] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Build the ROS messages into this environment, once after each installation.

    For ROS from wheels: pip install "trpose_ros[ros]". Needs g++ and Python.h.
    """
    from trpose_ros.nodes.message_build import build, check

    check()
    voice = Voice(quiet, as_json)
    with voice, FrameBar('building the messages', 'percent', voice.console) as bar:
        files = build(bar.update, jobs)
    voice.say(f'{len(files)} files of trpose_ros.msg are installed; try: trpose doctor --only ros')
    voice.end('messages', 0, files=files)


@app.command(
    context_settings={
        'allow_extra_args': True,
        'ignore_unknown_options': True,
        'allow_interspersed_args': False,
    }
)
def node(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=', '.join(NODES))],
) -> None:
    """Run a node; what follows its name goes to ROS: --ros-args -p autostart:=true ..."""
    if name not in NODES:
        raise typer.BadParameter(f'{name!r} is no node: give one of {", ".join(NODES)}')
    from trpose_ros.nodes.launch_arguments import fast_dds_profile

    os.environ.update(fast_dds_profile())  # as the launch files do: before rclpy is imported
    sys.argv = [name, *context.args]  # what the executables of a workspace would see
    module = importlib.import_module(f'trpose_ros.nodes.{name}')
    raise typer.Exit(module.main() or 0)

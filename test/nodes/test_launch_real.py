"""The launch files with the real launch and launch_ros, which only a ROS installation has.

test_launch.py and test_launch_replay.py look closely, by way of a stand-in that runs everywhere;
here is what a stand-in cannot know: that launch itself takes the files, starts the nodes, and ends
them cleanly.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REASON = 'no launch_ros here: it comes with a ROS installation (apt), no index has it as a wheel'
pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
pytest.importorskip('launch_ros', reason=REASON)

from domain_coordinator import domain_id
from processes import NodeProcess
from random_weights import save_metrabs, save_videopose3d
from recordings import write_recording

LAUNCH = Path(__file__).resolve().parents[2] / 'launch'
# What `ros2 launch FILE NAME:=VALUE ...` does.
CODE = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

given = [tuple(word.split(':=', 1)) for word in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service = LaunchService(argv=sys.argv[2:])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=given)])
)
sys.exit(service.run())
"""


@pytest.fixture
def launched(tmp_path):
    """Start a launch file in a domain of its own."""
    started = []
    with domain_id() as domain:

        def launch(name, **arguments):
            words = [f'{key}:={value}' for key, value in arguments.items()]
            log = {'ROS_LOG_DIR': str(tmp_path / 'log')}
            command = [sys.executable, '-c', CODE, str(LAUNCH / name), *words]
            started.append(NodeProcess(command, domain, **log))
            return started[-1]

        yield launch
        for process in started:
            process.close()


@pytest.fixture
def weights(tmp_path):
    save_metrabs(tmp_path / 'm.safetensors')
    save_videopose3d(tmp_path / 'v.safetensors')
    return {
        'model': str(tmp_path / 'm.safetensors'),
        'lifter_model': str(tmp_path / 'v.safetensors'),
        'look_ahead': '0',
    }


def test_nodes_start_configure_themselves_and_end_with_ctrl_c(launched, weights):
    process = launched('pose.launch.py', namespace='robot', boxes='image', **weights)
    for node in ('pose_node', 'lifter_node'):
        process.wait_for(f'[robot.{node}]: configured')
    assert process.interrupt() == 0, process.text
    assert process.text.count('process has finished cleanly') == 2
    assert 'balanced.yaml' in process.text


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [({'composed': 'perhaps'}, 'composed'), ({'params_file': 'turbo'}, 'turbo')],
)
def test_impossible_arguments_end_the_launch(launched, arguments, words):
    process = launched('pose.launch.py', **arguments)
    assert process.ended() == 1
    assert words in process.text


def test_a_replay_ends_by_itself(launched, weights, tmp_path):
    """Random networks find nobody; what is measured is the business of test_launch_replay.py."""
    bag = write_recording(tmp_path / 'in.mcap', 3)
    process = launched(
        'replay.launch.py', bag=bag, report=tmp_path / 'out', boxes='image', **weights
    )
    assert process.ended() == 0, process.text
    assert '[evaluation]: pass 1 of 1: clean' in process.text
    assert 'process[evaluation-5] was required: shutting down' in process.text
    assert process.text.count('process has finished cleanly') >= 4

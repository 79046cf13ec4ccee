"""The executables as processes: they start, say what is wrong, and end when told to."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import make_people
from launch_standin import find_executable
from live import collect_people, image, live
from processes import NodeProcess
from random_weights import save_metrabs, save_videopose3d
from visualization_msgs.msg import MarkerArray

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.people import TrackState


@pytest.fixture
def world():
    with live() as world:
        yield world


@pytest.fixture(scope='module')
def weights_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    save_metrabs(folder / 'metrabs.safetensors')
    save_videopose3d(folder / 'lifter.safetensors')
    return folder


@pytest.fixture
def start(world):
    with contextlib.ExitStack() as stack:

        def start(executable, *arguments):
            command = [str(find_executable('trpose_ros', executable)), '--ros-args']
            for argument in arguments:
                command += ['-p', argument]
            process = NodeProcess(command, world.domain)
            stack.callback(process.close)
            return process

        yield start


def test_sigint_during_load_ends_cleanly(start, weights_folder):
    process = start(
        'pose_node',
        'autostart:=true',
        'boxes:=image',
        f'model:={weights_folder}/metrabs.safetensors',
    )
    process.wait_for('configuring')  # torch is imported next, which takes a second and more
    assert process.interrupt() == 0, process.text
    assert 'configured in' not in process.text
    assert 'Traceback' not in process.text


@pytest.mark.parametrize(
    ('executable', 'last'),
    [
        ('occlusion_node', 'occlusion_node'),
        ('composed', 'lifter_node'),
        ('evaluation', 'evaluation'),
    ],
)
def test_no_shared_memory_is_left_behind(world, start, executable, last):
    folder = Path('/dev/shm')
    if not folder.is_dir():
        pytest.skip('no /dev/shm on this system')
    process = start(executable, 'autostart:=false')
    world.wait(lambda: f'/{last}' in world.diagnostics)  # it spins
    memory = process.shared_memory()
    assert [path for name in memory for path in folder.glob(f'{name}*')]
    assert process.interrupt() == 0, process.text
    assert 'Traceback' not in process.text
    assert [path for name in memory for path in folder.glob(f'{name}*')] == []


def test_sigint_during_inference_ends_cleanly(world, start, weights_folder):
    process = start(
        'pose_node',
        'autostart:=true',
        'boxes:=image',
        'camera_info_wait_s:=0.0',
        'num_aug:=16',
        f'model:={weights_folder}/metrabs.safetensors',
    )
    camera, _ = world.camera_publishers()
    process.wait_for('configured in')
    # Faster than the model: one image is being worked on, another one waits.
    world.publish_until(
        lambda: 'no camera_info was received' in process.text,  # said on the way into the model
        lambda stamp_ns: camera.publish(image(stamp_ns)),
        period_s=0.03,
    )
    assert process.interrupt() == 0, process.text
    assert 'Traceback' not in process.text
    assert 'ERROR' not in process.text


def test_sigint_with_markers_on_display_ends_cleanly(world, start, weights_folder):
    shown = world.listen('lifter_node/markers', MarkerArray)
    process = start(
        'lifter_node',
        'autostart:=true',
        'camera_info_wait_s:=0.0',
        'look_ahead:=0',
        f'lifter_model:={weights_folder}/lifter.safetensors',
    )
    people = world.tester.create_publisher(PersonArray, 'people', 10)
    process.wait_for('configured in')
    track = {'track_ids': np.array([1]), 'track_states': np.array([TrackState.TRACKED])}

    def publish(stamp_ns):
        people.publish(conversions.make.people(make_people(stamp_ns, **track)))

    world.publish_until(lambda: shown, publish)
    assert process.interrupt() == 0, process.text
    assert 'Traceback' not in process.text


def test_both_nodes_in_one_process(world, start, weights_folder):
    people = collect_people(world, 'pose_node/people')
    lifted = collect_people(world, 'lifter_node/people')
    process = start(
        'composed',
        'autostart:=true',
        'boxes:=image',
        'camera_info_wait_s:=0.0',
        'look_ahead:=0',
        f'model:={weights_folder}/metrabs.safetensors',
        f'lifter_model:={weights_folder}/lifter.safetensors',
    )
    camera, _ = world.camera_publishers()
    process.wait_for('lifter_node]: configured')
    world.publish_until(lambda: people, lambda stamp_ns: camera.publish(image(stamp_ns)))
    assert process.interrupt() == 0, process.text
    assert '[lifter_node]: configured' in process.text
    assert not lifted  # its input is not remapped here


def test_missing_weights_leave_a_living_unconfigured_node(start):
    process = start('pose_node', 'autostart:=true', 'model:=/nowhere/a.safetensors')
    process.wait_for('not started')
    assert '/nowhere/a.safetensors does not exist' in process.text
    assert process.interrupt() == 0


@pytest.mark.parametrize(
    ('argument', 'words'),
    [('num_aug:=900', 'num_aug'), ('num_aug:=many', 'num_aug'), ('fov_deg:=1.0', 'fov_deg')],
)
def test_a_parameter_that_cannot_be_is_named_before_the_start(start, argument, words):
    process = start('pose_node', argument)
    assert process.ended() == 1
    assert words in process.text
    assert 'Traceback' not in process.text

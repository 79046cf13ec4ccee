"""launch/pose.launch.py starts the real nodes, by way of a stand-in for launch_ros."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import launch_standin
import several_recordings as made
from live import START_NS, STEP_NS, collect_people, image, live
from processes import NodeProcess
from random_weights import save_metrabs, save_videopose3d
from sensor_msgs.msg import CameraInfo, Image

from trpose_ros.cameras import camera_from_fov
from trpose_ros.nodes import cameras
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.launch_arguments import ARGUMENTS, PRESETS
from trpose_ros.recordings import messages

LAUNCH_FILE = Path(__file__).resolve().parents[2] / 'launch' / 'pose.launch.py'


def test_defaults_start_two_nodes(tmp_path, monkeypatch):
    monkeypatch.delenv('FASTRTPS_DEFAULT_PROFILES_FILE', raising=False)
    monkeypatch.delenv('FASTDDS_DEFAULT_PROFILES_FILE', raising=False)
    context = launch_standin.launch(LAUNCH_FILE, tmp_path)
    assert [p.executable for p in context.processes] == ['pose_node', 'lifter_node']
    for process in context.processes:
        profile = process.environment['FASTRTPS_DEFAULT_PROFILES_FILE']
        assert '<transport_id>' in Path(profile).read_text()


def test_a_profile_of_the_user_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv('FASTRTPS_DEFAULT_PROFILES_FILE', '/mine.xml')
    assert launch_standin.launch(LAUNCH_FILE, tmp_path).environment == {}


def test_composed_with_occlusion_is_two_processes(tmp_path):
    context = launch_standin.launch(
        LAUNCH_FILE, tmp_path, composed='true', occlusion='moving_box', image_topic='/cam/image'
    )
    assert [p.executable for p in context.processes] == ['occlusion_node', 'composed']
    assert 'image:=/cam/image' in context.processes[0].command
    assert 'image:=occlusion_node/image' in context.processes[1].command


def test_the_bridge_takes_the_lifted_people(tmp_path):
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, hri='true')
    bridge = context.processes[-1]
    assert bridge.executable == 'hri_bridge'
    assert 'people:=lifter_node/people' in bridge.command


def test_the_viewer_sees_what_the_pose_node_sees(tmp_path):
    context = launch_standin.launch(
        LAUNCH_FILE, tmp_path, viewer='rerun', viewer_file='x.rrd', occlusion='blackout'
    )
    viewer = next(p for p in context.processes if p.executable == 'viewer_node')
    for words in (
        'image:=occlusion_node/image',
        'camera_info:=occlusion_node/camera_info',
        'people:=lifter_node/people',
        'estimated:=pose_node/people',
    ):
        assert words in viewer.command
    assert 'save: x.rrd' in ''.join(
        Path(viewer.command[k + 1]).read_text()
        for k, word in enumerate(viewer.command)
        if word == '--params-file'
    )


@pytest.mark.parametrize('preset', PRESETS)
def test_presets_are_files(tmp_path, preset):
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, params_file=preset)
    assert f'{preset}.yaml' in context.log[0]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'params_file': 'turbo'}, 'turbo'),
        ({'look_ahead': 'some'}, 'some'),
        ({'smoothing': 'strong'}, 'strong'),
        ({'occlusion': 'umbrella'}, 'umbrella'),
        ({'camera': 'x'}, 'camera'),
        ({'fusion': 'true'}, 'needs calibration'),
        ({'calibration': 'rig.yaml'}, 'for fusion:=true'),
        ({'world_frame': 'map', 'fusion': 'true'}, 'cameras:='),
        ({'fusion': 'true', 'calibration': '/no/rig.yaml'}, 'No such file'),
        ({'cameras': '[]'}, 'names none'),
        ({'cameras': '[front, 2nd]'}, '2nd'),
        ({'cameras': 'front,rear', 'occlusion': 'fixed_left'}, 'is for one camera'),
        ({'cameras': 'front,rear', 'viewer': 'rerun'}, 'run trpose_ros viewer_node'),
        ({'cameras': 'front,rear', 'hri': 'true'}, 'run trpose_ros hri_bridge'),
    ],
)
def test_impossible_arguments_are_named(tmp_path, arguments, words):
    with pytest.raises((RuntimeError, launch_standin.LaunchError), match=words):
        launch_standin.launch(LAUNCH_FILE, tmp_path, **arguments)


@pytest.fixture
def rviz(tmp_path, monkeypatch):
    """An RViz to find: none is installed from wheels."""
    prefix = tmp_path / 'prefix'
    for path in ('share/ament_index/resource_index/packages/rviz2', 'lib/rviz2/rviz2'):
        (prefix / path).parent.mkdir(parents=True)
        (prefix / path).write_text('#!/bin/sh\n')
        (prefix / path).chmod(0o755)
    before = os.environ.get('AMENT_PREFIX_PATH', '')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{prefix}:{before}')


def own_arguments(process):
    """What a process gets besides ROS's arguments."""
    return process.command[1 : process.command.index('--ros-args')]


def test_several_cameras_are_one_process(tmp_path):
    context = launch_standin.launch(
        LAUNCH_FILE, tmp_path, cameras='[front,rear]', image_topic='/{camera}/image_raw'
    )
    (process,) = context.processes
    assert process.executable == 'cameras'
    given = cameras.parsed(own_arguments(process))
    assert (given.cameras, given.image_topic) == ('front,rear', '/{camera}/image_raw')
    assert not given.fusion
    assert '__ns' not in ' '.join(process.command)  # it would be that of all nodes


def test_fusion_takes_the_cameras_of_the_calibration(tmp_path, rviz):
    calibration = made.calibration(tmp_path / 'rig.yaml', ('front', 'rear'))
    context = launch_standin.launch(
        LAUNCH_FILE, tmp_path, fusion='true', calibration=str(calibration), namespace='robot',
        rviz='true',
    )  # fmt: skip
    process, window = context.processes
    given = cameras.parsed(own_arguments(process))
    assert (given.cameras, given.namespace, given.fusion) == ('front,rear', 'robot', True)
    written = [Path(w).read_text() for w in process.command if w.startswith(str(tmp_path))]
    assert any(f'calibration: {calibration}' in text for text in written)
    assert '/lifter_node/markers:=fusion_node/markers' in window.command
    assert '/pose_node/image_annotated:=front/pose_node/image_annotated' in window.command
    with pytest.raises(RuntimeError, match="no camera 'roof'"):
        launch_standin.launch(
            LAUNCH_FILE, tmp_path, fusion='true', calibration=str(calibration), cameras='roof'
        )


def test_a_layout_of_one_camera_is_as_before(tmp_path, rviz):
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, rviz='true', namespace='robot')
    assert '/lifter_node/markers:=lifter_node/markers' in context.processes[-1].command


def test_every_argument_is_described():
    assert all(argument.help for argument in ARGUMENTS)
    assert len({argument.name for argument in ARGUMENTS}) == len(ARGUMENTS)


def small_networks(folder):
    """Launch arguments for networks of random weights that find somebody in every image."""
    save_metrabs(folder / 'metrabs.safetensors')
    save_videopose3d(folder / 'lifter.safetensors')
    parameters = folder / 'parameters.yaml'
    parameters.write_text(
        '/**:\n  ros__parameters:\n    boxes: image\n    suppress_implausible: false\n'
        '/**/lifter_node:\n  ros__parameters:\n    max_wait_s: 0.0\n'
    )
    return {
        'params_file': str(parameters),
        'model': str(folder / 'metrabs.safetensors'),
        'lifter_model': str(folder / 'lifter.safetensors'),
        'look_ahead': '0',
    }


@pytest.mark.parametrize(
    'composed',
    ['false', pytest.param('true', marks=pytest.mark.slow)],  # both nodes in one: see processes
)
def test_the_real_nodes_turn_images_into_skeletons(tmp_path, composed):
    context = launch_standin.launch(
        LAUNCH_FILE,
        tmp_path,
        namespace='robot',
        image_topic='/image',
        camera_info_topic='/camera_info',
        **small_networks(tmp_path),
        occlusion='fixed_left',
        composed=composed,
    )
    with live() as world, contextlib.ExitStack() as stack:
        lifted = collect_people(world, '/robot/lifter_node/people')
        images, infos = world.camera_publishers()
        processes = []
        for process in context.processes:
            started = NodeProcess(process.command, world.domain, **process.environment)
            stack.callback(started.close)
            processes.append(started)
        for process in processes:
            process.wait_for(
                'occlusion_node]: configured'
                if process is processes[0]
                else 'lifter_node]: configured'
                if composed == 'true'
                else 'configured'
            )
        camera = camera_from_fov(640, 480, assumed=False)

        def publish(stamp_ns):
            infos.publish(conversions.make.camera_info(camera, stamp_ns, 'optical'))
            images.publish(image(stamp_ns))

        world.publish_until(lambda: lifted, publish)
        people = messages.read_people(lifted[0])
        assert people.stamp_ns in range(START_NS, START_NS + 10**12, STEP_NS)
        assert people.frame_id == 'optical'
        assert people.provenance.lifter == 'videopose3d'
        assert people.provenance.occlusion == 'fixed_left'
        assert np.isfinite(people.provenance.inference_ms)
        assert [process.interrupt() for process in reversed(processes)] == [0] * len(processes)


@pytest.mark.slow
def test_the_real_nodes_of_two_cameras_join_their_people(tmp_path):
    names = ('front', 'rear')
    context = launch_standin.launch(
        LAUNCH_FILE,
        tmp_path,
        namespace='robot',
        image_topic='/{camera}/image',
        camera_info_topic='/{camera}/camera_info',
        **small_networks(tmp_path),
        fusion='true',
        calibration=str(made.calibration(tmp_path / 'rig.yaml', names)),
        any_frame='true',
    )
    (process,) = context.processes
    with live() as world, contextlib.ExitStack() as stack:
        joined = collect_people(world, '/robot/fusion_node/people')
        started = NodeProcess(process.command, world.domain, **process.environment)
        stack.callback(started.close)
        started.wait_for('fusion_node]: configured')
        images = {n: world.tester.create_publisher(Image, f'/{n}/image', 5) for n in names}
        infos = {
            n: world.tester.create_publisher(CameraInfo, f'/{n}/camera_info', 5) for n in names
        }
        camera = camera_from_fov(640, 480, assumed=False)

        def publish(stamp_ns):
            for name in names:
                message = conversions.make.camera_info(camera, stamp_ns, 'optical')
                infos[name].publish(message)
                images[name].publish(image(stamp_ns))

        world.publish_until(lambda: joined, publish)
        people = messages.read_people(joined[0])
        assert people.frame_id == 'world'
        assert people.provenance.lifter == 'videopose3d'
        assert started.interrupt() == 0

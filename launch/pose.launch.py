"""Bring-up: camera images in, stable 3D skeletons out.

    ros2 launch trpose_ros pose.launch.py image_topic:=/camera/image_raw \
        camera_info_topic:=/camera/camera_info rviz:=true

An argument left empty keeps what the parameter file says. The nodes configure and activate
themselves (``autostart``): launch cannot reach two nodes of one process, and its own way to do so
is missing in Humble and Jazzy.
"""

import os
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.actions import LogInfo
from launch.actions import OpaqueFunction
from launch.actions import SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from trpose_ros.nodes.launch_arguments import ARGUMENTS
from trpose_ros.nodes.launch_arguments import PRESETS
from trpose_ros.resources import resource

# Arguments that are parameters of the nodes, where they are given.
_PASSED_ON = (
    'image_transport',
    'estimator',
    'model',
    'boxes',
    'lifter',
    'lifter_model',
    'device',
)


def generate_launch_description():
    """Return the description; ``--show-args`` lists the arguments."""
    arguments = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.help,
            choices=argument.choices or None,
        )
        for argument in ARGUMENTS
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context):
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context).strip()
        for argument in ARGUMENTS
    }
    file = _params_file(given['params_file'])
    shared = {
        'use_sim_time': given['use_sim_time'].lower() == 'true',
        'autostart': given['autostart'].lower() == 'true',
    }
    for name in _PASSED_ON:
        if given[name]:
            shared[name] = given[name]
    if given['look_ahead']:
        shared['look_ahead'] = _whole_number('look_ahead', given['look_ahead'])
    options = {
        'package': 'trpose_ros',
        'namespace': given['namespace'],
        'output': 'screen',
        'ros_arguments': ['--log-level', given['log_level']],
    }
    image, info = given['image_topic'], given['camera_info_topic']
    actions = [*_fast_dds_profile(), LogInfo(msg=f'trpose_ros: parameters of {file}')]
    if given['occlusion'] != 'none':
        actions.append(
            Node(
                executable='occlusion_node',
                parameters=[str(file), shared | {'profile': given['occlusion']}],
                remappings=[
                    ('image', image),
                    ('camera_info', info),
                    ('people', 'pose_node/people'),
                ],
                **options,
            )
        )
        image, info = 'occlusion_node/image', 'occlusion_node/camera_info'
        shared = shared | {'image_transport': 'raw'}
    remappings = [
        ('image', image),
        ('camera_info', info),
        ('occlusion_report', 'occlusion_node/report'),
        ('people', 'pose_node/people'),
        ('boxes', given['boxes_topic']),
    ]
    composed = given['composed'].lower() == 'true'
    for executable in ('composed',) if composed else ('pose_node', 'lifter_node'):
        actions.append(
            Node(
                executable=executable,
                parameters=[str(file), shared],
                remappings=remappings,
                **options,
            )
        )
    if given['rviz'].lower() == 'true':
        actions.append(_rviz(given))
    return actions


def _params_file(name):
    """Return the file that a preset's name or a path means."""
    if name in PRESETS:
        return resource('config', f'{name}.yaml')
    path = Path(name).expanduser()
    if not path.is_file():
        raise RuntimeError(
            f'params_file {name!r} is neither a file nor one of the presets {", ".join(PRESETS)}'
        )
    return path.resolve()


def _whole_number(name, text):
    try:
        return int(text)
    except ValueError:
        raise RuntimeError(f'{name} must be a whole number, got {text!r}') from None


def _fast_dds_profile():
    """Let large images through, unless the user has a profile of their own."""
    names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    if any(os.environ.get(name) for name in names):
        return []
    return [SetEnvironmentVariable(names[0], str(resource('config', 'fastdds.xml')))]


def _rviz(given):
    # The layout names topics without a namespace: put them where the nodes are.
    topics = ('pose_node/image_annotated', 'lifter_node/markers')
    arguments = ['-d', str(resource('config', 'pose.rviz'))]
    if given['fixed_frame']:
        arguments += ['-f', given['fixed_frame']]
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=given['namespace'],
        arguments=arguments,
        remappings=[(f'/{topic}', topic) for topic in topics],
        parameters=[{'use_sim_time': given['use_sim_time'].lower() == 'true'}],
    )

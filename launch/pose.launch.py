"""Bring-up: camera images in, stable 3D skeletons out.

    ros2 launch trpose_ros pose.launch.py image_topic:=/camera/image_raw \
        camera_info_topic:=/camera/camera_info rviz:=true

Several cameras, each in a namespace of its own, joined where it is known where they stand:

    ros2 launch trpose_ros pose.launch.py cameras:=[front,rear] \
        image_topic:=/{camera}/image_raw fusion:=true calibration:=rig.yaml

An argument left empty keeps what the parameter file says. The nodes configure and activate
themselves (``autostart``): launch cannot reach two nodes of one process, and its own way to do so
is missing in Humble and Jazzy.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from trpose_ros.nodes.launch_arguments import (
    ARGUMENTS,
    fast_dds_profile,
    params_file,
    passed_on,
    several,
)
from trpose_ros.resources import resource

_ESTIMATED = ('estimated', 'pose_node/people')


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
    file = params_file(given['params_file'])
    shared = {
        'use_sim_time': given['use_sim_time'].lower() == 'true',
        'autostart': given['autostart'].lower() == 'true',
    }
    shared |= passed_on(given)
    options = {
        'package': 'trpose_ros',
        'namespace': given['namespace'],
        'output': 'screen',
        'ros_arguments': ['--log-level', given['log_level']],
    }
    cameras, fusion = several(given)
    image, info = given['image_topic'], given['camera_info_topic']
    actions = [SetEnvironmentVariable(*entry) for entry in fast_dds_profile().items()]
    actions.append(LogInfo(msg=f'trpose_ros: parameters of {file}'))
    if cameras:
        actions.append(_cameras(given, cameras, [str(file), shared | fusion]))
        if given['rviz'].lower() == 'true':
            actions.append(_rviz(given, cameras[0], bool(fusion)))
        return actions
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
        ('depth', given['depth_topic'] or 'depth'),
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
    if given['hri'].lower() == 'true':
        actions.append(
            Node(
                executable='hri_bridge',
                parameters=[str(file), shared],
                remappings=[('people', 'lifter_node/people')],
                **options,
            )
        )
    if given['viewer'] == 'rerun':
        seen = [('image', image), ('camera_info', info)]
        file_name = given['viewer_file']
        actions.append(
            Node(
                executable='viewer_node',
                parameters=[str(file), shared | ({'save': file_name} if file_name else {})],
                remappings=[*seen, ('people', 'lifter_node/people'), _ESTIMATED],
                **options,
            )
        )
    if given['rviz'].lower() == 'true':
        actions.append(_rviz(given))
    return actions


def _cameras(given, cameras, parameters):
    """Return the one process of all cameras; its nodes find their namespaces by themselves."""
    arguments = ['--cameras', ','.join(cameras), '--namespace', given['namespace']]
    for name in ('image_topic', 'camera_info_topic', 'boxes_topic'):
        arguments += [f'--{name.replace("_", "-")}', given[name]]
    return Node(
        package='trpose_ros',
        executable='cameras',
        arguments=arguments + ['--fusion'] * ('calibration' in parameters[1]),
        parameters=parameters,
        output='screen',
        ros_arguments=['--log-level', given['log_level']],
    )


def _rviz(given, camera='', fusion=False):
    # The layout names topics without a namespace: put them where the nodes are.
    topics = {
        'pose_node/image_annotated': f'{camera}/pose_node/image_annotated',
        'lifter_node/markers': 'fusion_node/markers' if fusion else f'{camera}/lifter_node/markers',
    }
    arguments = ['-d', str(resource('config', 'pose.rviz'))]
    fixed_frame = given['fixed_frame'] or given['target_frame']
    if fixed_frame:
        arguments += ['-f', fixed_frame]
    return Node(
        package='rviz2',
        executable='rviz2',
        namespace=given['namespace'],
        arguments=arguments,
        remappings=[(f'/{topic}', place.strip('/')) for topic, place in topics.items()],
        parameters=[{'use_sim_time': given['use_sim_time'].lower() == 'true'}],
    )

"""A recording through the live nodes with simulated time, measured: results, tables, report.

    ros2 launch trpose_ros replay.launch.py bag:=walk.mcap occlusion:=moving_box report:=out/walk

player sends the images as a camera would, and /clock; occlusion_node, pose_node and lifter_node do
what they do on a robot; evaluation has the recording played once without occlusion, then once for
each condition, joins results and ground truth by stamp, writes the report and ends everything.
The recording is opened here, so that one that is of no use is refused before anything starts.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    LogInfo,
    OpaqueFunction,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from trpose_ros.nodes.launch_arguments import (
    REPLAY_ARGUMENTS,
    fast_dds_profile,
    number,
    params_file,
    passed_on,
    switches,
    switches_of_file,
)
from trpose_ros.recordings.bags import BagError
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.sources import SourceError, SourceOptions, open_source
from trpose_ros.recordings.video import VideoError

LOCKSTEP_S = 60.0  # for the slowest model
PEOPLE, LIFTED = 'pose_node/people', 'lifter_node/people'


def generate_launch_description():
    """Return the description; ``--show-args`` lists the arguments."""
    arguments = [
        DeclareLaunchArgument(
            argument.name,
            default_value=argument.default,
            description=argument.help,
            choices=argument.choices or None,
        )
        for argument in REPLAY_ARGUMENTS
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context):
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context).strip()
        for argument in REPLAY_ARGUMENTS
    }
    file = params_file(given['params_file'])
    camera = switches_of_file(file, given['namespace']) | switches(given)
    source = _open(given, camera)
    notes = list(source.problems)
    if not getattr(source, 'truth', None):
        notes.append('no ground truth: occluded passes are measured against the unoccluded one')
    source.close()
    return [
        *(SetEnvironmentVariable(*entry) for entry in fast_dds_profile().items()),
        LogInfo(msg=f'trpose_ros: {source.name}, parameters of {file}'),
        *(LogInfo(msg=f'trpose_ros: {source.name}: {note}') for note in notes),
        *_nodes(given, source, file, camera),
    ]


def _nodes(given, source, file, intrinsics):
    """Return the five nodes; whichever ends, everything ends."""
    in_step, with_truth = given['in_step'].lower() == 'true', bool(getattr(source, 'truth', None))
    models = passed_on(given) | intrinsics
    camera = [('image', 'camera/image'), ('camera_info', 'camera/camera_info')]
    altered = [
        ('image', 'occlusion_node/image'),
        ('camera_info', 'occlusion_node/camera_info'),
        ('occlusion_report', 'occlusion_node/report'),
    ]
    # Everything that waits for a future comes at once at the end: none of it may be lost.
    lifted = '/'.join(['', *filter(None, [given['namespace'].strip('/')]), LIFTED])
    parts = {
        'player': (
            {
                'source': str(_path(given['bag'])),
                'start': 'service',
                'clock': True,
                'rate': number(given, 'rate', float),
                'lockstep_s': LOCKSTEP_S if in_step else 0.0,
                'image_topic': given['image_topic'],
                **intrinsics,
            },
            [*camera, ('results', PEOPLE)],
        ),
        'occlusion_node': (
            {
                'identity': source.identity,
                'reference': 'given' if with_truth else 'tracked',
                'image_transport': 'raw',
                **intrinsics,
            },
            [*camera, ('people', 'reference' if with_truth else PEOPLE)],
        ),
        'pose_node': (models | {'image_transport': 'raw'}, altered),
        'lifter_node': (
            models | {f'qos_overrides.{lifted}.publisher.depth': 1000},
            [*altered, ('people', PEOPLE)],
        ),
        'evaluation': (
            {
                'results': str(_path(given['report'])),
                'recording': str(_path(given['bag'])),
                'recording_topic': given['image_topic'],
                **intrinsics,
                'conditions': given['occlusion'],
                'identity': source.identity,
                'severity': number(given, 'severity'),
                'realisation': given['realisation'],
                'draw': number(given, 'draw'),
                'pose_listeners': 2 + in_step + (not with_truth),
            },
            [*altered[2:], ('people', LIFTED), ('estimated', PEOPLE)],
        ),
    }
    return [
        Node(
            package='trpose_ros',
            executable=executable,
            namespace=given['namespace'],
            parameters=[
                str(file),
                # the player makes the time; the others have a life cycle
                parameters
                | ({} if executable == 'player' else {'use_sim_time': True, 'autostart': True}),
            ],
            remappings=remappings,
            output='screen',
            ros_arguments=['--log-level', given['log_level']],
            on_exit=Shutdown(reason=f'{executable} has ended'),
        )
        for executable, (parameters, remappings) in parts.items()
    ]


def _path(name):
    return Path(name).expanduser().resolve()


def _open(given, camera):
    for name in ('bag', 'report'):
        if not given[name]:
            raise RuntimeError(f'{name} names nothing: give {name}:=PATH')
    try:
        options = SourceOptions(
            image_topic=given['image_topic'] or None, camera=CameraConfig(**camera)
        )
        return open_source(_path(given['bag']), options)
    except (BagError, SourceError, VideoError, OSError) as error:
        raise RuntimeError(f'bag {given["bag"]!r} cannot be played: {error}') from error

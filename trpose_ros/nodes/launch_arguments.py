"""The arguments of launch/pose.launch.py, for the launch file and for the documentation."""

from __future__ import annotations

from dataclasses import dataclass

from trpose_ros.occlusion_profiles import PROFILES

PRESETS = ('fast', 'balanced', 'accurate')
BOOLEANS = ('true', 'false')
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')


@dataclass(frozen=True)
class LaunchArgument:
    """One argument; an empty default keeps what the parameter file says."""

    name: str
    default: str
    help: str
    choices: tuple[str, ...] = ()


ARGUMENTS = (
    LaunchArgument('namespace', '', 'namespace of all nodes'),
    LaunchArgument(
        'params_file',
        'balanced',
        f'parameters of the nodes: a file, or one of the presets {", ".join(PRESETS)}',
    ),
    LaunchArgument('image_topic', 'image', 'camera images'),
    LaunchArgument('camera_info_topic', 'camera_info', 'intrinsics of the camera'),
    LaunchArgument('image_transport', '', 'raw, or compressed for IMAGE_TOPIC/compressed'),
    LaunchArgument('estimator', '', 'metrabs_torch, metrabs_tensorflow or heatmap2d'),
    LaunchArgument('model', '', 'weights of the pose estimator: a name, a file or a folder'),
    LaunchArgument('boxes', '', 'who finds people: detector, topic, model or image'),
    LaunchArgument('boxes_topic', 'boxes', 'boxes of people, when boxes is topic'),
    LaunchArgument('lifter', '', 'lifter network: videopose3d, ..., or none'),
    LaunchArgument('lifter_model', '', 'weights of the lifter: a name or a file'),
    LaunchArgument('device', '', 'auto, cpu, cuda or cuda:N'),
    LaunchArgument(
        'look_ahead', '', 'frames of future that a skeleton waits for; more is steadier'
    ),
    LaunchArgument(
        'occlusion', 'none', 'hide parts of the images, to test for it', tuple(sorted(PROFILES))
    ),
    LaunchArgument('composed', 'false', 'run pose_node and lifter_node in one process', BOOLEANS),
    LaunchArgument('rviz', 'false', 'open RViz', BOOLEANS),
    LaunchArgument('fixed_frame', '', 'fixed frame of RViz: the frame_id of the images'),
    LaunchArgument('use_sim_time', 'false', 'take the time from /clock', BOOLEANS),
    LaunchArgument('autostart', 'true', 'configure and activate the nodes at once', BOOLEANS),
    LaunchArgument('log_level', 'info', 'of all nodes', LOG_LEVELS),
)

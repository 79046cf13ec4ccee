"""The arguments of the launch files, for them and for the documentation.

What both launch files do with their arguments is here, too, as far as it needs no launch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trpose_ros.multiview.rig_file import read_rig
from trpose_ros.occlusion.profiles import PROFILES
from trpose_ros.resources import resource
from trpose_ros.yaml_files import load_yaml

PRESETS = ('fast', 'balanced', 'accurate')
BOOLEANS = ('true', 'false')
_SWITCH = ('', *BOOLEANS)  # '' keeps what the parameter file says
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
    LaunchArgument(
        'depth_topic', '', 'depth images aligned to the camera images; empty: there are none'
    ),
    LaunchArgument('image_transport', '', 'raw, or compressed for IMAGE_TOPIC/compressed'),
    LaunchArgument(
        'rectified', '', 'images are rectified: intrinsics of P, no distortion', _SWITCH
    ),
    LaunchArgument(
        'any_frame', '', 'take camera_info of another frame_id than the images', _SWITCH
    ),
    LaunchArgument(
        'rotate_deg',
        '',
        'turn images clockwise by 90, 180 or 270: a camera mounted turned',
    ),
    LaunchArgument('estimator', '', 'metrabs_torch, metrabs_tensorflow or movenet'),
    LaunchArgument('model', '', 'weights of the pose estimator: a name, a file or a folder'),
    LaunchArgument('boxes', '', 'who finds people: detector, topic, model or image'),
    LaunchArgument('boxes_topic', 'boxes', 'boxes of people, when boxes is topic'),
    LaunchArgument('lifter', '', 'lifter network: videopose3d, ..., or none'),
    LaunchArgument('lifter_model', '', 'weights of the lifter: a name or a file'),
    LaunchArgument('device', '', 'auto, cpu, cuda or cuda:N'),
    LaunchArgument('runtime', '', 'of the pose network on a processor: auto, torch or openvino'),
    LaunchArgument(
        'look_ahead', '', 'frames of future that a skeleton waits for; more is steadier'
    ),
    LaunchArgument('smoothing', '', 'frames of look_ahead that average skeletons instead; 0: none'),
    LaunchArgument(
        'occlusion', 'none', 'hide parts of the images, to test for it', tuple(sorted(PROFILES))
    ),
    LaunchArgument('composed', 'false', 'run pose_node and lifter_node in one process', BOOLEANS),
    LaunchArgument(
        'cameras',
        '',
        'several cameras, [front,rear]: a namespace each, all in one process; {camera} in the '
        "topics' names stands for theirs",
    ),
    LaunchArgument(
        'fusion',
        'false',
        'join the people of several cameras; needs calibration or world_frame',
        BOOLEANS,
    ),
    LaunchArgument('calibration', '', 'file that says where several cameras are'),
    LaunchArgument(
        'world_frame', '', 'frame of joined people: tf says where several cameras are, and may move'
    ),
    LaunchArgument('rviz', 'false', 'open RViz', BOOLEANS),
    LaunchArgument(
        'viewer', 'none', 'show images and skeletons: rerun opens its viewer', ('none', 'rerun')
    ),
    LaunchArgument('viewer_file', '', 'with viewer:=rerun, write this file (.rrd) instead'),
    LaunchArgument('hri', 'false', 'publish people in the words of ROS4HRI, too', BOOLEANS),
    LaunchArgument(
        'fixed_frame', '', 'fixed frame of RViz: target_frame, or the frame_id of the images'
    ),
    LaunchArgument(
        'target_frame', '', 'frame of the 3D results by tf: base_link, map; empty: of the images'
    ),
    LaunchArgument(
        'floor_frame', '', 'frame on the floor: tf gives height and tilt of the camera over it'
    ),
    LaunchArgument('publish_tf', '', 'publish torso and joints as frames of tf', _SWITCH),
    LaunchArgument('use_sim_time', 'false', 'take the time from /clock', BOOLEANS),
    LaunchArgument('autostart', 'true', 'configure and activate the nodes at once', BOOLEANS),
    LaunchArgument('log_level', 'info', 'of all nodes', LOG_LEVELS),
)

FRAMES = ('target_frame', 'floor_frame')
# Arguments that are parameters of the nodes, where they are given.
_PASSED_ON = (
    'image_transport',
    'estimator',
    'model',
    'boxes',
    'lifter',
    'lifter_model',
    'device',
    'runtime',
    *FRAMES,
)
_NUMBERS = ('look_ahead', 'smoothing', 'rotate_deg')
SWITCHES = ('rectified', 'any_frame')
_OTHER_SWITCHES = ('publish_tf',)

REPLAY_ARGUMENTS = (
    LaunchArgument('bag', '', 'recording to play: .mcap, .db3, a bag folder, or a video'),
    LaunchArgument(
        'report', 'out/replay', 'folder for results.parquet, the tables and report.html'
    ),
    LaunchArgument(
        'occlusion',
        'none',
        "conditions to play after the unoccluded pass: 'five', or names with commas: "
        f'{", ".join(sorted(PROFILES))}',
    ),
    LaunchArgument('severity', '-1', 'index of the severity; -1 is the main one'),
    LaunchArgument(
        'realisation', 'main', 'paint the hidden part or cut it off', ('main', 'fill', 'crop')
    ),
    LaunchArgument('draw', '0', 'k of the seed: repetition of the experiment'),
    LaunchArgument('rate', '1.0', 'speed of playing; 1.0 as recorded'),
    LaunchArgument(
        'in_step',
        'false',
        'send an image when the people of the last one have come: nothing is dropped',
        BOOLEANS,
    ),
    LaunchArgument('image_topic', '', 'image topic of the bag, where there are several'),
    LaunchArgument('namespace', '', 'namespace of all nodes'),
    *(
        argument
        for argument in ARGUMENTS
        if argument.name in ('params_file', *_NUMBERS, *SWITCHES, *_PASSED_ON[1:])
        and argument.name not in FRAMES  # a recording's tf is not played
    ),
    LaunchArgument('log_level', 'info', 'of all nodes', LOG_LEVELS),
)


def params_file(name: str) -> Path:
    """Return the parameter file that a preset's name or a path means; raises RuntimeError."""
    if name in PRESETS:
        return resource('config', f'{name}.yaml')
    path = Path(name).expanduser()
    if not path.is_file():
        raise RuntimeError(
            f'params_file {name!r} is neither a file nor one of the presets {", ".join(PRESETS)}'
        )
    return path.resolve()


def camera_names(text: str) -> tuple[str, ...]:
    """Return the names in 'front,rear' or '[front, rear]'.

    Raises RuntimeError for none, and for one that cannot be a namespace of ROS.
    """
    names = tuple(dict.fromkeys(re.findall(r'[^\s,\[\]\'"]+', text)))
    for name in names:
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*', name):
            raise RuntimeError(
                f'camera {name!r:.80} cannot be a namespace: take letters, digits and _, a letter '
                'first'
            )
    if not names:
        raise RuntimeError(f'cameras names none, got {text!r:.80}: write front,rear')
    return names


def of_camera(topic: str, camera: str) -> str:
    """Return the topic of one of several cameras."""
    return topic.replace('{camera}', camera)


def several(given: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the cameras that are to be started, none for a single one, and fusion's parameters.

    Raises RuntimeError for arguments that contradict each other, and for a calibration without
    these cameras.
    """
    fusion, file, world = given['fusion'] == 'true', given['calibration'], given['world_frame']
    names = camera_names(given['cameras']) if given['cameras'] else ()
    for name in ('calibration', 'world_frame'):
        if given[name] and not fusion:
            raise RuntimeError(f'{name} {given[name]!r:.200} is for fusion:=true')
    if fusion and not file and not (world and names):
        raise RuntimeError(
            'fusion:=true needs calibration:=FILE, which says where the cameras are '
            '(docs/several_cameras.md), or world_frame:=FRAME of tf and cameras:=[front,rear]'
        )
    if file:
        try:
            rig = read_rig(Path(file).expanduser())
            names = names or camera_names(','.join(rig.names))
            rig.only(names)
        except (OSError, ValueError) as error:
            raise RuntimeError(f'calibration cannot be used: {error}') from error
    for name, none in (('occlusion', 'none'), ('target_frame', '')):
        if names and given[name] != none and (fusion or name == 'occlusion'):
            raise RuntimeError(f'{name} {given[name]!r:.80} is for one camera, not {names}')
    for name, off in (('viewer', 'none'), ('hri', 'false')):
        if names and given[name] != off:
            node = {'viewer': 'viewer_node', 'hri': 'hri_bridge'}[name]
            raise RuntimeError(
                f'{name}:={given[name]} is for one camera, not {names}: start one beside it, ros2 '
                f'run trpose_ros {node} --ros-args -p autostart:=true -r people:=TOPIC'
            )
    if not fusion:
        return names, {}
    path = str(Path(file).expanduser().resolve()) if file else ''
    return names, {'calibration': path, 'cameras': ','.join(names), 'world_frame': world}


def number(given: Mapping[str, str], name: str, kind: type = int) -> Any:
    """Return an argument as a number; raises RuntimeError with its name."""
    try:
        return kind(given[name])
    except ValueError:
        what = 'a whole number' if kind is int else 'a number'
        raise RuntimeError(f'{name} must be {what}, got {given[name]!r}') from None


def passed_on(given: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments that are parameters; an empty one keeps the file's value."""
    parameters: dict[str, Any] = {n: given[n] for n in _PASSED_ON if given.get(n)}
    parameters |= {n: number(given, n) for n in _NUMBERS if given.get(n)}
    parameters |= {n: given[n] == 'true' for n in _OTHER_SWITCHES if given.get(n)}
    if given.get('depth_topic'):
        parameters['depth'] = True
    return parameters | switches(given)


def switches(given: Mapping[str, str]) -> dict[str, bool]:
    """Return the arguments that say how intrinsics are found, as parameters."""
    return {n: given[n] == 'true' for n in SWITCHES if given.get(n)}


def switches_of_file(path: Path, namespace: str) -> dict[str, bool]:
    """Return what a parameter file says of intrinsics to the nodes that see images.

    The node that plays a recording has to know it, too: camera_info that it sends is made from what
    it took. The first of occlusion_node, pose_node, lifter_node and player that is told counts.
    Raises RuntimeError for a file that cannot be read or a value that is neither true nor false.
    """
    try:
        content = load_yaml(path)
    except (OSError, ValueError) as error:
        raise RuntimeError(f'params_file {path} cannot be used: {error}') from error
    found: dict[str, bool] = {}
    for node in ('occlusion_node', 'pose_node', 'lifter_node', 'player'):
        told: dict[str, bool] = {}
        for name, parameters in _sections(content, ''):
            if re.fullmatch(_pattern(name), f'/{namespace.strip("/")}/{node}'.replace('//', '/')):
                told |= {n: parameters[n] for n in SWITCHES if n in parameters}
        for name, value in told.items():
            if not isinstance(value, bool):
                raise RuntimeError(f'{path}: {name} must be true or false, got {value!r:.80}')
            found.setdefault(name, value)
    return found


def _pattern(name: str) -> str:
    """Return a regular expression: ** stands for any parts of a node's full name, * for one."""
    parts = {'**': '.*', '*': '[^/]+'}
    return '/'.join(parts.get(part, re.escape(part)) for part in name.split('/'))


def _sections(content: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the pattern of names and the parameters of each section, as rcl understands them."""
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key == 'ros__parameters' and isinstance(value, dict):
            yield name, value
        else:
            yield from _sections(value, f'{name}/{str(key).strip("/")}')


def fast_dds_profile() -> dict[str, str]:
    """Return the environment that lets large images through, unless the user has a profile."""
    names = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
    if any(os.environ.get(name) for name in names):
        return {}
    return {names[0]: str(resource('config', 'fastdds.xml'))}

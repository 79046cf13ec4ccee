"""The ROS installation: is it there, does it fit this Python, whom does it see, our messages."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem
from trpose_ros.resources import resource

_KNOWN = ('humble', 'jazzy')  # that the package is tested with
_BEFORE_RANGES = ('foxy', 'galactic', 'humble')  # know ROS_LOCALHOST_ONLY alone
_RANGES = ('OFF', 'LOCALHOST', 'SUBNET', 'SYSTEM_DEFAULT')
_LAST_DOMAIN = 232
_SAFE_DOMAIN = 101  # above, on Linux, ports of DDS are those that the system gives to anybody
_PACKAGES = ('sensor_msgs', 'visualization_msgs', 'diagnostic_msgs', 'std_srvs')
_NO_ROS = (
    'videos, recordings and pictures work (trpose run, trpose replay); nodes, `trpose demo` and '
    'this look at cameras need ROS'
)


def check() -> list[Finding]:
    """Look at the installation and at the variables that steer it."""
    if importlib.util.find_spec('rclpy') is None:
        return [without_rclpy(os.environ), *network(os.environ)]
    return [*installation(os.environ), *network(os.environ), our_messages()]


def without_rclpy(environ: Mapping[str, str]) -> Finding:
    """Say why there is no rclpy."""
    distro = environ.get('ROS_DISTRO', '')
    if distro:
        return problem(
            f'ROS {distro} is sourced, but this Python ({sys.executable}) finds no rclpy',
            'the nodes cannot start with this interpreter',
            'make the environment with the Python of ROS: '
            '/usr/bin/python3 -m venv --system-site-packages ~/trpose_venv',
            distro=distro,
        )
    return note(
        'no ROS found (no rclpy)',
        _NO_ROS,
        'source /opt/ros/DISTRO/setup.bash; without a ROS installation: pip install '
        '"trpose_ros[ros]" && trpose messages, or make messages in a source tree',
    )


def installation(environ: Mapping[str, str]) -> list[Finding]:
    """Load rclpy, its middleware and the messages of others."""
    distro = environ.get('ROS_DISTRO', '')
    try:
        rclpy = importlib.import_module('rclpy')
        importlib.import_module('rclpy.node')
    except Exception as error:  # whatever a library for another Python raises
        return [broken('rclpy', error)]
    found = [distribution(distro)]
    try:
        found.append(middleware(rclpy.get_rmw_implementation_identifier(), environ))
    except Exception as error:
        found.append(broken_middleware(error, environ))
    for name in _PACKAGES:
        try:
            importlib.import_module(f'{name}.msg' if name != 'std_srvs' else 'std_srvs.srv')
        except Exception as error:
            found.append(broken(name, error))
    return found


def distribution(distro: str) -> Finding:
    """Judge the name of the distribution."""
    if not distro:
        return ok('rclpy is there, ROS_DISTRO is not set: ROS from wheels', distro='')
    if distro in _KNOWN:
        return ok(f'ROS 2 {distro}', distro=distro)
    means = f'trpose_ros is tested with {" and ".join(_KNOWN)}'
    return note(f'ROS 2 {distro}', means, 'if something fails there, report it', distro=distro)


def broken(package: str, error: BaseException) -> Finding:
    """Say what a package of ROS that cannot be imported means."""
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    return problem(
        f'{package} cannot be imported: {one_line(error)}',
        f'it is not installed, or was built for another Python or numpy than this one ({version})',
        f'apt install ros-$ROS_DISTRO-{package.replace("_", "-")}; in a virtual environment: '
        "--system-site-packages, and pip install 'numpy<2' under Humble and Jazzy",
        package=package,
    )


def broken_middleware(error: BaseException, environ: Mapping[str, str]) -> Finding:
    """Say what it means that no middleware can be loaded."""
    wanted = environ.get('RMW_IMPLEMENTATION', '')
    return problem(
        f'the middleware {wanted or "of this ROS"} cannot be loaded: {one_line(error)}',
        'no node can start',
        'unset RMW_IMPLEMENTATION, or apt install '
        f'ros-$ROS_DISTRO-{(wanted or "rmw_fastrtps_cpp").replace("_", "-")}',
    )


def middleware(loaded: str, environ: Mapping[str, str]) -> Finding:
    """Judge the middleware that was loaded."""
    text = f'middleware {loaded}'
    if environ.get('RMW_IMPLEMENTATION'):
        text += ' (RMW_IMPLEMENTATION)'
    if loaded == 'rmw_fastrtps_cpp':
        return ok(text, rmw=loaded)
    return note(
        text,
        'trpose_ros is tested with rmw_fastrtps_cpp; processes of different middleware may not '
        'see each other',
        'set the same RMW_IMPLEMENTATION for the camera driver and for the nodes',
        rmw=loaded,
    )


def network(environ: Mapping[str, str]) -> list[Finding]:
    """Judge the variables that say who sees whom."""
    return [domain(environ.get('ROS_DOMAIN_ID', '')), reach(environ)]


def domain(text: str) -> Finding:
    """Judge ROS_DOMAIN_ID."""
    if not text:
        return ok('ROS_DOMAIN_ID is not set: domain 0', domain=0)
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= _LAST_DOMAIN:
        return problem(
            f'ROS_DOMAIN_ID is {text!r:.40}',
            'no node can start',
            f'give a whole number from 0 to {_SAFE_DOMAIN}, the same as that of the robot',
        )
    facts: dict[str, Any] = {'domain': number}
    if number > _SAFE_DOMAIN:
        means = 'its ports may be taken by other programs; then nodes do not find each other'
        do = f'take a number from 0 to {_SAFE_DOMAIN}'
        return note(f'ROS_DOMAIN_ID is {number}', means, do, **facts)
    return ok(f'ROS_DOMAIN_ID is {number}', 'only processes with the same number are seen', **facts)


def reach(environ: Mapping[str, str]) -> Finding:
    """Judge how far nodes look for others."""
    old = environ.get('ROS_DISTRO') in _BEFORE_RANGES
    named = environ.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '')
    only_here = environ.get('ROS_LOCALHOST_ONLY', '') == '1'
    facts: dict[str, Any] = {'range': named, 'localhost_only': only_here}
    if only_here:
        return note(
            'ROS_LOCALHOST_ONLY is 1',
            'cameras and robots on other machines are not seen'
            + ('' if old or not named else '; ROS_AUTOMATIC_DISCOVERY_RANGE is ignored'),
            'unset ROS_LOCALHOST_ONLY where the camera runs on another machine',
            **facts,
        )
    if old:
        text = 'ROS_LOCALHOST_ONLY is not set: other machines of the network are seen'
        if named:
            means = f'ROS {environ["ROS_DISTRO"]} does not know it: other machines are seen'
            do = 'set ROS_LOCALHOST_ONLY=1 to stay on this machine'
            return note(f'ROS_AUTOMATIC_DISCOVERY_RANGE is {named}', means, do, **facts)
        return ok(text, **facts)
    if named and named not in _RANGES:
        return problem(
            f'ROS_AUTOMATIC_DISCOVERY_RANGE is {named!r:.40}',
            'it is no known range, so nodes look for nobody or for this machine alone',
            f'give one of {", ".join(_RANGES)}',
            **facts,
        )
    if named == 'OFF':
        return problem(
            'ROS_AUTOMATIC_DISCOVERY_RANGE is OFF',
            'nodes find no others, not even on this machine',
            'set it to SUBNET, or to LOCALHOST for this machine alone',
            **facts,
        )
    if named == 'LOCALHOST':
        return note(
            'ROS_AUTOMATIC_DISCOVERY_RANGE is LOCALHOST',
            'cameras and robots on other machines are not seen',
            'export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET where the camera runs on another machine',
            **facts,
        )
    named = named or 'not set, as SUBNET'
    text = f'ROS_AUTOMATIC_DISCOVERY_RANGE is {named}: other machines of the network are seen'
    return ok(text, **facts)


def our_messages() -> Finding:
    """See that the messages of this package are built, load, and are those of this version."""
    build = 'colcon build --packages-select trpose_ros && source install/setup.bash; without '
    build += 'colcon: trpose messages; in a source tree: make messages, then source install/env.sh'
    try:
        module = importlib.import_module('trpose_ros.msg')
    except Exception as error:
        means = 'nodes and `trpose demo` cannot start; recordings are read without them'
        return problem(f'trpose_ros.msg is not there: {one_line(error)}', means, build)
    paths = sorted(resource('msg').glob('*.msg'))
    try:
        wrong = [
            path.stem for path in paths if fields_of(path.read_text()) != _built(module, path.stem)
        ]
    except Exception as error:
        means = 'the built messages do not load, so nodes cannot start'
        return problem(f'trpose_ros.msg is broken: {one_line(error)}', means, build)
    if wrong:
        return problem(
            f'built messages are older than msg/: {", ".join(wrong)}',
            'nodes fail when they publish, or others cannot read what they send',
            build,
            stale=wrong,
        )
    return ok(f'{len(paths)} messages of trpose_ros are built', messages=len(paths))


def fields_of(definition: str) -> list[str]:
    """Return the names of the fields of a .msg file, in order."""
    lines = (line.partition('#')[0].split() for line in definition.splitlines())
    return [words[1] for words in lines if len(words) > 1 and '=' not in ''.join(words)]


def _built(module: Any, name: str) -> list[str]:
    """Return the fields of a built message whose library loads."""
    message = getattr(module, name, None)
    if message is None:
        return []
    type(message).__import_type_support__()
    return list(message.get_fields_and_field_types())

#!/usr/bin/env bash
# Source ROS and the package, then do what was asked.
set -e
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/install/setup.bash
exec "$@"

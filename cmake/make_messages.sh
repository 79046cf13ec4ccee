#!/usr/bin/env bash
# Build the messages and install the package into install/, with install/env.sh to use them.
set -euo pipefail
venv=$PWD/$1
prefix=$PWD/install
python=$venv/bin/python

if ! "$python" -c 'import os, sysconfig; assert os.path.exists(sysconfig.get_paths()["include"] + "/Python.h")' 2>/dev/null; then
  echo "Python.h is missing, which building the messages needs: apt install python3-dev" >&2
  exit 1
fi
command -v g++ >/dev/null || { echo 'g++ is missing: apt install g++' >&2; exit 1; }

if [ -n "${ROS_DISTRO:-}" ]; then
  cmake=cmake
  generator_python=$(command -v python3)
  flags=()
  behind=${AMENT_PREFIX_PATH:-}
else
  # cmake from the wheel. Nothing of the system may be found: the wheels are complete.
  cmake=$venv/bin/cmake
  generator_python=$python
  flags=(-DCMAKE_PREFIX_PATH="$venv" -DCMAKE_PROJECT_INCLUDE="$PWD/cmake/wheel_compat.cmake"
    -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF)
  behind=$venv
  export AMENT_PREFIX_PATH=$venv
fi

mkdir -p build
log=build/messages.log
echo '== building the messages (about a minute the first time)'
build() {  # build SOURCE FOLDER
  "$cmake" -S "$1" -B "$2" -G 'Unix Makefiles' -DCMAKE_INSTALL_PREFIX="$prefix" \
    -DPython3_EXECUTABLE="$generator_python" -DTRPOSE_PYTHON="$python" -DBUILD_TESTING=OFF \
    -DCMAKE_BUILD_TYPE=Release "${flags[@]}" &&
    "$cmake" --build "$2" -j"${JOBS:-2}" && "$cmake" --install "$2"
}
{
  # The message of tf, which the wheels lack; a ROS installation has its own.
  { [ -n "${ROS_DISTRO:-}" ] || build cmake/tf2_msgs build/tf2_msgs; } && build . build/ros
} > "$log" 2>&1 || { tail -n 40 "$log" >&2; echo "building the messages failed; all of it: $log" >&2; exit 1; }

modules=$(dirname "$(find "$prefix" -path '*/trpose_ros/msg' -type d -name msg ! -path '*/share/*' -path '*-packages/*' | head -n 1)")
modules=$(dirname "$modules")
# The copies of our own modules would shadow nothing, but they would grow stale: the source tree
# stands first on the path and provides them; the installed package keeps the messages.
find "$modules/trpose_ros" -mindepth 1 -maxdepth 1 ! -name msg ! -name '*.so' ! -name __init__.py -exec rm -rf {} +

cat > install/env.sh <<ENV
# source install/env.sh: run trpose_ros from the source tree, with its messages. Generated.
export PATH="$venv/bin:$prefix/bin:\$PATH"
export PYTHONPATH="$PWD:$modules\${PYTHONPATH:+:\$PYTHONPATH}"
export LD_LIBRARY_PATH="$prefix/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
export AMENT_PREFIX_PATH="$prefix:$behind"
# This machine only, and images that arrive (see config/fastdds.xml), unless the caller says else.
export ROS_AUTOMATIC_DISCOVERY_RANGE="\${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
[ "\${ROS_DISTRO:-}" != humble ] || export ROS_LOCALHOST_ONLY="\${ROS_LOCALHOST_ONLY:-1}"
export FASTRTPS_DEFAULT_PROFILES_FILE="\${FASTRTPS_DEFAULT_PROFILES_FILE:-$PWD/config/fastdds.xml}"
ENV
echo '== messages ready (source install/env.sh to use them)'

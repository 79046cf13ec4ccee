#!/usr/bin/env bash
# Make the environment .venv: called by the Makefile, which knows when it is out of date.
set -euo pipefail
venv=$1
python=${PYTHON:-python3}

"$python" - <<'CHECK'
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit(f'trpose_ros needs Python 3.10 to 3.13, found {sys.version.split()[0]}; '
             'name another with make PYTHON=python3.11 ...')
CHECK

extras=test,train,openvino
system=()
constraints=constraints.txt
if [ -n "${ROS_DISTRO:-}" ]; then
  echo "== ROS 2 $ROS_DISTRO is sourced: using it, and the numpy and OpenCV it was built with"
  system=(--system-site-packages)
else
  extras=$extras,ros,tensorflow  # TensorFlow: its tests run on a real SavedModel
fi

if [ ! -x "$venv/bin/python" ]; then
  if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    echo "This Python has no ensurepip, which making .venv needs: apt install python3-venv" >&2
    exit 1
  fi
  echo "== making $venv with $("$python" --version)"
  "$python" -m venv "${system[@]}" "$venv"
fi

if [ -n "${ROS_DISTRO:-}" ]; then
  # The message modules of a ROS installation are compiled against its numpy: keep that one.
  constraints=$venv/constraints.txt
  grep -vE '^(numpy|scipy|opencv|matplotlib|numba|PyYAML|empy|catkin|lark|ros-)' constraints.txt > "$constraints"
  "$python" -c 'import numpy; print(f"numpy=={numpy.__version__}")' >> "$constraints"
fi

echo '== installing the pinned packages (a few minutes the first time)'
"$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar on \
  -c "$constraints" setuptools -e ".[$extras]" |
  awk '/^(Collecting|Downloading|Installing|Successfully)/ {print substr($0, 1, 100); fflush()}'

# pip brings it with OpenVINO, which works without: it reports the use of OpenVINO to its makers.
"$venv/bin/python" -m pip uninstall -qy openvino-telemetry 2>&1 | { grep -v "not installed" || true; }

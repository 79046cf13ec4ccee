"""Draw docs/images/viewer.jpg: what ``trpose replay --view`` shows of the shipped recording.

    python docs/draw_viewer.py

Replays samples/walk.mcap with its lower half cut off, opens the recording in rerun's viewer without
a window, and takes its picture. That needs a Vulkan driver; where there is no GPU, Mesa's on the
processor does (apt install mesa-vulkan-drivers).
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from rerun.experimental import ViewerClient

from trpose_ros.drawing.figures import save_picture

ROOT = Path(__file__).resolve().parents[1]
SHOWN_NS = 1_700_000_000_000_000_000 + 56 * 33_333_333
SIZE = '1440x760'
TOP_PX, WIDTH_PX = 36, 1200  # without the menu
LATEST_S = 120.0


def main() -> None:
    """Replay, show, take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        recording, picture = Path(folder) / 'walk.rrd', Path(folder) / 'walk.png'
        walk = ROOT / 'trpose_ros' / 'samples' / 'walk.mcap'
        command = [sys.executable, '-m', 'trpose_ros', 'replay', str(walk), '--out', folder]
        command += ['--no-video', '--no-bag', '--model', 'metrabs-m', '--max-frames', '64']
        command += ['--occlusion', 'fixed_lower', '--realisation', 'crop']
        subprocess.run([*command, '--save-view', str(recording)], check=True)
        take(recording, picture)
        image = cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2RGB)[TOP_PX:]
    height = round(image.shape[0] * WIDTH_PX / image.shape[1])
    small = cv2.resize(image, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    save_picture(ROOT / 'docs' / 'images' / 'viewer.jpg', small)


def take(recording: Path, picture: Path) -> None:
    """Open a recording in a viewer without a window and save what it shows at SHOWN_NS."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, '-m', 'rerun', '--headless', '--window-size', SIZE]
    command += ['--port', port, '--bind', '127.0.0.1', str(recording)]
    with subprocess.Popen(command) as viewer:
        try:
            end_s = time.monotonic() + LATEST_S
            while not _saved(port, picture):
                if viewer.poll() is not None or time.monotonic() > end_s:
                    raise RuntimeError('the viewer gave no picture; it says why above')
                time.sleep(2.0)
        finally:
            viewer.terminate()


def _saved(port: str, picture: Path) -> bool:
    """Ask for the picture; a viewer that is still loading, or compiling, does not answer."""
    try:
        client = ViewerClient.connect(f'rerun+http://127.0.0.1:{port}/proxy')
        client.set_time('stamp', timestamp=np.datetime64(SHOWN_NS, 'ns'), play_state='paused')
        time.sleep(12.0)  # what it says about itself at the start goes away
        client.save_screenshot(str(picture))
    except (ConnectionError, RuntimeError, TimeoutError, ValueError):
        return False
    return picture.is_file()


if __name__ == '__main__':
    main()

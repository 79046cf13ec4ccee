"""OpenCV: is it there, which videos and cameras does it open, does it write a video."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from trpose_ros.doctor.findings import Finding, note, ok, one_line, problem

_SIZE = (48, 64)
_FRAMES = 3


def check() -> list[Finding]:
    """Look at OpenCV."""
    if importlib.util.find_spec('cv2') is None:
        means = 'no image, video or camera can be read'
        return [problem('OpenCV is not installed', means, 'pip install opencv-python-headless')]
    try:
        cv2 = importlib.import_module('cv2')
    except Exception as error:  # as where libGL is missing
        return [
            problem(
                f'OpenCV cannot be imported: {one_line(error)}',
                'no image, video or camera can be read',
                'pip uninstall opencv-python, then pip install opencv-python-headless, which '
                'needs no libGL',
            )
        ]
    return [backends(cv2), round_trip()]


def backends(cv2: Any) -> Finding:
    """Say what opens videos and cameras."""
    registry = cv2.videoio_registry
    files = [registry.getBackendName(one) for one in registry.getStreamBackends()]
    cameras = [registry.getBackendName(one) for one in registry.getCameraBackends()]
    text = f'OpenCV {cv2.__version__}; videos by {_names(files)}; cameras by {_names(cameras)}'
    facts: dict[str, Any] = {'opencv': cv2.__version__, 'files': files, 'cameras': cameras}
    if re.search(r'FFMPEG:\s+YES', cv2.getBuildInformation()) or 'FFMPEG' in files:
        return ok(text, **facts)
    means = 'without FFMPEG this OpenCV reads few kinds of video, and may write none'
    do = "pip install opencv-python-headless (pip's has FFMPEG)"
    return note(text, means, do, **facts)


def _names(names: list[str]) -> str:
    return ', '.join(names) or 'nothing'


def round_trip() -> Finding:
    """Write a video of some frames as `trpose run --out` does, and read it."""
    import numpy as np

    from trpose_ros.recordings.video import VideoReader, VideoWriter

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'check.mp4'
            with VideoWriter(path, 25.0) as video:
                for level in range(_FRAMES):
                    video.write(np.full((*_SIZE, 3), 60 * level, np.uint8))
            with VideoReader(path) as video:
                count = sum(1 for _ in video.frames())
    except Exception as error:  # of OpenCV, of a disk
        return problem(
            f'a video cannot be written and read: {one_line(error)}',
            'annotated videos (trpose run --out, trpose replay) are not written',
            'pip install opencv-python-headless; trpose replay --no-video leaves the video out',
        )
    if count != _FRAMES:
        return problem(
            f'{count} of {_FRAMES} frames of a written video are read',
            'videos may lose frames here',
            'pip install --force-reinstall opencv-python-headless',
        )
    return ok('a video is written and read')

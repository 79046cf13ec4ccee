"""Time stamps of video files: they begin at zero and go forward, whatever the container says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from trpose_ros.recordings import video


class Capture:
    """A video file whose frames have given times."""

    def __init__(self, times_ms):
        self._times, self._at = times_ms, -1

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return True

    def get(self, what):
        if what == cv2.CAP_PROP_POS_MSEC:
            return self._times[self._at]
        return 20.0 if what == cv2.CAP_PROP_FPS else 4.0

    def read(self):
        self._at += 1
        return self._at < len(self._times), np.zeros((4, 4, 3), np.uint8)

    def release(self):
        pass


@pytest.mark.parametrize(
    ('times_ms', 'stamps_ms'),
    [
        ([], []),
        ([0, 33, 66], [0, 33, 66]),
        ([1000, 1033, 1066], [0, 33, 66]),  # cut out of a longer one
        ([-40, 0, 40], [0, 40, 80]),
        ([0, 0, 0], [0, 50, 100]),  # no times at all: those of the rate
        ([500, 550, 520, 650], [0, 50, 100, 150]),  # back for a moment
    ],
)
def test_stamps_of_a_file(tmp_path, monkeypatch, times_ms, stamps_ms):
    (tmp_path / 'a.mp4').touch()
    monkeypatch.setattr(video.cv2, 'VideoCapture', lambda source: Capture(times_ms))
    with video.VideoReader(tmp_path / 'a.mp4') as reader:
        stamps = [stamp for stamp, _ in reader.frames()]
    assert stamps == [stamp * 1_000_000 for stamp in stamps_ms]

"""One picture as a frame: its camera is a guess unless somebody calibrated it."""

import dataclasses
import re

import cv2
import numpy as np
import pytest

from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.picture_source import read_frame
from trpose_ros.recordings.sources import SourceError, SourceOptions


def test_a_picture_is_a_frame_whose_camera_is_a_guess(tmp_path):
    path = tmp_path / 'a [1].png'
    assert cv2.imwrite(str(path), np.full((4, 6, 3), (1, 2, 3), np.uint8))
    frame = read_frame(path)
    assert frame.image.shape == (4, 6, 3)
    assert (frame.image == (3, 2, 1)).all()  # OpenCV writes BGR
    assert (frame.camera.width, frame.camera.height, frame.stamp_ns) == (6, 4, 0)
    assert frame.camera.assumed
    wide = read_frame(str(path), SourceOptions(camera=CameraConfig(fov_deg=90.0))).camera
    assert wide.matrix[0, 0] == pytest.approx(3.0)
    known = read_frame(path, SourceOptions(calibration=dataclasses.replace(wide, assumed=False)))
    assert not known.camera.assumed


@pytest.mark.parametrize('name', ['there-is-none.jpg', 'words.png', 'words.txt', '.'])
def test_what_is_no_picture_is_no_frame(tmp_path, name):
    for suffix in ('png', 'txt'):
        (tmp_path / f'words.{suffix}').write_text('words')
    with pytest.raises(SourceError, match=re.escape(str(tmp_path / name))):
        read_frame(tmp_path / name)

"""The camera of a recording as a data set: that of the truth, or none; never another one's."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, make_people
from recordings import START_NS, TRUTH

from trpose_ros.cameras import crop_camera
from trpose_ros.data.datasets.recordings import load
from trpose_ros.data.samples import DataError
from trpose_ros.people import Camera
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter

OWN, OTHER = '/cam/camera_info', '/other/camera_info'
LONG = Camera(640, 480, CAMERA.matrix * [[2], [2], [1]])


def recording(path, *infos, frames=3, images=()):
    """Write the truth, of frame 'optical', and camera_info as (topic, frame_id, cameras)."""
    with BagWriter(path / 'in.mcap') as bag:
        make = MessageMaker(bag.typestore)
        for k in range(frames):
            stamp = START_NS + k * STEP_NS
            bag.write(TRUTH, make.people(make_people(stamp)), stamp)
            for topic in images:
                image = make.compressed_image(np.zeros((48, 64, 3), np.uint8), stamp, 'optical')
                bag.write(topic, image, stamp)
            for topic, frame_id, cameras in infos:
                camera = cameras[min(k, len(cameras) - 1)]
                message = make.camera_info(camera or CAMERA, stamp, frame_id)
                if camera is None:
                    message.k = np.zeros(9)
                bag.write(topic, message, stamp + 1)
    return path


def focal(path):
    (sample,) = load(path)
    return None if sample.camera is None else float(sample.camera.matrix[0, 0])


@pytest.mark.parametrize(
    'infos',
    [
        [(OTHER, 'other', [CAMERA]), (OWN, 'optical', [LONG])],  # first by name and time, not own
        [(OWN, 'other', [CAMERA]), (OWN, 'optical', [LONG])],  # one topic, equal stamps
        [(OWN, 'optical', [LONG]), (OWN, 'other', [CAMERA])],
        [(OWN, 'optical', [None, LONG])],  # not calibrated at first
        [(OWN, '', [LONG])],
        [(OWN, 'optical', [LONG]), (OTHER, 'optical', [LONG])],  # whichever it is
    ],
)
def test_the_camera_is_that_of_the_truth(tmp_path, infos):
    assert focal(recording(tmp_path, *infos)) == LONG.matrix[0, 0]


def test_camera_info_beside_the_only_images_counts(tmp_path):
    infos = [(OTHER, 'optical', [CAMERA]), (OWN, 'optical', [LONG])]
    path = recording(tmp_path, *infos, images=['/cam/image/compressed'])
    assert focal(path) == LONG.matrix[0, 0]


@pytest.mark.parametrize('infos', [[], [(OWN, 'optical', [None])]])
def test_without_a_camera_there_is_none(tmp_path, infos):
    assert focal(recording(tmp_path, *infos)) is None


@pytest.mark.parametrize(
    ('infos', 'words'),
    [
        ([(OWN, 'other', [CAMERA])], "frame 'other', the image of 'optical'"),
        ([(OWN, 'optical', [CAMERA]), (OTHER, 'optical', [LONG])], 'are of different cameras'),
        ([(OWN, 'optical', [crop_camera(CAMERA, 0, 0, 64, 48)])], '64x48, the image is 640x480'),
        ([(OWN, 'optical', [CAMERA, LONG])], 'camera_info changes between its frames'),
    ],
)
def test_what_may_be_another_camera_is_refused(tmp_path, infos, words):
    with pytest.raises(DataError, match=r'in\.mcap.*' + words):
        focal(recording(tmp_path, *infos))

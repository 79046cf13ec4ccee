"""Live equals offline for every camera_info and condition: what the estimator gets, bit by bit.

The way is that of the nodes, driver to occlusion_node to pose_node, over serialised messages, with
the books and the occluder of the nodes but without their processes; test_live_replay.py has those.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import STEP_NS
from rclpy.serialization import deserialize_message, serialize_message
from recordings import START_NS, write_recording
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from trpose_ros.nodes.base import conversions
from trpose_ros.occlusion.occluder import OcclusionConfig, make_occluder
from trpose_ros.occlusion.profiles import PROFILES
from trpose_ros.people import Camera, Frame
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraBook, CameraConfig
from trpose_ros.recordings.sources import SourceOptions, open_source

FRAMES = 3
SENSOR = Camera(
    800, 600, [[600.0, 0, 390], [0, 610, 310], [0, 0, 1]], [-0.2, 0.05, 0.001, -0.002, 0]
)
STRAIGHT = np.array([500.0, 0, 400, 0, 0, 500, 300, 0, 0, 0, 1, 0])
CUT = {'x_offset': 80, 'y_offset': 60, 'width': 640, 'height': 480}
BINNED = {'binning_x': 2, 'binning_y': 4}
# What camera_info says of the sensor, whether P counts, and the camera of the image by hand.
KINDS = {
    'plain': ({}, {}, False, (600, 610, 390, 310, 800, 600)),
    'rectified': ({}, {}, True, (500, 500, 400, 300, 800, 600)),
    'cut off': (CUT, {}, False, (600, 610, 310, 250, 640, 480)),
    'rectified, cut off': (CUT, {}, True, (500, 500, 320, 240, 640, 480)),
    'binned': ({}, BINNED, False, (300, 152.5, 194.75, 77.125, 400, 150)),
    'cut off, binned': (CUT, BINNED, False, (300, 152.5, 154.75, 62.125, 320, 120)),
    'all': (CUT, BINNED, True, (250, 125, 159.75, 59.625, 320, 120)),
}


def told(message, kind):
    """Change the fields of a CameraInfo to those of the sensor."""
    roi, binning, _, _ = KINDS[kind]
    message.width, message.height = SENSOR.width, SENSOR.height
    message.k, message.p = SENSOR.matrix.ravel(), STRAIGHT
    d, ros = SENSOR.distortion.copy(), isinstance(message, CameraInfo)
    message.d, message.distortion_model = d.tolist() if ros else d, 'plumb_bob'
    for part, changes in ((message.roi, roi), (message, binning)):
        for name, value in changes.items():
            setattr(part, name, value)
    return message


def frames_of(path, rectified):
    source = open_source(path, SourceOptions(camera=CameraConfig(rectified=rectified)))
    try:
        return [(entry.frame, entry.reference_box_px) for entry in source.frames()]
    finally:
        source.close()


def over_the_wire(message, book, stamp_ns):
    """Publish an image and its CameraInfo; return the frame that a node makes of them."""
    image, info = message
    image = deserialize_message(serialize_message(image), Image)
    info = deserialize_message(serialize_message(info), CameraInfo)
    book.add(info, messages.origin_of(info)[0])
    pixels = conversions.read_image(image)
    came_ns, frame_id = messages.origin_of(image)
    camera, reason = book.find(came_ns, pixels.shape[1], pixels.shape[0], frame_id)
    assert reason == ''
    assert came_ns == stamp_ns
    return Frame(pixels, came_ns, camera, frame_id)


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """Return the frames of a recording of each kind as replay reads them."""

    def record(kind):
        _, _, rectified, (fx, fy, cx, cy, width, height) = KINDS[kind]
        camera = Camera(width, height, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        path = tmp_path_factory.mktemp('bag') / 'in.mcap'
        write_recording(path, FRAMES, camera=camera, info=lambda message: told(message, kind))
        return frames_of(path, rectified)

    return {kind: record(kind) for kind in KINDS}


@pytest.mark.parametrize('kind', KINDS)
def test_the_camera_of_a_recording_is_that_of_its_fields(recorded, kind):
    _, _, rectified, (fx, fy, cx, cy, width, height) = KINDS[kind]
    assert len(recorded[kind]) == FRAMES
    for frame, _ in recorded[kind]:
        camera = frame.camera
        assert (camera.width, camera.height, camera.assumed) == (width, height, False)
        np.testing.assert_allclose(camera.matrix, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
        expected = np.zeros(0) if rectified else SENSOR.distortion
        np.testing.assert_array_equal(camera.distortion, expected)


CONDITIONS = [(name, 'fill') for name in PROFILES] + [
    (name, 'crop') for name, profile in PROFILES.items() if profile.keep is not None
]


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(('profile', 'realisation'), CONDITIONS)
def test_the_estimator_gets_the_same_live_and_offline(recorded, kind, profile, realisation):
    config = OcclusionConfig(profile, realisation=realisation)
    offline, live = make_occluder(config, 'a|b|c|d'), make_occluder(config, 'a|b|c|d')
    rectified = KINDS[kind][2]
    first = CameraBook(CameraConfig(rectified=rectified))  # of occlusion_node
    books = [CameraBook(CameraConfig(rectified=on)) for on in {False, rectified}]  # of pose_node
    make = conversions.make
    for k, (given, box) in enumerate(recorded[kind]):
        stamp_ns = START_NS + k * STEP_NS
        expected = offline.apply(given, box).frame
        info = told(
            CameraInfo(header=make.header(stamp_ns, 'optical'), roi=RegionOfInterest()), kind
        )
        pair = make.image(given.image, stamp_ns, 'optical'), info
        altered = live.apply(over_the_wire(pair, first, stamp_ns), box).frame
        for book in books:
            info = make.camera_info(altered.camera, stamp_ns, altered.frame_id)
            pair = make.image(altered.image, stamp_ns, altered.frame_id), info
            seen = over_the_wire(pair, book, stamp_ns)
            np.testing.assert_array_equal(seen.image, expected.image)
            assert seen.frame_id == expected.frame_id
            for field in dataclasses.fields(Camera):
                one, other = (getattr(f.camera, field.name) for f in (seen, expected))
                if field.name == 'distortion' and not expected.camera.distortion.any():
                    assert not one.any()  # ROS has five coefficients where there is none
                else:
                    np.testing.assert_array_equal(one, other, err_msg=field.name)

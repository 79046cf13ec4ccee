"""Depth images of a recording meet their colour images; the others are counted and named."""

import numpy as np
import pytest
from recordings import IMAGE, START_NS

from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagError, BagWriter
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.sources import SourceError, SourceOptions, open_source

DEPTH = '/camera/aligned_depth'
STEP_NS = 33_333_333
SIZE = (64, 48)


def depth_message(make, stamp_ns, value_mm, frame_id='optical', size=SIZE, encoding='16UC1'):
    message = make.new('sensor_msgs/msg/Image', header=make.header(stamp_ns, frame_id))
    message.encoding, message.width, message.height = encoding, *size
    message.step = 2 * size[0]
    values = np.full(size[0] * size[1], value_mm, '<u2')
    return make.fill(message, 'data', values.view(np.uint8))


def write(path, frames=6, late_ns=0, first=0, **changes):
    """Write a recording in which the depth of frame k says 1000 + k mm."""
    with BagWriter(path) as bag:
        make = MessageMaker(bag.typestore)
        for k in range(frames):
            stamp_ns, log_ns = START_NS + k * STEP_NS, START_NS + k * STEP_NS
            image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
            bag.write(f'{IMAGE}/compressed', make.compressed_image(image, stamp_ns, 'optical'),
                      log_ns)  # fmt: skip
            if k >= first:
                entry = depth_message(make, stamp_ns + late_ns, 1000 + k, **changes)
                bag.write(DEPTH, entry, log_ns + max(late_ns, 0))
    return path


def read(path, **options):
    source = open_source(path, SourceOptions(depth_topic=DEPTH, **options))
    try:
        return [entry.depth_m for entry in source.frames()], source.problems
    finally:
        source.close()


@pytest.mark.parametrize('late_ms', [0, 12, -12])
def test_each_frame_gets_the_depth_of_its_own_time(tmp_path, late_ms):
    found, problems = read(write(tmp_path / 'r.mcap', late_ns=late_ms * 1_000_000))
    assert [float(depth[0, 0]) for depth in found] == pytest.approx(
        [1.0, 1.001, 1.002, 1.003, 1.004, 1.005]
    )
    assert not [p for p in problems if DEPTH in p]


@pytest.mark.parametrize(
    ('changes', 'count', 'words'),
    [
        ({'first': 2}, 2, 'no depth image within 0.02 s'),
        ({'late_ns': 300_000_000}, 6, 'no depth image'),
        ({'frame_id': 'infrared'}, 6, "frame 'infrared', the image of 'optical'"),
        ({'size': (48, 64)}, 6, 'depth is 48x64, the image 64x48'),
        ({'encoding': '8UC1'}, 6, "encoding '8UC1'"),
    ],
)
def test_frames_without_usable_depth_are_counted_and_go_on(tmp_path, changes, count, words):
    found, problems = read(write(tmp_path / 'r.mcap', **changes))
    assert len(found) == 6
    assert sum(depth is None for depth in found) >= count
    (problem,) = (p for p in problems if p.startswith(DEPTH))
    assert words in problem
    assert f'({sum(d is None for d in found)} images without depth' in problem


def test_any_frame_takes_depth_of_another_frame(tmp_path):
    path = write(tmp_path / 'r.mcap', frame_id='infrared')
    found, problems = read(path, camera=CameraConfig(any_frame=True))
    assert all(depth is not None for depth in found)
    assert not [p for p in problems if DEPTH in p]


def test_a_topic_that_is_none_of_depth_images_is_named(tmp_path):
    path = write(tmp_path / 'r.mcap')
    with pytest.raises(BagError, match=r"no topic '/depth' .*/camera/aligned_depth"):
        open_source(path, SourceOptions(depth_topic='/depth'))
    with pytest.raises(SourceError, match='no topics'):
        open_source('/dev/video0', SourceOptions(depth_topic='/depth'))
    source = open_source(path)
    assert next(source.frames()).depth_m is None
    source.close()

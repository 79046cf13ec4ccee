"""Which intrinsics an image gets, live and from recordings: never another camera's in silence."""

from __future__ import annotations

import copy
import dataclasses
import gc
import threading
import time
import weakref

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS
from recordings import START_NS, write_recording

from trpose_ros.cameras import camera_from_fov, crop_camera, shared
from trpose_ros.people import Camera
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter, make_typestore
from trpose_ros.recordings.camera_book import (
    CameraBook,
    CameraConfig,
    camera_of_info,
    rectified_note,
)
from trpose_ros.recordings.sources import SourceOptions, open_source

MAKE = MessageMaker(make_typestore())
LENS = Camera(640, 480, CAMERA.matrix, [-0.3, 0.09, 0, 0, 0])


def info(camera=CAMERA, frame_id='optical', **changes):
    message = MAKE.camera_info(camera, 0, frame_id)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def straight(focal):
    return np.array([focal, 0, 319.5, 0, 0, focal, 239.5, 0, 0, 0, 1, 0.0])


def book(wait=False, **config):
    return CameraBook(CameraConfig(**config), wait=wait)


def cameras_of(path, **config):
    source = open_source(path, SourceOptions(camera=CameraConfig(**config)))
    try:
        return [entry.frame.camera for entry in source.frames()], source.problems
    finally:
        source.close()


def recording(path, messages):
    """Write (kind, stamp, what) at log times 10 ms apart: images as (w, h), infos as messages."""
    with BagWriter(path) as bag:
        make = MessageMaker(bag.typestore)
        for k, (topic, stamp_ns, what) in enumerate(messages):
            if isinstance(what, tuple):
                image = np.full((what[1], what[0], 3), 90, np.uint8)
                what = make.compressed_image(image, stamp_ns, 'optical')
            else:
                what.header = make.header(stamp_ns, what.header.frame_id)
            bag.write(topic, what, START_NS + k * 10_000_000)
    return path


# -- one CameraInfo ---------------------------------------------------------------------------


@pytest.mark.parametrize('model', ['', 'none', 'pinhole', 'radtan', 'plumb_bob', 'Inverse Brown'])
@pytest.mark.parametrize('count', [0, 5, 7])
def test_without_distortion_every_name_is_a_pinhole_and_k_counts(model, count):
    camera = camera_of_info(info(distortion_model=model, d=np.zeros(count)))
    np.testing.assert_array_equal(camera.matrix, CAMERA.matrix)
    assert camera.model == 'pinhole'
    assert not camera.distortion.any()


def test_distortion_under_a_name_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match='unknown distortion model'):
        camera_of_info(info(distortion_model='Inverse Brown', d=np.full(5, 0.1)))
    assert camera_of_info(info(distortion_model='radtan', d=np.full(4, 0.1))).distortion.any()


def test_unequal_binning_and_what_binning_leaves_over():
    camera = camera_of_info(info(binning_x=2, binning_y=1))
    assert (camera.width, camera.height) == (320, 480)
    np.testing.assert_allclose(camera.matrix[0, 0], CAMERA.matrix[0, 0] / 2)
    np.testing.assert_allclose(camera.matrix[1, 1], CAMERA.matrix[1, 1])
    camera = camera_of_info(info(binning_x=3, binning_y=3))  # 640 = 3 * 213 + 1
    assert (camera.width, camera.height) == (213, 160)
    np.testing.assert_allclose(camera.matrix[0, 0], CAMERA.matrix[0, 0] / 3)


def test_rectified_takes_p_and_the_name_of_the_topic_is_looked_at():
    message = info(LENS, p=straight(450.0))
    camera = camera_of_info(message, rectified=True)
    assert camera.matrix[0, 0] == 450.0
    assert not camera.distortion.any()
    assert 'set rectified' in rectified_note('/cam/image_rect/compressed', message, False)
    assert 'not called image_rect' in rectified_note('/cam/image_raw', message, True)
    assert rectified_note('/cam/image_rect', message, True) == ''
    assert rectified_note('/cam/image_raw', message, False) == ''
    assert rectified_note('/cam/image_rect_raw', info(), False) == ''


# -- the book ---------------------------------------------------------------------------------


def test_the_same_fields_are_the_same_object():
    cameras = book()
    first = cameras.add(info(), 1)
    assert cameras.add(info(), 2) is first
    assert cameras.add(info(LENS), 3) is not first
    assert cameras.find(2, 640, 480)[0] is first
    assert cameras.assumed(64, 48) is cameras.assumed(64, 48)
    narrow = info(crop_camera(CAMERA, 3, 5, 320, 240))
    assert cameras.add(narrow, 4) is crop_camera(first, 3, 5, 320, 240)
    with pytest.raises(ValueError, match='read-only'):  # it is everybody's
        first.matrix[0, 0] = 1.0
    kept = weakref.ref(camera_from_fov(77, 33))
    assert kept() is not None
    for size in range(1, 200):  # the memory of them has an end
        cameras.add(info(binning_x=size, frame_id=f'c{size}'), size)
    gc.collect()
    assert kept() is None
    assert len(cameras._by_stamp) == len(cameras._newest) == 64


@pytest.mark.parametrize(
    'change',
    [
        {'width': 641},
        {'height': 481},
        {'matrix': CAMERA.matrix + 1e-12},
        {'distortion': np.array([0.0, 0, 0, 1e-12])},
        {'model': 'fisheye'},
        {'assumed': True},
    ],
)
def test_other_fields_are_another_object(change):
    one, other = shared(CAMERA), shared(dataclasses.replace(CAMERA, **change))
    assert one is not other
    assert shared(dataclasses.replace(other)) is other
    for field in dataclasses.fields(Camera):
        expected = change.get(field.name, getattr(CAMERA, field.name))
        np.testing.assert_array_equal(getattr(other, field.name), expected)


def test_another_cameras_intrinsics_are_refused_with_both_names():
    cameras = book()
    cameras.add(info(frame_id='color'), 1)
    camera, reason = cameras.find(1, 640, 480, 'infra1')
    assert camera.assumed
    assert "'color'" in reason
    assert "'infra1'" in reason
    assert cameras.find(1, 640, 480, '/color')[1] == ''
    assert cameras.find(1, 640, 480, '')[1] == ''
    told = book(any_frame=True)
    told.add(info(frame_id='color'), 1)
    assert not told.find(1, 640, 480, 'infra1')[0].assumed


def two_cameras():
    """Return a book of two cameras on one topic, whose stamps are equal."""
    cameras = book()
    wide, long = dataclasses.replace(CAMERA), Camera(640, 480, CAMERA.matrix * [[2], [2], [1]])
    for stamp in (1, 2):
        cameras.add(info(wide, 'left'), stamp)
        cameras.add(info(long, '/right'), stamp)
    return cameras, wide.matrix, long.matrix


@pytest.mark.parametrize('stamp', [1, 2, 3])  # 3: neither has come, the newest of each holds
def test_two_cameras_of_equal_stamps_are_not_mixed(stamp):
    cameras, left, right = two_cameras()
    for frame_id, matrix in (('left', left), ('right', right), ('/left', left)):
        camera, reason = cameras.find(stamp, 640, 480, frame_id)
        assert reason == ''
        np.testing.assert_array_equal(camera.matrix, matrix)
    camera, reason = cameras.find(stamp, 640, 480, 'middle')
    assert camera.assumed
    assert "is of frame 'left', 'right', the image of 'middle'" in reason


@pytest.mark.parametrize('stamp', [1, 2, 3])
def test_an_image_without_a_frame_gets_neither_of_two_cameras(stamp):
    cameras, _, right = two_cameras()
    camera, reason = cameras.find(stamp, 640, 480, '')
    assert camera.assumed
    assert "frames 'left', 'right', and the image names none" in reason
    cameras.config = CameraConfig(any_frame=True)
    np.testing.assert_array_equal(cameras.find(stamp, 640, 480, '')[0].matrix, right)
    alike = book()
    for frame_id in ('left', 'right'):
        alike.add(info(frame_id=frame_id), 1)
    assert alike.find(1, 640, 480, '')[1] == ''  # whichever it is


def test_the_camera_info_of_another_camera_is_not_what_an_image_waits_for():
    cameras = book()
    cameras.add(info(frame_id='left'), 1)
    assert cameras.may_come(1, 'right')
    assert not cameras.may_come(1, 'left')
    assert not cameras.may_come(1, '')
    cameras.find(2, 640, 480, 'right')
    assert not cameras.may_come(5, 'right')  # not in step
    cameras.add(info(frame_id='left'), 2)
    assert not cameras.may_come(5, 'right')
    cameras.add(info(frame_id='right'), 2)
    assert cameras.may_come(5, 'right')


def test_why_a_camera_is_assumed():
    cameras = book(fov_deg=70.0)
    assert cameras.find(1, 640, 480)[1] == 'no camera_info was received'
    with pytest.raises(ValueError, match='not calibrated'):
        cameras.add(info(k=np.zeros(9)), 1)
    camera, reason = cameras.find(1, 640, 480)
    assert 'camera_info cannot be used (CameraInfo is not calibrated' in reason
    assert camera.assumed
    cameras.add(info(), 2)
    reason = cameras.find(2, 320, 240)[1]
    assert reason == 'camera_info is for 640x480, the image is 320x240'
    assert '70 degrees' in cameras.assumption(reason)


def test_live_a_camera_info_a_moment_late_is_waited_for_once_they_are_in_step():
    cameras = book(wait=True, camera_info_wait_s=0.0)
    narrow = crop_camera(CAMERA, 0, 0, 320, 480)
    assert cameras.find(1, 320, 480)[0].assumed
    cameras.add(info(narrow), 1)  # late: now the book knows that they come in pairs
    cameras.add(info(), 2)
    adding = threading.Timer(0.01, cameras.add, (info(narrow), 3))
    adding.start()
    begin = time.monotonic()
    camera, reason = cameras.find(3, 320, 480)
    adding.join()
    assert reason == ''
    assert camera.width == 320
    assert time.monotonic() - begin < 5.0


# -- recordings -------------------------------------------------------------------------------


@pytest.mark.parametrize('order', [('image', 'info'), ('info', 'image')])
def test_in_a_recording_each_image_gets_the_camera_info_of_its_stamp(tmp_path, order):
    sizes = [(320, 240), (320, 260), (300, 260), (300, 200)]
    messages = []
    for k, size in enumerate(sizes):
        stamp = START_NS + k * STEP_NS
        pair = {
            'image': ('/cam/image/compressed', stamp, size),
            'info': ('/cam/camera_info', stamp, info(crop_camera(CAMERA, 5, 5, *size))),
        }
        messages += [pair[kind] for kind in order]
    cameras, problems = cameras_of(recording(tmp_path / 'in.mcap', messages))
    assert [(c.width, c.height) for c in cameras] == sizes
    assert not any(c.assumed for c in cameras)
    assert problems == []


@pytest.mark.parametrize('order', [('left', 'right'), ('right', 'left')])
def test_in_a_recording_of_two_cameras_each_image_gets_its_own(tmp_path, order):
    """Both on one camera_info topic, with equal stamps; the images are those of 'optical'."""
    own = Camera(640, 480, CAMERA.matrix * [[2], [2], [1]])
    infos = {'left': info(frame_id='left'), 'right': info(own, 'optical')}
    messages = []
    for k in range(4):
        stamp = START_NS + k * STEP_NS
        messages.append(('/cam/image/compressed', stamp, (640, 480)))
        messages += [('/cam/camera_info', stamp, copy.copy(infos[name])) for name in order]
    cameras, problems = cameras_of(recording(tmp_path / 'in.mcap', messages))
    assert [c.matrix[0, 0] for c in cameras] == [own.matrix[0, 0]] * 4
    assert problems == []


def test_replay_of_ones_own_cropped_result_has_its_intrinsics(tmp_path):
    from offline.test_replay import stand_ins

    from trpose_ros.offline.replay import replay

    bag = write_recording(tmp_path / 'in.mcap', 6)
    cropped = {'profile': 'entry_exit', 'realisation': 'crop'}
    replay(open_source(bag), tmp_path / 'out', pipeline=stand_ins(occlusion=cropped))
    cameras, problems = cameras_of(tmp_path / 'out' / 'result.mcap')
    assert len(cameras) == 6
    assert not any(c.assumed for c in cameras)
    assert problems == []


def test_camera_info_that_was_recorded_once_holds_for_all_images(tmp_path):
    images = [('/cam/image/compressed', START_NS + k * STEP_NS, (640, 480)) for k in range(9)]
    once = ('/cam/camera_info', 5, info())
    cameras, problems = cameras_of(
        recording(tmp_path / 'in.mcap', [*images[:7], once, *images[7:]])
    )
    assert len(cameras) == 9
    assert len({id(c) for c in cameras if not c.assumed}) == 1
    assert problems == []


def test_recordings_name_what_is_wrong_with_their_camera_info(tmp_path):
    def one(name, message, topic='/cam/camera_info', **config):
        messages = [(topic, 1, message), ('/cam/image_rect/compressed', 1, (640, 480))]
        return cameras_of(recording(tmp_path / f'{name}.mcap', messages), **config)

    cameras, problems = one('size', info(binning_x=2))
    assert cameras[0].assumed
    assert 'camera_info is for 320x480, the image is 640x480' in problems[0]
    cameras, problems = one('bad', info(distortion_model='magic', d=np.ones(5)))
    assert cameras[0].assumed
    assert "unknown distortion model 'magic'" in problems[0]
    assert 'cannot be used' in problems[1]
    assert not any('no camera_info' in problem for problem in problems)
    cameras, problems = one('other', info(frame_id='color'), '/color/camera_info')
    assert cameras[0].assumed
    assert '/color/camera_info' in problems[0]
    assert "'color'" in problems[1]
    cameras, problems = one('lens', info(LENS, p=straight(450.0)))
    assert cameras[0].matrix[0, 0] == CAMERA.matrix[0, 0]
    assert 'set rectified' in problems[0]
    cameras, problems = one('straight', info(LENS, p=straight(450.0)), rectified=True)
    assert cameras[0].matrix[0, 0] == 450.0
    assert problems == []

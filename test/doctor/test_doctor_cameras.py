"""What is said about cameras: made ones here, real topics in test_camera_survey.py."""

from __future__ import annotations

import pytest

from trpose_ros.doctor import cameras
from trpose_ros.nodes.camera_seen import CameraSeen, Endpoint, Survey, info_topics_of

STEP_NS = 33_333_333
RAW, JPEG = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO = 'sensor_msgs/msg/CameraInfo'


def camera(count=30, step_ns=STEP_NS, **changes):
    stamps = [10**18 + i * step_ns for i in range(count)]
    given = {
        'topic': '/cam/image_raw',
        'type': RAW,
        'publishers': [Endpoint('/driver', 'best_effort', 'volatile')],
        'stamps_ns': stamps,
        'arrivals_s': [5 + i * step_ns * 1e-9 for i in range(count)],
        'frame_ids': {'optical'},
        'encoding': 'rgb8',
        'width': 640,
        'height': 480,
        'info_topic': '/cam/camera_info',
        'info_stamps_ns': stamps,
        'info_frame_ids': {'optical'},
    }
    return CameraSeen(**{**given, **changes})


def judged(*seen, published=None, left_out=()):
    return cameras.judge(Survey(3.0, list(seen), published or {}, left_out))


def marks(findings):
    return [finding.mark for finding in findings]


def words(findings):
    return '\n'.join(f'{f.mark}: {f.text}. {f.means}. {f.do}' for f in findings)


def test_good_camera_and_how_to_start_with_it():
    found = judged(camera())
    assert marks(found) == ['ok'] * 3
    text = words(found)
    assert '/cam/image_raw (Image): 640x480 rgb8, 30.0 Hz from /driver (best_effort' in text
    assert '30 of 30 images have one of the same stamp' in text
    assert 'image_topic:=/cam/image_raw camera_info_topic:=/cam/camera_info' in text
    assert 'compressed' not in text
    found = judged(camera(topic='/cam/image_raw/compressed', type=JPEG))
    command = found[-1].facts['command']
    assert 'image_topic:=/cam/image_raw camera_info_topic:=/cam/camera_info' in command
    assert command.endswith('image_transport:=compressed')


@pytest.mark.parametrize(
    ('seen', 'text'),
    [
        (camera(0), 'problem: /cam/image_raw (Image): nothing came for 3 s'),
        (camera(1), 'problem: /cam/image_raw (Image): 640x480 rgb8, one image in 3 s'),
        (camera(5, 10**9), '1.0 Hz'),
        (camera(9, 334_000_000), 'below 3 Hz'),
        (camera(conflicts=['/a sends, /b gets nothing']), 'problem: /cam/image_raw: /a sends'),
        (camera(unreadable='encoding x'), 'problem: /cam/image_raw: encoding x'),
        (camera(step_ns=0), 'repeats the stamp'),
        (camera(frame_ids={''}), 'note: /cam/image_raw: an empty frame_id. results have it, too'),
        (camera(info_topic='', info_stamps_ns=[]), 'no camera_info beside it'),
        (camera(info_stamps_ns=[]), 'problem: /cam/camera_info: nothing came'),
        (camera(assumed='of frame x'), 'problem: /cam/camera_info: of frame x. a field of view'),
        (camera(assumed='x', info_frame_ids={'link'}), 'any_frame:=true'),
        (camera(assumed='camera_info is for 80x60'), 'calibrate at this resolution'),
        (camera(rectified_note='called so: set it'), 'note: /cam/camera_info: called so'),
        (camera(info_stamps_ns=[1]), '0 of 30 images have one of the same stamp; the newest'),
        (camera(encoding='16UC1'), 'ok: /cam/image_raw: 16UC1. depth or heat'),
    ],
)
def test_camera_that_is_not_as_it_should(seen, text):
    assert text in words(judged(seen))


def test_three_hertz_are_enough():
    assert marks(judged(camera(9, 333_000_000)))[0] == 'ok'


def test_images_that_are_lost_on_the_way():
    stamps = [10**18 + i * STEP_NS for i in range(60) if i % 10 < 4]
    arrivals = [5 + i * 0.1 for i in range(len(stamps))]
    found = judged(camera(stamps_ns=stamps, arrivals_s=arrivals))
    assert found[0].mark == 'problem'
    assert 'about 54 were sent' in found[0].means


def test_camera_info_elsewhere_is_named():
    seen = camera(info_topic='', info_stamps_ns=[])
    assert 'if it is /other/info, name it' in words(judged(seen, published={'/other/info': [INFO]}))


def test_no_cameras():
    assert 'no topics are published' in words(judged())
    assert 'of 1 topics none has images' in words(judged(published={'/chatter': ['x/msg/String']}))


def test_video_streams_and_topics_left_out():
    published = {'/cam/ffmpeg': ['ffmpeg_image_transport_msgs/msg/FFMPEGPacket']}
    found = judged(published=published, left_out=['/nine'])
    assert marks(found) == ['note', 'note']
    assert 'republish' in found[0].do
    assert '/nine' in found[1].text


def test_no_ros(monkeypatch):
    monkeypatch.setattr(cameras.importlib.util, 'find_spec', lambda name: None)
    assert marks(cameras.check(1.0)) == ['note']


def test_ros_that_does_not_start(monkeypatch):
    import sys
    import types

    def survey(seconds):
        raise RuntimeError('rcl init failed')

    made = types.SimpleNamespace(survey=survey)
    monkeypatch.setattr(cameras.importlib.util, 'find_spec', lambda name: name)
    monkeypatch.setitem(sys.modules, 'trpose_ros.nodes.camera_survey', made)
    (finding,) = cameras.check(1.0)
    assert finding.mark == 'problem'
    assert 'rcl init failed' in finding.text


def test_where_camera_info_is_looked_for():
    assert info_topics_of('/a/image_raw/compressed') == [
        '/a/camera_info',
        '/a/image_raw/camera_info',
    ]
    assert info_topics_of('/image')[0] == '/camera_info'

"""Real cameras on topics, in a domain of the test's own: what the survey and the doctor see."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('trpose_ros.msg')

from live import image, live
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from trpose_ros.cameras import camera_from_fov
from trpose_ros.doctor import cameras
from trpose_ros.nodes import camera_survey
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.camera_survey import survey

BEST, SURE = (
    QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
    QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE),
)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE = (64, 48)
COMMAND = ('doctor', '--only', 'cameras', '--json', '--seconds', '0.5')


def info(stamp_ns, frame_id='optical', size=SIZE):
    return conversions.make.camera_info(camera_from_fov(*size, 60.0), stamp_ns, frame_id)


class Cameras:
    """Publishes what it was told, 10 times a second, until the end."""

    def __init__(self, node):
        self._node, self._send, self._over = node, [], threading.Event()
        self._thread = threading.Thread(target=self._run)

    def add(self, topic, make, kind=Image, qos=BEST, every=1):
        publisher = self._node.create_publisher(kind, topic, qos)
        self._send.append((publisher, make, every))

    def _run(self):
        tick = 0
        while not self._over.wait(0.1):
            stamp_ns = time.time_ns()
            for publisher, make, every in self._send:
                if tick % every == 0:
                    publisher.publish(make(stamp_ns))
            tick += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


@contextlib.contextmanager
def all_kinds():
    """One domain with a camera for each thing that can be wrong."""

    def picture(stamp_ns):
        return image(stamp_ns, *SIZE)

    with live() as world:
        made = Cameras(world.tester)
        made.add('/good/image_raw', picture)
        made.add('/good/camera_info', info, CameraInfo)
        made.add('/alone/image_raw', picture, qos=SURE)
        made.add('/frame/image_raw', picture)
        made.add('/frame/camera_info', lambda ns: info(ns, 'other'), CameraInfo)
        made.add('/size/image_raw', picture)
        made.add('/size/camera_info', lambda ns: info(ns, size=(80, 60)), CameraInfo, LATCHED, 999)
        made.add('/zero/image_raw', picture)
        made.add('/zero/camera_info', zero_info, CameraInfo)
        made.add('/jpeg/image/compressed', jpeg, CompressedImage, SURE)
        world.tester.create_publisher(Image, '/silent/image_raw', BEST)
        world.tester.create_subscription(Image, '/good/image_raw', print, SURE)
        with made:
            yield world


def zero_info(stamp_ns):
    message = info(stamp_ns)
    message.k = np.zeros(9)
    return message


def jpeg(stamp_ns):
    picture = np.full((*SIZE[::-1], 3), 90, np.uint8)
    return conversions.make.compressed_image(picture, stamp_ns, 'optical')


def test_what_is_wrong_with_real_cameras(monkeypatch):
    # Many processors' worth of tests may run beside this one.
    monkeypatch.setattr(camera_survey, '_SETTLED_S', 3.0)
    monkeypatch.setattr(camera_survey, '_LONGEST_S', 60.0)
    with all_kinds() as world:
        seen = survey(2.0, world.domain)
        ran = subprocess.run(
            [sys.executable, '-m', 'trpose_ros', *COMMAND],
            env=os.environ | {'ROS_DOMAIN_ID': str(world.domain)},
            capture_output=True,
            text=True,
            check=False,
        )
    by_topic = {camera.topic: camera for camera in seen.cameras}
    assert sorted(by_topic) == [
        '/alone/image_raw',
        '/frame/image_raw',
        '/good/image_raw',
        '/jpeg/image/compressed',
        '/silent/image_raw',
        '/size/image_raw',
        '/zero/image_raw',
    ]
    good = by_topic['/good/image_raw']
    assert (good.width, good.height, good.encoding, good.frame_ids) == (64, 48, 'rgb8', {'optical'})
    assert good.info_topic == '/good/camera_info'
    assert good.assumed == ''
    assert good.paired > 0
    assert good.rate_hz > 0
    assert [str(one) for one in good.publishers] == ['/tester (best_effort, volatile)']
    (conflict,) = good.conflicts
    assert '/tester (reliable, volatile) gets nothing' in conflict
    assert by_topic['/alone/image_raw'].conflicts == []
    assert by_topic['/alone/image_raw'].info_topic == ''
    assert "frame 'other', the image of 'optical'" in by_topic['/frame/image_raw'].assumed
    assert by_topic['/size/image_raw'].assumed == 'camera_info is for 80x60, the image is 64x48'
    assert 'cannot be used' in by_topic['/zero/image_raw'].assumed
    assert by_topic['/jpeg/image/compressed'].width == 64
    assert by_topic['/silent/image_raw'].stamps_ns == []
    words = '\n'.join(finding.text for finding in cameras.judge(seen))
    assert '/silent/image_raw (Image): nothing came for 2 s' in words

    text = json.loads(ran.stdout)  # how much it sees so soon depends on the machine
    assert ran.returncode == int(not text['healthy']), ran.stderr
    (section,) = text['sections']
    assert section['name'] == 'cameras'
    assert not any('this check' in finding['text'] for finding in section['findings'])


def test_nobody_is_there(monkeypatch):
    monkeypatch.setattr(camera_survey, '_LONGEST_S', 0.3)
    with live() as world:
        seen = survey(0.2, world.domain)
    assert seen.cameras == []
    assert [finding.mark for finding in cameras.judge(seen)] == ['note']

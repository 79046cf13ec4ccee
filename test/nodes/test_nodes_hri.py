"""hri_bridge over real rclpy: what is published, taken back, and said without hri_msgs.

hri_msgs is no wheel. Where no installation has it, the tests marked slow build the four messages
that are published from test/ros4hri (a minute, kept in build/hri_msgs).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

from doubles import make_people
from live import FAILURE, START_NS, STEP_NS, SUCCESS, live, values_of

from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.hri_bodies import body_frame, skeletons_2d
from trpose_ros.nodes.hri_bridge import HriBridge
from trpose_ros.people import RootSource, TrackState

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / 'build' / 'hri_msgs'


def build():
    """Build hri_msgs as cmake/make_messages.sh builds the package's own messages, once."""
    done = BUILT / 'done'
    if done.is_file():
        return
    venv = Path(sys.prefix)
    command = [str(venv / 'bin' / 'cmake'), '-S', str(ROOT / 'test' / 'ros4hri')]
    command += ['-B', str(BUILT / 'ros'), f'-DCMAKE_INSTALL_PREFIX={BUILT / "install"}']
    command += [f'-DPython3_EXECUTABLE={sys.executable}', f'-DCMAKE_PREFIX_PATH={venv}']
    command += [f'-DCMAKE_PROJECT_INCLUDE={ROOT / "cmake" / "wheel_compat.cmake"}']
    command += ['-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF', '-DBUILD_TESTING=OFF']
    environment = {**os.environ, 'AMENT_PREFIX_PATH': str(venv)}
    for step in (command, [command[0], '--build', command[4], '-j2'], ['--install', command[4]]):
        step = [command[0], *step] if step[0].startswith('--') else step
        ran = subprocess.run(step, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, f'{ran.stdout[-2000:]}{ran.stderr[-2000:]}'
    done.touch()


@pytest.fixture(scope='module')
def hri():
    """The module hri_msgs.msg, of an installation or built here."""
    with contextlib.suppress(ImportError):
        return importlib.import_module('hri_msgs.msg')
    if os.environ.get('ROS_DISTRO'):
        pytest.skip(f'apt install ros-{os.environ["ROS_DISTRO"]}-hri-msgs')
    build()
    (folder,) = (BUILT / 'install' / 'lib').glob('python*/site-packages')
    sys.path.insert(0, str(folder))
    left = sorted((BUILT / 'install' / 'lib').glob('lib*.so'))
    while left:  # the loader finds libraries that are loaded; they need each other
        loaded = [path for path in left if loads(path)]
        assert loaded, left
        left = [path for path in left if path not in loaded]
    importlib.invalidate_caches()
    return importlib.import_module('hri_msgs.msg')


def loads(path):
    try:
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


@pytest.fixture
def world():
    with live() as world:
        yield world


def people_at(stamp_ns, ids=(3,), **changes):
    roots = np.array([(0.4 * k, 0.2, 4.0) for k in range(len(ids))])
    people = make_people(
        stamp_ns,
        roots,
        track_ids=np.array(ids),
        track_states=np.full(len(ids), TrackState.TRACKED),
        root_sources=np.full(len(ids), RootSource.FUSED),
        boxes_px=np.array([[199.5, 99.5, 160.0, 240.0]] * len(ids)),
        scores=np.full(len(ids), 0.75),
        joint_scores=np.full((len(ids), 17), 0.5),
    )
    return people.replace(**changes)


@pytest.mark.slow
def test_people_become_bodies_and_go_again(world, hri):
    node = world.start(HriBridge, forget_s=0.0)
    sender = world.tester.create_publisher(PersonArray, 'people', 10)
    tracked = world.listen('/humans/bodies/tracked', hri.IdsList)
    world.connected(node, 'people', '/humans/bodies/tracked')
    first = people_at(START_NS, (3, 9))
    sender.publish(conversions.make.people(first))
    world.wait(lambda: tracked)
    names = list(tracked[0].ids)
    assert len(set(names)) == 2
    assert tracked[0].header.frame_id == 'optical'
    assert tracked[0].header.stamp.sec * 10**9 + tracked[0].header.stamp.nanosec == START_NS
    begin = f'/humans/bodies/{names[1]}'
    boxes = world.listen(f'{begin}/roi', hri.NormalizedRegionOfInterest2D)
    skeletons = world.listen(f'{begin}/skeleton2d', hri.Skeleton2D)
    world.connected(node, f'{begin}/roi', f'{begin}/skeleton2d')
    second = people_at(START_NS + STEP_NS, (3, 9))
    sender.publish(conversions.make.people(second))
    world.wait(lambda: boxes and skeletons and len(tracked) == 2)
    assert list(tracked[1].ids) == names
    box = boxes[0]
    found = (box.xmin, box.ymin, box.xmax, box.ymax, box.c)
    np.testing.assert_allclose(found, (200 / 640, 100 / 480, 360 / 640, 340 / 480, 0.75), rtol=1e-6)
    points = np.array([(p.x, p.y, p.c) for p in skeletons[0].skeleton])
    np.testing.assert_allclose(points, skeletons_2d(second)[1], rtol=1e-6)
    wrist = skeletons[0].skeleton[hri.Skeleton2D.LEFT_WRIST]
    assert wrist.x == pytest.approx((second.joints_px[1, 13, 0] + 0.5) / 640)
    # One is lost, the other comes without a track: nobody is left, the topics are taken back.
    lost = second.track_states.copy()
    lost[1] = TrackState.LOST
    gone = second.replace(
        stamp_ns=START_NS + 2 * STEP_NS, track_states=lost, track_ids=np.array([-1, 9], np.int32)
    )
    sender.publish(conversions.make.people(gone))
    world.wait(lambda: len(tracked) == 3)
    assert list(tracked[2].ids) == []
    status = world.status(node, lambda s: values_of(s)['bodies'] == '')
    assert values_of(status)['untracked_left_out'] == '1'
    world.wait(lambda: node.count_publishers(f'{begin}/roi') == 0)
    sender.publish(conversions.make.people(people_at(START_NS + 3 * STEP_NS, (9,))))
    world.wait(lambda: len(tracked) == 4)
    assert list(tracked[3].ids) == [names[1]]  # whoever comes back keeps the id


@pytest.mark.slow
def test_bodies_have_frames_where_there_is_tf(world, hri):
    tf = pytest.importorskip('tf2_msgs.msg', reason='tf2_msgs is not built here')
    node = world.start(HriBridge)
    sender = world.tester.create_publisher(PersonArray, 'people', 10)
    frames = world.listen('/tf', tf.TFMessage, qos=100)
    tracked = world.listen('/humans/bodies/tracked', hri.IdsList)
    world.connected(node, 'people', '/tf', '/humans/bodies/tracked')
    people = people_at(START_NS)
    sender.publish(conversions.make.people(people))
    world.wait(lambda: frames and tracked)
    (transform,) = frames[0].transforms
    assert transform.child_frame_id == f'body_{tracked[0].ids[0]}'
    assert transform.header == tracked[0].header
    origin, quaternion = body_frame(people, 0)
    moved, turned = transform.transform.translation, transform.transform.rotation
    np.testing.assert_allclose((moved.x, moved.y, moved.z), origin)
    np.testing.assert_allclose((turned.x, turned.y, turned.z, turned.w), quaternion)


@pytest.mark.slow
def test_bad_people_cost_only_themselves(world, hri):
    node = world.start(HriBridge)
    sender = world.tester.create_publisher(PersonArray, 'people', 10)
    tracked = world.listen('/humans/bodies/tracked', hri.IdsList)
    world.connected(node, 'people', '/humans/bodies/tracked')
    bad = conversions.make.people(people_at(START_NS))
    bad.skeleton = 'snake'
    sender.publish(bad)
    sender.publish(conversions.make.people(people_at(START_NS + STEP_NS)))
    world.wait(lambda: tracked)
    assert len(tracked[0].ids) == 1
    assert 'snake' in world.status(node, lambda s: values_of(s)['errors'] == '1').message
    assert world.ask(node.trigger_deactivate) == SUCCESS
    assert world.ask(node.trigger_cleanup) == SUCCESS


def test_without_hri_msgs_the_package_is_named(world, monkeypatch):
    monkeypatch.setitem(sys.modules, 'hri_msgs', None)
    monkeypatch.setitem(sys.modules, 'hri_msgs.msg', None)
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    conversions.make.class_of.cache_clear()
    node = world.add(HriBridge)
    assert world.ask(node.trigger_configure) == FAILURE
    assert 'apt install ros-jazzy-hri-msgs' in node.statistics.last_error
    monkeypatch.delenv('ROS_DISTRO')
    assert world.ask(node.trigger_configure) == FAILURE
    assert 'apt install ros-$ROS_DISTRO-hri-msgs' in node.statistics.last_error

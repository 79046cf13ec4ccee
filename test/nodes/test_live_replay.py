"""Replay and live give the same skeletons: real nodes in processes of their own, over DDS."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')

import domain_coordinator
import rclpy
from doubles import STEP_NS
from metrabs_stand_in import save_network, stand_in_network
from random_weights import save_videopose3d
from rclpy.parameter import Parameter
from recordings import START_NS, write_recording
from sensor_msgs.msg import Image

from trpose_ros.commands.given import pipeline_config
from trpose_ros.demo import demo
from trpose_ros.demo.processes import NodeProcesses, ProcessError, free_domain
from trpose_ros.nodes.playback import Playback
from trpose_ros.nodes.player import Player
from trpose_ros.offline import replay as module
from trpose_ros.offline.replay import ReplayOptions, replay
from trpose_ros.people import PER_PERSON
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.messages import read_image, read_people, stamp_ns
from trpose_ros.recordings.sources import SourceOptions, open_source

FRAMES = 10
LATEST_S = 240.0  # until a test gives up
IDENTITY = 'test|a|b|c'

TEST = Path(__file__).resolve().parents[1]


@pytest.fixture
def domain(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('PYTHONPATH', f'{TEST}:{os.environ.get("PYTHONPATH", "")}')
    with domain_coordinator.domain_id() as number:
        yield int(number)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A network that sees a person in any crop, differently for each image, and random lifting."""
    folder = tmp_path_factory.mktemp('weights')
    save_network(folder / 'standing.safetensors', stand_in_network(image_gain=0.5))
    return {
        'model': str(folder / 'standing.safetensors'),
        'lifter_model': str(save_videopose3d(folder / 'v.safetensors')),
    }


# Everybody has found everybody, on both sides: from here on nothing is lost.
CONNECTIONS = {
    '/occlusion_node': {
        'publishers of /camera/image': 1,
        'publishers of /camera/camera_info': 1,
        'publishers of /reference': 1,
        'subscribers of /occlusion_node/image': 2,
        'subscribers of /occlusion_node/camera_info': 2,
    },
    '/pose_node': {
        'publishers of /occlusion_node/image': 1,
        'publishers of /occlusion_node/camera_info': 1,
        'subscribers of /pose_node/people': 3,
    },
    '/lifter_node': {
        'publishers of /pose_node/people': 1,
        'publishers of /occlusion_node/camera_info': 1,
        'subscribers of /lifter_node/people': 2,
    },
}


def start_live(nodes, bag, out, weights, profile, rectified=False):
    """All five processes, in step: an image is sent when the people of the last one came.

    Return the player, which waits for a second subscriber of its images before it begins.
    """
    camera = {'image': 'camera/image', 'camera_info': 'camera/camera_info'}
    nodes.start(
        'recorder',
        {
            'bag': out,
            'topics': ['pose_node/people', 'lifter_node/people', 'occlusion_node/image'],
        },
    )
    nodes.start(
        'occlusion_node',
        {'autostart': True, 'reference': 'given', 'profile': profile, 'identity': IDENTITY},
        {**camera, 'people': 'reference'},
    )
    nodes.start(
        'standing.pose_node',
        {
            'autostart': True,
            'boxes': 'image',
            'device': 'cpu',
            'model': weights['model'],
        },
        {'image': 'occlusion_node/image', 'camera_info': 'occlusion_node/camera_info'},
        name='pose_node',
    )
    nodes.start(
        'lifter_node',
        {'autostart': True, 'device': 'cpu', 'lifter_model': weights['lifter_model']},
        {'people': 'pose_node/people', 'camera_info': 'occlusion_node/camera_info'},
    )
    return nodes.start(
        'player',
        {'source': bag, 'lockstep_s': LATEST_S, 'subscribers': 2, 'rectified': rectified},
        {**camera, 'results': 'pose_node/people'},
    )


def config_of(weights, profile):
    return pipeline_config(
        {
            'device': 'cpu',
            'lifter': '',
            'look_ahead': -1,
            'smoothing': 0,
            'num_aug': 1,
            'estimator': 'metrabs_torch',
            'boxes': 'image',
            'occlusion': profile,
            'severity': -1,
            'realisation': 'main',
            **weights,
        }
    )


def cut_off(message):
    """Let the image be what is cut out of a sensor whose rectified intrinsics are others."""
    roi = message.roi
    roi.x_offset, roi.y_offset, roi.width, roi.height = 80, 60, message.width, message.height
    message.width, message.height, message.binning_x = 800, 600, 1
    message.p = np.array([500.0, 0, 400, 0, 0, 500, 300, 0, 0, 0, 1, 0])
    message.d = np.array([-0.2, 0.05, 0.0, 0.0, 0.0])
    return message


# The other cameras and conditions, without processes, are those of test_live_cameras.py.
@pytest.mark.parametrize(
    ('profile', 'rectified'),
    [
        ('moving_box', True),
        pytest.param('moving_box', False, marks=pytest.mark.slow),
        pytest.param('entry_exit', True, marks=pytest.mark.slow),
    ],
)
def test_replay_and_live_give_identical_skeletons(domain, tmp_path, weights, profile, rectified):
    import torch

    bag = write_recording(tmp_path / 'in.mcap', FRAMES, info=cut_off if rectified else True)
    live_bag = tmp_path / 'live.mcap'
    with NodeProcesses(tmp_path / 'log', domain) as nodes:
        player = start_live(nodes, bag, live_bag, weights, profile, rectified)
        with Playback(domain) as playback:
            playback.watch('/lifter_node/people')
            ready = playback.wait(
                lambda: not playback.unconnected(CONNECTIONS), LATEST_S, nodes.check
            )
            assert ready, (playback.unconnected(CONNECTIONS), nodes.complaints())
            playback._node.create_subscription(Image, '/camera/image', lambda _: None, 1)
            ended = playback.wait(
                lambda: playback.arrived >= FRAMES, 2 * LATEST_S, lambda: player.process.poll()
            )
            assert ended, (playback.arrived, player.last_words(), nodes.complaints())
        assert player.process.wait(LATEST_S) == 0
        assert player.last_words().count('no answer') == 0

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = ReplayOptions(identity=IDENTITY, video=False)
        source = open_source(bag, SourceOptions(camera=CameraConfig(rectified=rectified)))
        replay(source, tmp_path / 'out', config_of(weights, profile), options)
    finally:
        torch.set_num_threads(threads)

    live = read_all(live_bag)
    offline = read_all(tmp_path / 'out' / 'result.mcap')
    np.testing.assert_array_equal(live['images'], [FRAMES])
    for topic in (module.POSE_TOPIC, module.LIFTED_TOPIC):
        assert [p.stamp_ns for p in live[topic]] == [p.stamp_ns for p in offline[topic]]
        assert len(live[topic]) == FRAMES
        assert sum(len(p) for p in live[topic]) >= FRAMES
        for one, other in zip(live[topic], offline[topic], strict=True):
            assert one.frame_id == other.frame_id == 'optical'
            for name in PER_PERSON:
                np.testing.assert_array_equal(
                    getattr(one, name), getattr(other, name), err_msg=f'{topic} {name}'
                )
    assert np.isfinite(live[module.LIFTED_TOPIC][-1].joints_m).all()


def read_all(path):
    found = {module.POSE_TOPIC: [], module.LIFTED_TOPIC: [], 'images': [0]}
    with BagReader(path) as bag:
        for entry in bag.messages():
            if entry.topic in (module.POSE_TOPIC, module.LIFTED_TOPIC):
                found[entry.topic].append(read_people(entry.message))
            elif entry.topic == '/occlusion_node/image/compressed':
                height, width, _ = read_image(entry.message).shape
                assert height <= 480  # cropped perhaps
                assert width <= 640
                assert stamp_ns(entry.message) >= START_NS
                found['images'][0] += 1
    for topic in (module.POSE_TOPIC, module.LIFTED_TOPIC):
        found[topic].sort(key=lambda people: people.stamp_ns)
    return found


# -- player and recorder ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('module_name', 'parameters', 'words'),
    [
        ('player', {}, 'names nothing to play'),
        ('player', {'source': 'nowhere.mcap'}, 'nowhere.mcap does not exist'),
        ('player', {'source': 'x.mcap', 'stamps': 'new'}, "'original' or 'now', got 'new'"),
        ('player', {'source': 'x.mcap', 'rate': 0.0}, 'rate must lie in'),
        ('recorder', {'topics': ['a']}, 'names no file'),
        ('recorder', {'bag': 'x.mcap'}, 'names nothing to record'),
    ],
)
def test_impossible_parameters_end_with_the_reason(
    domain, tmp_path, monkeypatch, module_name, parameters, words
):
    monkeypatch.chdir(tmp_path)
    with NodeProcesses(tmp_path / 'log', domain) as nodes:
        node = nodes.start(module_name, parameters)
        assert node.process.wait(LATEST_S) == 1
        assert words in node.last_words()
        assert 'Traceback' not in node.last_words()
        with pytest.raises(ProcessError, match=f'{module_name} has ended with code 1'):
            nodes.check()


def bytes_below(folder):
    """What the recorder has written so far, in a hidden folder beside its bag."""
    return sum(p.stat().st_size for p in folder.glob('.*/**/*') if p.is_file())


def test_recorder_completes_its_bag_when_interrupted(domain, tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 4)
    out = tmp_path / 'out.mcap'
    with NodeProcesses(tmp_path / 'log', domain) as nodes:
        recorder = nodes.start('recorder', {'bag': out, 'topics': ['image', 'camera_info']})
        nodes.start('player', {'source': bag, 'loop': True, 'stamps': 'now'})
        with Playback(domain) as playback:
            assert playback.wait(lambda: bytes_below(tmp_path) > 50_000, LATEST_S, nodes.check), (
                recorder.last_words()
            )
        assert not out.exists()  # only when it is complete
        recorder.process.send_signal(signal.SIGINT)
        assert recorder.process.wait(LATEST_S) == 0
    with BagReader(out) as reader:
        assert reader.problems == []
        assert reader.counts['/image/compressed'] > 0
        stamps = [stamp_ns(m.message) for m in reader.messages(['/image/compressed'])]
    assert stamps == sorted(stamps)
    assert stamps[0] > START_NS + 10**12  # new ones
    assert list(tmp_path.glob('.*')) == []


def test_player_sends_what_can_be_read_of_a_cut_off_bag_and_names_the_rest(domain, tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    content = bag.read_bytes()
    bag.write_bytes(content[: len(content) // 2])
    with NodeProcesses(tmp_path / 'log', domain) as nodes:
        player = nodes.start('player', {'source': bag, 'start': 'service'})
        with Playback(domain) as playback:
            stamps = []
            images = playback._node.create_subscription(
                Image, '/image', lambda m: stamps.append(stamp_ns(m)), 20
            )
            # The player itself waits until it knows this subscription.
            assert playback.wait(images.get_publisher_count, LATEST_S, nodes.check)
            played, words = playback.trigger('player/play', LATEST_S, nodes.check)
            assert played
            count = int(words.split()[0])
            assert playback.wait(lambda: len(stamps) == count, LATEST_S, nodes.check)
        player.process.send_signal(signal.SIGINT)
        assert player.process.wait(LATEST_S) == 0, player.last_words()
    assert 4 <= count < 12
    assert stamps == [START_NS + k * STEP_NS for k in range(count)]
    assert 'in.mcap' in player.last_words()
    assert 'cut off' in player.last_words()
    assert 'Traceback' not in player.last_words()


def test_free_domain_is_one_that_nobody_uses():
    assert 1 <= free_domain() <= 100


def test_another_process_gets_another_domain(domain):
    """Tests run in several processes, each of which hears what is said in its domain."""
    code = 'import domain_coordinator as d\nwith d.domain_id() as number: print(number)'
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert int(done.stdout) != domain


@pytest.mark.parametrize('lockstep_s', [5.0, 0.0])
def test_player_changes_its_step_between_plays_and_nothing_else(domain, tmp_path, lockstep_s):
    context = rclpy.Context()
    rclpy.init(args=[], context=context, domain_id=domain)
    given = {'source': str(write_recording(tmp_path / 'in.mcap', 2)), 'lockstep_s': lockstep_s}
    node = Player(
        context=context,
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )

    def refused(name, value):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        return '' if result.successful else result.reason

    try:
        assert refused('lockstep_s', 0.0) == ''
        assert node.given['lockstep_s'] == 0.0
        assert ('nobody listens' in refused('lockstep_s', 3.0)) is (lockstep_s == 0)
        assert node.given['lockstep_s'] == (3.0 if lockstep_s else 0.0)
        for value in (-1.0, float('nan'), 4000.0):
            assert 'must be a number' in refused('lockstep_s', value)
        assert 'start the player again' in refused('rate', 2.0)
    finally:
        node.destroy_node()
        context.try_shutdown()


# -- the demonstration --------------------------------------------------------------------------


@pytest.fixture
def standing_pose_node(domain, monkeypatch):
    """Let the demonstration start the pose node that knows the stand-in network.

    Its domain is one that no other test has taken, even if nothing runs there yet.
    """
    monkeypatch.setattr(demo, 'free_domain', lambda: domain)
    start = NodeProcesses.start

    def replaced(self, module, *arguments, **options):
        if module == 'pose_node':
            return start(self, 'standing.pose_node', *arguments, name='pose_node', **options)
        return start(self, module, *arguments, **options)

    monkeypatch.setattr(NodeProcesses, 'start', replaced)


@pytest.mark.usefixtures('standing_pose_node')
def test_demo_measures_and_writes_everything(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 20)
    out = tmp_path / 'demo'
    code = demo.run_demo(
        out,
        recording=bag,
        parameters={**weights, 'boxes': 'image', 'device': 'cpu'},
        conditions=('none', 'fixed_lower'),
    )
    assert code == 0
    content = json.loads((out / 'table.json').read_text())
    rows = content['conditions']
    assert [row['condition'] for row in rows] == ['clean', 'fixed_lower']
    assert [row['images_sent'] for row in rows] == [20, 20]
    assert [row['dropped'] for row in rows] == [0, 0]  # in step every image is answered
    assert 'latency_p50_ms' not in rows[0]  # which would be that of waiting
    assert rows[0]['hidden_percent'] == 0
    assert rows[1]['hidden_percent'] == pytest.approx(33, abs=3)
    assert all(10 < row['lifted']['mpjpe_held_mm'] < 1000 for row in rows)
    assert all(row['lifted']['coverage'] > 0 for row in rows)
    (live,) = content['camera_rate']
    assert (live['condition'], live['images_sent']) == ('clean', 20)
    assert live['camera_hz'] == pytest.approx(30, rel=0.2)
    assert live['latency_p50_ms'] > 0
    assert live['rate_hz'] > 0
    assert content['mean_of_five_mpjpe_mm'] == {'estimator': None, 'lifted': None}
    text = (out / 'table.txt').read_text()
    assert 'fixed_lower' in text
    assert '30 Hz' in text
    assert text.count('in step') >= 2
    look_ahead = rows[0]['look_ahead_frames']
    assert f'look-ahead {look_ahead} frames' in ' '.join(text.split())
    for name in ('result.mcap', 'demo.mp4', 'before_after.mp4', 'demo.png', 'photographs.png'):
        assert (out / name).stat().st_size > 1000
    with BagReader(out / 'result.mcap') as reader:
        assert reader.topics['/lifter_node/markers'] == 'visualization_msgs/msg/MarkerArray'
        assert reader.topics['/lifter_node/skeleton'] == 'trpose_ros/msg/SkeletonInfo'


@pytest.mark.usefixtures('standing_pose_node')
def test_demo_says_which_node_cannot_start(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 3)
    parameters = {**weights, 'model': 'no-such-model', 'boxes': 'image'}
    with pytest.raises(demo.DemoError, match=r'pose_node: .*no-such-model'):
        demo.run_demo(tmp_path / 'demo', recording=bag, parameters=parameters)


def test_demo_needs_truth(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 3, truth=False)
    with pytest.raises(demo.DemoError, match='no ground truth'):
        demo.run_demo(tmp_path / 'demo', recording=bag)
    with pytest.raises(demo.DemoError, match='does not exist'):
        demo.run_demo(tmp_path / 'demo', recording=tmp_path / 'none.mcap')

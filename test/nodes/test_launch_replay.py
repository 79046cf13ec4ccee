"""launch/replay.launch.py: a recording through the real nodes; a replay without ROS agrees."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
pytest.importorskip('pyarrow')

import launch_standin
from live import live
from metrabs_stand_in import save_network, stand_in_network
from processes import NodeProcess
from random_weights import save_videopose3d
from recordings import true_people, write_recording

from trpose_ros.commands.given import pipeline_config
from trpose_ros.evaluation import results
from trpose_ros.evaluation.excerpts import load_scenes
from trpose_ros.evaluation.passes import Pass, rows_of
from trpose_ros.msg import PersonArray
from trpose_ros.nodes.launch_arguments import REPLAY_ARGUMENTS
from trpose_ros.offline.replay import ReplayOptions, replay
from trpose_ros.offline.replay_report import pass_of, replay_and_report
from trpose_ros.people import PER_PERSON
from trpose_ros.pipeline.lift_stage import to_skeleton
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter
from trpose_ros.recordings.messages import read_people
from trpose_ros.recordings.sources import open_source

TEST = Path(__file__).resolve().parents[1]
LAUNCH_FILE = TEST.parent / 'launch' / 'replay.launch.py'
LATEST_S = 240.0


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A network that sees a person in any crop, differently for each image, and random lifting."""
    folder = tmp_path_factory.mktemp('weights')
    save_network(folder / 'standing.safetensors', stand_in_network(image_gain=0.5))
    return {
        'model': str(folder / 'standing.safetensors'),
        'lifter_model': str(save_videopose3d(folder / 'v.safetensors')),
    }


@contextlib.contextmanager
def launched(context, domain, pose_node):
    """Start what the launch file describes; the pose node knows the stand-in network."""
    with contextlib.ExitStack() as stack:
        processes = {}
        for process in context.processes:
            command, environment = process.command, dict(process.environment)
            environment |= {'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
            if process.executable == 'pose_node':
                code = f'import sys; from standing.{pose_node} import main; sys.exit(main())'
                command = [sys.executable, '-c', code, *command[1:]]
                environment['PYTHONPATH'] = f'{TEST}:{os.environ.get("PYTHONPATH", "")}'
            started = NodeProcess(command, domain, **environment)
            stack.callback(started.close)
            processes[process.executable] = started
        yield processes


def run_live(tmp_path, bag, weights, pose_node='pose_node', listen=(), **arguments):
    """Launch, wait until the evaluation has ended, end the rest.

    Returns its exit code, what all nodes said, and the messages of people on topics to listen to.
    """
    parameters = tmp_path / 'parameters.yaml'
    parameters.write_text(
        '/**:\n  ros__parameters:\n    boxes: image\n    suppress_implausible: false\n'
        '    threads: 1\n'
    )
    given = {
        'bag': str(bag),
        'report': str(tmp_path / 'live'),
        'params_file': str(parameters),
        'device': 'cpu',
        'look_ahead': '2',
        'smoothing': '1',
        'in_step': 'true',
        **weights,
    }
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, **(given | arguments))
    with live() as world, launched(context, world.domain, pose_node) as processes:
        heard = [world.listen(topic, PersonArray, qos=1000) for topic in listen]
        try:
            code = processes['evaluation'].ended(LATEST_S)
        except subprocess.TimeoutExpired:
            words = '\n'.join(f'== {n}\n{p.text}' for n, p in processes.items())
            pytest.fail(f'the evaluation never ended:\n{words}\n{world.report()}')
        words = {name: process.text for name, process in processes.items()}
        others = [p for name, p in processes.items() if name != 'evaluation']
        assert [process.interrupt() for process in others] == [0] * len(others), words
        return code, words, heard


def config_of(weights, profile, look_ahead=2):
    given = {
        **{'device': 'cpu', 'lifter': '', 'look_ahead': look_ahead, 'num_aug': 1},
        'smoothing': min(look_ahead, 1),
        **{'estimator': 'metrabs_torch', 'boxes': 'image', 'occlusion': profile},
        **{'severity': -1, 'realisation': 'main', **weights},
    }
    return pipeline_config(given)


@pytest.fixture
def one_thread():
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def identity_of(bag):
    with contextlib.closing(open_source(bag)) as source:
        return source.identity


def run_offline(bag, out, weights, profile):
    options = ReplayOptions(identity=identity_of(bag), video=False, bag=False)
    return replay_and_report(bag, out, config_of(weights, profile), options)[1]


@pytest.mark.usefixtures('one_thread')
def test_live_and_offline_reports_agree(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    code, words, _ = run_live(tmp_path, bag, weights, occlusion='moving_box', namespace='robot')
    assert code == 0, words
    run_offline(bag, tmp_path / 'offline', weights, 'moving_box')
    live_rows = results.read_rows(tmp_path / 'live' / 'results.parquet')
    rows = results.read_rows(tmp_path / 'offline' / 'results.parquet')
    assert [(r['condition'], r['lifter']) for r in live_rows] == [
        ('clean', 'none'),
        ('clean', 'videopose3d@2+fusion'),
        ('moving_box', 'none'),
        ('moving_box', 'videopose3d@2+fusion'),
    ]
    for one, other in zip(live_rows, rows, strict=True):
        same = {key for key in other if not key.endswith('_ms') or key == 'lag_ms'}
        assert one['answered'] == 12, words
        assert {k: one[k] for k in same} == pytest.approx({k: other[k] for k in same}, nan_ok=True)
    assert live_rows[0]['estimator_p50_ms'] > 0
    assert 0 < live_rows[2]['hidden_percent'] < 100
    assert 'MPJPE' in (tmp_path / 'live' / 'report.html').read_text()
    for name in ('tables.md', 'tables.json'):
        live_text = (tmp_path / 'live' / name).read_text()
        assert 'moving_box' in live_text
    assert json.loads((tmp_path / 'live' / 'tables.json').read_text())['failed'] == {}
    assert 'MPJPE' in words['evaluation']
    for name in ('clean', 'moving_box'):  # what the videos and the player show
        (shown,), (other,) = (
            [scene for scene in load_scenes(tmp_path / run) if scene.condition == name]
            for run in ('live', 'offline')
        )
        assert list(shown.outputs_m) == ['none', 'videopose3d@2+fusion']
        assert shown.images == other.images
        assert len(shown.images) == 6
        for lifter, poses in shown.outputs_m.items():
            np.testing.assert_allclose(poses, other.outputs_m[lifter], atol=1e-5)


class Answered:
    """A source with the images of some stamps alone."""

    def __init__(self, source, stamps):
        self._source, self._stamps = source, set(stamps)
        self.name, self.rate_hz, self.problems = source.name, source.rate_hz, source.problems
        self.total = len(self._stamps)

    def frames(self):
        return (e for e in self._source.frames() if e.frame.stamp_ns in self._stamps)

    def close(self):
        self._source.close()


def last_pass(messages):
    """People by stamp since the recording was started last."""
    found = {}
    for message in messages:
        people = read_people(message)
        if found and people.stamp_ns <= max(found):
            found = {}
        found[people.stamp_ns] = people
    return found


@pytest.mark.slow  # five processes; what the evaluation makes of it is tested without them
@pytest.mark.usefixtures('one_thread')
def test_a_live_run_that_drops_images_is_a_replay_of_those_it_answers(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 60)
    topics = ('pose_node/people', 'lifter_node/people')
    code, words, heard = run_live(
        tmp_path,
        bag,
        weights,
        pose_node='slow_pose_node',
        listen=topics,
        occlusion='fixed_lower',
        in_step='false',
        look_ahead='0',  # others wait for images by the clock, which a busy machine shifts
    )
    assert code == 0, words
    posed, lifted = (last_pass(messages) for messages in heard)
    assert 1 < len(posed) < 60, words
    assert set(posed) == set(lifted)

    source = Answered(open_source(bag), posed)
    config = config_of(weights, 'fixed_lower', 0)
    options = ReplayOptions(identity=identity_of(bag), video=False, bag=False, keep=True)
    result = replay(source, tmp_path / 'offline', config, options)
    for live_people, offline in ((posed, result.people), (lifted, result.lifted)):
        assert set(live_people) == set(offline)
        for stamp, people in live_people.items():
            for name in PER_PERSON:
                if name != 'track_ids':  # those of the pass before are not given again
                    np.testing.assert_array_equal(
                        getattr(people, name), getattr(offline[stamp], name), err_msg=name
                    )
    # the same frames missing, the same errors: those of all images, and of the answered alone
    one = pass_of(result, config)
    for k in range(60):
        one.add_truth(true_people(k))
    live_rows = results.read_rows(tmp_path / 'live' / 'results.parquet')[2:]
    rows = rows_of([one], identity_of(bag))
    assert [r['lifter'] for r in rows] == [r['lifter'] for r in live_rows]
    for row, other in zip(live_rows, rows, strict=True):
        assert row['coverage_percent'] == other['coverage_percent'] < 100
        for name in ('mpjpe_mm', 'p_mpjpe_mm', 'mpjpe_output_mm', 'accel_mm_frame2', 'mrpe_mm'):
            assert row[name] == pytest.approx(other[name])
    played = Pass(one.condition, posed=posed, lifted=lifted, truth=one.truth)
    for row, other in zip(
        rows_of([played.restricted(posed)], 'a|b|c|d'),
        rows_of([one.restricted(posed)], 'a|b|c|d'),
        strict=True,
    ):
        assert row['coverage_percent'] == 100
        assert row['mpjpe_mm'] == pytest.approx(other['mpjpe_mm'])
    notes = json.loads((tmp_path / 'live' / 'tables.json').read_text())['notes']
    assert any('were not answered' in note for note in notes)


@pytest.mark.slow  # five processes; what the evaluation makes of it is tested without them
def test_without_truth_and_camera_info_the_untouched_pass_is_the_reference(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 8, truth=False, info=False)
    code, words, _ = run_live(tmp_path, bag, weights, occlusion='fixed_lower')
    assert code == 0, words
    rows = results.read_rows(tmp_path / 'live' / 'results.parquet')
    assert {r['reference'] for r in rows} == {'unoccluded run'}
    assert [r['condition'] for r in rows] == ['clean'] * 2 + ['fixed_lower'] * 2
    assert [r['mpjpe_mm'] for r in rows[:2]] == [0, 0]
    assert all(0 < r['mpjpe_mm'] < 1000 for r in rows[2:])
    notes = json.loads((tmp_path / 'live' / 'tables.json').read_text())['notes']
    assert any('field of view is assumed' in note for note in notes)


@pytest.mark.slow  # five processes; what the evaluation makes of it is tested without them
@pytest.mark.usefixtures('one_thread')
def test_truth_of_some_frames_in_another_skeleton_in_a_recording_that_was_cut_off(
    tmp_path, weights
):
    def told(k):
        return to_skeleton(true_people(k), 'coco_19') if 2 <= k < 5 else None

    bag = write_recording(tmp_path / 'in.mcap', 16, truth=told)
    content = bag.read_bytes()
    bag.write_bytes(content[: len(content) // 2])
    code, words, _ = run_live(tmp_path, bag, weights, occlusion='fixed_lower')
    assert code == 0, words
    run_offline(bag, tmp_path / 'offline', weights, 'fixed_lower')
    live_rows, rows = (
        results.read_rows(tmp_path / run / 'results.parquet') for run in ('live', 'offline')
    )
    assert len(live_rows) == len(rows) == 4
    for one, other in zip(live_rows, rows, strict=True):
        assert one['frames'] == other['frames'] == 3
        assert 5 < one['answered'] == other['answered'] < 16
        assert one['reference'] == 'truth'
        assert one['mpjpe_mm'] == pytest.approx(other['mpjpe_mm'])
    notes = json.loads((tmp_path / 'live' / 'tables.json').read_text())['notes']
    assert any('cut off' in note for note in notes), notes


@pytest.mark.slow  # the demonstration looks at the same, and evaluation names who never comes
def test_a_node_that_cannot_start_is_named(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 3)
    code, words, _ = run_live(tmp_path, bag, weights | {'model': 'no-such-model'})
    assert code == 1
    assert re.search(r'pose_node: configure failed: .*no-such-model', words['evaluation'])
    assert not (tmp_path / 'live' / 'results.parquet').exists()


# -- what is refused before anything starts -----------------------------------------------------


def refused(tmp_path, **arguments):
    with pytest.raises((RuntimeError, launch_standin.LaunchError)) as caught:
        launch_standin.launch(LAUNCH_FILE, tmp_path, **arguments)
    return str(caught.value)


def test_recordings_that_cannot_be_played_are_refused(tmp_path):
    assert 'give bag:=PATH' in refused(tmp_path)
    nowhere = str(tmp_path / 'nowhere.mcap')
    assert 'nowhere.mcap does not exist' in refused(tmp_path, bag=nowhere)
    blind = tmp_path / 'blind.mcap'
    with BagWriter(blind) as writer:
        writer.write('/truth', MessageMaker(writer.typestore).people(true_people(0)), 1)
    assert 'no image topic' in refused(tmp_path, bag=str(blind))
    bag = str(write_recording(tmp_path / 'in.mcap', 3))
    assert "no image topic '/left'" in refused(tmp_path, bag=bag, image_topic='/left')
    assert 'rate must be a number' in refused(tmp_path, bag=bag, rate='fast')
    assert 'severity must be a whole number' in refused(tmp_path, bag=bag, severity='hard')
    assert 'report names nothing' in refused(tmp_path, bag=bag, report='')
    assert 'turbo' in refused(tmp_path, bag=bag, params_file='turbo')
    (tmp_path / 'torn.mcap').write_bytes(Path(bag).read_bytes()[:60])
    assert 'cannot be played' in refused(tmp_path, bag=str(tmp_path / 'torn.mcap'))


def test_what_is_wrong_with_a_recording_is_said_at_the_start(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 12, truth=False)
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, bag=str(cut))
    text = '\n'.join(context.log)
    assert 'reading what is there' in text
    assert 'no ground truth' in text
    occluder = next(p for p in context.processes if p.executable == 'occlusion_node')
    assert 'people:=pose_node/people' in occluder.command


def test_nodes_take_simulated_time_and_models(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 3)
    context = launch_standin.launch(
        LAUNCH_FILE, tmp_path, bag=str(bag), occlusion='five', lifter='none', namespace='/robot/'
    )
    assert [p.executable for p in context.processes] == [
        *('player', 'occlusion_node', 'pose_node', 'lifter_node', 'evaluation')
    ]
    given = {}
    for process in context.processes:
        files = [b for a, b in itertools.pairwise(process.command) if a == '--params-file']
        given[process.executable] = yaml.safe_load(Path(files[-1]).read_text())['/**'][
            'ros__parameters'
        ]
    assert 'use_sim_time' not in given['player']
    assert given['player']['clock'] is True
    assert all(given[n]['use_sim_time'] for n in given if n != 'player')
    assert given['lifter_node']['lifter'] == 'none'
    assert given['lifter_node']['qos_overrides./robot/lifter_node/people.publisher.depth'] == 1000
    assert given['evaluation']['conditions'] == 'five'
    assert given['occlusion_node']['identity'] == given['evaluation']['identity']
    assert given['evaluation']['identity'] == 'bag|in|/camera/image_raw/compressed|0'


def given_to(context):
    given = {}
    for process in context.processes:
        files = [b for a, b in itertools.pairwise(process.command) if a == '--params-file']
        content = yaml.safe_load(Path(files[-1]).read_text())['/**']['ros__parameters']
        given[process.executable] = content
    return given


@pytest.mark.parametrize(
    ('section', 'namespace'),
    [('/**', ''), ('/*', ''), ('occlusion_node', ''), ('/r/pose_node', 'r'), ('/r/*', '/r/')],
)
def test_what_a_parameter_file_says_of_intrinsics_reaches_the_player(tmp_path, section, namespace):
    bag = write_recording(tmp_path / 'in.mcap', 3)
    file = tmp_path / 'own.yaml'
    file.write_text(
        f'{section}:\n  ros__parameters: {{rectified: true}}\n'
        'evaluation:\n  ros__parameters: {any_frame: true}\n'
    )
    arguments = {'bag': str(bag), 'params_file': str(file), 'namespace': namespace}
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, **arguments)
    assert {name: given.get('rectified') for name, given in given_to(context).items()} == (
        dict.fromkeys(('player', 'occlusion_node', 'pose_node', 'lifter_node', 'evaluation'), True)
    )
    assert 'any_frame' not in given_to(context)['player']
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, **arguments, rectified='false')
    assert given_to(context)['player']['rectified'] is False  # an argument comes before a file


def test_what_is_for_other_nodes_or_no_switch(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 3)
    file = tmp_path / 'own.yaml'
    file.write_text('/other/occlusion_node:\n  ros__parameters: {rectified: true}\n')
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, bag=str(bag), params_file=str(file))
    assert 'rectified' not in given_to(context)['player']
    file.write_text('/**:\n  ros__parameters: {rectified: maybe}\n')
    words = refused(tmp_path, bag=str(bag), params_file=str(file))
    assert "rectified must be true or false, got 'maybe'" in words
    file.write_text('a: [\n')
    assert 'own.yaml is not plain YAML' in refused(tmp_path, bag=str(bag), params_file=str(file))


def test_every_argument_is_described():
    assert all(argument.help for argument in REPLAY_ARGUMENTS)
    assert len({argument.name for argument in REPLAY_ARGUMENTS}) == len(REPLAY_ARGUMENTS)

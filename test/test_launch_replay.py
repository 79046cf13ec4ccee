"""launch/replay.launch.py: a recording through the real nodes; a replay without ROS agrees."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
pytest.importorskip('pyarrow')

import launch_standin
from live import live
from metrabs_stand_in import save_network
from metrabs_stand_in import stand_in_network
from processes import NodeProcess
from random_weights import save_videopose3d
from recordings import write_recording

from trpose_ros.cli import _pipeline_config
from trpose_ros.evaluation import results
from trpose_ros.replay import ReplayOptions
from trpose_ros.replay_report import replay_and_report
from trpose_ros.sources import open_source

TEST = Path(__file__).resolve().parent
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
def launched(context, domain):
    """Start what the launch file describes; the pose node knows the stand-in network."""
    with contextlib.ExitStack() as stack:
        processes = {}
        for process in context.processes:
            command, environment = process.command, dict(process.environment)
            environment |= {'OMP_NUM_THREADS': '1', 'PYTHONUNBUFFERED': '1'}
            if process.executable == 'pose_node':
                code = 'import sys; from standing.pose_node import main; sys.exit(main())'
                command = [sys.executable, '-c', code, *command[1:]]
                environment['PYTHONPATH'] = f'{TEST}:{os.environ.get("PYTHONPATH", "")}'
            started = NodeProcess(command, domain, **environment)
            stack.callback(started.close)
            processes[process.executable] = started
        yield processes


def run_live(tmp_path, bag, weights, latest_s=LATEST_S, **arguments):
    """Launch, wait until the evaluation has ended, end the rest; return its log and code."""
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
        'in_step': 'true',
        **weights,
    }
    context = launch_standin.launch(LAUNCH_FILE, tmp_path, **(given | arguments))
    with live() as world, launched(context, world.domain) as processes:
        try:
            code = processes['evaluation'].ended(latest_s)
        except subprocess.TimeoutExpired:
            words = '\n'.join(f'== {n}\n{p.text}' for n, p in processes.items())
            pytest.fail(f'the evaluation never ended:\n{words}\n{world._never()}')
        words = {name: process.text for name, process in processes.items()}
        others = [p for name, p in processes.items() if name != 'evaluation']
        assert [process.interrupt() for process in others] == [0] * len(others), words
        return code, words


def run_offline(tmp_path, bag, weights, profile):
    import torch

    given = {
        **{'device': 'cpu', 'lifter': '', 'look_ahead': 2, 'num_aug': 1, 'boxes': 'image'},
        **{'estimator': 'metrabs_torch', 'occlusion': profile, 'severity': -1},
        **{'realisation': 'main', **weights},
    }
    with contextlib.closing(open_source(bag)) as source:
        identity = source.identity
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = ReplayOptions(identity=identity, video=False, bag=False)
        return replay_and_report(bag, tmp_path / 'offline', _pipeline_config(given), options)
    finally:
        torch.set_num_threads(threads)


def test_live_and_offline_reports_agree(tmp_path, weights):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    code, words = run_live(tmp_path, bag, weights, occlusion='moving_box', namespace='robot')
    assert code == 0, words
    run_offline(tmp_path, bag, weights, 'moving_box')
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
    for name in ('tables.md', 'tables.json'):
        live_text = (tmp_path / 'live' / name).read_text()
        assert 'moving_box' in live_text
    assert json.loads((tmp_path / 'live' / 'tables.json').read_text())['failed'] == {}
    assert 'MPJPE' in words['evaluation']

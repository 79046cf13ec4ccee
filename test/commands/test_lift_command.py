"""``trpose lift``: the page docs/lift.md from end to end, archives, and errors in one line."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
from made_people import metadata
from random_weights import save_lifter
from typer.testing import CliRunner

from trpose_ros.archives import load_arrays
from trpose_ros.commands.main import app
from trpose_ros.data.motion.files import read_bvh
from trpose_ros.exports.files import EXPORTS
from trpose_ros.pipeline.lift_stage import LiftStage

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'lift.md'
BLOCKS = re.compile(r'^```(python|bash)\n(.*?)^```', re.M | re.S)


def run(*arguments):
    return CliRunner().invoke(app, ['lift', *map(str, arguments)])


def one_line(result, words):
    assert result.exit_code == 1
    assert words in result.output
    assert result.output.startswith('trpose: ')
    assert len(result.output.splitlines()) == 1


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / 'data_2d_custom_my.npz'
    points = np.random.default_rng(0).uniform(100, 300, (12, 17, 2)).astype(np.float32)
    more = {'video_metadata': {'view.mp4': {'w': 640, 'h': 400}}}
    np.savez(
        path,
        positions_2d=np.array({'view.mp4': {'custom': [points, None]}}, dtype=object),
        metadata=np.array({**metadata('coco_17'), **more}, dtype=object),
    )
    return path


def test_the_page_is_what_happens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = BLOCKS.findall(PAGE.read_text(encoding='utf-8'))
    assert [kind for kind, _ in blocks] == ['python', 'bash', 'python']
    for kind, text in blocks:
        if kind == 'python':
            exec(text, names)  # the documentation's own code
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line)
            assert program == 'trpose'
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.output
    assert '(20, 1, 17, 3)' in capsys.readouterr().out
    assert np.isfinite(names['joints']).all()
    names['read'].close()
    left = {path.name for path in (tmp_path / 'lifted').iterdir()}
    assert left == {'joints.npz', 'joints.csv', 'joints.json', 'joints-0.bvh', 'joints-0.trc'}
    assert len(read_bvh(tmp_path / 'lifted' / 'joints-0.bvh')) == 20


def test_the_page_names_all_formats():
    text = PAGE.read_text(encoding='utf-8')
    for name in EXPORTS:
        assert f'| `{name}` |' in text


@pytest.mark.parametrize('lifter', ['mixste', 'videopose3d'])
def test_an_archive(tmp_path, archive, lifter):
    model = save_lifter(tmp_path / f'{lifter}.safetensors', lifter)
    out = tmp_path / 'out' / 'joints.npz'
    result = run(archive, '--lifter', lifter, '--lifter-model', model, '--rate', 30, '--out', out)
    assert result.exit_code == 0, result.output
    assert '12 frames, 1 tracks, 12 skeletons' in result.output
    read = load_arrays(out)
    assert read['joints_m'].shape == (12, 1, 17, 3)
    assert np.isfinite(read['joints_m']).all()
    facts = json.loads(str(read['facts']))
    assert (facts['lifter'], facts['licence']) == (lifter, 'Apache-2.0')
    assert (facts['width'], facts['height'], facts['source_skeleton']) == (640, 400, 'coco_17')


def small(tmp_path):
    return '--lifter-model', save_lifter(tmp_path / 'v.safetensors', 'videopose3d'), '--rate', 30


def test_as_json_and_quiet(tmp_path, archive):
    out = tmp_path / 'j.npz'
    result = run(archive, *small(tmp_path), '--out', out, '--json')
    document = json.loads(result.stdout)
    assert (document['command'], document['exit_code'], document['frames']) == ('lift', 0, 12)
    assert document['files'] == [str(out)]
    result = run(archive, *small(tmp_path), '--out', out, '--quiet')
    assert (result.exit_code, result.output) == (0, '')


def test_ctrl_c_leaves_the_frames_until_then(tmp_path, archive, monkeypatch):
    push, count = LiftStage.push, itertools.count(1)

    def stop(self, *given):
        if next(count) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return push(self, *given)

    monkeypatch.setattr(LiftStage, 'push', stop)
    out = tmp_path / 'j.npz'
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = run(archive, *small(tmp_path), '--out', out, '--json')
    finally:
        signal.signal(signal.SIGINT, before)
    document = json.loads(result.stdout)
    assert (result.exit_code, document['exit_code'], document['interrupted']) == (130, 130, True)
    assert document['problems'][-1] == 'stopped by Ctrl-C after 5 of 12 frames'
    read = load_arrays(out)
    assert read['joints_m'].shape == (5, 1, 17, 3)
    assert json.loads(str(read['facts']))['frame_numbers'] == [0, 4]


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        ([], 'does not state its rate: give --rate'),
        (['--rate', 30, '--size', '320x200'], 'the file says 640x400, --size says 320x200'),
        (['--rate', 30, '--size', 'large'], '--size must be WIDTHxHEIGHT such as 1920x1080'),
        (['--rate', 1e9], '--rate must lie in'),
        (['--rate', 30, '--take', 'x/y'], "has no take 'x/y'"),
        (['--rate', 30, '--export', 'fbx'], "unknown export 'fbx'"),
        (['--rate', 30, '--out', 'joints.csv'], '--out must end in .npz'),
        (['--rate', 30, '--lifter', 'none'], "lifter 'none' lifts nothing"),
        (['--rate', 30, '--lifter', 'x' * 3], "'xxx'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, archive, options, words):
    model = save_lifter(tmp_path / 'tiny.safetensors', 'videopose3d')
    one_line(run(archive, '--lifter-model', model, *options), words)


def test_a_file_that_is_not_there(tmp_path):
    one_line(run(tmp_path / 'nothing.json'), 'does not exist')

"""The table of exit codes in docs/commands.md is what the commands return; what scripts read."""

from __future__ import annotations

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from offline.test_replay import stand_ins
from picture_stand_in import draw
from picture_stand_in import pipeline as still_stages
from random_weights import save_lifter
from recordings import write_recording
from typer.testing import CliRunner

from trpose_ros.commands import doctor as doctor_command
from trpose_ros.commands import evaluate as evaluate_command
from trpose_ros.commands import main as cli
from trpose_ros.demo import demo as demo_module
from trpose_ros.doctor.checkup import Section
from trpose_ros.doctor.findings import ok, problem
from trpose_ros.evaluation import runner
from trpose_ros.interruption import Interruption
from trpose_ros.offline import replay as replay_module
from trpose_ros.offline import run as run_module
from trpose_ros.offline.replay import ReplayOptions, replay
from trpose_ros.pipeline import stills
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.pipeline.pipeline import Pipeline
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.sources import open_source

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'commands.md'
ROW = re.compile(r'^\| (\w+) \| (\d+) \|', re.MULTILINE)


class Bare(Pipeline):
    """The stages without their networks; ``stop_at``: Ctrl-C while it works on that frame."""

    stop_at = 0
    raises = False

    def __init__(self, *_, **__):
        made = stand_ins()
        super().__init__(pose=made.pose, lift=made.lift)
        self.count = 0

    def process(self, *arguments):
        self.count += 1
        if self.count == self.stop_at:
            if self.raises:
                raise KeyboardInterrupt
            os.kill(os.getpid(), 2)
        return super().process(*arguments)


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def given(tmp_path, monkeypatch):
    """Stand-ins for whatever a recipe needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(replay_module, 'Pipeline', Bare)
    monkeypatch.setattr(run_module, 'Pipeline', Bare)
    monkeypatch.setattr(Bare, 'stop_at', 0)
    monkeypatch.setattr(Bare, 'raises', False)
    monkeypatch.setattr(stills, 'build_pose_stage', lambda c, *_, **__: still_stages().pose)
    write_recording(tmp_path / 'in.mcap', 6)
    return types.SimpleNamespace(path=tmp_path, patch=monkeypatch)


def fake_evaluation(given, failed=(), stops=False):
    class Run:
        def __init__(self, config, clips, folder, **_):
            self.folder, self.cases, self.failed = folder, [], dict(failed)

        def steps(self):
            if stops:
                raise KeyboardInterrupt
            return iter(())

        def rows(self):
            return []

    clip = types.SimpleNamespace(identity='a|b|c|d')
    what = evaluate_command._Comparison(('x',), ('none',), {})
    given.patch.setattr(runner, 'EvaluationRun', Run)
    given.patch.setattr(evaluate_command, '_open', lambda *_: [clip])
    given.patch.setattr(evaluate_command, '_what_to_compare', lambda *_: what)
    given.patch.setattr('trpose_ros.evaluation.sequences.turned_clip', lambda clip, _: clip)
    return evaluate('--no-report', '--json')


def evaluate(*arguments):
    return CliRunner().invoke(evaluate_command.app, list(arguments))


def doctor(given, finding):
    def examine(checks):
        return (Section(check, [finding], 0.0) for check in checks)

    given.patch.setattr(doctor_command, 'examine', examine)
    return CliRunner().invoke(doctor_command.app, ['--only', 'disk'])


def lift(given, stops=False):
    np.save(given.path / 'k.npy', np.random.default_rng(0).uniform(100, 300, (6, 17, 2)))
    weights = save_lifter(given.path / 'v.safetensors', 'videopose3d')
    if stops:
        before = LiftStage.push

        def push(*arguments):
            os.kill(os.getpid(), 2)
            return before(*arguments)

        given.patch.setattr(LiftStage, 'push', push)
    file = ('k.npy', '--skeleton', 'h36m_17', '--unit', 'px', '--size', '640x480', '--rate', 30)
    return run('lift', *file, '--lifter-model', weights, '--json')


def demo(given, fails=False):
    def play(out, **_):
        if fails:
            raise demo_module.DemoError('pose_node ended')
        out.mkdir(parents=True)
        (out / 'table.json').write_text('{"protocol": "v1"}')

    given.patch.setattr(demo_module, 'run_demo', play)
    return run('demo', '--json')


def stopped(given, *arguments, raises=False):
    given.patch.setattr(Bare, 'stop_at', 3)
    given.patch.setattr(Bare, 'raises', raises)
    return run(*arguments)


def as_main(module, *arguments):
    app = importlib.import_module(f'trpose_ros.commands.{module}').app
    return CliRunner().invoke(app, list(arguments))


RECIPES = {
    ('any', 2): lambda g: run('run', '--no-such-option'),
    ('any', 130): lambda g: loading_stopped(g),
    ('run', 0): lambda g: run('run', 'in.mcap'),
    ('run', 1): lambda g: run('run', 'none.mcap'),
    ('run', 130): lambda g: stopped(g, 'run', 'in.mcap', raises=True),
    ('replay', 0): lambda g: run('replay', 'in.mcap'),
    ('replay', 1): lambda g: run('replay', 'none.mcap'),
    ('replay', 130): lambda g: stopped(g, 'replay', 'in.mcap'),
    ('evaluate', 0): lambda g: fake_evaluation(g),
    ('evaluate', 1): lambda g: fake_evaluation(g, failed={'a': 'b'}),
    ('evaluate', 2): lambda g: evaluate('--data', 'none.mcap', '--lifter', 'none', '--no-report'),
    ('evaluate', 130): lambda g: fake_evaluation(g, stops=True),
    ('lift', 0): lambda g: lift(g),
    ('lift', 1): lambda g: run('lift', 'none.json'),
    ('lift', 130): lambda g: lift(g, stops=True),
    ('demo', 0): lambda g: demo(g),
    ('demo', 1): lambda g: demo(g, fails=True),
    ('doctor', 0): lambda g: doctor(g, ok('fine')),
    ('doctor', 1): lambda g: doctor(g, problem('a', 'b', 'c')),
    ('weights', 1): lambda g: as_main('weights', 'verify', 'no-such-weights'),
    ('messages', 1): lambda g: run('messages'),
    ('train', 1): lambda g: run('train', 'nothing'),
    ('report', 1): lambda g: as_main('report', 'report', 'nothing'),
    ('compare', 1): lambda g: as_main('report', 'compare', 'a.mcap', 'b.mcap'),
}


def loading_stopped(given):
    def stop(*_, **__):
        raise KeyboardInterrupt

    given.patch.setattr(run_module, 'Pipeline', stop)
    return run('run', 'in.mcap')


def test_the_table_has_a_recipe_for_each_row_and_no_more():
    rows = [(command, int(code)) for command, code in ROW.findall(PAGE.read_text('utf-8'))]
    assert sorted(rows) == sorted(RECIPES)


@pytest.mark.parametrize(('command', 'code'), RECIPES, ids=lambda value: str(value))
def test_exit_code(given, command, code):
    result = RECIPES[command, code](given)
    assert result.exit_code == code, result.output


def document(result):
    return json.loads(result.stdout)


def test_run_as_json(given):
    text = document(run('run', 'in.mcap', '--json'))
    assert text['command'] == 'run'
    assert (text['exit_code'], text['frames'], text['interrupted']) == (0, 6, False)
    result = stopped(given, 'run', 'in.mcap', '--out', 'a.mp4', '--json', raises=True)
    text = document(result)
    assert (text['exit_code'], text['frames'], text['out']) == (130, 2, 'a.mp4')
    assert (given.path / 'a.mp4').stat().st_size > 0


def test_pictures_as_json(given):
    draw(given.path / 'pictures' / 'a.png')
    (given.path / 'pictures' / 'b.jpg').write_text('x')
    text = document(run('run', 'pictures', '--json', '--lifter', 'mixste'))
    assert (text['pictures'], text['read'], text['people'], text['skipped']) == (2, 1, 2, 1)
    assert 'is no picture' in text['failed'][0]['reason']
    assert any('not lifted' in problem for problem in text['problems'])


def test_replay_as_json_after_ctrl_c_is_usable(given):
    text = document(stopped(given, 'replay', 'in.mcap', '--json'))
    assert (text['exit_code'], text['frames'], text['interrupted']) == (130, 3, True)
    assert 'stopped by Ctrl-C after 3 frames' in text['problems'][0]
    out = given.path / 'out' / 'replay'
    assert sorted(path.name for path in out.iterdir()) == [
        'annotated.mp4',
        'metrics.json',
        'result.mcap',
    ]
    with BagReader(out / 'result.mcap') as bag:
        assert sum(m.topic == replay_module.IMAGE_TOPIC for m in bag.messages()) == 3
    assert json.loads((out / 'metrics.json').read_text())['frames'] == 3


def test_evaluation_as_json(given):
    text = document(fake_evaluation(given, failed={'a': 'no weights'}))
    assert (text['rows'], text['failed'], text['exit_code']) == (0, {'a': 'no weights'}, 1)


@pytest.mark.parametrize('command', ['run', 'replay'])
def test_quiet(given, command):
    result = run(command, 'in.mcap', '--quiet')
    assert (result.exit_code, result.output) == (0, '')
    result = run(command, 'none.mcap', '--json')
    assert result.stdout == ''
    assert 'none.mcap does not exist' in result.stderr


@pytest.fixture
def own_handler():
    """Give Ctrl-C Python's own handler: tests of nodes that ran before may have left ROS's."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_second_ctrl_c_ends_at_once(own_handler):
    with Interruption() as interruption:
        os.kill(os.getpid(), 2)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), 2)
    with pytest.raises(KeyboardInterrupt):  # as before
        os.kill(os.getpid(), 2)


def test_replay_in_another_thread(given):
    results = []

    def work():
        options = ReplayOptions(bag=False, video=False)
        results.append(replay(open_source('in.mcap'), 'out', None, options, pipeline=Bare()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].frames == 6


def test_completion():
    base = {**os.environ, '_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION': '1'}
    command = [sys.executable, '-m', 'trpose_ros']
    asked = [*command, '--show-completion', 'bash']
    shown = subprocess.run(
        asked,
        env=base,
        capture_output=True,
        text=True,
        check=True,
    )
    assert '_TRPOSE_COMPLETE=complete_bash' in shown.stdout
    variables = {**base, '_TRPOSE_COMPLETE': 'complete_bash', 'COMP_WORDS': 'trpose do'}
    found = subprocess.run(
        command, env={**variables, 'COMP_CWORD': '1'}, capture_output=True, text=True, check=False
    )
    assert found.stdout.split() == ['doctor']

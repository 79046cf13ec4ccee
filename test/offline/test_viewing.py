"""``--view`` and ``--save-view`` of run and replay: what is shown is what came out."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from doubles import STEP_NS
from offline.test_replay import stand_ins
from recordings import START_NS, write_recording
from typer.testing import CliRunner

pytest.importorskip('rerun', reason='needs pip install "trpose_ros[view]"')

from viewer.test_rerun_log import read

from trpose_ros.commands import main as cli
from trpose_ros.offline import replay as replay_module
from trpose_ros.offline import run as run_module
from trpose_ros.offline.replay import ReplayOptions, replay
from trpose_ros.offline.run import watch
from trpose_ros.offline.viewing import ViewOptions
from trpose_ros.recordings.sources import open_source
from trpose_ros.viewer import sinks

STAMPS = [START_NS + k * STEP_NS for k in range(6)]


@pytest.fixture
def bag(tmp_path):
    return write_recording(tmp_path / 'in.mcap', 6)


def test_a_replay_shows_everything_with_the_truth(tmp_path, bag):
    options = ReplayOptions(video=False, keep=True, view=ViewOptions(save=tmp_path / 'x.rrd'))
    occlusion = {'profile': 'fixed_lower', 'realisation': 'crop'}
    result = replay(open_source(bag), tmp_path, None, options, pipeline=stand_ins(2, occlusion))
    assert result.view == tmp_path / 'x.rrd'
    assert result.problems == []
    found = read(result.view)
    assert list(found['/world/camera/image']['blob']) == STAMPS
    assert list(found['/world/truth/bones']['strips']) == STAMPS
    joints = found['/world/skeletons/joints']['positions']
    assert list(joints) == STAMPS  # those that waited for a future, too
    for stamp, people in result.lifted.items():
        np.testing.assert_array_equal(joints[stamp], people.joints_m[0])
    pixels = found['/world/camera/joints']['positions']
    for stamp, people in result.people.items():
        np.testing.assert_array_equal(pixels[stamp], people.joints_px[0])
    heights = {row[0][1] for row in found['/world/camera']['resolution'].values()}
    assert max(heights) < 480  # that of the image as the estimator saw it


def test_a_run_shows_the_same(tmp_path, bag):
    view = ViewOptions(save=tmp_path / 'x.rrd', jpeg_quality=0)
    result = watch(open_source(bag), None, view=view, pipeline=stand_ins())
    found = read(result.view)
    assert list(found['/world/camera/image']['buffer']) == STAMPS
    assert list(found['/world/skeletons/joints']['positions']) == STAMPS


def test_a_file_that_cannot_be_finished_costs_nothing_else(tmp_path, bag, monkeypatch):
    monkeypatch.setattr(sinks, 'is_whole', lambda path: False)
    options = ReplayOptions(video=False, view=ViewOptions(save=tmp_path / 'out' / 'x.rrd'))
    result = replay(open_source(bag), tmp_path / 'out', None, options, pipeline=stand_ins())
    assert result.lost == ['x.rrd']
    assert 'its end is missing' in result.problems[-1]
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'result.mcap', 'metrics.json'}
    view = ViewOptions(save=tmp_path / 'y.rrd')
    assert watch(open_source(bag), None, view=view, pipeline=stand_ins()).lost == ['y.rrd']


def test_after_an_error_no_file_is_left(tmp_path, bag, monkeypatch):
    def fail(*_, **__):
        raise ValueError('no such weights')

    monkeypatch.setattr(replay_module, 'Pipeline', fail)
    options = ReplayOptions(view=ViewOptions(save=tmp_path / 'x.rrd'))
    with pytest.raises(ValueError, match='no such weights'):
        replay(open_source(bag), tmp_path / 'out', None, options)
    assert [path.name for path in tmp_path.iterdir()] == ['in.mcap']


def call(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.mark.parametrize('command', ['run', 'replay'])
def test_the_commands_name_the_file(tmp_path, bag, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for module in (replay_module, run_module):
        monkeypatch.setattr(module, 'Pipeline', lambda *_, **__: stand_ins())
    result = call(command, bag, '--save-view', 'x.rrd', '--view-quality', 40, '--json')
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)['view'] == 'x.rrd'
    assert len(read('x.rrd')['/world/camera/image']['blob']) == 6


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (('--view',), 'a viewer needs a display, and there is none'),
        (('--save-view', 'x.mp4'), 'x.mp4 must end in .rrd'),
    ],
)
def test_what_cannot_be_shown_is_said_before_anything_is_loaded(
    tmp_path, bag, monkeypatch, arguments, words
):
    monkeypatch.setattr(sinks, '_listens', lambda port: False)
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    for command in ('run', 'replay'):
        result = call(command, bag, '--out', tmp_path / 'out' / 'x.mp4', *arguments)
        assert result.exit_code == 1
        assert words in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['in.mcap']


def test_without_rerun_the_command_names_the_extra(bag, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rerun', None)
    result = call('run', bag, '--view')
    assert result.exit_code == 1
    assert 'pip install "trpose_ros[view]"' in result.stderr


def test_pictures_have_no_time(tmp_path):
    (tmp_path / 'x.png').write_bytes(b'')
    result = call('run', tmp_path / 'x.png', '--view')
    assert result.exit_code == 1
    assert '--view is for what has a time' in result.stderr

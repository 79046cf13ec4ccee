"""docs/several_cameras.md: its calibration and its commands are what happens."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import several_recordings as made
from typer.testing import CliRunner

from trpose_ros.commands.main import app
from trpose_ros.evaluation.several_cameras import Score, table
from trpose_ros.multiview.rig_file import read_rig
from trpose_ros.offline import replay as replay_module

PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'several_cameras.md').read_text('utf-8')


def region(name):
    found = re.search(f'<!-- {name} -->\n(.*?)<!-- end: {name} -->', PAGE, re.DOTALL)
    return found[1]


def test_the_calibration_of_the_page_is_one(tmp_path):
    path = tmp_path / 'rig.yaml'
    path.write_text(region('calibration').removeprefix('```yaml\n').removesuffix('```\n'))
    rig = read_rig(path)
    assert (rig.names, rig.world) == (('front', 'rear'), 'map')
    for camera in rig.cameras:  # each looks at the other one, upright
        ahead, down = camera.placement.rotation[:, 2], camera.placement.rotation[:, 1]
        np.testing.assert_allclose(camera.placement.position_m + 3 * ahead, [0, 0, 1.2], atol=1e-9)
        np.testing.assert_allclose(down, [0, 0, -1], atol=1e-9)


def commands():
    return [line.strip() for line in region('commands').splitlines() if line.strip()]


@pytest.mark.parametrize('command', commands())
def test_the_commands_of_the_page_join_people(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(replay_module, 'Pipeline', made.StandIn)
    made.write(tmp_path, ('front', 'rear'), one='all.mcap' in command)
    if 'a.mcap' in command:
        Path('front.mcap').rename('a.mcap')
        Path('rear.mcap').rename('b.mcap')
    made.calibration(Path('rig.yaml'), ('front', 'rear'))
    program, *words = shlex.split(command)
    assert program == 'trpose'
    answer = CliRunner().invoke(app, words, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    out = Path('out/several' if '--out' in words else 'out/replay')
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['people'] == 2
    assert metrics['problems'] == []
    assert (out / 'result.mcap').is_file()
    assert (out / 'front' / 'annotated.mp4').is_file() == ('--no-video' not in words)
    assert (out / 'people-0.bvh').is_file() == ('--export' in words)


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        (['--report'], '--report is of one camera'),
        (['--view'], '--view shows one camera'),
        (['--save-view', 'x.rrd'], '--view shows one camera'),
    ],
)
def test_what_is_of_one_camera_is_refused(tmp_path, monkeypatch, option, words):
    monkeypatch.chdir(tmp_path)
    made.calibration(Path('rig.yaml'), ('front', 'rear'))
    command = ['replay', 'front.mcap', 'rear.mcap', '--calibration', 'rig.yaml', *option]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 1
    assert words in answer.stderr


def test_a_table_has_a_line_for_each_camera():
    lines = list(table([Score('front', 0.5, 1.0, 200.4, 80.2, float('nan'), 3, 2)]))
    assert lines[-1] == '| front | 50 % | 100 % | 200 | 80 | - | 3 | 2 |'
    heads = re.findall(r'^\| camera \| found .*$', PAGE, re.M)
    assert heads == [lines[0]] * 2

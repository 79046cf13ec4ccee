"""The command line: help, sub-commands of other modules, errors in one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from recordings import write_recording
from typer.testing import CliRunner

from trpose_ros.commands import main as cli
from trpose_ros.commands.given import pipeline_config
from trpose_ros.pipeline.pipeline import PipelineConfig

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(cli.app, [str(a) for a in arguments])


def test_help_names_the_commands_and_needs_no_torch():
    code = (
        'import sys, trpose_ros.commands.main; '
        'sys.exit("torch" in sys.modules or "rclpy" in sys.modules)'
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
    result = run('--help')
    assert result.exit_code == 0
    for name in ('replay', 'run', 'demo', 'train', 'weights', 'data', 'evaluate'):
        assert name in result.output


@pytest.mark.parametrize('command', ['replay', 'run'])
def test_source_that_is_not_there(command, tmp_path):
    result = run(command, tmp_path / 'nothing.mcap', '--out', tmp_path / 'out')
    assert result.exit_code == 1
    assert 'nothing.mcap does not exist' in result.output
    assert 'Traceback' not in result.output
    result = run(command, tmp_path / 'nothing.mp4', '--out', tmp_path / 'out')
    assert 'nothing.mp4 does not exist' in result.output


def test_weights_that_are_not_there(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 2)
    result = run('replay', bag, '--out', tmp_path / 'out', '--model', 'no-such-model')
    assert result.exit_code == 1
    assert 'no-such-model' in result.output
    assert 'Traceback' not in result.output


def test_occlusion_that_is_not_known(tmp_path):
    bag = write_recording(tmp_path / 'in.mcap', 2)
    result = run('replay', bag, '--occlusion', 'fog')
    assert result.exit_code == 1
    assert 'fog' in result.output
    assert 'moving_box' in result.output


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--depth-topic', '/camera/depth'], "no topic '/camera/depth' of depth images"),
        (['--depth-topic', '/d', '--occlusion', 'fixed_lower'], 'neither --occlusion nor --report'),
        (['--depth-topic', '/d', '--report'], 'neither --occlusion nor --report'),
    ],
)
def test_depth_that_is_not_there_or_would_see_through_an_occlusion(tmp_path, options, words):
    bag = write_recording(tmp_path / 'in.mcap', 2)
    result = run('replay', bag, '--out', tmp_path / 'out', *options)
    assert result.exit_code == 1
    assert words in ' '.join(result.output.split())
    assert not (tmp_path / 'out').exists()


def test_pictures_have_no_depth(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    result = run('run', tmp_path / 'a.png', '--depth-topic', '/d')
    assert result.exit_code == 1
    assert 'pictures have no --depth-topic' in ' '.join(result.output.split())


def test_options_become_the_configuration():
    given = {
        'device': 'cpu',
        'lifter': 'none',
        'lifter_model': '',
        'look_ahead': 3,
        'smoothing': 1,
        'fusion': 'refinement',
        'num_aug': 2,
        'model': '',
        'estimator': 'metrabs_tf',
        'boxes': 'image',
        'occlusion': 'fixed_upper',
        'severity': 2,
        'realisation': 'crop',
    }
    config = pipeline_config(given)
    assert config.estimator_name == 'metrabs_tf'
    assert config.estimator.model == PipelineConfig().estimator.model
    assert (config.estimator.num_aug, config.estimator.device) == (2, 'cpu')
    assert (config.lifter.name, config.lifter.look_ahead) == ('none', 3)
    assert config.lifter.smoothing == 1
    assert config.lift.fusion == 'refinement'
    assert config.pose.boxes == 'image'
    assert (config.occlusion.severity_index, config.occlusion.cuts) == (2, True)


@pytest.mark.parametrize(
    ('missing', 'words'),
    [
        ('numba', 'pip install "trpose_ros[train]"'),
        ('tensorflow', 'pip install "trpose_ros[tensorflow]"'),
        ('trpose_ros.msg', 'make messages'),
        ('nothing.part', 'pip install nothing'),
    ],
)
def test_missing_extra_is_named(monkeypatch, missing, words):
    def fail(name):
        raise ModuleNotFoundError(f'No module named {missing!r}', name=missing)

    monkeypatch.setattr(cli.importlib, 'import_module', fail)
    result = run('weights', 'list', '--all')
    assert result.exit_code == 1
    assert words in result.output


def test_rest_of_the_line_goes_to_the_other_module(monkeypatch):
    seen = {}

    class Part:
        @staticmethod
        def app(args, prog_name):
            seen.update(args=args, prog_name=prog_name)

    monkeypatch.setattr(cli.importlib, 'import_module', lambda name: Part)
    assert run('data', 'sample', '--out', 'x', '--help').exit_code == 0
    assert seen == {'args': ['sample', '--out', 'x', '--help'], 'prog_name': 'trpose data'}


def test_unknown_network_to_train():
    result = run('train', 'nothing')
    assert result.exit_code == 1
    assert 'metrabs' in result.output

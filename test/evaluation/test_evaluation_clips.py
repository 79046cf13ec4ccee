"""What can be evaluated: samples, recordings, the command line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from evaluation_stand_in import (
    FPS,
    FRAMES,
    _estimator,  # noqa: F401 - a fixture
    config,
    finish,
    recording,
    sample,
)
from typer.testing import CliRunner

from trpose_ros.cameras import project
from trpose_ros.commands.evaluate import app
from trpose_ros.data.registry import DATASETS
from trpose_ros.data.samples import DataError
from trpose_ros.evaluation.excerpts import load_scenes
from trpose_ros.evaluation.runner import EvaluationRun
from trpose_ros.evaluation.sequences import clip_of_bag, clip_of_sample, turned_clip
from trpose_ros.occlusion.occluder import FIVE
from trpose_ros.recordings.sources import SourceError

pytest.importorskip('pyarrow')


def test_samples_become_clips():
    made = clip_of_sample(sample())
    assert made.identity == 'd|s|a|c'
    assert len(made.truth) == 3
    frames = list(made.frames())
    assert [f.stamp_ns for f in frames] == sorted(made.truth) == sorted(made.boxes_px)
    moved = sample().joints_m + np.float32(0.1)
    assert clip_of_sample(sample(joints_m=moved)).fingerprint != made.fingerprint
    assert clip_of_sample(sample()).fingerprint == made.fingerprint
    for lacking, word in (('camera', 'camera intrinsics'), ('joints_px', '2D joints')):
        with pytest.raises(DataError, match=f'has no {word}'):
            clip_of_sample(sample(**{lacking: None}))
    blind = clip_of_sample(sample(images=None))  # serves the 2D of the truth
    assert len(blind.truth) == 3
    with pytest.raises(DataError, match=r'no images, which .*truth2d'):
        list(blind.frames())
    with pytest.raises(DataError, match='3D joints'):
        clip_of_sample(sample(root_relative=True))


def test_recordings_with_truth_for_part_of_the_time(tmp_path):
    made = clip_of_bag(recording(tmp_path / 'a.mcap', truth=range(4, 9)))
    assert len(made.truth) == 5
    assert len(list(made.frames())) == FRAMES
    assert made.fps == pytest.approx(FPS, rel=1e-3)
    run = EvaluationRun(config(), [made], tmp_path / 'out')
    assert not any(error for _, _, error in finish(run))
    assert {r['frames'] for r in run.rows()} == {5}


def test_recordings_that_lack_something(tmp_path):
    bare = clip_of_bag(recording(tmp_path / 'bare.mcap', truth=(), info=False))
    assert bare.truth == {}
    assert any('no camera_info' in problem for problem in bare.problems)
    with pytest.raises(SourceError, match='no image topic'):
        clip_of_bag(recording(tmp_path / 'blind.mcap', images=False))


@pytest.mark.parametrize('angle', [90, 180, 270])
def test_a_turned_clip_is_seen_upright(tmp_path, angle):
    clip = clip_of_bag(recording(tmp_path / 'a.mcap'))
    turned = turned_clip(clip, angle)
    assert turned.identity == clip.identity
    assert turned.fingerprint != clip.fingerprint
    frames = list(turned.frames())
    for frame, before in zip(frames, clip.frames(), strict=True):
        np.testing.assert_array_equal(frame.image, np.rot90(before.image, -angle // 90))
        people = turned.truth.get(frame.stamp_ns)
        if people is None:
            continue
        assert (people.width, people.height) == (frame.camera.width, frame.camera.height)
        seen = project(people.joints_m, frame.camera)
        np.testing.assert_allclose(seen, people.joints_px, atol=0.02)
        far, before = (p.joints_m[0] for p in (people, clip.truth[frame.stamp_ns]))
        np.testing.assert_allclose(np.linalg.norm(far, axis=1), np.linalg.norm(before, axis=1))
    for stamp, box in turned.boxes_px.items():
        before = clip.boxes_px[stamp]
        size = before[[3, 2]] if angle != 180 else before[2:]
        np.testing.assert_allclose(box[2:], size, rtol=1e-5)
    back = turned_clip(turned, 360 - angle)
    for stamp, people in back.truth.items():
        np.testing.assert_allclose(people.joints_px, clip.truth[stamp].joints_px, atol=1e-3)
    assert turned_clip(clip, 0) is clip


def test_an_angle_that_is_no_quarter_is_refused(tmp_path):
    command = ['--data', str(recording(tmp_path / 'a.mcap')), '--rotate-deg', '45', '--no-report']
    result = CliRunner().invoke(app, [*command, '--lifter', 'none', '--out', str(tmp_path / 'o')])
    assert result.exit_code == 2
    assert 'rotate_deg must be one of [0, 90, 180, 270], got 45' in result.output


def test_missing_extras_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)  # as if it were not installed
    result = CliRunner().invoke(app, ['--workers', '2', '--out', str(tmp_path)])
    assert result.exit_code == 2
    assert "pip install 'trpose_ros[evaluate]'" in result.output
    monkeypatch.setitem(sys.modules, 'plotly', None)
    result = CliRunner().invoke(app, ['--out', str(tmp_path)])
    assert result.exit_code == 2
    assert "the report needs plotly: pip install 'trpose_ros[evaluate]'" in result.output
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    result = CliRunner().invoke(app, ['--out', str(tmp_path)])
    assert result.exit_code == 2
    assert "need pyarrow: pip install 'trpose_ros[evaluate]'" in result.output


@pytest.mark.parametrize('name', sorted(DATASETS))
@pytest.mark.parametrize('there', [False, True])
def test_incomplete_data_are_named(tmp_path, monkeypatch, name, there):
    if there:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'readme.txt').write_text('the rest is still being copied')
    monkeypatch.setenv('TRPOSE_DATA', str(tmp_path))
    command = ['--data', name, '--out', str(tmp_path / 'out'), '--lifter', 'none', '--no-report']
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2, result.output
    assert str(tmp_path / name) in result.output.replace('\n', ''), result.output
    assert not (tmp_path / 'out').exists()


def test_command_line(tmp_path):
    pytest.importorskip('plotly')
    pytest.importorskip('jinja2')
    bag = recording(tmp_path / 'a.mcap')
    out = tmp_path / 'out'
    command = [
        '--data',
        str(bag),
        '--estimator',
        'blinded:x',
        '--lifter',
        'none',
        '--boxes',
        'image',
        '--seeds',
        '1',
        '--out',
        str(out),
        '--cache',
        str(tmp_path / 'cache'),
    ]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert 'MPJPE, mm, protocol v1' in result.output
    text = (out / 'tables.md').read_text()
    assert 'protocol v1' in text
    assert (out / 'report.html').stat().st_size > 1e6
    scenes = list(load_scenes(out))
    assert sorted(s.condition for s in scenes) == sorted(['clean', *FIVE])
    assert all(len(s.images) >= FRAMES // 2 for s in scenes)
    for name in ('results.parquet', 'tables.md', 'report.html'):
        assert (out / name).stat().st_mode & 0o044  # others may read it
    assert 'another data set' in text  # the published figures, labelled
    cells = json.loads((out / 'tables.json').read_text())['tables'][0]['cells']
    average = next(c['mean'] for c in cells if c['column'] == 'average')
    assert average == pytest.approx(
        np.mean([c['mean'] for c in cells if c['column'] in FIVE]), rel=1e-6
    )
    again = CliRunner().invoke(app, [*command, '--seeds', '2'])
    assert again.exit_code == 2
    assert 'other settings' in again.output
    for wrong, message in (
        (['--lifter', 'magic'], 'magic'),
        (['--condition', 'fog'], 'unknown condition'),
        (['--data', str(tmp_path / 'nothing.mcap')], 'nothing.mcap'),
    ):
        bad = CliRunner().invoke(app, [*command[:-4], '--out', str(tmp_path / 'o'), *wrong])
        assert bad.exit_code == 2, bad.output
        assert message in bad.output.replace('\n', '')

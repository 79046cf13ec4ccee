"""The evaluation from clips to tables: resumable, cached, honest about failures."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from doubles import CAMERA
from doubles import FakeEstimator
from doubles import FakeLifter
from doubles import blank
from doubles import make_people
from typer.testing import CliRunner

from trpose_ros.bag_messages import MessageMaker
from trpose_ros.bags import BagWriter
from trpose_ros.data.registry import datasets
from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import Sample
from trpose_ros.estimators import ESTIMATORS
from trpose_ros.evaluation import results
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.cases import LifterSpec
from trpose_ros.evaluation.cli import app
from trpose_ros.evaluation.clips import EvaluationClip
from trpose_ros.evaluation.clips import clip_of_bag
from trpose_ros.evaluation.clips import clip_of_sample
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.conditions import plan
from trpose_ros.evaluation.estimation import cached_pass
from trpose_ros.evaluation.estimation import run_pass
from trpose_ros.evaluation.runner import EvaluationRun
from trpose_ros.evaluation.runner import SettingsError
from trpose_ros.evaluation.scenes import load_scenes
from trpose_ros.lift_stage import LiftStage
from trpose_ros.occlusion import FIVE
from trpose_ros.people import PER_PERSON
from trpose_ros.sources import SourceError

pytest.importorskip('pyarrow')

FPS, FRAMES, START = 25.0, 12, 5_000_000_000
FOUR = (
    Condition('none'),
    Condition('random_box'),
    Condition('random_box', draw=1),
    Condition('fixed_lower'),
)


class Blinded(FakeEstimator):
    """Errs by as much as it is blinded: all joints but the root move with the share of black."""

    made = 0
    explode = ''

    def __init__(self, *_) -> None:
        super().__init__()
        type(self).made += 1

    def estimate(self, frame, boxes_px):
        people = super().estimate(frame, boxes_px)
        black = float((frame.image == 0).mean())
        if black and self.explode == 'occluded':
            raise RuntimeError('no memory for this')
        joints = people.joints_m.copy()
        joints[:, 1:, 0] += 0.3 * black
        return people.replace(joints_m=joints)


@pytest.fixture(autouse=True)
def _estimator(monkeypatch):
    monkeypatch.setitem(ESTIMATORS, 'blinded', lambda config: Blinded())
    monkeypatch.setattr(Blinded, 'made', 0)
    monkeypatch.setattr(Blinded, 'explode', '')


def clip(name='walk', frames=FRAMES, truth=True):
    stamps = [START + round(t * 1e9 / FPS) for t in range(frames)]
    people = {s: make_people(s, track_ids=np.zeros(1, int)) for s in stamps}
    box = np.array([250.0, 100, 140, 260])
    return EvaluationClip(
        identity=f'test|s1|{name}|0',
        fps=FPS,
        truth=people if truth else {},
        boxes_px=dict.fromkeys(stamps, box),
        open_frames=lambda: iter([blank(s) for s in stamps]),
        describe=lambda: f'{name}{frames}{truth}'.encode(),
        start_ns=START,
    )


def config(**changes):
    values = {
        'estimators': ('blinded:x',),
        'lifters': ('none',),
        'conditions': FOUR,
        'boxes': 'image',
    }
    return EvaluationConfig(**(values | changes))


def finish(run):
    return [(step.case.condition.name, step.cached, step.error) for step in run.steps()]


def test_plan_of_the_protocol():
    main = plan(['five'])
    assert main[0] == Condition('none')
    names = [c.name for c in main]
    assert {n: names.count(n) for n in names} == {
        'clean': 1,
        'random_box': 3,
        'moving_box': 3,
        'fixed_upper': 1,  # without randomness every k is the same
        'fixed_middle': 1,
        'fixed_lower': 1,
    }
    assert len(plan(['five'], 'all', [0])) == 1 + 4 + 4 * 3
    assert len({c.name for c in plan(['all'])}) == 11
    crops = [c.name for c in plan(['five'], seeds=[0], realisation='crop')]
    assert 'fixed_upper:crop' in crops
    assert 'random_box' in crops
    for condition in plan(['all'], 'all', realisation='fill'):
        assert condition.config.profile == condition.profile  # all of them are possible
    with pytest.raises(ValueError, match=r'unknown condition .fog.; known are clean, five'):
        plan(['fog'])
    with pytest.raises(ValueError, match="'main' or 'all'"):
        plan(['five'], 'some')


def test_rows_and_the_numbers_in_them(tmp_path):
    run = EvaluationRun(config(), [clip()], tmp_path)
    assert all(error == '' for _, _, error in finish(run))
    rows = {(r['condition'], r['k']): r for r in run.rows()}
    assert sorted(rows) == [('clean', 0), ('fixed_lower', 0), ('random_box', 0), ('random_box', 1)]
    assert rows['clean', 0]['mpjpe_mm'] == pytest.approx(0, abs=1e-3)
    assert rows['clean', 0]['coverage_percent'] == 100
    assert rows['clean', 0]['mrpe_mm'] == pytest.approx(0, abs=1e-3)
    # from y = 360 - 260 / 3 = 273.3 on: rows 274..479 of 480 are black
    expected = 300 * (206 / 480) * 16 / 17
    assert rows['fixed_lower', 0]['mpjpe_mm'] == pytest.approx(expected, rel=1e-4)
    assert rows['fixed_lower', 0]['severity'] == '1/3'
    person = make_people(0)
    below = (person.joints_px[0, :, 1] >= 273.5).mean()
    assert rows['fixed_lower', 0]['hidden_percent'] == pytest.approx(100 * below)
    draws = [rows['random_box', k]['mpjpe_mm'] for k in (0, 1)]
    expected = 300 * (6 / 24) * 140 * 260 / (640 * 480) * 16 / 17
    assert draws == pytest.approx([expected] * 2, rel=0.1)
    assert (tmp_path / 'results.parquet').is_file()
    assert repr(results.read_rows(tmp_path / 'results.parquet')) == repr(run.rows())  # NaN and all


def test_a_run_goes_on_where_it_stopped(tmp_path):
    steps = EvaluationRun(config(), [clip(), clip('run')], tmp_path).steps()
    for _ in range(3):
        next(steps)
    steps.close()  # interrupted
    assert len(list((tmp_path / 'parts').glob('*.parquet'))) == 3
    torn = sorted((tmp_path / 'parts').glob('*.parquet'))[0]
    torn.write_bytes(torn.read_bytes()[:100])
    again = EvaluationRun(config(), [clip(), clip('run')], tmp_path)
    assert [cached for _, cached, _ in finish(again)].count(True) == 2
    assert len(again.rows()) == 8
    Blinded.made = 0
    finish(EvaluationRun(config(), [clip(), clip('run')], tmp_path))
    assert Blinded.made == 0  # nothing was left to do


@pytest.mark.parametrize(
    ('changes', 'clips', 'message'),
    [
        ({'conditions': FOUR[:2]}, [clip()], 'conditions was'),
        ({'track': 'GT'}, [clip()], 'track was DET, now GT'),
        ({'lifters': ('none', 'fake')}, [clip()], r"lifters was \['none'\]"),
        ({}, [clip(frames=5)], 'clips was'),
    ],
)
def test_other_settings_are_refused(tmp_path, changes, clips, message):
    EvaluationRun(config(), [clip()], tmp_path)
    with pytest.raises(SettingsError, match=message):
        EvaluationRun(config(**changes), clips, tmp_path)


def test_failures_are_listed_and_the_rest_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(Blinded, 'explode', 'occluded')
    run = EvaluationRun(config(), [clip()], tmp_path)
    errors = [error for _, _, error in finish(run)]
    assert errors[0] == ''
    assert errors[1:] == ['RuntimeError: no memory for this'] * 3
    assert [r['condition'] for r in run.rows()] == ['clean']
    failed = json.loads((tmp_path / 'failed.json').read_text())
    assert len(failed) == 3
    assert 'test|s1|walk|0 random_box 6 k=1 blinded:x' in failed
    monkeypatch.setattr(Blinded, 'explode', '')
    finish(run)
    assert len(run.rows()) == 4
    assert json.loads((tmp_path / 'failed.json').read_text()) == {}


def test_several_lifters_cost_one_pass(tmp_path):
    calls = []
    made = {f'fake{n}': lambda n=n: LiftStage(lifter=FakeLifter(n)) for n in (0, 2)}
    lifters = ('none', *made)
    settings = config(lifters=lifters, stages=made, cache=tmp_path / 'cache')
    original = Blinded.estimate

    def counted(self, frame, boxes):
        calls.append(frame.stamp_ns)
        return original(self, frame, boxes)

    Blinded.estimate = counted
    try:
        run = EvaluationRun(settings, [clip()], tmp_path / 'one')
        assert not any(error for _, _, error in finish(run))
        first = len(calls)
        assert first <= 4 * (FRAMES + 1)  # the first frame is refined
        rows = run.rows()
        assert {(r['lifter'], r['look_ahead']) for r in rows} == {
            ('none', 0),
            ('fake0', 0),
            ('fake2', 2),
        }
        assert all(r['coverage_percent'] == 100 for r in rows)
        other = EvaluationRun(settings, [clip()], tmp_path / 'two')
        assert [cached for _, cached, _ in finish(other)] == [True] * 4
        assert len(calls) == first
    finally:
        Blinded.estimate = original
    for a, b in zip(rows, other.rows(), strict=True):
        same = {k for k in a if not k.endswith('_ms')}
        assert {k: a[k] for k in same} == pytest.approx({k: b[k] for k in same}, nan_ok=True)


@pytest.mark.parametrize('condition', [Condition('fixed_lower', realisation='crop'), FOUR[1]])
@pytest.mark.parametrize('track', ['DET', 'GT'])
def test_a_cached_pass_is_the_pass(tmp_path, condition, track):
    settings = config()
    arguments = (clip(), condition, settings.pipeline('blinded:x'), Blinded(), track)
    made, was_there = cached_pass(*arguments, tmp_path)
    again, is_there = cached_pass(*arguments, tmp_path)
    assert (was_there, is_there) == (False, True)
    for one, two in zip(made.people, again.people, strict=True):
        assert repr(one.provenance) == repr(two.provenance)  # NaN and all
        for name in PER_PERSON:
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name), strict=True)
    for one, two in zip(made.cameras, again.cameras, strict=True):
        assert (one.width, one.height) == (two.width, two.height)
        np.testing.assert_array_equal(one.matrix, two.matrix)
    for one, two in zip(made.rectangles_px, again.rectangles_px, strict=True):
        np.testing.assert_array_equal(one, two)
    file = next(tmp_path.glob('*.npz'))
    file.write_bytes(file.read_bytes()[:500])
    assert cached_pass(*arguments, tmp_path)[1] is False  # damaged: made again
    assert cached_pass(*arguments, tmp_path)[1] is True


def test_true_boxes_are_those_of_the_unoccluded_body_in_the_cropped_image():
    estimator = Blinded()
    crop = Condition('fixed_upper', realisation='crop')
    seen = run_pass(clip(), crop, config().pipeline('blinded:x'), estimator, 'GT')
    assert all(people.track_ids.tolist() == [0] for people in seen.people)
    cut = CAMERA.height - seen.cameras[0].height
    assert cut > 0
    joints = make_people(0).joints_px[0]
    box = estimator.calls[0][0]
    assert box[1] + cut < joints[:, 1].min()
    assert box[1] + cut + box[3] > joints[:, 1].max()
    with pytest.raises(ValueError, match='no ground truth'):
        run_pass(clip(truth=False), crop, config().pipeline('blinded:x'), estimator, 'GT')


def test_without_truth_the_unoccluded_run_is_the_reference(tmp_path):
    run = EvaluationRun(config(), [clip(truth=False)], tmp_path)
    assert not any(error for _, _, error in finish(run))
    rows = {(r['condition'], r['k']): r for r in run.rows()}
    assert rows['clean', 0]['mpjpe_mm'] == 0
    assert rows['fixed_lower', 0]['mpjpe_mm'] == pytest.approx(300 * 206 / 480 * 16 / 17, rel=1e-4)
    assert {r['reference'] for r in rows.values()} == {'unoccluded run'}


def test_true_2d_in_place_of_an_estimator(tmp_path):
    conditions = (*FOUR, *plan(['skeleton'], seeds=[0])[1:])
    settings = config(
        estimators=('truth2d', 'truth2d:drop'),
        lifters=('none', 'fake'),
        stages={'fake': lambda: LiftStage(lifter=FakeLifter(1))},
        conditions=conditions,
    )
    run = EvaluationRun(settings, [clip_of_sample(sample(images=None))], tmp_path)
    assert not any(error for _, _, error in finish(run))
    rows = run.rows()
    assert len(rows) == 2 * len(conditions)  # 2D alone is no skeleton: no rows for 'none'
    assert {r['condition'] for r in rows} == {
        'clean',
        'random_box',
        'fixed_lower',
        'sk_rand',
        'sk_part',
        'sk_gap',
    }
    for r in rows:
        if r['coverage_percent'] > 0:  # a gap may swallow the whole clip
            assert r['mpjpe_mm'] == pytest.approx(0, abs=1e-3)  # the stand-in lifter knows
            assert np.isfinite(r['mrpe_mm'])  # placed by fitting the skeleton to its 2D joints
        else:
            assert np.isnan(r['mrpe_mm'])  # a relative skeleton has no place in the world
        if r['condition'] == 'clean':
            assert r['hidden_percent'] == 0
            assert r['mrpe_mm'] == pytest.approx(0, abs=0.1)
        if r['severity'] == 'legs':
            assert r['hidden_percent'] == pytest.approx(100 * 6 / 17)
    with pytest.raises(ValueError, match='drop or noisy'):
        config(estimators=('truth2d:loud',))
    images = EvaluationRun(config(conditions=conditions[-1:]), [clip()], tmp_path / 'images')
    assert [error for _, _, error in finish(images)] == [
        "ValueError: sk_gap hides keypoints, not pixels: it needs the estimator 'truth2d'"
    ]


def row(condition, value, k=0, action='walk', lifter='none', **more):
    return {
        'estimator': 'e',
        'lifter': lifter,
        'condition': condition,
        'severity': '1',
        'severity_value': 1.0,
        'main_severity': True,
        'k': k,
        'action': action,
        'mpjpe_mm': value,
    } | more


def test_table_by_hand():
    rows = [row('clean', 50.0)]
    rows += [row(name, 100.0) for name in FIVE if name != 'random_box']
    for k, value in enumerate((120.0, 130, 140)):
        rows += [row('random_box', value - 10, k), row('random_box', value + 10, k, action='run')]
        rows.append(row('random_box', 9e9, k, main_severity=False))
    table = results.study_table(rows, 'mpjpe_mm')
    key = ('e', 'none')
    assert table.rows == (key,)
    assert table.cell(key, 'random_box') == results.Cell(130, 10)
    assert table.cell(key, 'average').mean == pytest.approx(106)
    assert table.cell(key, 'average').spread == pytest.approx(2)
    assert table.cell(key, 'average - clean').mean == pytest.approx(56)
    assert table.cell(key, 'random_box').text() == '130.0 ± 10.0'
    assert '| e | none | 50.0 | 130.0 ± 10.0 | 100.0 |' in table.markdown()
    # frames of unequal actions: the headline is the mean of the actions' means
    rows = [row('clean', 10.0), row('clean', 20.0), row('clean', 45.0, action='run')]
    assert results.study_table(rows, 'mpjpe_mm').cell(key, 'clean').mean == pytest.approx(30)
    # an average over less than the five is no average
    assert np.isnan(results.study_table(rows, 'mpjpe_mm').cell(key, 'average').mean)


def test_severity_table_by_hand():
    rows = [
        row('random_box', value, severity=str(s), severity_value=float(s), main_severity=s == 6)
        for s, value in ((12, 40.0), (3, 10.0), (6, 20.0), (9, 30.0))
    ]
    table = results.severity_table(rows, 'random_box')
    assert table.columns == ('3', '6', '9', '12', 'area')
    assert table.cell(('e', 'none'), 'area').mean == pytest.approx(25)


def test_look_ahead_and_onset_tables_by_hand():
    rows = []
    for ahead in (0, 4, 13):
        for name in FIVE:
            rows.append(
                row(name, 100.0 - ahead, lifter=f'mixste@{ahead}+fusion', look_ahead=ahead)
                | {
                    'onset_step_mm_frame': 7.0 if name == 'random_box' else float('nan'),
                    'recovery_frames': float('nan'),
                    'recovered_percent': float('nan'),
                    'failure_percent': 2.0,
                }
            )
    others = [row(name, 50.0, lifter='pstmo', look_ahead=13) for name in FIVE]
    assert results.look_ahead_table(others).rows == ()
    table = results.look_ahead_table([*rows, *others])  # one look-ahead is no dial
    assert table.rows == (('e', 'mixste+fusion'),)
    assert [table.cell(table.rows[0], c).mean for c in table.columns] == [100, 96, 87]
    onset = results.onset_table(rows)
    first = onset.rows[0]
    assert onset.cell(first, 'onset_step_mm_frame').mean == 7
    assert onset.cell(first, 'failure_percent').mean == 2
    assert onset.cell(first, 'recovery_frames').text() == '-'


def test_lifter_specifications():
    assert LifterSpec.parse('none').name == 'none'
    spec = LifterSpec.parse('videopose3d:my-weights@8+fusion')
    assert (spec.name, spec.model, spec.look_ahead, spec.fused) == (
        'videopose3d',
        'my-weights',
        8,
        True,
    )
    for bad in ('mixste+magic', 'mixste@x', 'none:weights', 'none+fusion'):
        with pytest.raises(ValueError, match='lifter'):
            LifterSpec.parse(bad)
    with pytest.raises(ValueError, match='track'):
        config(track='BOTH')
    with pytest.raises(ValueError, match='at least one'):
        config(lifters=())


def sample(**changes):
    stamps = [round(t * 1e9 / FPS) for t in range(3)]
    people = [make_people(s) for s in stamps]
    values = {
        'dataset': 'd',
        'subject': 's',
        'action': 'a',
        'camera_name': 'c',
        'split': 'test',
        'fps': FPS,
        'skeleton': 'h36m_17',
        'width': 640,
        'height': 480,
        'valid': np.ones((3, 17), bool),
        'joints_px': np.concatenate([p.joints_px for p in people]),
        'joints_m': np.concatenate([p.joints_m for p in people]),
        'camera': CAMERA,
        'images': [blank(s).image for s in stamps],
    }
    return Sample(**(values | changes))


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


def recording(path, *, truth=range(FRAMES), info=True, images=True):
    with BagWriter(path) as bag:
        maker = MessageMaker(bag.typestore)
        for t in range(FRAMES):
            stamp = START + round(t * 1e9 / FPS)
            if info:
                bag.write('/camera_info', maker.camera_info(CAMERA, stamp, 'optical'), stamp)
            if images:
                image = maker.compressed_image(blank(stamp).image, stamp, 'optical')
                bag.write('/image/compressed', image, stamp)
            if t in truth:
                people = make_people(stamp, track_ids=np.zeros(1, int))
                bag.write('/ground_truth', maker.people(people), stamp)
    return path


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


def test_missing_extras_are_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)  # as if it were not installed
    result = CliRunner().invoke(app, ['--workers', '2', '--out', str(tmp_path)])
    assert result.exit_code == 2
    assert "pip install 'trpose_ros[evaluate]'" in result.output
    monkeypatch.setitem(sys.modules, 'plotly', None)
    result = CliRunner().invoke(app, ['--out', str(tmp_path)])
    assert result.exit_code == 2
    assert "plotly is missing: pip install 'trpose_ros[train,evaluate]'" in result.output
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    result = CliRunner().invoke(app, ['--out', str(tmp_path)])
    assert result.exit_code == 2
    assert "need pyarrow: pip install 'trpose_ros[evaluate]'" in result.output


def test_lifters_may_differ_by_estimator(tmp_path):
    made = {name: lambda: LiftStage(lifter=FakeLifter(0)) for name in ('one', 'two')}
    settings = config(
        estimators=('blinded:x', 'blinded:y'),
        pairs={'blinded:x': ('one',), 'blinded:y': ('none', 'two')},
        stages=made,
        conditions=FOUR[:1],
    )
    run = EvaluationRun(settings, [clip()], tmp_path)
    assert not any(error for _, _, error in finish(run))
    assert [(r['estimator'], r['lifter']) for r in run.rows()] == [
        ('blinded:x', 'one'),
        ('blinded:y', 'none'),
        ('blinded:y', 'two'),
    ]
    assert not (tmp_path / 'scenes').exists()  # nothing was to be shown
    other = config(
        estimators=settings.estimators,
        pairs=settings.pairs | {'blinded:x': ('two',)},
        stages=made,
        conditions=FOUR[:1],
    )
    with pytest.raises(SettingsError, match=r"lifters was .*'one'.*, now .*'two'"):
        EvaluationRun(other, [clip()], tmp_path)


@pytest.mark.parametrize('name', sorted(datasets()))
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

"""The evaluation from clips to tables: resumable, cached, honest about failures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from doubles import CAMERA, FakeLifter, make_people
from evaluation_stand_in import (
    FOUR,
    FRAMES,
    Blinded,
    _estimator,  # noqa: F401 - a fixture
    clip,
    config,
    finish,
    sample,
)

from trpose_ros.evaluation import results
from trpose_ros.evaluation.conditions import Condition, plan
from trpose_ros.evaluation.estimation import cached_pass, run_pass
from trpose_ros.evaluation.lifter_spec import LifterSpec
from trpose_ros.evaluation.runner import EvaluationRun, SettingsError
from trpose_ros.evaluation.sequences import clip_of_sample
from trpose_ros.people import PER_PERSON
from trpose_ros.pipeline.lift_stage import LiftStage

pytest.importorskip('pyarrow')


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


def test_other_weights_of_the_same_name_are_refused(tmp_path):
    file = tmp_path / 'w.safetensors'
    file.write_bytes(b'first')
    settings = config(estimators=(f'blinded:{file}',))
    EvaluationRun(settings, [clip()], tmp_path / 'out')
    EvaluationRun(settings, [clip()], tmp_path / 'out')
    file.write_bytes(b'second')
    with pytest.raises(SettingsError, match=r'weights was .*w\.safetensors'):
        EvaluationRun(settings, [clip()], tmp_path / 'out')


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


def test_lifter_specifications():
    assert LifterSpec.parse('none').name == 'none'
    spec = LifterSpec.parse('videopose3d:my-weights@8+fusion')
    assert (spec.name, spec.model, spec.look_ahead, spec.fused) == (
        'videopose3d',
        'my-weights',
        8,
        True,
    )
    spec = LifterSpec.parse('mixste@0+refinement')
    assert (spec.name, spec.look_ahead, spec.fused, spec.refinement) == (
        'mixste',
        0,
        False,
        'refinement',
    )
    assert LifterSpec.parse('none+refinement:mine').refinement == 'mine'
    bad_ones = ('mixste+magic', 'mixste@x', 'none:weights', 'none+fusion', 'mixste+fusion:mine')
    for bad in (*bad_ones, 'mixste+refinement:', 'none@2+refinement'):
        with pytest.raises(ValueError, match='lifter'):
            LifterSpec.parse(bad)
    with pytest.raises(ValueError, match='track'):
        config(track='BOTH')
    with pytest.raises(ValueError, match='at least one'):
        config(lifters=())


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

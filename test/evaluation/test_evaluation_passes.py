"""Passes of a recording: joined by stamp, in the rows of an evaluation; recordings that lack parts.

Offline parts run without ROS; the live node has test_nodes_evaluation.py and
test_launch_replay.py.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, blank, make_people
from metrabs_stand_in import save_network, stand_in_network
from recordings import START_NS, true_people, write_recording
from typer.testing import CliRunner

from trpose_ros.commands import main as cli
from trpose_ros.commands.evaluate import app
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.excerpts import load_scenes
from trpose_ros.evaluation.passes import Pass, RunningErrors, notes_of, rows_of, write_results
from trpose_ros.evaluation.results import read_rows
from trpose_ros.evaluation.sequences import clip_of_bag
from trpose_ros.people import Provenance
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter
from trpose_ros.recordings.sources import open_source, read_frames

pytest.importorskip('pyarrow')

STAMPS = [START_NS + k * STEP_NS for k in range(10)]
POSED = Provenance(weights_id='small@abc', inference_ms=5.0, preprocess_ms=1.0)
LIFTED = Provenance(weights_id='small@abc+v@def', lifter='videopose3d', lookahead=2)


def off(stamp_ns, mm, provenance=POSED):
    """The true person with one of 17 joints off by ``mm``."""
    people = make_people(stamp_ns, provenance=provenance)
    joints_m = people.joints_m.copy()
    joints_m[:, 5, 0] += mm / 1000
    return people.replace(joints_m=joints_m)


def played(profile='none', posed_mm=17.0, lifted_mm=34.0, truth=True, missing=()):
    one = Pass(Condition(profile))
    for stamp in STAMPS:
        if truth:
            one.add_truth(make_people(stamp))
        one.add_hidden(stamp, np.zeros((0, 4)))
        if stamp not in missing:
            one.posed[stamp] = off(stamp, posed_mm)
            one.lifted[stamp] = off(stamp, lifted_mm, LIFTED)
    return one


def test_rows_by_hand():
    rows = rows_of([played(), played('fixed_lower', 170.0, 340.0)], 'bag|a|b|0')
    assert [(r['condition'], r['estimator'], r['lifter'], r['look_ahead']) for r in rows] == [
        ('clean', 'small', 'none', 0),
        ('clean', 'small', 'videopose3d@2+fusion', 2),
        ('fixed_lower', 'small', 'none', 0),
        ('fixed_lower', 'small', 'videopose3d@2+fusion', 2),
    ]
    np.testing.assert_allclose([r['mpjpe_mm'] for r in rows], [1, 2, 10, 20], rtol=1e-3)
    assert {r['reference'] for r in rows} == {'truth'}
    assert [r['estimator_p50_ms'] for r in rows] == [6.0] * 4
    assert rows[0]['fps'] == pytest.approx(30, rel=1e-6)
    assert {(r['dataset'], r['subject'], r['images'], r['answered']) for r in rows} == {
        ('bag', 'a', 10, 10)
    }


def test_a_refinement_is_named():
    one = Pass(Condition('none'))
    refined = dataclasses.replace(LIFTED, weights_id='small@abc+v@def+r@123')
    for stamp in STAMPS:
        one.add_truth(make_people(stamp))
        one.posed[stamp], one.lifted[stamp] = off(stamp, 17.0), off(stamp, 34.0, refined)
    rows = rows_of([one], 'bag|a|b|0')
    assert [r['lifter'] for r in rows] == ['none', 'videopose3d@2+refinement']


def test_without_truth_the_untouched_pass_is_the_reference():
    passes = [played(truth=False), played('fixed_lower', 187.0, 204.0, truth=False)]
    rows = rows_of(passes, 'bag|a|b|0')
    np.testing.assert_allclose([r['mpjpe_mm'] for r in rows], [0, 0, 10, 10], atol=1e-3)
    assert {r['reference'] for r in rows} == {'unoccluded run'}
    with pytest.raises(ValueError, match='no ground truth and no unoccluded pass'):
        rows_of(passes[1:], 'bag|a|b|0')


def test_images_without_an_answer_count_with_the_last_one_and_are_noted():
    one = played(missing=STAMPS[4:6])
    row = rows_of([one], 'bag|a|b|0')[0]
    assert row['coverage_percent'] == pytest.approx(80)
    assert row['mpjpe_mm'] == pytest.approx(1, rel=1e-3)
    assert notes_of([one]) == ['clean: 2 of 10 images were not answered']
    kept = one.restricted(set(STAMPS) - set(STAMPS[4:6]))
    assert rows_of([kept], 'bag|a|b|0')[0]['coverage_percent'] == 100
    assert notes_of([kept]) == []


def test_truth_in_another_skeleton_is_converted_and_a_changing_one_too():
    one = played()
    one.truth.clear()
    for k, stamp in enumerate(STAMPS):
        people = make_people(stamp)
        if k % 2:
            from trpose_ros.pipeline.lift_stage import to_skeleton

            people = to_skeleton(people, 'coco_17')
        one.add_truth(people)
    rows = rows_of([one], 'bag|a|b|0')
    assert rows[0]['frames'] == 10
    assert np.isfinite(rows[0]['mpjpe_mm'])
    nobody = make_people(STAMPS[0]).select([])
    one.truth.clear()
    one.add_truth(nobody)
    assert one.truth == {}


def test_two_dimensional_estimators_give_no_row_of_their_own():
    one = played()
    one.posed = {
        s: p.replace(joints_m=np.full_like(p.joints_m, np.nan)) for s, p in one.posed.items()
    }
    assert [r['lifter'] for r in rows_of([one], 'bag|a|b|0')] == ['videopose3d@2+fusion']


def test_nothing_measured_is_an_error_with_the_reason(tmp_path):
    with pytest.raises(ValueError, match='nothing was measured: the disk is full'):
        write_results(tmp_path, [Pass(Condition('none'))], 'bag|a|b|0', ['the disk is full'])
    assert list(tmp_path.iterdir()) == []


def test_running_errors_are_those_of_the_frames_so_far():
    running, one = RunningErrors(), played(missing=STAMPS[4:6])
    assert np.isnan(running.values()['mpjpe_mm'])
    for count in (3, 3, 7, 10):
        found = {s: p for s, p in one.lifted.items() if s in STAMPS[:count]}
        running.update(found, one.truth)
    values = running.values()
    assert values['mpjpe_mm'] == pytest.approx(2, rel=1e-3)
    assert values['mrpe_mm'] == pytest.approx(0, abs=1e-3)
    assert values['coverage_percent'] == pytest.approx(80)
    row = rows_of([one], 'bag|a|b|0')[1]
    assert values['p_mpjpe_mm'] == pytest.approx(row['p_mpjpe_mm'], rel=0.01)


# -- recordings that lack something: trpose evaluate --data, trpose replay --report ----------------


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('weights')
    save_network(folder / 'standing.safetensors', stand_in_network(image_gain=0.5))
    return str(folder / 'standing.safetensors')


def evaluated(bag, out, model, condition='fixed_lower'):
    """Run both commands; return their results and rows."""
    common = ['--boxes', 'image', '--lifter', 'none']
    first = ['--data', str(bag), '--estimator', model, '--condition', condition, '--no-cache']
    first += ['--seeds', '1', '--out', str(out / 'evaluate'), *common]
    second = ['replay', str(bag), '--model', model, '--occlusion', condition, '--report']
    second += ['--no-video', '--no-bag', '--out', str(out / 'replay'), *common]
    one, two = CliRunner().invoke(app, first), CliRunner().invoke(cli.app, second)
    rows = []
    for name in ('evaluate', 'replay'):
        file = out / name / 'results.parquet'
        rows.append(read_rows(file) if file.exists() else [])
    return (one, two), rows


@pytest.mark.parametrize('condition', ['fixed_lower', 'moving_box', 'random_box'])
def test_a_whole_recording(condition, tmp_path, model):
    bag = write_recording(tmp_path / 'in.mcap', 8)
    results, (rows, replayed) = evaluated(bag, tmp_path, model, condition)
    assert [r.exit_code for r in results] == [0, 0], [r.output for r in results]
    for row, other in zip(rows, replayed, strict=True):
        same = {k for k in row if not k.endswith('_ms') and k != 'estimator'} & set(other)
        assert {k: row[k] for k in same} == pytest.approx({k: other[k] for k in same}, nan_ok=True)
    assert (tmp_path / 'replay' / 'report.html').is_file()
    clean, hidden = load_scenes(tmp_path / 'replay')
    assert (clean.condition, hidden.condition) == ('clean', condition)
    assert list(clean.outputs_m) == ['none']
    assert len(hidden.stamps_ns) == 8
    assert not clean.hidden.any()
    frames = list(read_frames(bag))
    assert len(clean.images) == len(hidden.images) == 4  # every other one
    for index, one in ((0, clean), (2, hidden)):
        frame = frames[2 * index]
        assert one.image_stamps_ns[index] == frame.stamp_ns
        changed = np.abs(one.image(index).astype(int) - frame.image).max(axis=2) > 40
        assert (changed.mean() > 0.01) == (one is hidden)  # thin lines differ by their JPEG


def test_truth_for_part_of_the_time(tmp_path, model):
    bag = tmp_path / 'in.mcap'
    write(bag, truth=range(3, 6))
    results, (rows, replayed) = evaluated(bag, tmp_path, model)
    assert [r.exit_code for r in results] == [0, 0], [r.output for r in results]
    note = 'ground truth for 3 of 8 images; only these are measured'
    assert note in ' '.join(results[0].output.split())
    notes = json.loads((tmp_path / 'replay' / 'tables.json').read_text())['notes']
    assert any(note in n for n in notes)
    assert {r['frames'] for r in [*rows, *replayed]} == {3}
    # the box that conditions are measured by is held, so the others are hidden alike
    boxes = clip_of_bag(bag).boxes_px
    assert len(boxes) == 8
    np.testing.assert_array_equal(boxes[STAMPS[0]], boxes[STAMPS[3]])
    np.testing.assert_array_equal(boxes[STAMPS[7]], boxes[STAMPS[5]])
    source = open_source(bag)
    for entry in source.frames():
        np.testing.assert_array_equal(entry.reference_box_px, boxes[entry.frame.stamp_ns])
    source.close()


def test_no_camera_info(tmp_path, model):
    bag = write_recording(tmp_path / 'in.mcap', 4, info=False)
    results, (rows, replayed) = evaluated(bag, tmp_path, model)
    assert [r.exit_code for r in results] == [0, 0], [r.output for r in results]
    assert 'field of view' in results[0].output
    notes = json.loads((tmp_path / 'replay' / 'tables.json').read_text())['notes']
    assert any('field of view is assumed' in n for n in notes)
    assert len(rows) == len(replayed) == 2


def test_no_images(tmp_path, model):
    with BagWriter(tmp_path / 'in.mcap') as bag:
        bag.write('/truth', MessageMaker(bag.typestore).people(true_people(0)), 1)
    results, rows = evaluated(tmp_path / 'in.mcap', tmp_path, model)
    assert [r.exit_code for r in results] == [2, 1]
    assert rows == [[], []]
    for result in results:
        assert "no image topic; topics are ['/truth']" in result.output
        assert 'Traceback' not in result.output


def test_images_that_cannot_be_decoded(tmp_path, model):
    with BagWriter(tmp_path / 'in.mcap') as bag:
        make = MessageMaker(bag.typestore)
        for stamp in STAMPS[:3]:
            image = make.compressed_image(blank(stamp).image, stamp, 'optical')
            image.data = image.data[:40]
            bag.write('/image/compressed', image, stamp)
    results, rows = evaluated(tmp_path / 'in.mcap', tmp_path, model)
    assert [r.exit_code for r in results] == [2, 1]
    assert rows == [[], []]
    assert 'no image of /image/compressed can be read' in results[0].output
    assert 'nothing was measured' in results[1].output
    assert '3 images in all cannot be decoded' in results[1].output


def test_truth_in_a_skeleton_that_nobody_knows(tmp_path, model):
    write(tmp_path / 'in.mcap', skeleton='octopus_8')
    results, (rows, replayed) = evaluated(tmp_path / 'in.mcap', tmp_path, model)
    assert [r.exit_code for r in results] == [0, 0], [r.output for r in results]
    assert 'octopus_8' in results[0].output
    assert 'octopus_8' in results[1].output
    assert {r['reference'] for r in [*rows, *replayed]} == {'unoccluded run'}


def test_truth_in_another_known_skeleton(tmp_path, model):
    write(tmp_path / 'in.mcap', skeleton='coco_17')
    results, (rows, replayed) = evaluated(tmp_path / 'in.mcap', tmp_path, model)
    assert [r.exit_code for r in results] == [0, 0], [r.output for r in results]
    for row in (*rows, *replayed):
        assert row['reference'] == 'truth'
        assert row['frames'] == 8
        assert np.isfinite(row['mpjpe_mm'])
    assert rows[0]['mpjpe_mm'] == pytest.approx(replayed[0]['mpjpe_mm'])


def test_a_recording_that_was_cut_off(tmp_path, model):
    bag = write_recording(tmp_path / 'in.mcap', 12)
    cut = tmp_path / 'cut.mcap'
    cut.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])
    results, (rows, replayed) = evaluated(cut, tmp_path, model)
    assert [r.exit_code for r in results] == [0, 0], [r.output for r in results]
    assert 2 <= rows[0]['frames'] < 12
    assert [r['frames'] for r in rows] == [r['frames'] for r in replayed]
    assert 'cut off' in ' '.join(results[0].output.split())
    notes = json.loads((tmp_path / 'replay' / 'tables.json').read_text())['notes']
    assert any('cut off' in n for n in notes)


def write(path, truth=range(8), skeleton='h36m_17'):
    from trpose_ros.pipeline.lift_stage import to_skeleton

    with BagWriter(path) as bag:
        make = MessageMaker(bag.typestore)
        for k in range(8):
            people = true_people(k)
            stamp = people.stamp_ns
            bag.write('/camera_info', make.camera_info(CAMERA, stamp, 'optical'), stamp)
            image = make.compressed_image(blank(stamp).image, stamp, 'optical')
            bag.write('/image/compressed', image, stamp)
            if k in truth:
                known = skeleton != 'octopus_8'
                message = make.people(to_skeleton(people, skeleton) if known else people)
                message.skeleton = skeleton
                bag.write('/ground_truth', message, stamp)

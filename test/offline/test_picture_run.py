"""Pictures in, pictures out: what is written, and what a bad picture costs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from doubles import FakeEstimator, make_people
from picture_stand_in import ROOTS, SeeingBoxes, draw, everything_in, pipeline, run

from trpose_ros.cameras import camera_from_fov
from trpose_ros.drawing.overlay import draw_people
from trpose_ros.occlusion.occluder import OcclusionConfig
from trpose_ros.offline import pictures as picture_run
from trpose_ros.recordings.sources import SourceError, SourceOptions


def test_every_picture_gives_a_copy_and_an_entry(tmp_path):
    for name in ('img2.jpg', 'img10.png', 'sub/Größe [red].PNG'):
        draw(tmp_path / 'in' / name)
    out = tmp_path / 'out'
    seen = []
    result, content = run(
        [tmp_path / 'in'], out, progress=lambda done, total: seen.append((done, total))
    )
    assert everything_in(out) == ['img10.png', 'img2.jpg', 'people.json', 'sub/Größe [red].PNG']
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert (
        content['counts']
        == result.counts
        == {
            **{'pictures': 3, 'read': 3, 'skipped': 0, 'without_people': 0, 'people': 6},
        }
    )
    assert content['complete'] is True
    assert content['skeleton']['joints'][0] == 'pelv'
    assert [Path(p['file']).name for p in content['pictures']] == [
        *('img2.jpg', 'img10.png', 'Größe [red].PNG'),
    ]
    for entry in content['pictures']:
        assert (entry['width'], entry['height']) == (320, 240)
        assert entry['camera']['assumed'] is True
        assert entry['camera']['fov_deg'] == 55.0
        expected = make_people(0, ROOTS, camera_from_fov(320, 240))
        assert [p['id'] for p in entry['people']] == [0, 1]
        for person, px, m in zip(
            entry['people'], expected.joints_px, expected.joints_m, strict=True
        ):
            np.testing.assert_allclose(person['joints_2d_px'], px, atol=0.006)
            np.testing.assert_allclose(person['joints_3d_m'], m, atol=6e-6)
            assert person['covariances_m2'] is None
            assert person['score'] is None
            assert person['joint_scores'] == [None] * 17
        copy = cv2.imread(str(out / entry['annotated']))[..., ::-1]
        drawn = draw_people(
            np.full((240, 320, 3), 90, np.uint8),
            expected.replace(track_ids=np.arange(2, dtype=np.int32)),
        )
        assert np.abs(copy.astype(int) - drawn).mean() < 2.0


def test_nobody_is_remembered_from_one_picture_to_the_next(tmp_path):
    for k in range(3):
        draw(tmp_path / 'in' / f'{k}.png', level=0 if k == 1 else 90)
    source = SeeingBoxes()
    stages = pipeline(source=source)
    result, content = run([tmp_path / 'in'], tmp_path / 'out', stages=stages)
    assert len(source.asked) == 3
    boxes = [np.round(call, 3).tolist() for call in stages.pose.estimator.calls]
    assert len(boxes) == 5  # everybody is looked at twice
    assert boxes[:2] == boxes[3:]
    assert [len(p['people']) for p in content['pictures']] == [2, 0, 2]
    assert [p.get('note') for p in content['pictures']] == [None, 'nobody was found', None]
    assert result.without_people == ['1.png']
    assert [p['id'] for p in content['pictures'][2]['people']] == [0, 1]


def test_somebody_who_is_gone_at_the_second_look_is_nobody(tmp_path):
    class Once(FakeEstimator):
        def estimate(self, frame, boxes_px):
            people = super().estimate(frame, boxes_px)
            return people if len(self.calls) == 1 else people.select([0])

    draw(tmp_path / 'a.png')
    _, content = run([tmp_path / 'a.png'], tmp_path / 'out', stages=pipeline(estimator=Once(ROOTS)))
    assert len(content['pictures'][0]['people']) == 1  # and no prediction of the tracker's


def test_people_without_3d_have_null_and_not_zero(tmp_path):
    class Flat(FakeEstimator):
        metric_3d = False

        def estimate(self, frame, boxes_px):
            people = super().estimate(frame, boxes_px)
            px = people.joints_px.copy()
            px[:, 3] = np.nan
            return people.replace(joints_m=np.full_like(people.joints_m, np.nan), joints_px=px)

    draw(tmp_path / 'a.png')
    _, content = run([tmp_path / 'a.png'], tmp_path / 'out', stages=pipeline(estimator=Flat(ROOTS)))
    person = content['pictures'][0]['people'][0]
    assert person['joints_3d_m'] is None
    assert person['joints_2d_px'][3] is None
    assert len(person['joints_2d_px'][2]) == 2


def test_covariances_and_states_are_written(tmp_path):
    class Sure(FakeEstimator):
        def estimate(self, frame, boxes_px):
            people = super().estimate(frame, boxes_px)
            covariances = np.full((*people.joint_states.shape, 3, 3), np.nan, np.float32)
            covariances[:, 0] = np.diag([0.00012345678, 2.0, 3.0])
            scores = np.full(people.joint_states.shape, 0.5, np.float32)
            return people.replace(covariances_m2=covariances, joint_scores=scores)

    class Low(Sure):  # feet below the picture
        def __init__(self):
            super().__init__([(-0.5, 1.4, 4.0)])

    draw(tmp_path / 'a.png')
    _, content = run([tmp_path / 'a.png'], tmp_path / 'out', stages=pipeline(estimator=Low()))
    person = content['pictures'][0]['people'][0]
    assert person['covariances_m2'][0] == [[0.0001235, 0, 0], [0, 2.0, 0], [0, 0, 3.0]]
    assert person['covariances_m2'][1] is None
    assert person['joint_scores'] == [0.5] * 17
    assert person['score'] == 0.5
    assert person['joint_states'][3] == 'truncated'
    assert person['cut_edges'] == ['bottom']
    assert 0 < person['visible_fraction'] < 1


def test_picture_that_cannot_be_read_is_named_and_the_next_follows(tmp_path):
    draw(tmp_path / 'in' / 'a.png')
    (tmp_path / 'in' / 'b.jpg').write_text('no picture')
    (tmp_path / 'in' / 'c.jpg').symlink_to(tmp_path / 'nowhere')
    draw(tmp_path / 'in' / 'd.png')
    result, content = run([tmp_path / 'in'], tmp_path / 'out')
    assert [Path(p['file']).name for p in content['pictures']] == ['a.png', 'd.png']
    reasons = {Path(s['file']).name: s['reason'] for s in content['skipped']}
    assert reasons['b.jpg'].startswith('is no picture (first bytes')
    assert 'No such file' in reasons['c.jpg']
    assert result.counts['skipped'] == 2


def test_model_that_fails_costs_one_picture(tmp_path):
    class Moody(FakeEstimator):
        def estimate(self, frame, boxes_px):
            self.fail = frame.image.mean() > 100
            return super().estimate(frame, boxes_px)

    draw(tmp_path / 'in' / 'a.png', level=200)
    draw(tmp_path / 'in' / 'b.png')
    stages = pipeline(estimator=Moody(ROOTS))
    _, content = run([tmp_path / 'in'], tmp_path / 'out', stages=stages)
    assert 'out of memory' in content['skipped'][0]['reason']
    assert everything_in(tmp_path / 'out') == ['b.png', 'people.json']


def test_wide_picture_is_shrunk_for_the_models_alone(tmp_path):
    size = (20000, 300)
    draw(tmp_path / 'wide.png', size)
    stages = pipeline()
    seen = []
    estimate = stages.pose.estimator.estimate
    stages.pose.estimator.estimate = lambda frame, boxes: (
        seen.append(frame.image.shape) or estimate(frame, boxes)
    )
    _, content = run([tmp_path / 'wide.png'], tmp_path / 'out', stages=stages)
    assert seen == 2 * [(61, 4096, 3)]
    (entry,) = content['pictures']
    assert (entry['width'], entry['height']) == size
    expected = make_people(0, ROOTS, camera_from_fov(*size))
    for person, px in zip(entry['people'], expected.joints_px, strict=True):
        np.testing.assert_allclose(person['joints_2d_px'], px, atol=0.05)
    assert cv2.imread(str(tmp_path / 'out' / 'wide.png')).shape == (300, 20000, 3)


def test_picture_beyond_the_limit_and_one_too_thin(tmp_path):
    draw(tmp_path / 'large.png', (500, 400))
    draw(tmp_path / 'thin.png', (9000, 1))
    _, content = run([tmp_path], tmp_path / 'out', SourceOptions(max_megapixels=0.1))
    reasons = [s['reason'] for s in content['skipped']]
    assert 'raise the limit with --max-megapixels' in reasons[0]
    assert 'too thin' in reasons[1]


def test_results_of_an_earlier_run_are_replaced_and_nothing_else(tmp_path):
    draw(tmp_path / 'in' / 'a.png')
    out = tmp_path / 'out'
    draw(out / 'a.png', (10, 10))
    (out / 'mine.txt').write_text('keep')
    run([tmp_path / 'in'], out)
    assert everything_in(out) == ['a.png', 'mine.txt', 'people.json']
    assert cv2.imread(str(out / 'a.png')).shape == (240, 320, 3)


@pytest.mark.parametrize('how', ['.', 'link'])
def test_picture_is_never_replaced_by_its_result(tmp_path, how):
    picture = draw(tmp_path / 'in' / 'a.png')
    (tmp_path / 'link').symlink_to(tmp_path / 'in')
    before = picture.read_bytes()
    with pytest.raises(SourceError, match='would replace a picture'):
        run([picture], tmp_path / ('in' if how == '.' else how))
    assert picture.read_bytes() == before
    assert everything_in(tmp_path / 'in') == ['a.png']


def test_results_go_into_a_folder(tmp_path):
    picture = draw(tmp_path / 'a.png')
    (tmp_path / 'file').write_text('x')
    with pytest.raises(SourceError, match='is no folder'):
        run([picture], tmp_path / 'file')
    with pytest.raises(SourceError, match='into a folder, not into a file'):
        run([picture], tmp_path / 'new.jpg')


def test_kinds_that_hold_no_colour_are_written_as_png(tmp_path):
    grey = np.full((240, 320), 90, np.uint8)
    (tmp_path / 'a.pgm').write_bytes(cv2.imencode('.pgm', grey)[1].tobytes())
    (tmp_path / 'photo').write_bytes(cv2.imencode('.png', grey)[1].tobytes())
    _, content = run([tmp_path / 'a.pgm', tmp_path / 'photo'], tmp_path / 'out')
    assert [p['annotated'] for p in content['pictures']] == ['a.pgm.png', 'photo.png']


def test_stopping_leaves_what_has_been_done(tmp_path):
    for k in range(4):
        draw(tmp_path / 'in' / f'{k}.png')

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    result, content = run([tmp_path / 'in'], tmp_path / 'out', progress=stop)
    assert content['complete'] is result.complete is False
    assert len(content['pictures']) == 2
    result, _ = run([tmp_path / 'in'], tmp_path / 'out', limit_s=1e-9)
    assert (result.read, result.complete) == (1, False)


def test_disk_that_is_full_leaves_no_half_a_file(tmp_path, monkeypatch):
    draw(tmp_path / 'in' / 'a.png')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(picture_run, 'save_picture', full)
    with pytest.raises(OSError, match='No space'):
        run([tmp_path / 'in'], tmp_path / 'out')
    assert everything_in(tmp_path / 'out') == []


@pytest.mark.parametrize('realisation', ['fill', 'crop'])
def test_occlusion_is_measured_against_the_largest_person(tmp_path, realisation):
    picture = draw(tmp_path / 'a.png')
    occlusion = OcclusionConfig(profile='fixed_lower', realisation=realisation)
    _, content = run([picture], tmp_path / 'out', stages=pipeline(occlusion))
    (entry,) = content['pictures']
    assert entry['occlusion']['profile'] == 'fixed_lower'
    assert 0.25 < entry['occlusion']['hidden_fraction'] < 0.45
    copy = cv2.imread(str(tmp_path / 'out' / 'a.png'))
    assert copy.shape == (240, 320, 3)
    joints = make_people(0, ROOTS[0], camera_from_fov(320, 240)).joints_px[0]
    top, bottom = joints[:, 1].min(), joints[:, 1].max()
    cut = round(top + 0.62 * (bottom - top))
    assert copy[cut + 14 :, :40].max() == 0
    assert copy[: cut - 14, :40].min() == 90
    # The fake sees the same body in the cropped camera: results are in px of the whole picture.
    np.testing.assert_allclose(entry['people'][0]['joints_2d_px'], joints, atol=0.01)


def test_occlusion_without_anybody_is_measured_against_the_picture(tmp_path):
    picture = draw(tmp_path / 'a.png', level=0)
    stages = pipeline(OcclusionConfig(profile='fixed_lower'))
    _, content = run([picture], tmp_path / 'out', stages=stages)
    assert content['pictures'][0]['occlusion']['hidden_fraction'] == pytest.approx(1 / 3, abs=0.01)
    assert content['pictures'][0]['note'] == 'nobody was found'

"""Photographs labelled by two networks: files, splits, joints, and measures on them."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import trpose_ros
from trpose_ros.commands.main import app
from trpose_ros.data.datasets.photographs import COCO_IN_BODY, label, load, split_of_theme, theme_of
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.visibility import VISIBLE
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.metrabs import measure as metrabs_measure
from trpose_ros.training.metrabs.measure import (
    coverage_on_photographs,
    on_photographs,
    photograph_crop,
    roc_area,
    torso_of,
)

BODY = get_skeleton('body_39')
TEST_THEME = next(f'theme{k}' for k in range(99) if split_of_theme(f'theme{k}') == 'test')


def written(folder, names=('a_0.jpg',), **changes):
    rng = np.random.default_rng(0)
    joints = rng.uniform(20, 100, (len(names), 17, 2)).astype(np.float32)
    joints[:, 3] = np.nan
    arrays = {'name': np.array(names), 'joints_px': joints}
    arrays['unseen'] = np.zeros((len(names), 17), bool)
    arrays['unseen'][:, 3] = True
    arrays |= changes
    np.savez(folder / 'labels.npz', **arrays)
    for name in names:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (120, 160, 3), dtype=np.uint8))
    return joints


def test_a_person_has_coco_joints_in_the_union_skeleton(tmp_path):
    joints = written(tmp_path, (f'{TEST_THEME}_0.jpg', 'other_1.jpg'))
    samples = list(load(tmp_path))
    assert len(samples) == 2
    sample = samples[0]
    assert (sample.width, sample.height, sample.split) == (160, 120, 'test')
    found = sample.joints_px[0, COCO_IN_BODY]
    assert np.array_equal(found, joints[0], equal_nan=True)
    hip = get_skeleton('coco_17').index('lhip')
    assert COCO_IN_BODY[hip] == BODY.index('lhip_coco')
    assert sample.valid.sum() == 16
    assert sample.occluded[0, COCO_IN_BODY].tolist() == [k == 3 for k in range(17)]
    assert [s.subject for s in load(tmp_path, 'test')] == [TEST_THEME]


def test_themes_are_never_in_two_splits():
    assert theme_of('btd_a_b_012.jpg') == 'btd_a_b'
    assert theme_of('photo.jpg') == 'photo'
    splits = [split_of_theme(f'theme{k}') for k in range(500)]
    assert 0.05 < np.mean([s == 'test' for s in splits]) < 0.16


def test_missing_files_and_wrong_ones_are_named(tmp_path):
    with pytest.raises(MissingDataError, match='trpose data label'):
        list(load(tmp_path))
    written(tmp_path)
    (tmp_path / 'a_0.jpg').unlink()
    with pytest.raises(DataError, match=r'a_0\.jpg'):
        list(load(tmp_path))
    np.savez(tmp_path / 'labels.npz', name=np.array(['a_0.jpg']))
    with pytest.raises(DataError, match='joints_px'):
        list(load(tmp_path))
    written(tmp_path)
    written_names = np.array(['../a_0.jpg'])
    np.savez(
        tmp_path / 'labels.npz',
        name=written_names,
        joints_px=np.zeros((1, 17, 2), np.float32),
        unseen=np.zeros((1, 17), bool),
    )
    with pytest.raises(DataError, match='plain file name'):
        list(load(tmp_path))


def test_labelling_skips_what_is_no_picture_and_finds_nobody_in_noise(tmp_path):
    with pytest.raises(DataError, match='no readable'):
        label(tmp_path, tmp_path / 'out' / 'labels.npz')
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((64, 64, 3), 127, np.uint8))
    (tmp_path / 'text.jpg').write_text('no picture')
    seen = []
    target = tmp_path / 'out' / 'labels.npz'
    counts = label(tmp_path, target, lambda *so_far: seen.append(so_far))
    assert seen == [(0, 2), (1, 2)]
    assert counts == {'pictures': 1, 'unreadable': 1, 'people': 0, 'joints': 0}
    assert list(load(tmp_path / 'out')) == []


def test_the_command_says_what_it_wrote_and_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setenv('TRPOSE_DATA', str(tmp_path / 'data'))
    done = CliRunner().invoke(app, ['data', 'label', str(tmp_path / 'nowhere')])
    assert done.exit_code == 1
    assert 'nowhere' in done.output
    cv2.imwrite(str(tmp_path / 'grey.png'), np.full((64, 64, 3), 127, np.uint8))
    done = CliRunner().invoke(app, ['data', 'label', str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert '1 pictures, 0 unreadable, 0 people' in done.output
    assert (tmp_path / 'data' / 'photographs' / 'labels.npz').is_file()


def test_the_astronaut_is_labelled(tmp_path):
    picture = Path(trpose_ros.__file__).parent / 'samples' / 'astronaut.jpg'
    (tmp_path / 'nasa_0.jpg').write_bytes(picture.read_bytes())
    counts = label(tmp_path, tmp_path / 'labels.npz')
    assert counts['people'] == 1
    (sample,) = load(tmp_path)
    at = {n: sample.joints_px[0, BODY.index(n)] for n in ('nose', 'leye', 'reye', 'lear', 'rear')}
    assert np.linalg.norm(at['nose'] - [224, 122]) < 14  # of 512 px, by eye
    assert at['leye'][0] > at['reye'][0]
    assert at['lear'][0] > at['leye'][0] > at['reye'][0] > at['rear'][0]


def test_crops_for_measuring_carry_labels_along_and_hide_by_condition():
    rng = np.random.default_rng(0)
    image = np.zeros((300, 400, 3), np.uint8)
    joints = np.full((39, 2), np.nan)
    joints[:17] = rng.uniform([150, 80], [260, 240], (17, 2))
    for x, y in joints[:17]:
        cv2.circle(image, (round(x), round(y)), 5, (255, 255, 255), -1)
    crop = photograph_crop(image, joints, 128, 'clean', rng)
    seen = crop.states == VISIBLE
    assert seen.tolist() == [k < 17 for k in range(39)]
    column, row = np.rint(crop.joints_px[seen]).astype(int).T
    assert (crop.image[row, column, 0] > 200).all()
    hidden = photograph_crop(image, joints, 128, 'fixed_upper', rng)
    assert 0 < (hidden.states == VISIBLE).sum() < 17


def test_the_torso_is_the_longest_that_is_known():
    joints = np.full((39, 2), np.nan)
    assert np.isnan(torso_of(joints))
    joints[BODY.index('lsho')], joints[BODY.index('rsho')] = (10, 0), (-10, 0)
    assert torso_of(joints) == pytest.approx(25)
    joints[BODY.index('rhip_coco')] = (-10, 40)
    assert torso_of(joints) == pytest.approx(40)


def test_pck_is_one_for_a_network_that_knows_the_labels(tmp_path, monkeypatch):
    written(tmp_path, tuple(f'{TEST_THEME}_{k}.jpg' for k in range(3)))
    monkeypatch.setenv('TRPOSE_DATA', str(tmp_path.parent))
    tmp_path.rename(tmp_path.parent / 'photographs')
    model = Metrabs(MetrabsConfig('resnet-plain-xs', num_joints=39, states=True))

    def told(model, batch, off=0.0):
        px = torch.nan_to_num(batch.joints_px) + off
        rays = torch.cat([px, torch.ones_like(px[..., :1])], dim=-1)
        return 3000 * (rays @ torch.linalg.inv(batch.intrinsics).mT), None

    monkeypatch.setattr(metrabs_measure, 'run', told)
    good = on_photographs(model, 'photographs')
    assert good['clean'] == {'pck': 1.0, 'joints': 48}
    assert good['random_box']['joints'] < 48
    monkeypatch.setattr(metrabs_measure, 'run', lambda m, b: told(m, b, 99.0))
    assert on_photographs(model, 'photographs')['clean']['pck'] == 0.0


@pytest.mark.parametrize(('off', 'inside'), [(0.0, (100, 100)), (1.2, (0, 100)), (9.0, (0, 0))])
def test_labels_lie_in_projected_ellipses_as_often_as_they_should(
    tmp_path, monkeypatch, off, inside
):
    """The ellipse of one pixel: 50 % within 1.18 px, 95 % within 2.45 px."""
    (tmp_path / 'photographs').mkdir()
    written(tmp_path / 'photographs', tuple(f'{TEST_THEME}_{k}.jpg' for k in range(2)))
    monkeypatch.setenv('TRPOSE_DATA', str(tmp_path))
    model = Metrabs(MetrabsConfig('resnet-plain-xs', num_joints=39, states=True))

    class Told:
        """A runner that knows the labels, but for an offset."""

        def __init__(self, *_):
            pass

        def run(self, images, cameras):
            (batch,) = (b for b in seen if b.images is images)
            px = np.nan_to_num(batch.joints_px.numpy()) + np.array([off, 0])
            rays = np.concatenate([px, np.ones_like(px[..., :1])], axis=-1)
            poses = 3000 * (rays @ np.linalg.inv(cameras).swapaxes(1, 2))
            return SimpleNamespace(abs_mm=poses, solvable=np.ones(len(px), bool))

    def one_px(uncertainty, features, joints):
        return np.eye(3) * (3000 / features[:, None, None, None]) ** 2

    seen = []
    batches = metrabs_measure._photograph_batches

    def watched(*arguments):
        for batch, torso in batches(*arguments):
            seen.append(batch)
            yield batch, torso

    monkeypatch.setattr(metrabs_measure, 'CropRunner', Told)
    monkeypatch.setattr(metrabs_measure, '_photograph_batches', watched)
    monkeypatch.setattr(metrabs_measure, 'covariances_mm2', one_px)
    monkeypatch.setattr(metrabs_measure, 'features_of', lambda poses, cameras, _: cameras[:, 0, 0])
    found = coverage_on_photographs(model, None, 'photographs')
    assert len(found) == 6
    for shares in found.values():
        assert (shares['inside_50'], shares['inside_95']) == inside


def test_the_roc_area():
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert roc_area(scores, np.array([False, False, True, True])) == pytest.approx(0.75)
    assert roc_area(scores, scores > 0.3) == 1.0
    assert roc_area(np.zeros(4), scores > 0.3) == pytest.approx(0.5)
    assert np.isnan(roc_area(scores, np.ones(4, bool)))

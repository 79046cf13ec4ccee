"""MuPoTS-3D and MuCo-3DHP in the formats that were published."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import scipy.io
from made_people import cells, pinhole, seen_mm

from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError

FOCAL, CENTRE = 1500.0, (1024.0, 1024.0)


STRUCTURE = [(name, object) for name in ('annot2', 'annot3', 'univ_annot3', 'isValidFrame')]


def write_mupots(folder, name='TS7', frames=6, people=2, change=None, labels=True):
    place = folder / 'MultiPersonTestSet' / name
    place.mkdir(parents=True)
    annotations = np.empty((frames, people), dtype=object)
    hidden = np.empty((frames, people), dtype=object)
    truth = []
    for person in range(people):
        joints = seen_mm(frames, 'mpi_inf_3dhp_17', person)
        px = pinhole(joints, 1400, (960, 540))
        truth.append((px, joints))
        for frame in range(frames):
            record = np.zeros((1, 1), dtype=STRUCTURE)
            valid = not (person == 1 and frame == 2)
            # where a person is not annotated the file holds zeros
            record['annot2'][0, 0] = px[frame].T * valid
            record['annot3'][0, 0] = joints[frame].T * valid
            record['univ_annot3'][0, 0] = joints[frame].T * valid * 0.9
            record['isValidFrame'][0, 0] = np.array([[float(valid)]])
            annotations[frame, person] = record if change is None else change(record)
            hidden[frame, person] = (np.arange(17)[None] == frame).astype(np.uint8)
    scipy.io.savemat(place / 'annot.mat', {'annotations': annotations})
    if labels:
        scipy.io.savemat(place / 'occlusion.mat', {'occlusion_labels': hidden})
    return truth


def test_mupots(tmp_path):
    truth = write_mupots(tmp_path)
    write_mupots(tmp_path, 'TS12', people=1, labels=False)
    samples = list(load_dataset('mupots', tmp_path))
    assert [(s.subject, s.person) for s in samples] == [('TS7', 0), ('TS7', 1), ('TS12', 0)]
    first, second, other = samples
    np.testing.assert_allclose(first.joints_px, truth[0][0], rtol=1e-4)
    np.testing.assert_allclose(first.joints_m * 1000, truth[0][1], rtol=1e-4)
    assert not second.valid[2].any()
    assert np.isnan(second.joints_m[2]).all()  # not zero
    assert second.valid[[0, 1, 3, 4, 5]].all()
    assert first.occluded[3].tolist() == [i == 3 for i in range(17)]
    assert other.occluded is None
    np.testing.assert_allclose(first.camera.matrix[0, 0], 1400, rtol=1e-3)
    assert (first.width, first.height, first.split) == (1920, 1080, 'test')


def test_mupots_universal_and_images(tmp_path):
    truth = write_mupots(tmp_path, frames=3)
    place = tmp_path / 'MultiPersonTestSet' / 'TS7'
    for frame in range(3):
        cv2.imwrite(str(place / f'img_{frame:06d}.jpg'), np.full((4, 6, 3), 50 * frame, np.uint8))
    sample = next(iter(load_dataset('mupots', tmp_path, universal=True)))
    np.testing.assert_allclose(sample.joints_m * 1000, 0.9 * truth[0][1], rtol=1e-4)
    assert sample.camera is None
    assert sample.images[2].mean() == pytest.approx(100, abs=2)
    (place / 'img_000002.jpg').unlink()
    with pytest.raises(DataError, match='has 2 images of 3'):
        list(load_dataset('mupots', tmp_path))


def test_bad_mupots(tmp_path):
    def cut(record):
        record['annot3'][0, 0] = record['annot3'][0, 0][:, :14]
        return record

    write_mupots(tmp_path, change=cut)
    with pytest.raises(DataError, match=r'frame 0: annot3 must be \(3, 17\), got \(3, 14\)'):
        list(load_dataset('mupots', tmp_path))
    place = tmp_path / 'MultiPersonTestSet' / 'TS7'
    scipy.io.savemat(place / 'annot.mat', {'annotations': np.zeros((3, 2))})
    with pytest.raises(DataError, match='must be cells'):
        list(load_dataset('mupots', tmp_path))
    empty = np.empty((1, 1), dtype=object)
    empty[0, 0] = np.zeros((1, 1))
    scipy.io.savemat(place / 'annot.mat', {'annotations': empty})
    with pytest.raises(DataError, match='must have annot2'):
        list(load_dataset('mupots', tmp_path))


def test_occlusion_labels_of_another_sequence(tmp_path):
    write_mupots(tmp_path)
    place = tmp_path / 'MultiPersonTestSet' / 'TS7'
    scipy.io.savemat(place / 'occlusion.mat', {'occlusion_labels': cells([np.zeros((1, 17))] * 3)})
    with pytest.raises(DataError, match=r'is for \(3, 1\) frames and people'):
        list(load_dataset('mupots', tmp_path))


# --- MuCo-3DHP -------------------------------------------------------------------------------


def write_muco(folder, change=lambda annotation: None):
    annotations = []
    for number in range(3):
        joints = seen_mm(1, 'mpi_inf_3dhp_17', number)[0]
        joints = np.concatenate([joints, joints[:4]])  # 21: two hands, two toes
        annotation = {
            'id': number,
            'image_id': number // 2,
            'keypoints_img': pinhole(joints, 1500, CENTRE).tolist(),
            'keypoints_cam': joints.tolist(),
            'keypoints_vis': [j != 5 for j in range(21)],
            'bbox': [0, 0, 10, 10],
        }
        change(annotation)
        annotations.append(annotation)
    pictures = [
        {
            'id': i,
            'file_name': f'unaugmented_set/{i:05d}.jpg',
            'width': 2048,
            'height': 2048,
            'f': [1500, 1500],
            'c': list(CENTRE),
        }
        for i in range(2)
    ]
    (folder / 'MuCo-3DHP.json').write_text(
        json.dumps({'images': pictures, 'annotations': annotations})
    )


def test_muco(tmp_path):
    write_muco(tmp_path)
    (tmp_path / 'unaugmented_set').mkdir()
    cv2.imwrite(str(tmp_path / 'unaugmented_set' / '00001.jpg'), np.zeros((4, 4, 3), np.uint8))
    samples = list(load_dataset('mupots', tmp_path, split='train'))
    assert [(s.action[-5:], s.person) for s in samples] == [
        ('0.jpg', 0),
        ('0.jpg', 1),
        ('1.jpg', 0),
    ]
    assert len({s.identity for s in samples}) == 3
    sample = samples[2]
    assert len(sample) == 1
    assert sample.occluded[0].tolist() == [j == 5 for j in range(17)]
    found = pinhole(sample.joints_m, 1500, CENTRE)
    np.testing.assert_allclose(sample.joints_px, found, atol=0.01)
    assert samples[0].images is None
    assert sample.images[0].shape == (4, 4, 3)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda a: a.update(image_id=9), 'annotation 0 lacks a field or names no image'),
        (lambda a: a.pop('keypoints_cam'), 'keypoints_cam'),
        (lambda a: a.update(keypoints_img=[[1, 2]]), 'expected 21 joints'),
        (lambda a: a.update(keypoints_img=[[1, 2], [3]]), 'not numbers'),
        (
            lambda a: a.update(keypoints_cam=(np.array(a['keypoints_cam']) / 1000).tolist()),
            'fits a person in no unit',
        ),
    ],
)
def test_bad_muco(tmp_path, change, words):
    write_muco(tmp_path, change)
    with pytest.raises(DataError, match=words):
        list(load_dataset('mupots', tmp_path))


def test_other_json_is_refused(tmp_path):
    for text in ('{', '[]', '{"images": []}'):
        (tmp_path / 'MuCo-3DHP.json').write_text(text)
        with pytest.raises(DataError, match='not the annotation file'):
            list(load_dataset('mupots', tmp_path))

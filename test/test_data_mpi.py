"""MPI-INF-3DHP, MuPoTS-3D and MuCo-3DHP, on files made in the formats their publishers use."""

from __future__ import annotations

import json
import sys

import cv2
import h5py
import numpy as np
import pytest
import scipy.io
from made_people import moving_person
from made_people import pinhole

from trpose_ros.data.mat_files import read_mat
from trpose_ros.data.mpi_inf_3dhp import CAMERAS
from trpose_ros.data.mpi_inf_3dhp import JOINTS_17
from trpose_ros.data.mpi_inf_3dhp import frame_rate
from trpose_ros.data.mpi_inf_3dhp import read_calibration
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import MissingDataError
from trpose_ros.skeletons import get_skeleton

FOCAL, CENTRE = 1500.0, (1024.0, 1024.0)


def cells(items):
    array = np.empty((len(items), 1), dtype=object)
    for i, item in enumerate(items):
        array[i, 0] = item
    return array


def seen_mm(frames, skeleton, seed=0):
    """Return camera-frame joints in mm, 3.5 m away, as the annotations hold them."""
    return moving_person(frames, skeleton, seed, (0.1, 0.2, 3.5)) * 1000


# --- MPI-INF-3DHP: originals -----------------------------------------------------------------


def write_training(folder, frames=12, change=lambda two, three: None, calibration=True):
    place = folder / 'S1' / 'Seq1'
    place.mkdir(parents=True)
    three = [seen_mm(frames, 'mpi_inf_3dhp_28', camera) for camera in range(14)]
    two = [pinhole(joints, FOCAL, CENTRE).reshape(frames, 56) for joints in three]
    three = [joints.reshape(frames, 84) for joints in three]
    change(two, three)
    scipy.io.savemat(
        place / 'annot.mat',
        {
            'annot2': cells(two),
            'annot3': cells(three),
            'univ_annot3': cells([0.9 * t for t in three]),
            'cameras': np.arange(14),
            'frames': np.arange(frames),
        },
    )
    if calibration:
        inner = f'{FOCAL} 0 {CENTRE[0]} 0 0 {FOCAL} {CENTRE[1]} 0 0 0 1 0 0 0 0 1'
        lines = ['Skeletool Camera Calibration File V1.0']
        for camera in range(14):
            lines += [
                f'name          {camera}',
                '  sensor      10 10',
                '  size        2048 2048',
                '  animated    0',
                f'  intrinsic   {inner}',
                f'  extrinsic   1 0 0 {camera * 100} 0 1 0 0 0 0 1 2000 0 0 0 1',
                '  radial      0',
            ]
        (place / 'camera.calibration').write_text('\n'.join(lines))
    return two, three


def test_training_originals(tmp_path):
    two, three = write_training(tmp_path)
    samples = list(load_dataset('mpi_inf_3dhp', tmp_path))
    assert [s.camera_name for s in samples] == [str(c) for c in CAMERAS]
    s = samples[3]
    assert (s.subject, s.action, s.split, s.fps) == ('S1', 'Seq1', 'train', 25.0)
    assert s.camera_name == '4'  # camera 3 is not at chest height
    np.testing.assert_allclose(s.joints_px.reshape(12, 56), two[4], rtol=1e-5)
    np.testing.assert_allclose(s.joints_m.reshape(12, 84) * 1000, three[4], rtol=1e-5)
    assert s.camera.matrix[0, 0] == FOCAL
    np.testing.assert_allclose(s.world_to_camera[:3, 3], [0.4, 0, 2.0])
    assert s.valid.all()


def test_the_camera_is_fitted_where_the_calibration_is_missing(tmp_path):
    write_training(tmp_path, calibration=False)
    sample = next(iter(load_dataset('mpi_inf_3dhp', tmp_path)))
    np.testing.assert_allclose(sample.camera.matrix[0, 0], FOCAL, rtol=1e-3)
    assert sample.world_to_camera is None


def test_universal_joints_have_no_camera(tmp_path):
    _, three = write_training(tmp_path)
    sample = next(iter(load_dataset('mpi_inf_3dhp', tmp_path, universal=True)))
    np.testing.assert_allclose(sample.joints_m.reshape(12, 84) * 1000, 0.9 * three[0], rtol=1e-5)
    assert sample.camera is None


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda two, three: two.__setitem__(0, two[0][:, :34]), r'\(F, 56\) for 28 joints'),
        (lambda two, three: two.__setitem__(0, two[0][:5]), '5 frames of 2D but 12 of 3D'),
        (lambda two, three: three.__setitem__(0, three[0] * 1000), 'millimetres'),
        (lambda two, three: two.__delitem__(slice(1, None)), 'has 1 cameras'),
    ],
)
def test_bad_training_annotations(tmp_path, change, words):
    write_training(tmp_path, change=change)
    with pytest.raises(DataError, match=words):
        list(load_dataset('mpi_inf_3dhp', tmp_path))


def test_joints_that_are_not_a_number_are_not_valid(tmp_path):
    write_training(tmp_path, change=lambda two, three: three[0].__setitem__((2, 0), np.nan))
    sample = next(iter(load_dataset('mpi_inf_3dhp', tmp_path)))
    assert (~sample.valid).sum() == 1
    assert not sample.valid[2, 0]


def test_a_calibration_that_cannot_be_read_names_the_line(tmp_path):
    path = tmp_path / 'camera.calibration'
    path.write_text('name 0\nsize 10 10\nintrinsic 1 2 3\nextrinsic 1 2\n')
    with pytest.raises(DataError, match='line 4'):
        read_calibration(path)
    path.write_text('nothing\n')
    with pytest.raises(DataError, match='names no camera'):
        read_calibration(path)


def test_frame_rates():
    assert frame_rate(6416) == 25.0  # S1/Seq1
    assert frame_rate(12430) == 50.0  # S1/Seq2


def write_test(folder, name='TS6', frames=10, hdf5=False):
    place = folder / name
    place.mkdir(parents=True)
    joints = seen_mm(frames, 'mpi_inf_3dhp_17', 5)
    centre = (960.0, 540.0) if name in ('TS5', 'TS6') else CENTRE
    px = pinhole(joints, 1500, centre)
    flags = np.ones(frames)
    flags[3] = 0
    content = {
        'annot2': np.moveaxis(px, 0, -1).swapaxes(0, 1)[:, :, None],
        'annot3': np.moveaxis(joints, 0, -1).swapaxes(0, 1)[:, :, None],
        'univ_annot3': np.moveaxis(joints, 0, -1).swapaxes(0, 1)[:, :, None],
        'valid_frame': flags[None],
    }
    path = place / 'annot_data.mat'
    if hdf5:
        with h5py.File(path, 'w', userblock_size=512) as file:
            for key, value in content.items():
                file[key] = value.T
    else:
        scipy.io.savemat(path, content)
    return px, joints


@pytest.mark.parametrize(('name', 'size'), [('TS1', (2048, 2048)), ('TS6', (1920, 1080))])
def test_test_originals(tmp_path, name, size):
    px, joints = write_test(tmp_path, name)
    (sample,) = load_dataset('mpi_inf_3dhp', tmp_path, split='test')
    np.testing.assert_allclose(sample.joints_px, px, rtol=1e-5)
    np.testing.assert_allclose(sample.joints_m * 1000, joints, rtol=1e-5)
    assert (sample.width, sample.height) == size
    assert not sample.valid[3].any()
    assert sample.valid.sum() == 9 * 17
    np.testing.assert_allclose(sample.camera.matrix[0, 0], 1500, rtol=1e-3)


def test_test_originals_in_hdf5(tmp_path):
    px, joints = write_test(tmp_path, 'TS1', hdf5=True)  # as MATLAB 7.3 writes: axes reversed
    (sample,) = load_dataset('mpi_inf_3dhp', tmp_path, split='test')
    np.testing.assert_allclose(sample.joints_px, px, rtol=1e-5)
    np.testing.assert_allclose(sample.joints_m * 1000, joints, rtol=1e-5)
    assert sample.valid.sum() == 9 * 17


def test_matlab_7_3_needs_h5py_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / 'a.mat'
    path.write_bytes(b'MATLAB 7.3'.ljust(512) + b'\x89HDF\r\n\x1a\n' + bytes(64))
    with pytest.raises(DataError, match=r'not a readable MATLAB 7\.3 file'):
        read_mat(path, ('x',))
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match='pip install h5py'):
        read_mat(path, ('x',))


def test_damaged_matlab_files(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'x': np.arange(300.0)})
    with pytest.raises(DataError, match=r"lacks the variables \['y'\]"):
        read_mat(path, ('x', 'y'))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match='not a readable MATLAB file'):
        read_mat(path, ('x',))
    with pytest.raises(MissingDataError):
        read_mat(tmp_path / 'b.mat', ('x',))


# --- MPI-INF-3DHP: archives of P-STMO --------------------------------------------------------


def write_pstmo(folder, change=lambda value: value):
    def entry(seed, frames=8):
        joints = seen_mm(frames, 'mpi_inf_3dhp_17', seed)
        px = pinhole(joints, FOCAL, CENTRE)
        return change({'data_2d': px, 'data_3d': joints})

    train = {f'S{s} Seq{q}': [{str(c): entry(c) for c in CAMERAS}] for s in (1, 2) for q in (1, 2)}
    test = {}
    for name in ('TS1', 'TS6'):
        flags = np.zeros(12)
        flags[2:10] = 1
        test[name] = entry(3) | {'valid': flags}  # the flags tell of all frames
    for part, content in (('train', train), ('test', test)):
        np.savez_compressed(folder / f'data_{part}_3dhp.npz', data=np.array(content, dtype=object))


def test_archives_of_pstmo(tmp_path):
    write_pstmo(tmp_path)
    samples = list(load_dataset('mpi_inf_3dhp', tmp_path))
    assert sum(s.split == 'train' for s in samples) == 4 * 8
    assert len({s.identity for s in samples}) == len(samples)
    small = samples[-1]
    assert (small.subject, small.width, small.height) == ('TS6', 1920, 1080)
    assert small.frame_numbers.tolist() == list(range(2, 10))
    assert small.camera is None  # universal 3D does not project onto the 2D
    root = get_skeleton(small.skeleton).root_index
    assert root == 14
    assert not small.relative_m()[:, 14].any()
    assert [s.camera_name for s in load_dataset('mpi_inf_3dhp', tmp_path, cameras=(0, 8))][:2] == [
        '0',
        '8',
    ]


def test_17_of_28_joints_are_those_of_the_archives():
    names = get_skeleton('mpi_inf_3dhp_28').joint_names
    assert tuple(names[i] for i in JOINTS_17) == get_skeleton('mpi_inf_3dhp_17').joint_names


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda v: v | {'data_3d': v['data_3d'] * 1000}, 'millimetres'),
        (lambda v: v | {'data_2d': v['data_2d'][:, :16]}, r'got \(8, 16, 2\)'),
        (lambda v: {'data_2d': v['data_2d']}, 'must have data_2d and data_3d'),
        (lambda v: v | {'valid': np.ones(3)}, '3 flags, 3 set, 8 frames'),
    ],
)
def test_bad_archives_of_pstmo(tmp_path, change, words):
    write_pstmo(tmp_path, change)
    with pytest.raises(DataError, match=words):
        list(load_dataset('mpi_inf_3dhp', tmp_path, split='train'))


def test_other_archives_are_refused(tmp_path):
    np.savez(tmp_path / 'data_train_3dhp.npz', x=np.zeros(3))
    with pytest.raises(DataError, match='not an archive of P-STMO'):
        list(load_dataset('mpi_inf_3dhp', tmp_path, split='train'))
    np.savez(tmp_path / 'data_train_3dhp.npz', data=np.array({'S1 Seq1': 3}, dtype=object))
    with pytest.raises(DataError, match='S1 Seq1 must be a list'):
        list(load_dataset('mpi_inf_3dhp', tmp_path, split='train'))
    with pytest.raises(ValueError, match='source'):
        list(load_dataset('mpi_inf_3dhp', tmp_path, source='other'))
    with pytest.raises(MissingDataError, match='no test annotations'):
        list(load_dataset('mpi_inf_3dhp', tmp_path, split='test'))


# --- MuPoTS-3D -------------------------------------------------------------------------------

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

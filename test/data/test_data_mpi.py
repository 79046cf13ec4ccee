"""MPI-INF-3DHP, on files made in the formats their publishers use."""

from __future__ import annotations

import base64
import sys
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
from made_people import cells, pinhole, seen_mm

from trpose_ros.data.datasets import mat_files
from trpose_ros.data.datasets.mat_files import read_mat
from trpose_ros.data.datasets.mpi_inf_3dhp import CAMERAS, JOINTS_17, frame_rate, read_calibration
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.skeletons import get_skeleton

FOCAL, CENTRE = 1500.0, (1024.0, 1024.0)


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


# 424 bytes, four of them changed: scipy's reader died by a signal, and took the process with it.
CRASHING = zlib.decompress(
    base64.b85decode(
        b'c-r%I4DoSvQZUssQ1EpO(M`+DNmU5QNi0drFUqx2D9A6)tk6+#E=o--Nlj76&$ChpPApOI%P&(fvQRKE'
        b'urfBbGPG1MGB7e@AOkRZ`tkv(3Ls_!Vh$(`0<2IzGZZrdAxIr35PQH4_+XFU0>bhj`xhYD&xmF}h|dJI'
        b'KN(1a)LS5_=fk3&5y>1LG;=}f4UqJ+5YR8Ml93@1NCN;*Gadv'
    )
)


def test_a_matlab_file_that_crashes_its_reader_is_a_message(tmp_path, monkeypatch):
    path = tmp_path / 'a.mat'
    path.write_bytes(CRASHING)
    with pytest.raises(DataError, match=r'a\.mat is not a readable MATLAB file .*obtain it again'):
        read_mat(path, ('x', 'c'))
    monkeypatch.setattr(mat_files, '_CHILD', 'import os; os.kill(os.getpid(), 11)')
    with pytest.raises(DataError, match='the reader ended by SIGSEGV'):
        read_mat(path, ('x',))
    monkeypatch.setattr(mat_files, '_CHILD', 'import os; print(os.getcwd())')
    with pytest.raises(DataError, match='cannot be read as a pickle'):
        read_mat(path, ('x',))


def test_cells_and_structures_come_back(tmp_path):
    path = tmp_path / 'a.mat'
    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = {'a': np.arange(3.0), 'b': 'word'}, np.zeros((2, 0))
    scipy.io.savemat(path, {'cells': cells, 'x': np.arange(4, dtype=np.uint8)})
    found = read_mat(path, ('cells', 'x'))
    np.testing.assert_array_equal(found['x'], [[0, 1, 2, 3]])
    assert found['x'].dtype == np.uint8
    record = found['cells'][0, 0][0, 0]
    np.testing.assert_array_equal(record['a'], [[0, 1, 2]])
    assert record['b'] == ['word']
    assert found['cells'][0, 1].shape == (2, 0)


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

"""Samples, units, restricted unpickling, the registry: what all loaders share."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_people import moving_person

from trpose_ros.data.datasets.image_sources import ImageFiles, VideoFrames
from trpose_ros.data.datasets.pickled_numbers import load_npz, load_pickle
from trpose_ros.data.registry import (
    DATASETS,
    data_folder,
    load_dataset,
    recognise,
)
from trpose_ros.data.samples import (
    DataError,
    MissingDataError,
    Sample,
    check_metres,
    interpolate_missing,
    median_bone,
)
from trpose_ros.skeletons import SKELETONS


def make_sample(frames=6, skeleton='h36m_17', **changes):
    joints = moving_person(frames, skeleton)
    values = {
        'dataset': 'made',
        'subject': 'S1',
        'action': 'Walking 1',
        'camera_name': 'c',
        'split': 'test',
        'fps': 50.0,
        'skeleton': skeleton,
        'width': 1000,
        'height': 500,
        'valid': np.ones(joints.shape[:2], bool),
        'joints_m': joints,
        'joints_px': joints[..., :2] * 100,
        'frame_numbers': np.arange(frames),
        'world_to_camera': np.tile(np.eye(4), (frames, 1, 1)),
    }
    return Sample(**(values | changes))


# --- samples ---------------------------------------------------------------------------------


def test_a_sample_of_no_frames_is_a_sample():
    sample = make_sample(0)
    assert len(sample) == 0
    assert sample.relative_m().shape == (0, 17, 3)
    assert sample.screen().shape == (0, 17, 2)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'split': 'testing'}, 'testing'),
        ({'fps': 0.0}, 'fps'),
        ({'fps': float('nan')}, 'fps'),
        ({'width': -1}, 'size'),
        ({'joints_m': np.zeros((6, 16, 3))}, r'joints_m must be \(6, 17, 3\)'),
        ({'joints_px': np.zeros((5, 17, 2))}, 'joints_px'),
        ({'world_to_camera': np.eye(3)}, 'world_to_camera'),
        ({'images': [0, 1]}, '6 annotated frames but only 2 images'),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes, words):
    with pytest.raises(DataError, match=words):
        make_sample(**changes)


@given(st.integers(0, 8), st.integers(0, 8), st.integers(1, 4))
def test_frames_are_cut_together(start, stop, step):
    sample = make_sample(images=list(range(100, 106)))
    part = sample.frames(start, stop, step)
    expected = list(range(6))[start:stop:step]
    assert part.frame_numbers.tolist() == expected
    assert part.fps == 50 / step
    assert [part.images[i] for i in range(len(part))] == [100 + i for i in expected]
    assert len(part.world_to_camera) == len(expected)
    np.testing.assert_array_equal(part.joints_m, sample.joints_m[expected])


def test_a_step_of_zero_is_refused():
    with pytest.raises(ValueError, match='step'):
        make_sample().frames(0, 6, 0)


def test_another_skeleton_marks_what_it_lacks():
    sample = make_sample(skeleton='coco_17')
    sample.valid[2, 5] = False  # left shoulder
    other = sample.to_skeleton('h36m_17')
    assert other.skeleton == 'h36m_17'
    assert not other.valid[:, 10].any()  # COCO has no head top in 3D
    assert np.isnan(other.joints_m[:, 10]).all()
    assert not other.valid[2, [8, 11]].any()  # the shoulder and the neck made from it
    assert other.valid[3, [8, 11]].all()
    assert sample.to_skeleton('coco_17') is sample


def test_missing_parts_are_said():
    with pytest.raises(DataError, match='no 3D joints'):
        make_sample(joints_m=None).relative_m()
    with pytest.raises(DataError, match='no 2D joints'):
        make_sample(joints_px=None).screen()


def test_screen_keeps_the_aspect_and_the_root_is_at_zero():
    sample = make_sample(1, joints_px=np.full((1, 17, 2), 0.0))
    np.testing.assert_allclose(sample.screen()[0, 0], [-1, -0.5])
    assert not sample.relative_m()[:, 0].any()


@pytest.mark.parametrize('skeleton', sorted(SKELETONS))
def test_units_are_recognised_by_bones(skeleton):
    joints = moving_person(10, skeleton)
    check_metres(joints, skeleton, 'clip')
    with pytest.raises(DataError, match=r'clip: .* millimetres .* multiply the positions by 0.001'):
        check_metres(joints * 1000, skeleton, 'clip')
    with pytest.raises(DataError, match='fits a person in no unit'):
        check_metres(joints * 1e6, skeleton, 'clip')


def test_centimetres_of_a_real_person_are_recognised():
    joints = (
        moving_person(10, 'h36m_17') * 100 / median_bone(moving_person(10, 'h36m_17'), 'h36m_17')
    )
    with pytest.raises(DataError, match='centimetres'):
        check_metres(joints * 0.25, 'h36m_17', 'clip')


def test_nothing_known_is_no_unit_error():
    check_metres(np.full((5, 17, 3), np.nan), 'h36m_17', 'clip')
    check_metres(np.zeros((0, 17, 3)), 'h36m_17', 'clip')
    assert np.isnan(median_bone(np.zeros((3, 17, 3)), 'h36m_17'))


def test_gaps_are_interpolated_and_edges_repeated():
    joints = np.arange(6, dtype=float)[:, None, None] * np.ones((1, 2, 2))
    joints[[0, 2, 3, 5]] = np.nan
    filled = interpolate_missing(joints, 'clip')
    np.testing.assert_allclose(filled[:, 1, 0], [1, 1, 2, 3, 4, 4])
    joints[:, 1] = np.nan
    with pytest.raises(DataError, match='joint 1 is in no frame'):
        interpolate_missing(joints, 'clip')


# --- pickles ---------------------------------------------------------------------------------


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_hostile_pickle_is_not_run(tmp_path):
    target = tmp_path / 'made_by_a_pickle'
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps({'jointPositions': Hostile(str(target))}))
    with pytest.raises(DataError, match=r'mkdir.*nothing of it was executed'):
        load_pickle(path)
    assert not target.exists()
    np.savez(tmp_path / 'a.npz', data=np.array({'x': Hostile(str(target))}, dtype=object))
    with pytest.raises(DataError, match='mkdir'):
        load_npz(tmp_path / 'a.npz')
    assert not target.exists()


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_read(tmp_path, protocol):
    content = {
        'name': 'a',
        'arrays': [np.arange(6.0).reshape(2, 3), np.zeros((0, 3), np.float32)],
        'scalar': np.float64(2.5),
        'flag': np.bool_(True),
        'fortran': np.asfortranarray(np.arange(6).reshape(2, 3)),
        'nested': {'t': (1, None, True), 'b': b'xy'},
    }
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = load_pickle(path)
    np.testing.assert_array_equal(found['arrays'][0], content['arrays'][0])
    np.testing.assert_array_equal(found['fortran'], content['fortran'])
    assert found['arrays'][1].shape == (0, 3)
    assert found['scalar'] == 2.5
    assert found['nested'] == content['nested']


def python2(content) -> bytes:
    """Pickle as Python 2 and old numpy did: their module's name, byte strings."""
    data = pickle.dumps(content, protocol=2)
    return data.replace(b'numpy._core.multiarray', b'numpy.core.multiarray')


def test_a_pickle_of_python_2_is_read(tmp_path):
    data = python2({'x': np.arange(5.0)})
    assert b'numpy.core.multiarray' in data
    assert 'multiarray' in str(list(pickletools.genops(data)))
    path = tmp_path / 'a.pkl'
    path.write_bytes(data)
    np.testing.assert_array_equal(load_pickle(path)['x'], np.arange(5.0))


@given(st.binary(max_size=200))
def test_noise_is_a_data_error(tmp_path_factory, noise):
    path = tmp_path_factory.mktemp('noise') / 'a.pkl'
    path.write_bytes(b'\x80\x02' + noise)
    with suppress(DataError):  # and nothing else
        load_pickle(path)


@given(st.integers(0, 400), st.integers(1, 255))
def test_a_damaged_archive_is_a_data_error(tmp_path_factory, place, flip):
    stream = io.BytesIO()
    np.savez(stream, x=np.arange(4.0), y=np.array({'a': np.zeros(2)}, dtype=object))
    data = bytearray(stream.getvalue())
    data[place % len(data)] ^= flip
    path = tmp_path_factory.mktemp('damaged') / 'a.npz'
    path.write_bytes(bytes(data))
    with suppress(DataError):  # and nothing else
        assert isinstance(load_npz(path), dict)


def test_a_cut_off_archive_is_a_data_error(tmp_path):
    path = tmp_path / 'a.npz'
    np.savez(path, x=np.arange(1000.0))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match='obtain the file again'):
        load_npz(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('x.npy', b'no array')
    with pytest.raises(DataError, match='not a numpy array'):
        load_npz(path)
    with pytest.raises(MissingDataError):
        load_npz(tmp_path / 'none.npz')


# --- registry --------------------------------------------------------------------------------

NAMES = sorted(DATASETS)


def test_unknown_data_set():
    with pytest.raises(ValueError, match='human36m'):
        DATASETS['human3.6m']


@pytest.mark.parametrize('name', NAMES)
def test_a_missing_data_set_says_what_to_do(name, tmp_path):
    for folder in (tmp_path / 'none', tmp_path):
        with pytest.raises(MissingDataError) as caught:
            list(load_dataset(name, folder))
        text = str(caught.value)
        info = DATASETS[name]
        assert info.title in text
        assert 'Obtain: ' + info.obtain in text
        assert info.licence in text
        assert all(str(folder / pattern) in text for pattern, _ in info.layout)


@pytest.mark.parametrize('name', NAMES)
def test_an_empty_folder_is_no_data_set(name, tmp_path):
    assert not DATASETS[name].present(tmp_path)
    assert name not in recognise(tmp_path)


def test_the_data_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv('TRPOSE_DATA', str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv('TRPOSE_DATA')
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path / 'x'))
    assert data_folder() == tmp_path / 'x' / 'trpose_ros' / 'data'


# --- images ----------------------------------------------------------------------------------


def test_unreadable_images_are_named(tmp_path):
    (tmp_path / 'a.jpg').write_bytes(b'no image')
    with pytest.raises(DataError, match=r'a\.jpg'):
        ImageFiles([tmp_path / 'a.jpg'])[0]
    (tmp_path / 'a.mp4').write_bytes(b'no video')
    with pytest.raises(DataError, match=r'a\.mp4'):
        VideoFrames(tmp_path / 'a.mp4')

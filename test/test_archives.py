"""Arrays from files: damage is one line with the file's name; nobody reads them unchecked."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from trpose_ros.archives import mapped_array, pack_arrays
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.rendering.backgrounds import Backgrounds
from trpose_ros.data.rendering.bodies import BodyLibrary, PackError, _read_texture
from trpose_ros.data.rendering.prepare_bodies import _picture
from trpose_ros.data.rendering.sprites import SpriteStore
from trpose_ros.data.samples import DataError
from trpose_ros.recordings.pictures import read_stored
from trpose_ros.training.lifters.noise_runs import load_runs
from trpose_ros.training.metrabs.crop_cache import CropCache
from trpose_ros.training.metrabs.real_video import batches

PACKAGE = Path(__file__).resolve().parents[1] / 'trpose_ros'
UNCHECKED = re.compile(r'\b(?:np\.load|torch\.load|cv2\.imread|pickle\.loads?)\(')
MAY = {('metrabs/packages.py', 'np.load(')}  # one matrix, no archive


def one_line(error, path):
    text = str(error.value)
    assert str(path) in text
    assert '\n' not in text
    assert len(text) < 1000


def damages(whole):
    """Yield a cut file, one with a wrong byte in the middle, something else, and nothing."""
    wrong = bytearray(whole)
    wrong[len(whole) // 2] ^= 255
    yield from (whole[: len(whole) // 2], bytes(wrong), b'PK\x03\x04 and more', b'')


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_a_damaged_pack_is_named(tmp_path):
    path = npz(tmp_path / 'a.npz', a=np.arange(9000.0), b=np.zeros(3))
    assert set(pack_arrays(path, 'a', 'b')) == {'a', 'b'}
    with pytest.raises(ValueError, match=r"a\.npz lacks \['c'\]"):
        pack_arrays(path, 'a', 'c')
    for data in damages(path.read_bytes()):
        path.write_bytes(data)
        with pytest.raises(ValueError, match='no readable npz') as caught:
            pack_arrays(path)
        one_line(caught, path)
    with pytest.raises(FileNotFoundError):
        pack_arrays(tmp_path / 'none.npz')


# Each once made numpy's reader of headers raise something that nobody expected.
HEADERS = [
    b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,",
    b'(' * 300,
    b"{'descr': 3}",
    b'\0',
]


@pytest.mark.parametrize('header', HEADERS)
def test_a_damaged_header_of_an_array_is_named(tmp_path, header):
    data = b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header + bytes(24)
    path = tmp_path / 'a.npz'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a.npy', data)
    with pytest.raises(ValueError, match=r'a\.npz') as caught:
        pack_arrays(path)
    one_line(caught, path)
    with pytest.raises(DataError, match=r'a\.npz \(a\) is not a numpy array'):
        load_npz(path)
    (tmp_path / 'a.npy').write_bytes(data)
    with pytest.raises(ValueError, match=r'a\.npy is no readable'):
        mapped_array(tmp_path / 'a.npy')


def test_a_mapped_array_is_whole_or_named(tmp_path):
    path = tmp_path / 'a.npy'
    np.save(path, np.arange(9000.0))
    np.testing.assert_array_equal(mapped_array(path), np.arange(9000.0))
    whole = path.read_bytes()
    objects = tmp_path / 'o.npy'
    np.save(objects, np.array([{}], object), allow_pickle=True)
    archive = npz(tmp_path / 'a.npz', a=np.zeros(3)).read_bytes()
    for data in (whole[:500], whole[:20], b'', b'x' * 200, objects.read_bytes(), archive):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r'a\.npy is') as caught:
            mapped_array(path)
        one_line(caught, path)


def _part(folder):
    library = BodyLibrary.__new__(BodyLibrary)
    library.folder = folder
    library._part('a')


@pytest.mark.parametrize(
    ('name', 'kind', 'read'),
    [
        ('body.npz', PackError, BodyLibrary),
        ('a.npz', PackError, _part),
        ('train/00000.npz', ValueError, lambda folder: SpriteStore(folder, 'train')),
        ('a.npz', ValueError, lambda folder: CropCache(folder, 'x')),
        ('truth.npz', ValueError, lambda folder: list(batches(folder, 64, 'none'))),
        ('runs.npz', ValueError, lambda folder: load_runs(folder / 'runs.npz')),
    ],
)
def test_every_pack_of_our_own_names_its_damaged_file(tmp_path, name, kind, read):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    (tmp_path / 'a.x.npy').touch()
    whole = npz(path, other=np.arange(9000.0)).read_bytes()
    others = () if 'train' in name else (whole,)  # it lacks what is needed; sprites need nothing
    for data in (*damages(whole), *others):
        path.write_bytes(data)
        with pytest.raises(kind) as caught:
            read(tmp_path)
        one_line(caught, path)


def test_pictures_of_packs_are_checked(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 4), np.uint8)
    path = tmp_path / 'a.png'
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    np.testing.assert_array_equal(read_stored(path), image)
    assert _picture(path, tmp_path / 'out.png') == 'picture out.png'
    jpeg = cv2.imencode('.jpg', image[..., :3])[1].tobytes()
    background = tmp_path / 'b_1.jpg'
    background.write_bytes(jpeg)
    np.testing.assert_array_equal(
        Backgrounds(None, tmp_path).images[0], cv2.imdecode(np.frombuffer(jpeg, 'u1'), 1)[..., ::-1]
    )
    huge = bytearray(path.read_bytes())
    huge[16:24] = b'\x00\x00\xff\xff' * 2
    for data in (path.read_bytes()[:200], bytes(huge), b'', b'no picture'):
        path.write_bytes(data)
        with pytest.raises(PackError) as caught:
            _read_texture(path)
        one_line(caught, path)
        assert _picture(path, tmp_path / 'out.png').startswith('left out: a.png ')
        background.write_bytes(data)
        with pytest.raises(PackError) as caught:
            Backgrounds(None, tmp_path)
        one_line(caught, background)


def test_files_are_read_by_the_checked_readers_alone():
    """Other calls read a stranger's file without a limit, or run what is in it."""
    found = []
    for path in sorted(PACKAGE.rglob('*.py')):
        name, text = str(path.relative_to(PACKAGE)), path.read_text(encoding='utf-8')
        found += [f'{name}: {call}' for call in UNCHECKED.findall(text) if (name, call) not in MAY]
    assert found == []
    assert UNCHECKED.findall('a = np.load(b), torch.load(c)') == ['np.load(', 'torch.load(']

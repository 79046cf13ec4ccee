"""Pickles and zip archives from strangers: numbers come out, or a message does, at once."""

import io
import pickle
import struct
import time
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.archives import load_arrays
from trpose_ros.data.datasets.pickled_numbers import load_npz
from trpose_ros.data.samples import DataError
from trpose_ros.weights import WeightsError
from trpose_ros.weights.pickles import read_numbers
from trpose_ros.weights.torch_files import read_torch_file

PROTO = b'\x80\x02'
MULTIARRAY = 'numpy.core.multiarray'


def name(module, word):
    return f'c{module}\n{word}\n'.encode()


def text(value):
    data = value.encode()
    return b'X' + struct.pack('<I', len(data)) + data


def data(value):
    return b'B' + struct.pack('<I', len(value)) + value


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def group(*parts):
    return b'(' + b''.join(parts) + b't'


def call(function, *parts):
    return function + group(*parts) + b'R'


def kind(code, order='<', flags=0, fields=b'NNN', size=-1):
    state = group(number(3), text(order), fields, number(size), number(-1), number(flags))
    return call(name('numpy', 'dtype'), text(code), b'\x89', b'\x88') + state + b'b'


def array(dtype, shape, content, order=b'\x89'):
    made = call(
        name(MULTIARRAY, '_reconstruct'), name('numpy', 'ndarray'), group(number(0)), data(b'b')
    )
    return made + group(number(1), shape, dtype, order, content) + b'b'


def laughs(levels, begin=b']', end=b'e'):
    """Lists of two of the list before: 2^levels elements when spelled out."""
    made = b'](' + number(1) + number(2) + b'eq\x00'
    for level in range(levels):
        made += b'](' + b'h' + bytes([level]) + b'h' + bytes([level]) + b'eq' + bytes([level + 1])
    return made


def tuple_laughs(levels):
    made = number(1) + b'q\x00'
    for level in range(levels):
        made += (b'h' + bytes([level])) * 2 + b'\x86q' + bytes([level + 1])
    return made


def read(stream):
    return read_numbers(io.BytesIO(PROTO + stream + b'.'))


REFUSED = {
    'an array over objects at an address': call(
        name('numpy', 'ndarray'), group(number(1)), text('O'), data(b'A' * 8)
    ),
    'numpy.ndarray as data': name('numpy', 'ndarray'),
    'a type as data': call(name('numpy', 'dtype'), text('f8')),
    'a type with fields': array(
        kind('f8', fields=b'N' + group(text('a')) + b'}'), group(number(1)), data(b'A' * 8)
    ),
    'a structured type': call(name(MULTIARRAY, 'scalar'), kind('V8'), data(b'A' * 8)),
    'a scalar that is an object': call(name(MULTIARRAY, 'scalar'), kind('O8'), data(b'A' * 8)),
    'objects made of bytes': array(kind('O8', '|'), group(number(1)), data(b'A' * 8)),
    'a list of objects too short': array(kind('O8', '|'), group(number(9)), b']'),
    'a type of another size': array(kind('f8', size=1), group(number(8)), data(b'A' * 8)),
    'a type of unknown order': array(kind('f8', order='!'), group(number(1)), data(b'A' * 8)),
    'a long double': array(kind('f16'), group(number(1)), data(b'A' * 16)),
    'a date': array(kind('M8'), group(number(1)), data(b'A' * 8)),
    'too few bytes': array(kind('f8'), group(number(2)), data(b'A' * 8)),
    'a negative size': array(kind('f8'), group(number(-1)), data(b'A' * 8)),
    'a huge empty shape': array(kind('f8'), group(number(0), number(1 << 61)), data(b'')),
    'a subclass': call(name(MULTIARRAY, '_reconstruct'), kind('f8'), group(number(0)), data(b'b')),
    'an array without content': call(
        name(MULTIARRAY, '_reconstruct'), name('numpy', 'ndarray'), group(number(0)), data(b'b')
    ),
    'attributes of a function': name(MULTIARRAY, '_reconstruct') + b'}' + text('a') + b'Nsb',
    'attributes of a class': name('collections', 'OrderedDict') + group(b'N', b'}') + b'b',
    'attributes of a list': b']}b',
    'attributes of a number': number(3) + b'}b',
    'a call of what was made': call(kind('f8')),
    'a call with a list': name('numpy', 'dtype') + b']R',
    'a slow codec': call(name('_codecs', 'encode'), text('\u0100' * 300_000), text('punycode')),
    'another codec': call(name('_codecs', 'encode'), text('a'), text('rot13')),
    'an instance': b'(ios\nsystem\n',
    'an object': b'(' + name('collections', 'OrderedDict') + b'o',
    'a new object': name('collections', 'OrderedDict') + b')\x81',
    'an extension': b'\x82\x01',
    'a buffer from outside': b'\x97',
    'a persistent name': b'Pabc\n',
    'a dotted name': b'\x80\x04' + text('numpy') + text('ndarray.__reduce__') + b'\x93',
    'endless lists': laughs(60),
    'endless tuples as a key': b'}' + tuple_laughs(60) + b'Ns',
    'endless tuples in a set': b'\x8f(' + tuple_laughs(60) + b'\x90',
    'endless tuples in a frozen set': b'(' + tuple_laughs(60) + b'\x91',
    'endless tuples as a shape': array(kind('f8'), tuple_laughs(60), data(b'')),
    'an endless type': call(name('numpy', 'dtype'), tuple_laughs(60)),
    'keys of one hash': b'}' + number((1 << 61) - 1) + b'Ns',
    'a list as key': b'}]Ns',
    'a list within itself': b']q\x00h\x00a',
    'deep lists': b']' * 10_000 + b'a' * 9_999,
    'deep tuples': b')' + b'\x85' * 10_000,
    'an index of the memo without end': b']r\xff\xff\xff\x7fh\x00',
    'bytes without end': b'\x8e' + struct.pack('<Q', 1 << 40),
    'a number without end': b'\x8b\xff\xff\xff\x7f',
    'a frame without end': b'\x95' + struct.pack('<Q', 1 << 40),
    'dictionary of laughs': call(name('collections', 'OrderedDict'), laughs(60)),
    'an item of a list': b']' + number(0) + b'Ns',
}


@pytest.mark.parametrize('stream', REFUSED.values(), ids=REFUSED)
def test_what_is_no_number_is_refused(stream):
    begin_s = time.process_time()
    with pytest.raises(pickle.UnpicklingError) as caught:
        read(stream)
    assert 0 < len(str(caught.value)) < 260
    assert time.process_time() - begin_s < 1


def test_nothing_real_is_changed():
    stream = (
        name(MULTIARRAY, '_reconstruct')
        + group(b'N', b'}' + text('__defaults__') + group(number(1)) + b's')
        + b'b'
    )
    with pytest.raises(pickle.UnpicklingError):
        read(stream)
    np.testing.assert_array_equal(read_numbers(io.BytesIO(pickle.dumps(np.arange(3)))), range(3))


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    'dtype',
    ['?', 'i1', '>i2', '<u4', 'u8', 'f2', '>f4', 'f8', 'c8', '>c16', 'S5', '<U3', '>U3', 'O'],
)
def test_every_type_of_numbers_comes_back(protocol, dtype):
    for shape in ((), (3,), (2, 0), (2, 3)):
        given_array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
        for order in 'CF':
            wanted = np.asarray(given_array, order=order)
            found = read_numbers(io.BytesIO(pickle.dumps(wanted, protocol=protocol)))
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == wanted.dtype
            assert found.flags.writeable
            assert found.flags.f_contiguous == wanted.flags.f_contiguous


def test_one_array_named_twice_is_one_array():
    shared = np.arange(4.0)
    found = read_numbers(io.BytesIO(pickle.dumps({'a': shared, 'b': [shared, (shared, {1, 2})]})))
    assert found['a'] is found['b'][0] is found['b'][1][0]
    assert found['b'][1][1] == {1, 2}


def test_copies_are_paid_for():
    """A megabyte that is named a thousand times does not become a gigabyte."""
    block = data(bytes(1 << 20)) + b'q\x00' + kind('u1', '|') + b'q\x01'
    views = b''.join(array(b'h\x01', group(number(1 << 20)), b'h\x00') + b'0' for _ in range(200))
    with pytest.raises(pickle.UnpicklingError, match='far larger than the file'):
        read(block + views)


@given(st.integers(0, 400), st.integers(1, 255), st.integers(0, 5))
def test_damage_is_a_message(place, flip, protocol):
    content = {
        'a': np.arange(4.0),
        'b': [np.float32(2), np.array(['x', 'yz'])],
        'c': (1, 'd', b'e'),
    }
    stream = bytearray(pickle.dumps(content, protocol=protocol))
    stream[place % len(stream)] ^= flip
    with suppress(pickle.UnpicklingError):  # and nothing else
        read_numbers(io.BytesIO(bytes(stream)))


# --- checkpoints of PyTorch -------------------------------------------------------------------


def storage(key, count, kind_name='FloatStorage'):
    return group(text('storage'), name('torch', kind_name), key, text('cpu'), number(count)) + b'Q'


def tensor(numbers, offset, shape, strides):
    return call(
        name('torch._utils', '_rebuild_tensor_v2'),
        numbers,
        number(offset),
        group(*map(number, shape)),
        group(*map(number, strides)),
        b'\x89',
        call(name('collections', 'OrderedDict')),
    )


def checkpoint(path, stream, members=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('archive/data.pkl', PROTO + stream + b'.')
        for key, content in dict(members).items():
            archive.writestr(f'archive/data/{key}', content)
    return path


def test_a_tensor_is_read_and_its_sizes_are_not_trusted(tmp_path):
    numbers = {'0': np.arange(6, dtype='<f4').tobytes()}
    good = tensor(storage(text('0'), 6), 1, (2, 2), (1, 2))
    found = read_torch_file(checkpoint(tmp_path / 'a.pth', good, numbers))
    np.testing.assert_array_equal(found, [[1, 3], [2, 4]])
    for offset, shape, strides in [
        (-1, (2,), (1,)),
        (0, (7,), (1,)),
        (5, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (2,), (1, 1)),
        (0, (0, 1 << 61), (1, 1)),
        (0, (1 << 61,), (0,)),
    ]:
        bad = tensor(storage(text('0'), 6), offset, shape, strides)
        with pytest.raises(WeightsError, match=r'a\.pth is no checkpoint'):
            read_torch_file(checkpoint(tmp_path / 'a.pth', bad, numbers))


@pytest.mark.parametrize(
    'stream',
    [
        laughs(60),
        storage(laughs(60), 3),
        tensor(storage(text('0'), 6), 0, (), ()).replace(text('0'), tuple_laughs(60)),
        group(text('storage'), b']', text('0'), text('cpu'), number(1)) + b'Q',
        number(5) + b'Q',
        storage(text('0'), 1 << 62),
        storage(text('0'), -1),
        storage(text('0'), 6),
        call(name('torch', 'Size'), laughs(60)),
        call(name('torch._utils', '_rebuild_tensor')),
        REFUSED['an array over objects at an address'],
    ],
)
def test_a_hostile_checkpoint_is_a_message_at_once(tmp_path, stream):
    path = checkpoint(tmp_path / 'a.pth', stream, {'0': bytes(24)})
    begin_s = time.process_time()
    with pytest.raises(WeightsError, match=r'a\.pth is no checkpoint.*Nothing was executed'):
        read_torch_file(path)
    assert time.process_time() - begin_s < 1


def test_views_do_not_amplify(tmp_path):
    """22 KB became 11 GB: thousands of tensors that share one storage."""
    count = 1 << 18
    views = b''.join(tensor(storage(text('0'), count), 0, (count,), (1,)) for _ in range(100))
    path = checkpoint(tmp_path / 'a.pth', b'(' + views + b'l', {'0': bytes(4 * count)})
    with pytest.raises(WeightsError, match='far larger than the file'):
        read_torch_file(path)
    few = b'(' + tensor(storage(text('0'), count), 0, (count,), (1,)) * 3 + b'l'
    assert len(read_torch_file(checkpoint(path, few, {'0': bytes(4 * count)}))) == 3


def test_packed_checkpoints_and_encrypted_ones_are_refused(tmp_path):
    path = checkpoint(tmp_path / 'a.pth', b'}', {'0': bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match='packed in a way'):
        read_torch_file(path)
    raw = bytearray(checkpoint(path, b'}').read_bytes())
    raw[raw.index(b'PK\x01\x02') + 8] |= 1
    raw[6] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(WeightsError, match=r'a\.pth.*encrypted: unpack it'):
        read_torch_file(path)


# --- npz archives -----------------------------------------------------------------------------


def archive_of(path, header, content=b'', method=zipfile.ZIP_DEFLATED):
    body = b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header + content
    with zipfile.ZipFile(path, 'w', method) as archive:
        archive.writestr('x.npy', body)
    return path


HEADER = b"{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n"


@pytest.mark.parametrize(
    ('header', 'content'),
    [
        (HEADER % (b'<f8', b'(4611686018427387904,)'), b''),
        (HEADER % (b'<f8', b'(-1,)'), b''),
        (b'(' * 9000 + b')' * 9000, b''),
        (HEADER % (b'|O', b'(1,)'), PROTO + REFUSED['an array over objects at an address'] + b'.'),
        (HEADER % (b'|O', b'()'), PROTO + laughs(60) + b'.'),
    ],
)
def test_a_hostile_npz_is_a_message(tmp_path, header, content):
    path = archive_of(tmp_path / 'a.npz', header, content)
    with pytest.raises(DataError, match=r'a\.npz'):
        load_npz(path)
    with pytest.raises(ValueError, match=r'no readable npz archive|pickle'):
        load_arrays(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = archive_of(tmp_path / 'a.npz', HEADER % (b'|u1', b'(90000000,)'), bytes(90_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match=r'a\.npz.*would become 90 MB from 0\.0'):
        load_npz(path)
    with pytest.raises(ValueError, match='would become 90 MB'):
        load_arrays(path)


@pytest.mark.parametrize('method', [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_bounds_are_refused(tmp_path, method):
    path = archive_of(tmp_path / 'a.npz', HEADER % (b'|u1', b'(1,)'), b'a', method)
    with pytest.raises(DataError, match=r'a\.npz.*packed in a way'):
        load_npz(path)


def test_plain_archives_are_read(tmp_path):
    np.savez_compressed(tmp_path / 'a.npz', x=np.zeros((300, 300)), y=np.array('word'))
    assert load_npz(tmp_path / 'a.npz')['x'].shape == (300, 300)
    assert load_arrays(tmp_path / 'a.npz')['y'] == 'word'

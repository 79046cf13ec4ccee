"""Weights files: round trip, atomic writing, and a clear error for everything that can be wrong."""

import json
import struct
from contextlib import suppress

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros import weights
from trpose_ros.weights.packing import INT8, pack, unpack

META = {
    'architecture': 'metrabs',
    'config': json.dumps({'a': 1}),
    'skeleton': 'h36m_17',
    'licence': 'Apache-2.0',
    'training_data': 'rendered',
    'measured_error': '80 mm',
}
TENSORS = {'a': np.arange(6, dtype=np.float32).reshape(2, 3), 'b': np.zeros((), np.int64)}


@pytest.fixture
def saved(tmp_path):
    return weights.save(tmp_path / 'small.safetensors', TENSORS, META)


def test_round_trip(saved):
    again = weights.load(saved.path)
    assert again.meta == META
    assert again.sha256 == saved.sha256
    assert again.config == {'a': 1}
    assert again.weights_id == f'small@{saved.sha256[:12]}'
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(again.tensors[name], value)
        assert again.tensors[name].dtype == value.dtype
        assert again.tensors[name].shape == value.shape
    assert weights.read_meta(saved.path) == META
    assert [p.name for p in saved.path.parent.iterdir()] == ['small.safetensors']


def test_user_folder_and_names(tmp_path, monkeypatch):
    monkeypatch.setenv('TRPOSE_WEIGHTS', str(tmp_path / 'mine'))
    with pytest.raises(weights.WeightsError, match="called 'mine-1'"):
        weights.load('mine-1')
    weights.save(tmp_path / 'mine' / 'mine-1.safetensors', TENSORS, META)
    assert weights.load('mine-1').path == tmp_path / 'mine' / 'mine-1.safetensors'
    assert 'mine-1' in weights.available()


def test_missing_file_names_the_path(tmp_path):
    with pytest.raises(weights.WeightsError, match=r'nowhere\.safetensors does not exist'):
        weights.load(tmp_path / 'nowhere.safetensors')
    with pytest.raises(weights.WeightsError, match='no weights named'):
        weights.load('')


@pytest.mark.parametrize('keep', [0, 4, 40, -5])
def test_cut_off_file(saved, keep):
    data = saved.path.read_bytes()
    saved.path.write_bytes(data[:keep])
    with pytest.raises(weights.WeightsError, match='cut off'):
        weights.load(saved.path)


def test_garbage_file(tmp_path):
    path = tmp_path / 'x.safetensors'
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(weights.WeightsError, match='not a readable'):
        weights.load(path)
    with pytest.raises(weights.WeightsError, match='not a readable'):
        weights.read_meta(path)


def test_wrong_architecture(saved):
    with pytest.raises(weights.WeightsError, match="'metrabs', not 'videopose3d'"):
        weights.load(saved.path, architecture='videopose3d')
    assert weights.load(saved.path, architecture='metrabs').meta == META


@pytest.mark.parametrize('key', weights.REQUIRED_META)
def test_meta_is_required(tmp_path, key):
    meta = {k: v for k, v in META.items() if k != key}
    with pytest.raises(weights.WeightsError, match=key):
        weights.save(tmp_path / 'x.safetensors', TENSORS, meta)
    assert not list(tmp_path.iterdir())


def test_foreign_safetensors_file(tmp_path):
    from safetensors.numpy import save_file

    save_file(TENSORS, tmp_path / 'x.safetensors')
    with pytest.raises(weights.WeightsError, match='trpose weights import'):
        weights.load(tmp_path / 'x.safetensors')


@pytest.mark.parametrize('config', ['{', '[1]', '3'])
def test_config_must_be_a_json_object(tmp_path, config):
    with pytest.raises(weights.WeightsError, match='config'):
        weights.save(tmp_path / 'x.safetensors', TENSORS, META | {'config': config})


def test_nan_is_refused(tmp_path):
    with pytest.raises(weights.WeightsError, match=r'NaN or infinity in 1 \(a\)'):
        weights.save(tmp_path / 'x.safetensors', {'a': np.array([np.nan])}, META)


def test_card_and_verify(saved):
    with pytest.raises(weights.WeightsError, match='no model card'):
        weights.verify(saved.path)
    card = weights.write_card(saved, 'More words.')
    text = card.read_text()
    assert saved.sha256 in text
    assert 'Apache-2.0' in text
    assert text.endswith('More words.\n')
    assert weights.verify(saved.path).sha256 == saved.sha256
    data = bytearray(saved.path.read_bytes())
    data[-1] ^= 1
    saved.path.write_bytes(bytes(data))
    with pytest.raises(weights.WeightsError, match='changed or damaged'):
        weights.verify(saved.path)
    card.write_text('nothing here')
    with pytest.raises(weights.WeightsError, match='states no sha256'):
        weights.verify(saved.path)


def test_check_keys_lists_both_sides():
    weights.check_keys(['a', 'b'], ['b', 'a'], 'x')
    with pytest.raises(weights.WeightsError, match=r'missing 1 \(c\).*unexpected 8 .*and 2 more'):
        weights.check_keys(['a', 'c'], ['a', *'stuvwxyz'], 'file')


def test_every_shipped_file_matches_its_card():
    shipped = sorted(weights.SHIPPED.glob('*.safetensors'))
    for path in shipped:
        assert weights.verify(path).path == path
    assert {p.stem for p in shipped} <= set(weights.available())


# --- packed: large tensors as bytes -----------------------------------------------------------

PACKED = META | {'packing': INT8}


@given(st.integers(0, 2**32 - 1), st.sampled_from(['float16', 'float32']))
def test_packing_loses_little_of_large_tensors_and_nothing_of_others(seed, kind):
    rng = np.random.default_rng(seed)
    large = (rng.normal(0, 1, (64, 24, 3)) * rng.uniform(1e-3, 10, (64, 1, 1))).astype(kind)
    large[5] = 0
    given_tensors = {
        'large': large,
        'bias': rng.normal(0, 1, 9000).astype(kind),
        'positions': rng.normal(0, 1, (1, 9, 512)).astype(kind),
        'count': np.array(7),
        'whole': rng.integers(0, 9, (64, 80)),
    }
    again = unpack(pack(given_tensors))
    assert set(again) == set(given_tensors)
    for name, value in given_tensors.items():
        if name != 'large':
            np.testing.assert_array_equal(again[name], value)
    most = np.abs(large.astype(float)).max(axis=(1, 2), keepdims=True)
    assert (np.abs(again['large'] - large.astype(float)) <= most / 254 * 1.001).all()
    twice = unpack(pack(again))
    np.testing.assert_allclose(twice['large'], again['large'], rtol=1e-6)


def test_a_packed_file_is_half_as_large(tmp_path):
    tensors = {'w': np.random.default_rng(0).normal(0, 1, (300, 300)).astype(np.float16)}
    plain = weights.save(tmp_path / 'a.safetensors', tensors, META)
    packed = weights.save(tmp_path / 'b.safetensors', tensors, PACKED)
    assert packed.path.stat().st_size < 0.52 * plain.path.stat().st_size
    again = weights.load(packed.path)
    assert set(again.tensors) == {'w'}
    np.testing.assert_array_equal(again.tensors['w'], packed.tensors['w'])
    assert again.tensors['w'].dtype == np.float32


def test_rewriting_keeps_tensors_and_the_text_of_the_card(saved, tmp_path):
    weights.write_card(saved, 'Good for small people.\n\n    measure small\n\nNot for tall ones.')
    new = weights.rewrite(saved.path, tmp_path / 'other.safetensors', measured_error='90 mm')
    assert new.meta == META | {'measured_error': '90 mm'}
    card = new.path.with_suffix('.md').read_text()
    assert card.endswith('Good for other people.\n\n    measure other\n\nNot for tall ones.\n'), (
        card
    )
    assert '90 mm' in card
    assert weights.verify(new.path).tensors.keys() == TENSORS.keys()
    weights.rewrite(new.path, measured_error='91 mm')
    assert new.path.with_suffix('.md').read_text() == card.replace('90 mm', '91 mm').replace(
        new.sha256, weights.load(new.path).sha256
    )


# --- headers that no writer writes ------------------------------------------------------------


def safetensors_file(path, header, body=b''):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text)) + text + body)
    return path


def header_of(dtype='F32', shape=(2,), end=8, **meta):
    tensor = {'dtype': dtype, 'shape': list(shape), 'data_offsets': [0, end]}
    return {'a': tensor, '__metadata__': META | meta}


@pytest.mark.parametrize(
    'header',
    [
        header_of(config='[' * 200_000),
        header_of(config='{"a":' * 200_000),
        header_of(config='3'),
        header_of(config='"' + 'x' * 1_000_000 + '"'),
        header_of('F8_E5M2', (8,)),
        header_of('F8_E4M3', (8,)),
        header_of('BF16', (4,)),
        header_of(shape=(1 << 40,)),
        header_of(shape=(1 << 32, 1 << 32)),
        header_of(shape=(-2,)),
        b'{"a":' * 100_000,
        b'[' * 100_000,
        b'\xff' * 100,
        b'{}',
        {'__metadata__': {'config': {'a': 1}}},
    ],
)
def test_strange_headers_are_one_line_that_names_the_file(tmp_path, header):
    path = safetensors_file(tmp_path / 'strange.safetensors', header, bytes(8))
    with pytest.raises(weights.WeightsError, match=r'strange\.safetensors') as caught:
        weights.load(path)
    assert len(str(caught.value)) < 400 + len(str(path))
    with suppress(weights.WeightsError):  # a header may be fine where the tensors are not
        weights.read_meta(path)


def test_bfloat16_is_refused_whatever_taught_numpy_to_read_it(tmp_path):
    pytest.importorskip('ml_dtypes')  # as onnx and TensorFlow bring it
    path = safetensors_file(tmp_path / 'half.safetensors', header_of('BF16', (4,)), bytes(8))
    with pytest.raises(weights.WeightsError, match='a is of type bfloat16: write it as float32'):
        weights.load(path)


def test_a_bad_file_does_not_hide_the_good_ones(saved, monkeypatch, capsys):
    from trpose_ros.commands import weights as command

    monkeypatch.setenv('TRPOSE_WEIGHTS', str(saved.path.parent))
    monkeypatch.setenv('COLUMNS', '200')
    for number, header in enumerate([header_of(config='[' * 200_000), b'{"a":' * 100_000, b'']):
        safetensors_file(saved.path.with_name(f'bad{number}.safetensors'), header)
    saved.path.with_name('link.safetensors').symlink_to('nowhere')
    saved.path.with_name('folder.safetensors').mkdir()
    with pytest.raises(typer.Exit):
        command.list_weights()
    said = capsys.readouterr()
    assert 'small' in said.out
    assert all(f'bad{number}.safetensors' in said.err for number in range(3))


def test_scales_that_do_not_fit_do_not_amplify():
    """A row of bytes and a column of scales were their product in floats."""
    tensors = {'a': np.zeros((1, 4096), np.int8), 'a.int8_scale': np.ones(4096, np.float32)}
    with pytest.raises(ValueError, match=r'4096,. scales'):
        unpack(tensors)
    with pytest.raises(ValueError, match='scales'):
        unpack({'a': np.zeros((), np.int8), 'a.int8_scale': np.ones(1, np.float32)})

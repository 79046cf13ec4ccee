"""The reader of TensorFlow.js graph models: numbers, quantisation, and files that are not right."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.weights import WeightsError, tensorflowjs
from trpose_ros.weights.tensorflowjs import read_graph_model

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5


def entry(name='kernel', shape=(2, 3), dtype='float32', **more):
    return {'name': name, 'shape': list(shape), 'dtype': dtype, **more}


def write(folder, weights=None, raw=None, paths=('model.bin',), **changes):
    """Write a model with one group; what is not given is a float32 kernel."""
    model = {
        'format': 'graph-model',
        'generatedBy': 'a test',
        'modelTopology': {'node': [{'name': 'kernel', 'op': 'Const'}]},
        'weightsManifest': [{'paths': list(paths), 'weights': weights or [entry()]}],
        **changes,
    }
    raw = KERNEL.tobytes() if raw is None else raw
    cut = -(-len(raw) // max(len(paths), 1))
    for i, name in enumerate(paths):
        (folder / name).write_bytes(raw[i * cut : (i + 1) * cut])
    path = folder / 'model.json'
    path.write_text(json.dumps(model))
    return path


def test_numbers_of_every_type_come_back_as_they_were(tmp_path):
    half = np.array([0.1, -7.25], np.float16)
    weights = [
        entry(),
        entry('half', (2,), quantization={'dtype': 'float16', 'original_dtype': 'float32'}),
        entry('whole', (), 'int32'),
        entry('flags', (3,), 'bool'),
        entry('nothing', (0, 4)),
    ]
    raw = KERNEL.tobytes() + half.tobytes() + np.int32(-5).tobytes() + b'\1\0\1'
    model = read_graph_model(write(tmp_path, weights, raw))
    np.testing.assert_array_equal(model.tensors['kernel'], KERNEL)
    np.testing.assert_array_equal(model.tensors['half'], half.astype(np.float32))
    assert model.tensors['whole'] == -5
    assert model.tensors['flags'].tolist() == [True, False, True]
    assert model.tensors['nothing'].shape == (0, 4)
    kinds = [str(value.dtype) for value in model.tensors.values()]
    assert kinds == ['float32', 'float32', 'int32', 'bool', 'float32']
    assert model.origin == 'a test'
    assert set(model.sha256) == {'model.json', 'model.bin'}
    assert model.nodes[0]['op'] == 'Const'


@given(
    kind=st.sampled_from(['uint8', 'uint16']),
    whole=st.lists(st.integers(0, 255), min_size=1, max_size=9),
    scale=st.floats(1e-6, 10),
    offset=st.floats(-100, 100),
)
def test_quantised_numbers_are_scaled_and_shifted(tmp_path_factory, kind, whole, scale, offset):
    folder = tmp_path_factory.mktemp('model')
    numbers = np.array(whole, kind)
    how = {'dtype': kind, 'scale': scale, 'min': offset, 'original_dtype': 'float32'}
    weights = [
        entry(shape=(len(whole),), quantization=how),
        entry('counts', (len(whole),), 'int32', quantization=how | {'scale': 2, 'min': -3}),
    ]
    model = read_graph_model(write(folder, weights, 2 * numbers.tobytes()))
    wanted = (numbers.astype(np.float64) * scale + offset).astype(np.float32)
    np.testing.assert_array_equal(model.tensors['kernel'], wanted)
    np.testing.assert_array_equal(model.tensors['counts'], numbers.astype(np.int32) * 2 - 3)


def test_a_tensor_may_lie_across_two_parts_and_parts_in_a_folder_below(tmp_path):
    (tmp_path / 'parts').mkdir()
    path = write(tmp_path, paths=('parts/a.bin', 'b.bin'))
    np.testing.assert_array_equal(read_graph_model(path).tensors['kernel'], KERNEL)


@pytest.mark.parametrize(
    ('bad', 'words'),
    [
        ({'raw': KERNEL.tobytes()[:-1]}, r"model.bin has 23 bytes, tensor 'kernel'.*cut off"),
        ({'raw': KERNEL.tobytes() + b'\0'}, 'model.bin has 25 bytes, the manifest .* 24'),
        ({'weights': [entry(shape=(2, -3))]}, r"'kernel' has the impossible shape \[2, -3\]"),
        ({'weights': [entry(shape=(2, True))]}, 'impossible shape'),
        ({'weights': [entry(shape=(1,) * 9)]}, 'impossible shape'),
        ({'weights': [entry(shape=(1 << 20, 1 << 20))]}, 'cut off'),
        ({'weights': [entry(name='')]}, 'no name'),
        ({'weights': [entry(), entry(shape=(0,))]}, "'kernel' is listed twice"),
        ({'weights': [entry(dtype='string')]}, "'kernel' has type 'string'"),
        ({'weights': [entry(dtype=['a'])]}, "'kernel' has type"),
        ({'weights': [entry(dtype=['a'] * 9000)]}, '(?s)^.{,700}$'),
        ({'weights': [entry(shape=(2, 'x' * 9000))]}, '(?s)^.{,700}$'),
        ({'weights': [entry(quantization={'dtype': 'uint4'})]}, "'kernel' is quantised.*'uint4'"),
        ({'weights': [entry(quantization={'dtype': ['a']})]}, "'kernel' is quantised"),
        ({'weights': [entry(quantization={'dtype': 'uint8', 'min': 0})]}, 'without a scale'),
        (
            {'weights': [entry(quantization={'dtype': 'uint8', 'min': 0, 'scale': None})]},
            'without a scale',
        ),
        ({'format': 'layers-model'}, 'layers model'),
        ({'modelTopology': {'model_config': {}}}, 'layers model'),
        ({'modelTopology': []}, 'no list of nodes'),
        ({'modelTopology': {'node': [{'op': 'Const'}]}}, 'no list of nodes'),
        ({'weightsManifest': None}, 'no list "weightsManifest"'),
        ({'weightsManifest': [{'paths': 'model.bin', 'weights': []}]}, 'lacks "paths"'),
        ({'weightsManifest': [{'paths': ['none.bin'], 'weights': []}]}, 'none.bin cannot be read'),
        ({'weightsManifest': [{'paths': ['x' * 9000], 'weights': []}]}, 'a name of 9000 char'),
    ],
)
def test_what_is_wrong_is_named(tmp_path, bad, words):
    with pytest.raises(WeightsError, match=words):
        read_graph_model(write(tmp_path, **bad))


def test_files_that_are_no_model_are_refused(tmp_path):
    with pytest.raises(WeightsError, match='cannot be read'):
        read_graph_model(tmp_path / 'none.json')
    with pytest.raises(WeightsError, match='not a file'):
        read_graph_model(tmp_path)
    path = write(tmp_path)
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(WeightsError, match=r'is not JSON.*cut off'):
        read_graph_model(path)
    path.write_text('[' * 100_000)
    with pytest.raises(WeightsError, match='is not JSON'):
        read_graph_model(path)
    path.write_text('{"dependencies": {}}')
    with pytest.raises(WeightsError, match=r'no TensorFlow\.js model'):
        read_graph_model(path)


@pytest.mark.parametrize('name', ['../secret.bin', '/etc/hostname', 'link.bin', '.', 'a\0b'])
def test_no_part_lies_outside_the_folder(tmp_path, name):
    (tmp_path / 'secret.bin').write_bytes(KERNEL.tobytes())
    folder = tmp_path / 'model'
    folder.mkdir()
    (folder / 'link.bin').symlink_to(tmp_path / 'secret.bin')
    path = write(folder, weightsManifest=[{'paths': [name], 'weights': [entry()]}])
    with pytest.raises(WeightsError, match='does not lie in the folder'):
        read_graph_model(path)


def test_sizes_have_limits(tmp_path, monkeypatch):
    path = write(tmp_path)
    monkeypatch.setattr(tensorflowjs, '_MOST_NUMBERS', 20)
    with pytest.raises(WeightsError, match='too large'):
        read_graph_model(path)
    monkeypatch.setattr(tensorflowjs, '_MOST_TENSORS', 0)
    with pytest.raises(WeightsError, match='more than 0 tensors'):
        read_graph_model(path)
    monkeypatch.setattr(tensorflowjs, '_MOST_JSON', 10)
    with pytest.raises(WeightsError, match='too large'):
        read_graph_model(path)

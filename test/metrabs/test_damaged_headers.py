"""Headers of weights files that say strange things are refused in words, before any frame."""

from __future__ import annotations

import json

import numpy as np
import pytest
from metrabs_stand_in import save_network, stand_in_network

from trpose_ros import weights
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.metrabs.uncertainty import FEATURES
from trpose_ros.weights import WeightsError


@pytest.fixture(scope='module')
def network():
    return stand_in_network()


def table(count, **changes):
    given = {'indices': list(range(count)), 'names': ['x'] * count, 'edges': [[0, 1]]}
    return json.dumps({'own': given | changes})


def spread(count, value):
    row = [value] * (len(FEATURES) + count)
    return json.dumps({'features': list(FEATURES), 'across': row, 'along': row})


def headers(n):
    names = json.dumps(['x'] * n)
    yield {'preprocessing': '[]'}
    yield {'preprocessing': '{'}
    yield {'preprocessing': '[' * 100_000}
    yield {'preprocessing': json.dumps({'augmentation': 'y' * 5000})}
    yield {'preprocessing': '{"augmentation": []}'}
    for text in ('[]', 'null', '{"a": 3}', '{"a": {}}', '{'):
        yield {'skeletons': text, 'joint_names': names}
    for changes in (
        {'indices': [0, n] + [0] * (n - 2)},
        {'indices': [-1] * n},
        {'indices': [[0]] * n},
        {'indices': [0]},
        {'indices': ['a'] * n},
        {'indices': 3},
        {'edges': [[0, n]]},
        {'edges': [[0]]},
        {'names': 3},
    ):
        yield {'skeletons': table(n, **changes), 'joint_names': names}
    yield {'skeletons': table(n)}
    yield {'skeletons': table(n), 'joint_names': '["x"]'}
    yield {'skeletons': table(n), 'joint_names': '7'}
    for text in ('[]', '{', '{}', spread(n, float('nan')), spread(n, 'x'), spread(n + 1, 1.0)):
        yield {'uncertainty': text}


def test_strange_headers_are_refused(tmp_path, network):
    path = tmp_path / 'odd.safetensors'
    n = network.config.num_joints
    for header in headers(n):
        save_network(path, network, **header)
        with pytest.raises(WeightsError, match=r'odd\.safetensors: header') as caught:
            load_network(path)
        text = str(caught.value)
        assert len(text) < 600, header
    good = {'skeletons': table(n), 'joint_names': json.dumps(['x'] * n)}
    save_network(path, network, uncertainty=spread(n, 0.1), **good)
    assert list(load_network(path).skeletons) == ['own']


def test_a_transform_of_another_shape_is_refused(tmp_path, network):
    path = tmp_path / 'odd.safetensors'
    file = save_network(path, network)
    for shape in ((3,), (3, 4), (network.config.num_joints, 2, 2)):
        weights.save(path, file.tensors | {'joint_transform_matrix': np.zeros(shape)}, file.meta)
        with pytest.raises(WeightsError, match=r'joint_transform_matrix has the shape'):
            load_network(path)

"""Sizes that a weights file states are bounded before anything is made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trpose_ros import weights
from trpose_ros.lifters import LifterConfig
from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.registry import create_lifter
from trpose_ros.metrabs import checkpoints as metrabs
from trpose_ros.movenet.checkpoints import load_movenet
from trpose_ros.weights import WeightsError

META = {'skeleton': 'h36m_17', 'licence': 'x', 'training_data': 'x', 'measured_error': 'x'}
SIZES = {
    'videopose3d': ('filter_widths', 'channels', 'joints_in', 'joints_out', 'values_in'),
    'mhformer': ('frames', 'channels', 'hidden', 'layers', 'values_in'),
    'mixste': ('frames', 'channels', 'depth', 'heads', 'values_in'),
    'pstmo': ('frames', 'channels', 'hidden', 'layers', 'values_in'),
}
ODD = (10**9, 72 * 10**6, 10**40, -1, 0, 2.5, True, 'x', None, [10**9], [3] * 400, [], 1e999)


def file_of(folder, architecture, config, **meta):
    path = folder / 'asks.safetensors'
    given = META | {'architecture': architecture, 'config': json.dumps(config), 'rate_hz': '50'}
    weights.save(path, {'a': np.zeros(3, np.float32)}, given | meta)
    return str(path)


@pytest.fixture
def no_memory(monkeypatch):
    """Make every network but one without memory (device 'meta') an error."""
    monkeypatch.setattr(torch.nn.init, 'uniform_', lambda tensor, *_, **__: _of_meta(tensor))
    monkeypatch.setattr(torch.nn.init, 'kaiming_uniform_', lambda t, *_, **__: _of_meta(t))


def _of_meta(tensor):
    assert tensor.device.type == 'meta', 'memory was taken for the sizes of a file'
    return tensor


@pytest.mark.usefixtures('no_memory')
@pytest.mark.parametrize(('name', 'size'), [(n, s) for n, sizes in SIZES.items() for s in sizes])
def test_absurd_sizes_of_a_lifter_are_refused_in_words(tmp_path, name, size):
    for value in ODD:
        path = file_of(tmp_path, name, {size: value})
        with pytest.raises(WeightsError) as caught:
            create_lifter(LifterConfig(name=name, model=path))
        assert 'asks.safetensors' in str(caught.value)
        assert len(str(caught.value)) < 700


@pytest.mark.usefixtures('no_memory')
@pytest.mark.parametrize('name', SIZES)
def test_large_sizes_that_the_file_does_not_have_take_no_memory(tmp_path, name):
    path = file_of(tmp_path, name, {'channels': 8192})
    with pytest.raises(WeightsError, match='does not fit the model: missing'):
        create_lifter(LifterConfig(name=name, model=path))


@pytest.mark.parametrize('rate', ['x', 'nan', '-1', '1e9', ''])
def test_a_strange_rate_is_refused(tmp_path, rate):
    config = {'filter_widths': [3], 'channels': 4}
    path = tmp_path / 'a.safetensors'
    tensors = {k: v.numpy() for k, v in build_network('videopose3d', config).state_dict().items()}
    meta = META | {'architecture': 'videopose3d', 'config': json.dumps(config), 'rate_hz': rate}
    weights.save(path, tensors, meta)
    with pytest.raises(WeightsError, match=r'rate_hz must lie in 1\.\.1000, got'):
        create_lifter(LifterConfig(model=str(path)))


@pytest.mark.usefixtures('no_memory')
@pytest.mark.parametrize('size', ['proc_side', 'stride', 'depth', 'num_joints'])
def test_absurd_sizes_of_a_crop_network_are_refused(tmp_path, size):
    for value in (10**9, 10**40, -1, 0, 2.5, 'x', None):
        with pytest.raises(WeightsError, match=f'asks.safetensors: {size} must be a whole number'):
            metrabs.load_network(file_of(tmp_path, 'metrabs', {size: value}))
    with pytest.raises(WeightsError, match='does not fit the model: missing'):
        metrabs.load_network(file_of(tmp_path, 'metrabs', {'num_joints': 5000, 'depth': 200}))


def test_absurd_sizes_of_movenet_are_refused(tmp_path):
    for config in ({'input_side': 10**9}, {'width': 10**9}, {'width': [1]}, {'kind': {}}):
        with pytest.raises(WeightsError, match=r'asks\.safetensors: (input_side|width|kind) must'):
            load_movenet(file_of(tmp_path, 'movenet', config))

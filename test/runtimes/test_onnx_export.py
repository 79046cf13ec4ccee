"""Networks as ONNX files: the same numbers as PyTorch for every batch, or no file."""

import json

import numpy as np
import pytest
import torch
from random_weights import LIFTERS, save_lifter, save_metrabs
from torch import nn
from typer.testing import CliRunner

onnx = pytest.importorskip('onnx', reason='extra [onnx]')
onnxruntime = pytest.importorskip('onnxruntime', reason='extra [onnx]')

from trpose_ros import weights
from trpose_ros.commands import main as cli
from trpose_ros.lifters import onnx_network as lifter_network
from trpose_ros.metrabs import onnx_network as crop_network
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.runtimes.onnx_export import Exportable, ExportError, export, multiply_adds


def run(content, **inputs):
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    return dict(
        zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True)
    )


def command(*words):
    return CliRunner().invoke(cli.app, ['weights', 'export', *map(str, words)])


@pytest.mark.parametrize('name', LIFTERS)
def test_lifters_give_the_same_joints_for_any_batch(tmp_path, name):
    path = save_lifter(tmp_path / 'l.safetensors', name)
    network = lifter_network.exportable(name, path)
    made = export(network)
    assert set(made.differences) == {'joints_m'}
    assert made.differences['joints_m'] < 1e-5
    windows = torch.rand(5, *network.shape)
    (found,) = run(made.content, joints=windows.numpy()).values()
    np.testing.assert_allclose(found, network.module(windows).numpy(), atol=1e-5)


def test_the_crop_network_gives_joints_spreads_and_chances(tmp_path):
    path = save_metrabs(tmp_path / 'm.safetensors')
    network = crop_network.exportable(load_network(path))
    made = export(network)
    assert list(made.differences) == ['joints_px', 'joints_mm', 'spread_px', 'spread_mm']
    crops = torch.rand(2, 3, 128, 128)
    found = run(made.content, crop=crops.numpy())
    px, mm = load_network(path).model.heads(crops)
    np.testing.assert_allclose(found['joints_px'], px.detach(), atol=1e-3)
    np.testing.assert_allclose(found['joints_mm'], mm.detach(), atol=1e-2)
    facts = {entry.key: entry.value for entry in onnx.load_from_string(made.content).metadata_props}
    assert facts['licence'] == 'Apache-2.0'
    assert len(json.loads(facts['joint_names'])) == 17


def test_a_network_that_knows_states_gives_their_chances():
    config = MetrabsConfig(num_joints=3, proc_side=64, states=True)
    torch.manual_seed(0)
    found = crop_network.CropJoints(Metrabs(config).eval())(torch.rand(2, 3, 64, 64))
    assert len(found) == 5
    torch.testing.assert_close(found[4].sum(-1), torch.ones(2, 3))


class Fickle(nn.Module):
    """What the tracer takes for a constant depends on the batch."""

    def forward(self, x):
        return x * x.shape[0] if x.shape[0] > 1 else x


def small(module, tolerance=1e-6):
    return Exportable(module, 'x', (4,), {'y': tolerance}, {'weights_id': 'a@b', 'licence': 'MIT'})


def test_other_numbers_are_no_file():
    with pytest.raises(ExportError, match='y differs from PyTorch by'):
        export(small(Fickle()))
    assert export(small(nn.Linear(4, 2))).multiply_adds == 8


class Counted(nn.Module):
    def forward(self, x):
        return x.reshape(len(x), 2, 2)  # a number for the tracer: batches of one alone


def test_a_network_for_one_batch_size_alone_is_no_file():
    with pytest.raises(ExportError, match='refuses a batch of 3'):
        export(small(Counted()))


def test_multiply_adds_are_those_of_a_convolution():
    convolution = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    assert multiply_adds(convolution, torch.zeros(1, 3, 16, 16)) == 8 * 8 * 8 * 3 * 9


def test_multiply_adds_of_attention_are_counted():
    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert multiply_adds(Attention(), torch.rand(1, 2, 10, 8)) == 2 * (2 * 10 * 10 * 8)


def test_the_command_prints_what_was_compared(tmp_path):
    path = save_lifter(tmp_path / 'l.safetensors', 'videopose3d')
    result = command(path, '--onnx', tmp_path / 'new' / 'l.onnx')
    assert result.exit_code == 0, result.output
    assert 'joints: batch x 9x17x2; ' in result.output
    assert 'million multiply-adds each' in result.output
    assert 'joints_m: ' in result.output
    onnx.checker.check_model(onnx.load(tmp_path / 'new' / 'l.onnx'))


@pytest.mark.parametrize(
    ('name', 'file', 'words'),
    [
        ('none', 'a.onnx', 'none'),
        ('mixste-clean', 'a.pb', '--onnx must end in .onnx, got'),
        ('movenet-thunder', 'a.onnx', 'metrabs and lifters can be exported'),
    ],
)
def test_what_cannot_be_exported_is_named_and_leaves_nothing(tmp_path, name, file, words):
    result = command(name, '--onnx', tmp_path / file)
    assert result.exit_code == 1
    assert words in result.output
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    path = save_lifter(tmp_path / 'l.safetensors', 'videopose3d')
    monkeypatch.setitem(__import__('sys').modules, 'onnx', None)
    result = command(path, '--onnx', tmp_path / 'l.onnx')
    assert result.exit_code == 1
    assert 'pip install "trpose_ros[onnx]"' in result.output
    assert not (tmp_path / 'l.onnx').exists()


@pytest.mark.slow
@pytest.mark.parametrize('name', ['metrabs-s', 'videopose3d-robust', 'pstmo-clean'])
def test_shipped_networks(tmp_path, name):
    assert weights.available()[name]
    result = command(name, '--onnx', tmp_path / 'a.onnx')
    assert result.exit_code == 0, result.output

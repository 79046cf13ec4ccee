"""`trpose train NAME` of the networks that look at images, from end to end on a person of boxes."""

import contextlib
import csv
import json

import numpy as np
import pytest
from tiny_body import PlainBackgrounds, TinyStore
from typer.testing import CliRunner

from trpose_ros import weights
from trpose_ros.commands.main import app
from trpose_ros.data.rendering.crops import Composer, CropConfig
from trpose_ros.training.distributed import map_tensors
from trpose_ros.training.metrabs import trainer as metrabs
from trpose_ros.training.metrabs.batches import ImageTask

STEPS = {'metrabs': 20}


@pytest.fixture
def packs(monkeypatch):
    """Give the trainers a person of boxes before grey walls instead of the data packs."""
    store = TinyStore()

    def crops(config, split, shards):
        settings = CropConfig(
            side=128, near=0.1, loose=0.1, border=0.1, hidden=0.1, people=0.0, objects=0.0
        )
        return Composer(store, PlainBackgrounds(), settings)

    monkeypatch.setattr(metrabs, 'prepare', crops)


def train(name, folder, **more):
    file = folder / 'run.yaml'
    file.write_text(f'batch: 6\nworkers: 0\nsteps: {STEPS[name]}\nwarm_up: 4\nlog_every: 4\n')
    settings = {'learning_rate': '3e-3', 'average': '0.8', 'seed': '7'}
    settings |= {'backbone': 'resnet-plain-xs', 'pretrained': '', 'side': '128'}
    settings |= {'out': str(folder / 'out.safetensors'), 'folder': str(folder / 'run')} | more
    assignments = [part for k, v in settings.items() for part in ('--set', f'{k}={v}')]
    arguments = ['train', name, '--config', str(file), '--threads', '1', *assignments]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize('name', STEPS)
def test_a_run_learns_and_one_that_was_cut_off_ends_the_same(name, packs, tmp_path, monkeypatch):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    whole.mkdir()
    parts.mkdir()
    done = train(name, whole)
    assert done.exit_code == 0, (done.output, done.exception)
    with (whole / 'run' / 'log.csv').open() as stream:
        losses = [float(row['total']) for row in csv.DictReader(stream)]
    assert len(losses) == STEPS[name] // 4
    assert np.mean(losses[-2:]) < 0.85 * losses[0], losses
    assert (whole / 'run' / 'held_out.png').stat().st_size > 1000
    (start,) = json.loads((whole / 'run' / 'run.json').read_text())
    assert (start['loop']['seed'], start['task']['batch']) == (7, 6)

    batches = ImageTask.batches
    with monkeypatch.context() as patch:  # ends after ten steps, as if it had been killed then
        patch.setattr(ImageTask, 'batches', lambda self, first, last: batches(self, first, 10))
        assert train(name, parts).exit_code == 0
    (parts / 'out.safetensors').unlink()
    done = train(name, parts)
    assert done.exit_code == 0, (done.output, done.exception)
    first, second = (weights.verify(folder / 'out.safetensors') for folder in (whole, parts))
    assert first.tensors.keys() == second.tensors.keys()
    for key, value in first.tensors.items():
        assert np.array_equal(value, second.tensors[key]), key
    assert first.meta['measured_error'] == second.meta['measured_error']
    logs = [(folder / 'run' / 'log.csv').read_text().splitlines() for folder in (whole, parts)]
    step_and_loss = [[line.split(',')[::2] for line in log] for log in logs]
    assert step_and_loss[0] == step_and_loss[1]


@pytest.mark.parametrize('name', STEPS)
def test_losses_leave_no_tensor_on_the_processor(name, monkeypatch):
    """Without a GPU at hand: on PyTorch's device without memory, mixing devices fails as well."""
    monkeypatch.setattr(ImageTask, 'autocast', lambda self, images: contextlib.nullcontext())
    store = TinyStore()
    crops = Composer(store, PlainBackgrounds(), CropConfig(side=128))
    data = metrabs.MetrabsBatches(crops, metrabs.MetrabsTraining(batch=3, side=128), 0)
    network = metrabs.Metrabs(metrabs.MetrabsConfig('resnet-plain-xs', num_joints=39, states=True))
    task = metrabs.MetrabsTask(network, data, 0)
    batch = map_tensors(task.data[0], lambda tensor: tensor.to('meta'))
    task.model.to('meta')
    losses = task.loss(batch, 1000)
    assert {value.device.type for value in losses.values()} == {'meta'}
    losses['total'].backward()


def test_an_unknown_name_and_a_wrong_setting_are_named(tmp_path):
    done = CliRunner().invoke(app, ['train', 'metrab'])
    assert done.exit_code == 1
    assert 'metrab' in done.output
    assert 'videopose3d' in done.output
    done = CliRunner().invoke(app, ['train', 'metrabs', '--set', 'precision=float12'])
    assert done.exit_code == 1
    assert 'float12' in done.output

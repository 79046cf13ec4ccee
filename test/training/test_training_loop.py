"""The training loop: it learns, resumes exactly, survives non-finite steps; options of trainers."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny_body import PlainBackgrounds, TinyStore
from torch import nn

from trpose_ros import weights
from trpose_ros.data.rendering.crops import Composer, CropConfig
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.training import TRAINERS
from trpose_ros.training.loop import LoopConfig, TrainingLoop
from trpose_ros.training.metrabs.batches import Batch, collect
from trpose_ros.training.metrabs.losses import cell_loss
from trpose_ros.training.metrabs.measure import on_rendered
from trpose_ros.training.metrabs.trainer import MetrabsBatches, MetrabsTask, MetrabsTraining
from trpose_ros.training.options import OptionError, read_options


class LineTask:
    """Fit a line through points that depend on the step alone."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.2), nn.Linear(4, 1))
        self.broken = broken

    def batches(self, first_step, last_step):
        for step in range(first_step, last_step):
            x = torch.randn((32, 1), generator=torch.Generator().manual_seed(step))
            yield step, x, 3 * x - 1

    def loss(self, batch, step):
        number, x, y = batch
        assert number == step
        value = (self.model(x) - y).square().mean()
        return {'total': value * (float('nan') if step in self.broken else 1.0)}


def config(**changes) -> LoopConfig:
    values = {'steps': 60, 'warm_up': 5, 'learning_rate': 0.05, 'log_every': 10, 'average': 0.9}
    return LoopConfig(**(values | changes))


def test_the_loss_falls_and_is_logged(tmp_path):
    loop = TrainingLoop(LineTask(), config(), tmp_path)
    average = loop.run()
    lines = (tmp_path / 'log.csv').read_text().splitlines()
    assert lines[0].startswith('step,seconds,total')
    losses = [float(line.split(',')[2]) for line in lines[1:]]
    assert len(losses) == 6
    assert losses[-1] < 0.3 * losses[0]
    average.eval()
    assert abs(float(average(torch.tensor([[1.0]]))) - 2.0) < 1.0


def test_an_interrupted_run_ends_with_the_same_numbers(tmp_path):
    torch.manual_seed(1)
    whole = TrainingLoop(LineTask(), config(), tmp_path / 'whole')
    torch.manual_seed(5)
    whole.run()

    class Stops(LineTask):
        def batches(self, first_step, last_step):
            for batch in super().batches(first_step, last_step):
                if batch[0] == 23:
                    return
                yield batch

    first = TrainingLoop(Stops(), config(), tmp_path / 'parts')
    torch.manual_seed(5)
    first.run()
    assert first.step == 23
    second = TrainingLoop(LineTask(), config(), tmp_path / 'parts')
    assert second.step == 23
    torch.manual_seed(99)  # the checkpoint brings the state of the generator
    second._load()
    second.run()
    for name, value in whole.task.model.state_dict().items():
        assert torch.equal(value, second.task.model.state_dict()[name]), name
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, second.average.state_dict()[name]), name


def line_weights(path, model, **meta):
    required = {
        'architecture': 'line',
        'config': '{}',
        'skeleton': 'h36m_17',
        'licence': 'Apache-2.0',
        'training_data': 'a line',
        'measured_error': '{}',
    }
    tensors = {key: value.half().numpy() for key, value in model.state_dict().items()}
    return weights.save(path, tensors, required | meta)


def test_a_run_begins_with_the_weights_of_another(tmp_path):
    first = TrainingLoop(LineTask(), config(), tmp_path / 'a')
    file = line_weights(tmp_path / 'line.safetensors', first.run(), training='{"steps_done": 60}')
    second = TrainingLoop(LineTask(), config(start=str(file.path), steps=2), tmp_path / 'b')
    started = second.average.state_dict()
    for key, value in first.average.state_dict().items():
        torch.testing.assert_close(started[key], value.half().float(), rtol=0, atol=0)
    second.run()
    done = second.done()
    assert done['steps_done'] == 2
    assert done['start'] == {'weights': file.weights_id, 'training': {'steps_done': 60}}
    assert str(tmp_path) not in str(second.config.facts()) + str(done)
    assert 'start' not in first.done()
    log = (tmp_path / 'b' / 'run.json').read_text()
    assert file.path.name in log


def test_weights_that_do_not_fit_cannot_be_begun_with(tmp_path):
    file = line_weights(tmp_path / 'line.safetensors', nn.Sequential(nn.Linear(1, 3)))
    with pytest.raises(weights.WeightsError, match='line'):
        TrainingLoop(LineTask(), config(start=str(file.path)), tmp_path / 'run')
    with pytest.raises(weights.WeightsError, match='nowhere'):
        TrainingLoop(LineTask(), config(start='nowhere'), tmp_path / 'run')


def test_steps_without_a_finite_loss_are_left_out(tmp_path):
    loop = TrainingLoop(LineTask(broken=(3, 4, 20)), config(), tmp_path)
    loop.run()
    assert loop.bad_steps == 3
    assert all(torch.isfinite(p).all() for p in loop.task.model.parameters())
    hopeless = TrainingLoop(LineTask(broken=tuple(range(99))), config(steps=99), tmp_path / 'b')
    with pytest.raises(FloatingPointError, match='learning_rate'):
        hopeless.run()


def test_a_run_of_no_time_ends_at_once(tmp_path):
    loop = TrainingLoop(LineTask(), config(minutes=1e-9), tmp_path)
    loop.run()
    assert loop.step <= 1


SMALL = MetrabsConfig('resnet-plain-s', num_joints=39, states=True)  # 128 px, stride 16


@pytest.fixture(scope='module')
def composer() -> Composer:
    return Composer(TinyStore(), PlainBackgrounds(), CropConfig(side=128))


def test_batches_depend_on_their_step_alone(composer):
    data = MetrabsBatches(composer, MetrabsTraining(batch=3, side=128), 7)
    first, again, other = data[2], data[2], data[3]
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (3, 3, 128, 128)


def test_the_small_metrabs_learns_in_a_few_steps(composer, tmp_path):
    data = MetrabsBatches(composer, MetrabsTraining(batch=8, easy_share=1.0, side=128), 0)
    torch.manual_seed(0)
    task = MetrabsTask(Metrabs(SMALL), data, 0)
    batch = data[0]
    before = float(task.loss(batch, 500)['total'].detach())
    loop = TrainingLoop(
        task, config(steps=12, learning_rate=2e-3, warm_up=2, log_every=4), tmp_path
    )
    loop.run()
    assert float(task.loss(batch, 500)['total'].detach()) < 0.8 * before
    results = on_rendered(loop.average, composer, most=4)
    assert set(results) >= {'clean', 'random_box', 'fixed_lower'}
    assert all(value['mpjpe_mm'] > 0 for value in results.values())
    assert all(0 <= value['seen_auc'] <= 1 for value in results.values())


def test_cells_agree_with_the_soft_argmax(composer):
    """A heatmap at its target decodes to the truth, and any other one costs more."""
    batch: Batch = collect(
        [composer.test_crop(i, 'clean', np.random.default_rng(i)) for i in range(4)]
    )
    geometry = SMALL.geometry
    inside = torch.ones(4, 39, dtype=torch.bool)
    cells = torch.arange(8.0)
    apart = (((batch.joints_px - 8) / 16)[..., None] - cells).abs()  # (B, J, 2, 8)
    shares = (1 - apart).clamp(min=0)
    right = torch.full((4, 39 * 9, 8, 8), -30.0)
    right[:, :39] = (shares[:, :, 1, :, None] * shares[:, :, 0, None, :]).clamp(min=1e-12).log()
    relative = 1000 * batch.joints_m
    exact = cell_loss(right, batch, relative, inside, geometry)
    shifted = right.clone()
    shifted[:, :39] = right[:, :39].roll(2, dims=3)
    assert exact < cell_loss(shifted, batch, relative, inside, geometry) - 1


@dataclass(frozen=True)
class Toy:
    """A configuration."""

    rate: float = 0.1
    steps: int = 10
    fast: bool = False
    name: str = 'a'

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f'steps must not be negative, got {self.steps}')


def test_options_come_from_a_file_and_the_command_line(tmp_path):
    path = tmp_path / 'run.yaml'
    path.write_text('steps: 20\nname: b\nrate: 0.5\n')
    arguments = ['--config', str(path), '--set', 'steps=30', '--fast', 'true', '--threads', '3']
    (toy,), threads = read_options('x', (Toy,), arguments)
    assert toy == Toy(rate=0.5, steps=30, fast=True, name='b')
    assert threads == 3
    assert read_options('x', (Toy,), [])[0] == [Toy()]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--set', 'stepz=3'], 'stepz'),
        (['--set', 'steps'], 'NAME=VALUE'),
        (['--set', 'steps=many'], "steps takes int, got 'many'"),
        (['--set', 'steps=1.5'], 'steps takes int'),
        (['--set', 'fast=perhaps'], 'fast takes bool'),
        (['--set', 'steps=-1'], 'negative'),
        (['--config', 'missing.yaml'], 'missing.yaml'),
    ],
)
def test_wrong_options_are_named(arguments, words):
    with pytest.raises(OptionError, match=words):
        read_options('x', (Toy,), arguments)


def test_trainers_are_registered():
    assert {'metrabs', 'uncertainty', 'videopose3d'} <= set(TRAINERS)

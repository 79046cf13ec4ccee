"""Trainers of the lifters that see windows: losses, schedule, resume, weights a stream can load."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from human36m_archives import write_archives
from made_people import moving_person

from trpose_ros import weights
from trpose_ros.data.samples import MissingDataError
from trpose_ros.lifters.networks.pstmo import PSTMO
from trpose_ros.lifters.networks.pstmo_pretraining import MaskedPSTMO
from trpose_ros.lifters.registry import create_lifter
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.training import TRAINERS
from trpose_ros.training.lifters import mhformer, mixste, pstmo, videopose3d
from trpose_ros.training.lifters.trainer import (
    WindowTask,
    measure,
    open_windows,
    scale_dropouts,
    train,
)
from trpose_ros.training.lifters.videopose3d_options import VideoPose3DTraining
from trpose_ros.training.loop import LoopConfig, TrainingLoop

REFERENCE = np.load(Path(__file__).parents[1] / 'reference' / 'geometry_and_eval.npz')
SMALL = {
    'mhformer': 'frames=9 batch=16 channels=32 hidden=32 layers=2 learning_rate=3e-3',
    'mixste': 'frames=9 batch=8 channels=32 depth=1 learning_rate=3e-3 scale_by_loss=false',
    'pstmo': 'frames=9 batch=16 channels=32 hidden=32 layers=2 learning_rate=3e-3 stage1_steps=3',
    'videopose3d': 'frames=9 batch=16 channels=32 learning_rate=3e-3',
}
TASKS = {
    'mhformer': (mhformer.MHFormerTraining, mhformer.MHFormerTask, mhformer.build),
    'mixste': (mixste.MixSTETraining, mixste.MixSTETask, mixste.build),
    'pstmo': (pstmo.PSTMOTraining, pstmo.PSTMOTask, pstmo.build),
    'videopose3d': (
        VideoPose3DTraining,
        videopose3d.VideoPose3DTask,
        videopose3d.build,
    ),
}


@pytest.fixture(scope='module')
def mocap(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mocap')
    clips = [moving_person(60, 'h36m_17', seed) for seed in range(3)]
    joints = np.concatenate(clips)
    np.savez(
        folder / 'mocap_cmu_30hz.npz',
        root=joints[:, 0],
        rel=joints - joints[:, :1],
        start=[0, 60, 120],
        length=[60, 60, 60],
        name=['a', 'b', 'c'],
        subject=['anna', 'bert', 'cmu014'],
        split=['train', 'train', 'test'],
        fps=30.0,
        joint_names=np.array(['j'] * 17),
    )
    return folder


def small(name, **changes):
    values = {}
    kind = TASKS[name][0]
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    for pair in SMALL[name].split():
        key, _, text = pair.partition('=')
        if key in defaults:
            values[key] = json.loads(text)
    return kind(**(values | changes))


def make_task(name, mocap, **changes):
    torch.manual_seed(0)
    training = small(name, mocap=str(mocap), **changes)
    _, task, build = TASKS[name]
    windows = open_windows(training)
    return task(build(training, 3 if windows.marked else 2), training, windows, 0, 4)


def loop_config(steps, **changes):
    values = {'learning_rate': 3e-3, 'average': 0.0, 'warm_up': 0, 'log_every': 10}
    return LoopConfig(steps=steps, **(values | changes))


@pytest.mark.parametrize('name', sorted(TASKS))
def test_the_loss_falls(name, mocap, tmp_path):
    task = make_task(name, mocap)
    TrainingLoop(task, loop_config(40, log_every=5), tmp_path).run()
    rows = (tmp_path / 'log.csv').read_text().splitlines()
    column = rows[0].split(',').index('total')
    totals = [float(row.split(',')[column]) for row in rows[1:]]
    assert len(totals) == 8
    assert np.mean(totals[-2:]) < 0.8 * totals[0]


@pytest.mark.parametrize('name', sorted(TASKS))
@pytest.mark.parametrize(('recipe', 'optimizer'), [('clean', 'adam'), ('robust', 'muon')])
def test_a_run_cut_off_ends_with_the_same_weights(recipe, optimizer, name, mocap, tmp_path):
    config = loop_config(4, schedule='epochs', epoch_steps=2, optimizer=optimizer)
    whole = TrainingLoop(make_task(name, mocap, recipe=recipe), config, tmp_path / 'a').run()
    first = TrainingLoop(make_task(name, mocap, recipe=recipe), config, tmp_path / 'b')

    def stop_early(task=first.task, batches=first.task.batches):
        task.batches = lambda begin, end: batches(begin, 2)

    stop_early()
    first.run()
    torch.manual_seed(99)  # a new process knows nothing of the old one's random numbers
    second = TrainingLoop(make_task(name, mocap, recipe=recipe), config, tmp_path / 'b')
    assert second.step == 2
    again = second.run()
    for (key, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), key


@pytest.mark.parametrize('name', sorted(TASKS))
@pytest.mark.parametrize('recipe', ['clean', 'robust'])
def test_trained_weights_run_in_a_stream(recipe, name, mocap, tmp_path, capsys):
    out = tmp_path / f'{name}.safetensors'
    options = [f'--set={pair}' for pair in SMALL[name].split()]
    options += [f'--mocap={mocap}', f'--out={out}', f'--folder={tmp_path / "run"}', '--threads=1']
    options += [f'--recipe={recipe}', '--test-windows=8']
    TRAINERS[name]([*options, '--steps=4', '--set', 'epoch_steps=2'])
    file = weights.load(out, name)
    measured = json.loads(file.meta['measured_error'])
    assert set(measured) == {f'cmu {kind}' for kind in ('exact', 'noisy', 'part', 'rand', 'gap')}
    assert all(0 < value < 2000 for row in measured.values() for value in row.values())
    facts = json.loads(file.meta['training'])
    assert facts['steps_done'] == 4
    assert not any(str(tmp_path) in str(value) for value in facts.values())
    stream = create_lifter(LifterConfig(name=name, model=str(out)))
    joints = np.zeros((1, 17, 2), np.float32) + np.linspace(-0.1, 0.1, 17)[:, None]
    states = np.ones((1, 17), np.uint8)
    lifted = []
    for number in range(30):
        stamp_ns = 1_000_000_000 + number * 33_333_333
        lifted += stream.push(stamp_ns, np.array([1]), joints, states)
    lifted += stream.flush()
    assert len(lifted) == 30
    assert f'trpose train {name} --measure' in out.with_suffix('.md').read_text()
    assert str(tmp_path) not in out.with_suffix('.md').read_text()
    capsys.readouterr()
    TRAINERS[name]([*options, f'--measure={out}', '--record=true'])
    again = json.loads(capsys.readouterr().out)
    for kind, row in measured.items():  # the file has half the digits
        assert again[kind] == pytest.approx(row, rel=0.02)
    recorded = weights.verify(out)
    assert json.loads(recorded.meta['measured_error']) == again
    for key, value in file.tensors.items():
        np.testing.assert_array_equal(recorded.tensors[key], value)


def test_short_windows_come_first_and_more_of_them(mocap, tmp_path):
    task = make_task('mixste', mocap, short_frames=3, short_steps=2)
    shapes = [tuple(joints.shape) for joints, _ in task.batches(0, 4)]
    assert shapes == [(24, 3, 17, 2), (24, 3, 17, 2), (8, 9, 17, 2), (8, 9, 17, 2)]
    model = TrainingLoop(task, loop_config(4), tmp_path).run()
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_short_windows_lie_anywhere_in_the_long_one(mocap):
    task = make_task('mixste', mocap, short_frames=3, short_steps=100)
    places = task.model.Temporal_pos_embed
    joints, target_m = next(iter(task.batches(0, 1)))
    touched = torch.zeros(9, dtype=torch.bool)
    for step in range(40):
        places.grad = None
        task.loss((joints, target_m), step)['total'].backward()
        rows = places.grad[0].abs().sum(dim=1) > 0
        assert rows.sum() == 3
        touched |= rows
    assert touched.all()


@pytest.mark.parametrize('name', sorted(TASKS))
def test_networks_with_marks_begin_with_those_without(name, mocap, tmp_path):
    out = tmp_path / 'clean.safetensors'
    clean = train(make_task(name, mocap, out=str(out)), loop_config(1), tmp_path / 'a', name)
    task = make_task(name, mocap, recipe='robust')
    loop = TrainingLoop(task, loop_config(1, start=str(out)), tmp_path / 'b')
    joints = torch.randn(2, 9, 17, 2)
    unmarked = torch.cat([joints, torch.zeros(2, 9, 17, 1)], dim=-1)
    if name == 'mhformer':  # its tokens are coordinates: those of marks take part in attention
        own, given = task.model.state_dict(), clean.state_dict()
        key = 'embedding_1.0.weight'
        half = given[key].half().float()
        torch.testing.assert_close(own[key].unflatten(1, (17, 3))[:, :, :2].flatten(1, 2), half)
        assert not own[key].unflatten(1, (17, 3))[:, :, 2].any()
    else:
        given = clean.eval()(joints)
        torch.testing.assert_close(task.model.eval()(unmarked), given, rtol=0.02, atol=0.02)
    assert loop.done()['start']['weights'].startswith('clean@')


@pytest.mark.parametrize('name', sorted(TASKS))
def test_dropouts_can_be_scaled(name, mocap):
    torch.manual_seed(0)
    model = scale_dropouts(make_task(name, mocap).model, 0.0).train()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.eval()
    joints = torch.randn(2, 9, 17, 2)
    torch.testing.assert_close(model(joints), model(joints), rtol=0, atol=0)


def test_what_is_compiled_is_compiled_once(mocap, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda forward: compiled.append(forward) or forward)
    plain, other = (make_task('mixste', mocap, compiled=value) for value in (False, True))
    batch = next(iter(plain.batches(0, 1)))
    for _ in range(2):
        assert plain.loss(batch, 0)['total'] == other.loss(batch, 0)['total']
    assert len(compiled) == 1


@pytest.mark.slow  # the compiler takes a minute
# What torch itself imports to compile warns of its own methods.
@pytest.mark.filterwarnings('ignore:.*torch.jit:DeprecationWarning')
def test_a_compiled_network_learns_the_same(mocap):
    plain, compiled = (make_task('mixste', mocap, compiled=value) for value in (False, True))
    batch = next(iter(plain.batches(0, 1)))
    torch.testing.assert_close(
        plain.loss(batch, 0)['total'], compiled.loss(batch, 0)['total'], rtol=1e-4, atol=1e-6
    )


def test_published_recipes_are_the_defaults():
    training, loop = mhformer.MHFormerTraining(), mhformer.MHFormerLoop()
    assert (training.frames, training.channels, training.batch) == (351, 512, 128)
    assert (loop.learning_rate, loop.decay, loop.halve_every, loop.optimizer) == (
        *(1e-3, 0.95, 5),
        'adam',
    )
    training, loop = mixste.MixSTETraining(), mixste.MixSTELoop()
    assert (training.frames, training.depth, training.batch * training.frames) == (243, 8, 972)
    assert (loop.learning_rate, loop.decay, loop.weight_decay, loop.optimizer) == (
        *(4e-5, 0.99, 0.1),
        'adamw',
    )
    training, loop = pstmo.PSTMOTraining(), pstmo.PSTMOLoop()
    assert (training.frames, training.hidden_frames, training.hidden_joints) == (243, 0.8, 2)
    assert (training.stage1_rate, loop.learning_rate, loop.decay) == (1e-4, 7e-4, 0.97)


def test_the_rate_follows_epochs(mocap, tmp_path):
    config = loop_config(100, schedule='epochs', epoch_steps=3, decay=0.9, halve_every=2)
    loop = TrainingLoop(make_task('mixste', mocap), config, tmp_path)
    rates = []
    for step in (0, 2, 3, 6, 12):
        loop.step = step
        rates.append(loop._rate() / 3e-3)
    np.testing.assert_allclose(rates, [1, 1, 0.9, 0.9**2 / 2, 0.9**4 / 4])


# --- losses ----------------------------------------------------------------------------------


def golden():
    predicted = np.random.default_rng(3).normal(0, 0.3, (4, 9, 17, 3)).astype(np.float32)
    noise = np.random.default_rng(4).normal(0, 0.05, (4, 9, 17, 3)).astype(np.float32)
    return torch.from_numpy(predicted), torch.from_numpy(predicted + noise)


def test_losses_of_mixste_are_the_published_ones(mocap):
    predicted, target = golden()
    np.testing.assert_allclose(mixste.JOINT_WEIGHTS, REFERENCE['mixste_weights'])
    for value, name in (
        (mixste.weighted_mpjpe(predicted, target), 'mixste_wmpjpe'),
        (mixste.smoothness(predicted), 'mixste_tcloss'),
        (mixste.velocity_error(predicted, target), 'mixste_mpjve_train'),
    ):
        np.testing.assert_allclose(float(value), float(REFERENCE[name]), rtol=1e-5)
    task = make_task('mixste', mocap)
    task.run = lambda forward, joints: predicted
    losses = task.loss((torch.zeros(4, 9, 17, 2), target), 0)
    np.testing.assert_allclose(float(losses['sum']), float(REFERENCE['mixste_total']), rtol=1e-5)
    assert losses['total'] == losses['sum']


def test_scaling_by_the_loss_is_the_gradient_of_half_its_square(mocap):
    _, target = golden()
    gradients = []
    for scale in (True, False):
        predicted = golden()[0].requires_grad_()
        task = make_task('mixste', mocap, scale_by_loss=scale)
        task.run = lambda forward, joints, p=predicted: p
        losses = task.loss((torch.zeros(4, 9, 17, 2), target), 0)
        losses['total'].backward()
        gradients.append(predicted.grad)
    torch.testing.assert_close(gradients[0], gradients[1] * losses['sum'].detach())


def test_stage_one_draws_what_was_hidden(mocap, tmp_path):
    training = small('pstmo', mocap=str(mocap))
    torch.manual_seed(0)
    masked = MaskedPSTMO(pstmo.sizes(training))
    task = pstmo.MaskedTask(masked, training, open_windows(training), 0)
    TrainingLoop(task, loop_config(40, log_every=5), tmp_path).run()
    rows = (tmp_path / 'log.csv').read_text().splitlines()
    totals = [float(row.split(',')[2]) for row in rows[1:]]
    assert totals[-1] < 0.8 * totals[0]
    model = PSTMO(pstmo.sizes(training))
    count = pstmo.take_over(model, masked)
    own, learned = model.state_dict(), masked.state_dict()
    taken = [key for key in own if key.startswith(('encoder.', 'Transformer.'))]
    assert count == len(taken)
    assert all(torch.equal(own[key], learned[key]) for key in taken)


def test_the_published_network_shares_74_tensors():
    config = pstmo.sizes(pstmo.PSTMOTraining())
    assert pstmo.take_over(PSTMO(config), MaskedPSTMO(config)) == 74


# --- batches ---------------------------------------------------------------------------------


def test_batches_depend_on_seed_and_step_alone(mocap):
    task = make_task('mixste', mocap)
    all_steps = list(task.batches(0, 4))
    later = list(task.batches(2, 4))
    for a, b in zip(all_steps[2:], later, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    assert not torch.equal(all_steps[0][0], all_steps[1][0])
    joints, target = all_steps[0]
    assert joints.shape == (8, 9, 17, 2)
    assert target.shape == (8, 9, 17, 3)
    assert not target[:, :, 0].any()
    assert torch.isfinite(joints).all()  # gaps are filled, as in the stream


def test_the_recipe_decides_what_is_seen(mocap):
    clean, _ = next(iter(make_task('mixste', mocap, recipe='clean').batches(0, 1)))
    robust, _ = next(iter(make_task('mixste', mocap, recipe='robust').batches(0, 1)))
    assert clean.shape[-1] == 2
    assert robust.shape[-1] == 3  # with marks
    assert (clean - robust[..., :2]).abs().max() > 1e-3
    assert set(robust[..., 2].unique().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match='recipe must be one of'):
        small('mixste', recipe='dirty')
    with pytest.raises(ValueError, match='look_ahead 3'):
        small('mixste', record=True, look_ahead=3)


def test_a_window_longer_than_every_clip_is_refused(mocap):
    training = small('mhformer', frames=63, mocap=str(mocap))
    with pytest.raises(ValueError, match='no training clip has 63 frames at 30 Hz'):
        open_windows(training)


def test_a_published_data_set_can_be_trained_on(tmp_path):
    write_archives(tmp_path, ('S1', 'S9'), frames=30)
    training = small('mixste', dataset='human36m', data=str(tmp_path), keypoints='gt')
    windows = open_windows(training)
    assert windows.rate_hz == 50
    joints, target = windows.draw(np.random.default_rng(0), 6)
    assert joints.shape == (6, 9, 17, 2)
    assert not target[:, :, 0].any()
    again, _ = windows.draw(np.random.default_rng(0), 6)
    np.testing.assert_array_equal(joints, again)
    # The first window of a take repeats its first frame.
    first = windows._windows('train', np.array([0]))[0]
    np.testing.assert_array_equal(first[0, :4], np.repeat(first[:, 4], 4, axis=0))
    task = mixste.MixSTETask(mixste.build(training, 2), training, windows, 0)
    TrainingLoop(task, loop_config(2), tmp_path / 'run').run()
    results = measure(task.model, windows, training)
    assert set(results) == {'human36m test'}
    assert 0 < results['human36m test']['p_mpjpe'] <= results['human36m test']['mpjpe']


def test_a_data_set_that_is_not_there_says_what_to_obtain(tmp_path):
    training = small('mixste', dataset='human36m', data=str(tmp_path), keypoints='gt')
    with pytest.raises(MissingDataError, match=r'vision\.imar\.ro'):
        open_windows(training)


def test_trainers_are_registered():
    assert set(TASKS) <= set(TRAINERS)
    assert issubclass(mhformer.MHFormerTask, WindowTask)

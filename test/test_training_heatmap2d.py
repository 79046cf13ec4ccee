"""The plain 2D trainer: whole people only, it learns, resumes, writes what the estimator reads."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_body import PlainBackgrounds
from tiny_body import TinyStore

from trpose_ros import weights
from trpose_ros.data.compose import Composer
from trpose_ros.data.compose import CropConfig
from trpose_ros.estimators.heatmap2d import Heatmap2d
from trpose_ros.estimators.heatmap2d import Heatmap2dConfig
from trpose_ros.estimators.heatmap2d import decode
from trpose_ros.estimators.heatmap2d import load_network
from trpose_ros.training.cells import plane_target
from trpose_ros.training.distributed import Share
from trpose_ros.training.heatmap2d import _WHOLE
from trpose_ros.training.heatmap2d import Heatmap2dTask
from trpose_ros.training.heatmap2d import Heatmap2dTraining
from trpose_ros.training.heatmap2d import WholePeople
from trpose_ros.training.heatmap2d import evaluate
from trpose_ros.training.heatmap2d import export
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.loop import TrainingLoop

LOOP = LoopConfig(steps=12, learning_rate=2e-3, warm_up=2, log_every=4, average=0.9)


@pytest.fixture(scope='module')
def composer() -> Composer:
    return Composer(TinyStore(), PlainBackgrounds(), CropConfig(**_WHOLE))


def task(composer, batch=8) -> Heatmap2dTask:
    torch.manual_seed(0)
    return Heatmap2dTask(Heatmap2d(Heatmap2dConfig()), WholePeople(composer, batch, 3), 0)


def test_nobody_is_cut_off_in_training(composer):
    for step in range(8):
        joints = WholePeople(composer, 8, 0)[step].joints_px
        assert joints.min() >= 0
        assert joints.max() <= 127


def test_processes_share_a_batch(composer):
    whole = WholePeople(composer, 5, 0)[7]
    parts = []
    for rank in range(3):
        data = WholePeople(composer, 5, 0)
        data.share = Share(rank, 3)
        parts.append(data[7])
    assert [len(part.images) for part in parts] == [1, 2, 2]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.joints_px for part in parts]), whole.joints_px)


def test_a_heatmap_at_its_target_decodes_to_the_truth():
    geometry = Heatmap2dConfig().geometry
    rng = np.random.default_rng(0)
    joints = torch.from_numpy(rng.uniform(8, 120, (3, 17, 2)).astype(np.float32))
    target = plane_target((joints - geometry.first_px) / geometry.stride, 8)
    found, scores = decode(target.clamp(min=1e-12).log().unflatten(-1, (8, 8)), geometry)
    assert torch.allclose(found, joints, atol=1e-3)
    assert torch.allclose(scores, torch.ones_like(scores), atol=1e-4)
    even, low = decode(torch.zeros(1, 17, 8, 8), geometry)
    assert torch.allclose(even, torch.full_like(even, 64.0), atol=1e-3)
    assert torch.allclose(low, torch.full_like(low, 4 / 64))


def test_the_loss_falls_and_a_resumed_run_ends_the_same(composer, tmp_path):
    whole = TrainingLoop(task(composer), LOOP, tmp_path / 'whole')
    batch = whole.task.data[99]
    before = float(whole.task.loss(batch, 0)['total'].detach())
    whole = TrainingLoop(task(composer), LOOP, tmp_path / 'whole')  # as before the look at the loss
    torch.manual_seed(1)
    whole.run()
    assert float(whole.task.loss(batch, 0)['total'].detach()) < 0.8 * before

    parts = TrainingLoop(task(composer), LOOP, tmp_path / 'parts')
    torch.manual_seed(1)
    for number, own in enumerate(parts.task.batches(0, 5)):
        assert number == parts.step
        parts._train(own)
        parts.step += 1
    parts.save()
    parts = TrainingLoop(task(composer), LOOP, tmp_path / 'parts')
    assert parts.step == 5
    parts.run()
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, parts.average.state_dict()[name]), name


def test_what_is_exported_is_what_was_measured(composer, tmp_path):
    model = Heatmap2d(Heatmap2dConfig()).eval()
    results = evaluate(model, composer, most=4)
    assert set(results) >= {'clean', 'random_box', 'fixed_lower'}
    assert all(value['px'] > 0 and 0 <= value['pck'] <= 100 for value in results.values())
    config = Heatmap2dTraining(out=str(tmp_path / 'plain.safetensors'))
    file = export(model, config, LOOP, results, {'steps_done': 1})
    again, _ = load_network(str(file.path))
    assert dataclasses.asdict(again.config) == dataclasses.asdict(model.config)
    assert evaluate(again, composer, most=4)['clean']['px'] == pytest.approx(
        results['clean']['px'], abs=0.1
    )
    assert weights.verify(file.path).meta['architecture'] == 'heatmap2d'
    with pytest.raises(weights.WeightsError, match='heatmap2d'):
        weights.load(file.path, architecture='metrabs')

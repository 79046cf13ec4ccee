"""Crops cached behind frozen modules: the same training as without, and files that are complete."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_body import PlainBackgrounds, TinyStore

from trpose_ros.data.rendering.crops import Composer, CropConfig
from trpose_ros.metrabs.visibility import StateHead
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.metrabs import trainer as metrabs
from trpose_ros.training.metrabs.crop_cache import CropCache, write_shard
from trpose_ros.training.metrabs.trainer import (
    CachedBatches,
    MetrabsBatches,
    MetrabsTask,
    MetrabsTraining,
    network_of,
    stem_of,
)

RUN = MetrabsTraining(
    backbone='mobilenetv2-1.0', pretrained='', side=64, batch=3, batch_2d=1, freeze=3
)


@pytest.fixture(scope='module')
def composer() -> Composer:
    return Composer(TinyStore(), PlainBackgrounds(), CropConfig(side=64))


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return network_of(RUN)


def test_cached_features_give_the_losses_of_the_whole_network(composer, model, tmp_path):
    data = MetrabsBatches(composer, RUN, 0)
    crops = [data.crop(0, np.random.default_rng(k)) for k in range(3)]
    crops.append(dataclasses.replace(crops[0], joints_m=np.full((39, 3), np.nan, np.float32)))
    assert len(CropCache(tmp_path, RUN.backbone)) == 0
    write_shard(tmp_path, 4, crops, {RUN.backbone: stem_of(model.backbone, 3).eval()})
    assert not list(tmp_path.glob('*.part'))
    cache = CropCache(tmp_path, RUN.backbone)
    assert len(cache) == 4
    assert cache.metric.tolist() == [True, True, True, False]
    task = MetrabsTask(model, data, 0, 'float32', freeze=3)
    cached = cache.batch(np.arange(4))
    whole = dataclasses.replace(cached, features=None, images=torch.from_numpy(
        np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
    ))  # fmt: skip
    losses = []
    for batch in (cached, whole):
        torch.manual_seed(1)
        losses.append({k: float(v.detach()) for k, v in task.loss(batch, 1000).items()})
    assert losses[0] == pytest.approx(losses[1], rel=2e-2, abs=1e-3)


def test_shards_that_appear_later_are_found_and_half_written_ones_are_not(
    composer, model, tmp_path
):
    data = MetrabsBatches(composer, RUN, 0)
    stems = {RUN.backbone: stem_of(model.backbone, 3).eval()}
    write_shard(tmp_path, 0, [data.crop(0, np.random.default_rng(0))], stems)
    cache = CropCache(tmp_path, RUN.backbone)
    write_shard(tmp_path, 1, [data.crop(0, np.random.default_rng(k)) for k in range(2)], stems)
    (tmp_path / f'00001.{RUN.backbone}.npy').rename(tmp_path / 'away')
    cache.refresh()
    assert len(cache) == 1
    (tmp_path / 'away').rename(tmp_path / f'00001.{RUN.backbone}.npy')
    cache.refresh()
    assert len(cache) == 3
    assert len(CropCache(tmp_path, 'mobilenetv2-1.75')) == 0
    assert CachedBatches(cache, RUN, 0)[7].features.shape == (3, 24, 16, 16)


def test_frozen_modules_stay_and_others_learn(composer, model):
    task = MetrabsTask(network_of(RUN), MetrabsBatches(composer, RUN, 0), 0, 'float32', freeze=3)
    learns = {name for name, p in task.model.named_parameters() if p.requires_grad}
    assert not any(name.startswith(('backbone.1.0.', 'backbone.1.2.')) for name in learns)
    assert any(name.startswith('backbone.1.3.') for name in learns)
    assert task.rate_of('heatmap_heads.conv_final.weight') > task.rate_of('backbone.1.3.x') == 1.0


def test_a_cache_without_frozen_modules_is_refused():
    with pytest.raises(ValueError, match='freeze'):
        MetrabsTraining(cache=True)


def test_caching_and_training_from_it_by_the_command(composer, tmp_path, monkeypatch):
    monkeypatch.setattr(metrabs, '_SHARD_CROPS', 8)
    monkeypatch.setattr(metrabs, 'prepare', lambda config, split, shards: composer)
    paths = {'cache_folder': str(tmp_path / 'cache'), 'folder': str(tmp_path / 'run')}
    run = dataclasses.replace(RUN, **paths, out=str(tmp_path / 'out.safetensors'))
    for number in (0, 1):  # two processes share the work
        part = dataclasses.replace(run, make_cache=24, cache_part=f'{number}/2')
        assert metrabs.train(part, LoopConfig()) == {'cached': 24}
    assert len(CropCache(tmp_path / 'cache', RUN.backbone)) == 24
    results = metrabs.train(
        dataclasses.replace(run, cache=True, workers=0), LoopConfig(steps=3, tensorboard=False)
    )
    assert results['rendered']['clean']['mpjpe_mm'] > 0
    loaded = metrabs.load_network(tmp_path / 'out.safetensors')
    assert set(loaded.skeletons) >= {'h36m_17', 'coco_17', 'smpl_24', 'body_39'}
    assert loaded.model.state_head is not None


def test_states_are_read_where_the_heatmap_lies():
    head = StateHead(5, 2)
    features, logits = torch.randn(1, 5, 4, 4), torch.full((1, 2 + 16, 4, 4), -40.0)
    logits[0, 0, 1, 2] = logits[0, 1, 3, 0] = 40.0
    states = head(features, logits)
    maps = head.conv(features).reshape(1, 2, 3, 4, 4)
    assert torch.allclose(states[0, 0], maps[0, 0, :, 1, 2], atol=1e-5)
    assert torch.allclose(states[0, 1], maps[0, 1, :, 3, 0], atol=1e-5)

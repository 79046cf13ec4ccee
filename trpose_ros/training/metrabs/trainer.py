"""Train MeTRAbs on rendered people and photographs, from a backbone that knows real images.

People are rendered once as cut-outs (data/rendering/sprites.py) and composed anew
(data/rendering/crops.py): other backgrounds, crops, people, objects, image borders and hidden
parts, so that joints outside the image and behind things are ordinary. Photographs bring real
clothes, skin and light; their 2D joints come from networks that agree
(data/datasets/photographs.py). The losses are in losses.py.

On a processor most of the time goes into the first blocks of the backbone, which know edges and
textures already. So a training may go in two stages:

    trpose train metrabs --make-cache 40000 --freeze 11    what they make of 40,000 crops, once
    trpose train metrabs --freeze 11 --cache true          everything behind them, from the cache
    trpose train metrabs --start weights ...               all of it, crops composed anew

``python -m trpose_ros.training.metrabs.trainer --help`` lists the options.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros import weights
from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.rendering.backgrounds import Backgrounds
from trpose_ros.data.rendering.crops import Composer, Crop, CropConfig
from trpose_ros.data.rendering.sprites import SHARD
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.metrabs.heatmaps import decode
from trpose_ros.metrabs.loss import LossConfig, project_mm
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.movenet.checkpoints import load_movenet
from trpose_ros.skeletons import contained_skeletons, get_skeleton
from trpose_ros.training import TRAINERS
from trpose_ros.training.distributed import is_first
from trpose_ros.training.loop import LoopConfig, TrainingLoop
from trpose_ros.training.metrabs.batches import (
    CREDIT,
    Batch,
    CropBatches,
    ImageTask,
    half_precision,
    open_sprites,
)
from trpose_ros.training.metrabs.crop_cache import CropCache, write_shard
from trpose_ros.training.metrabs.labelled_2d import Labelled2d
from trpose_ros.training.metrabs.losses import Heads, photograph_loss, rendered_loss, state_loss
from trpose_ros.training.metrabs.measure import coverage_on_photographs, measured
from trpose_ros.training.metrabs.pictures import pose_sheet
from trpose_ros.training.metrabs.real_video import on_real_video
from trpose_ros.training.options import read_options

_CARD = """
One person per crop; 39 joints (skeleton body_39) in metres in the camera's frame, also outside the
crop; h36m_17, coco_17, coco_19, smpl_24 and smpl+head_30 are contained.

`measured_error`: `rendered` on {crops} rendered crops of bodies, motion subjects (cmu014,
accad_female1) and photographs that were not trained on, by condition of the truncation protocol
(main severity): `mpjpe_mm` mean root-relative distance of Human3.6M's 17 joints, hidden ones
included, and `p90_mm` its 90 % quantile over people; `px` mean distance of projected joints in px
of the 256 px crop; `seen_auc` area under the ROC curve of the score for "visible". `photographs`
on people of themes that were not trained on, against joints on which two networks agree: `pck`
share of joints nearer than 0.2 of the torso, and `inside_50`, `inside_95` percent inside the
projected ellipses that should hold 50 and 95 percent. `real_video`, where it is: a man balancing
on a bench before two calibrated cameras, 12 joints relative to the middle of the hips. Measured by

    trpose train metrabs --measure NAME --data-2d photographs

The backbone began as that of MoveNet (Google, Apache-2.0) and was changed by training.
"""
_WEAK_STEPS = 300
_HEAD_RATE = 6.0  # of the learning rate, for layers that are not pretrained
_EASY = {'loose': 0.05, 'near': 0.03, 'fragments': 0.0, 'rotation_deg': 5.0, 'furniture': 0.0}
_EASY |= {'border': 0.03, 'hidden': 0.05, 'people': 0.08, 'objects': 0.05}
_HARD = {'loose': 0.12, 'near': 0.13, 'fragments': 0.3, 'rotation_deg': 8.0, 'furniture': 0.12}
_HARD |= {'border': 0.25, 'hidden': 0.45, 'coarse': 0.2}
_SHARD_CROPS = 512


@dataclass(frozen=True)
class MetrabsTraining:
    """One training run."""

    out: str = setting('metrabs-m.safetensors', 'weights file')
    folder: str = setting('runs/metrabs-m', 'checkpoint and log')
    sprites: str = setting('runs/sprites', 'rendered people')
    backbone: str = setting('mobilenetv2-1.75', 'see metrabs/backbones')
    pretrained: str = setting(
        'movenet-thunder', "weights of MoveNet whose backbone to begin with; '' = none"
    )
    side: int = setting(256, 'of a crop, px', range=(64, 512))
    batch: int = setting(36, 'rendered people in a step', range=(1, 4096))
    data_2d: str = setting(
        '', 'a data set whose pictures have 2D labels, trained on beside the others'
    )
    batch_2d: int = setting(12, 'of these in every step', range=(0, 4096))
    shards: int = setting(12, f'rendered before, {SHARD} people each', range=(1, 1000))
    easy_share: float = setting(0.4, 'share of crops with little truncation', range=(0.0, 1.0))
    freeze: int = setting(0, 'modules of the body (stem, blocks) that stay', range=(0, 18))
    cache: bool = setting(False, 'train behind the frozen ones, from cached crops')
    cache_folder: str = setting('runs/cache', 'cached crops')
    make_cache: int = setting(0, 'only cache so many crops, then end', range=(0, 10_000_000))
    cache_part: str = setting('0/1', 'of several processes that cache: number/count')
    also: str = setting('', 'cache for this backbone, too: backbone=weights of MoveNet')
    workers: int = setting(1, 'processes that compose', range=(0, 64))
    test_crops: int = setting(1008, 'to measure on, of each condition', range=(1, 100_000))
    measure: str = setting('', 'measure these weights, train nothing')
    record: bool = setting(False, 'write what is measured into the file and its card')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)
        if self.cache and not self.freeze:
            raise ValueError('cache needs freeze: the cache holds what frozen modules made')


class MetrabsBatches(CropBatches):
    """Crops with every kind of truncation, some of them with little, and crops of photographs."""

    def __init__(
        self,
        composer: Composer,
        config: MetrabsTraining,
        seed: int,
        flat: Labelled2d | None = None,
    ) -> None:
        """Take pictures with 2D labels, too, when ``flat`` has some."""
        super().__init__(config.batch + (config.batch_2d if flat else 0), seed)
        self.flat = flat
        self.composer, self.config = composer, config
        easy = dataclasses.replace(composer.config, **_EASY)  # type: ignore[arg-type]
        self.easy = Composer(composer.store, composer.backgrounds, easy)

    def crop(self, step: int, rng: np.random.Generator, item: int = 0) -> Crop:
        """Compose one crop; items from ``config.batch`` on are of photographs."""
        if self.flat is not None and item >= self.config.batch:
            return self.flat.crop(rng)
        index = int(rng.integers(len(self.composer.store)))
        easy = rng.random() < self.config.easy_share
        return (self.easy if easy else self.composer).training_crop(index, rng)


class CachedBatches(CropBatches):
    """Batches drawn from a cache, which may grow meanwhile."""

    def __init__(self, cache: CropCache, config: MetrabsTraining, seed: int) -> None:
        super().__init__(config.batch + config.batch_2d, seed)
        self.cache, self.config = cache, config

    def crop(self, step: int, rng: np.random.Generator, item: int = 0) -> Crop:
        """Refuse: a cached crop has no image."""
        raise RuntimeError('a cached crop has no image; take batches')

    def __getitem__(self, step: int) -> Batch:
        """Draw the batch of a step."""
        if step % 100 == 0:
            self.cache.refresh()
        rng = np.random.default_rng([self.seed, step])
        rendered = np.flatnonzero(self.cache.metric)
        photographs = np.flatnonzero(~self.cache.metric)
        drawn = [rng.choice(rendered, self.config.batch)]
        if len(photographs):
            drawn.append(rng.choice(photographs, self.config.batch_2d))
        return self.cache.batch(np.concatenate(drawn))


class MetrabsTask(ImageTask):
    """The network, its batches and its loss."""

    loss_config = LossConfig(absolute_from_step=800)

    def __init__(
        self,
        model: Metrabs,
        data: CropBatches,
        workers: int,
        precision: str = 'auto',
        freeze: int = 0,
    ) -> None:
        """Keep the first ``freeze`` modules of the backbone's body as they are."""
        super().__init__(model, data, workers, precision)
        self.freeze = freeze
        if freeze:
            stem_of(model.backbone, freeze).requires_grad_(False)

    def rate_of(self, name: str) -> float:
        """Return the factor of the learning rate of a parameter."""
        return 1.0 if name.startswith('backbone') else _HEAD_RATE

    def loss(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses in metres, see losses.py."""
        model, geometry = self.model, self.model.config.geometry
        features = self._features(batch)
        logits = model.heatmap_heads(features)
        coords2d, relative = decode(logits, geometry)
        mix = torch.rand(len(coords2d), device=coords2d.device)
        poses = reconstruct(
            coords2d, relative, batch.intrinsics, geometry, mix=mix, weak=step < _WEAK_STEPS
        ).abs_mm
        found = Heads(poses, coords2d, relative, logits)
        losses = {'total': torch.zeros((), device=poses.device)}
        if batch.metric:
            own = slice(0, batch.metric)
            losses = rendered_loss(
                found.part(own), batch.part(own), step, geometry, self.loss_config
            )
        if batch.metric < len(poses):
            own = slice(batch.metric, None)
            flat = photograph_loss(found.part(own), batch.part(own), geometry)
            losses |= flat | {'total': losses['total'] + flat['total']}
        if model.state_head is not None:
            losses['states'] = state_loss(model.state_head(features, logits), batch.states)
            losses['total'] = losses['total'] + losses['states']
        return losses

    def _features(self, batch: Batch) -> Tensor:
        if batch.features is not None:
            behind = self.model.backbone[1][self.freeze :]
            features = batch.features.to(memory_format=torch.channels_last)
            with self.autocast(features):
                return behind(features.float()).float()
        assert batch.images is not None
        images = self.prepared(batch.images)
        with self.autocast(images):
            return self.model.backbone(images).float()


def stem_of(backbone: nn.Module, count: int) -> nn.Sequential:
    """Return the image scaling and the first ``count`` modules of a backbone's body."""
    scale, body = list(backbone.children())
    return nn.Sequential(scale, *list(body.children())[:count])


def network_of(config: MetrabsTraining) -> Metrabs:
    """Return the network of a run, its backbone pretrained where that is asked for."""
    model = Metrabs(
        MetrabsConfig(
            backbone=config.backbone,
            proc_side=config.side,
            stride=32,
            skeleton='h36m_17',
            num_joints=get_skeleton('body_39').num_joints,
            states=True,
        )
    )
    if config.pretrained:
        model.backbone.load_state_dict(load_movenet(config.pretrained).backbone.state_dict())
    return model


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Return the projections (B, J, 2) of the estimated joints, crop px."""
    assert batch.images is not None
    output = model(batch.images.float() / 255, batch.intrinsics)
    return project_mm(output.abs_mm, batch.intrinsics)


def export(
    model: Metrabs, config: MetrabsTraining, loop: LoopConfig, results: dict, facts: dict
) -> weights.WeightsFile:
    """Write the network in half precision with what was measured, and its card."""
    body = get_skeleton('body_39')
    skeletons = {
        name: {
            'indices': indices,
            'names': get_skeleton(name).joint_names,
            'edges': get_skeleton(name).bones,
        }
        for name, indices in contained_skeletons('body_39').items()
    }
    file = weights.save(
        config.out,
        half_precision(model),
        {
            'architecture': 'metrabs',
            'config': json.dumps(model.config.to_dict()),
            'skeleton': 'h36m_17',
            'joint_names': json.dumps(body.joint_names),
            'skeletons': json.dumps(skeletons),
            'licence': 'Apache-2.0',
            'training_data': f'{CREDIT}; CC0 photographs of people (themes for WordPress)',
            'training': json.dumps(loop.facts() | _scale(config) | facts),
            'measured_error': json.dumps(results),
        },
    )
    weights.write_card(file, _CARD.format(crops=config.test_crops))
    return file


def _scale(config: MetrabsTraining) -> dict[str, object]:
    """Return what matters of a run besides the loop: no paths."""
    names = ('backbone', 'batch', 'batch_2d', 'shards', 'easy_share', 'freeze', 'cache')
    return {name: getattr(config, name) for name in names}


def prepare(config: MetrabsTraining, split: str, shards: int) -> Composer:
    """Render what is missing of a split and return its composer."""
    store = open_sprites(config.sprites, split, shards)
    return Composer(store, Backgrounds(split), CropConfig(side=config.side, **_HARD))


def make_cache(config: MetrabsTraining, seed: int) -> int:
    """Cache crops for the frozen modules of one or two backbones; return how many there are."""
    stems = {config.backbone: stem_of(network_of(config).backbone, config.freeze)}
    if config.also:
        backbone, _, pretrained = config.also.partition('=')
        other = dataclasses.replace(config, backbone=backbone, pretrained=pretrained)
        stems[backbone] = stem_of(network_of(other).backbone, config.freeze)
    for stem in stems.values():
        stem.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    flat = Labelled2d.of(config.data_2d, config.side) if config.data_2d else None
    data = MetrabsBatches(prepare(config, 'train', config.shards), config, seed, flat)
    first, _, step = config.cache_part.partition('/')
    folder = Path(config.cache_folder)
    numbers = range(-(-config.make_cache // _SHARD_CROPS))
    for number in numbers[int(first) :: int(step)]:
        if not (folder / f'{number:05d}.npz').exists():
            write_shard(folder, number, list(_crops(data, number)), stems)
            print(f'cached crops {(number + 1) * _SHARD_CROPS}', flush=True)
    return len(numbers) * _SHARD_CROPS


def _crops(data: MetrabsBatches, number: int) -> Iterator[Crop]:
    """Yield the crops of a shard, photographs in the share of a training step."""
    for item in range(_SHARD_CROPS):
        rng = np.random.default_rng([data.seed, 1_000_000 + number, item])
        yield data.crop(0, rng, item % data.batch)


def train(config: MetrabsTraining, loop_config: LoopConfig) -> dict:
    """Train, measure and write ``config.out``; return what was measured."""
    torch.manual_seed(loop_config.seed)
    if config.make_cache:
        return {'cached': make_cache(config, loop_config.seed)}
    testing = prepare(config, 'test', 1)
    if config.measure:
        network = load_network(config.measure)
        model = network.model.float()
        results = measured(model, testing, config.data_2d, config.test_crops)
        if config.data_2d and network.uncertainty is not None:
            covered = coverage_on_photographs(model, network.uncertainty, config.data_2d)
            for condition, shares in covered.items():
                results[config.data_2d][condition] |= shares
        results |= {'real_video': video} if (video := on_real_video(model)) else {}
        if config.record:
            weights.rewrite(config.measure, measured_error=json.dumps(results))
        return results
    data: CropBatches
    if config.cache:
        data = CachedBatches(CropCache(config.cache_folder, config.backbone), config, 0)
    else:
        flat = Labelled2d.of(config.data_2d, config.side) if config.data_2d else None
        people = prepare(config, 'train', config.shards)
        data = MetrabsBatches(people, config, loop_config.seed, flat)
    task = MetrabsTask(
        network_of(config), data, config.workers, loop_config.precision, config.freeze
    )
    facts = {'task': dataclasses.asdict(config)}
    loop = TrainingLoop(task, loop_config, config.folder, facts)

    def measure(loop: TrainingLoop, most: int) -> dict:
        model: Metrabs = loop.average  # type: ignore[assignment]
        results = measured(model, testing, config.data_2d, most)
        export(model, config, loop_config, results, loop.done())
        sheet = pose_sheet(testing, lambda batch: predict(loop.average, batch))
        loop.log.picture('held_out', sheet, loop.step)
        loop.log.say(f'step {loop.step}: {json.dumps(results)}')
        return results

    loop.run(lambda loop: measure(loop, 256))
    return measure(loop, config.test_crops) if loop.is_first else {}


@TRAINERS.register('metrabs')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config, loop), threads = read_options(description, (MetrabsTraining, LoopConfig), arguments)
    torch.set_num_threads(threads)
    results = train(config, loop)
    if is_first():
        print(f'{config.measure or config.out}: {json.dumps(results)}')


if __name__ == '__main__':
    main(None)

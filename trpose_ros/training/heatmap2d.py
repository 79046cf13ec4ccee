"""Train the plain 2D heatmap estimator: the baseline without truncation training.

The same rendered people, backbone and crops' size as the small MeTRAbs, and the same photographic
augmentation; but every person is whole: no hidden parts, no image borders, no crops smaller than
the body, nobody and nothing in front. Loss: L1 on the soft-argmax and a cross-entropy on the
heatmaps, as for MeTRAbs's 2D heads.
``trpose train heatmap2d`` or ``python -m trpose_ros.training.heatmap2d``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import torch
from torch import Tensor
from torch import nn

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.data.backgrounds import Backgrounds
from trpose_ros.data.compose import Composer
from trpose_ros.data.compose import Crop
from trpose_ros.data.compose import CropConfig
from trpose_ros.data.hiding import CONDITIONS
from trpose_ros.data.sprites import SHARD
from trpose_ros.estimators.heatmap2d import Heatmap2d
from trpose_ros.estimators.heatmap2d import Heatmap2dConfig
from trpose_ros.estimators.heatmap2d import decode
from trpose_ros.estimators.heatmap2d import load_network
from trpose_ros.training import register_trainer
from trpose_ros.training.cells import plane_cross_entropy
from trpose_ros.training.cli import read_options
from trpose_ros.training.distributed import is_first
from trpose_ros.training.images import CREDIT
from trpose_ros.training.images import Batch
from trpose_ros.training.images import CropBatches
from trpose_ros.training.images import ImageTask
from trpose_ros.training.images import half_precision
from trpose_ros.training.images import held_out_batches
from trpose_ros.training.images import open_sprites
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.loop import TrainingLoop
from trpose_ros.training.pictures import pose_sheet

_CARD = """
One person per crop; 17 joints of Human3.6M in pixels, never outside the crop or the image; no
metric 3D. A plain 2D estimator for comparison: its training showed whole, unhidden people only.

`measured_error`: on 1008 rendered crops of bodies, motion subjects (cmu014, accad_female1) and
photographs that were not trained on, by condition of the truncation protocol (main severity),
hidden joints included: `px` mean distance and `p90_px` its 90 % quantile over people, in px of the
128 px crop; `pck` percent of joints nearer than 5 % of the larger side of the box around the true
joints. Measured by

    trpose train heatmap2d --measure heatmap2d-small

Rendered people are easier than real ones: nothing here says how it does on photographs.
"""
_CELLS = 0.05  # weight of the cross-entropy beside the distance in shares of the metric volume
_SHARE_M = 2.2  # metres that a crop is taken for, so that both losses weigh as in MeTRAbs
_PCK = 0.05
_WHOLE = {'loose': 0.12, 'near': 0.0, 'rotation_deg': 8.0, 'border': 0.0, 'hidden': 0.0}
_WHOLE |= {'people': 0.0, 'objects': 0.0}
_MOST_DRAWS = 100


@dataclass(frozen=True)
class Heatmap2dTraining:
    """One training run."""

    out: str = field(default='heatmap2d-small.safetensors', metadata={'help': 'weights file'})
    folder: str = field(default='runs/heatmap2d', metadata={'help': 'checkpoint and log'})
    sprites: str = field(default='runs/metrabs/sprites', metadata={'help': 'rendered people'})
    shards: int = field(default=24, metadata={'help': f'{SHARD} people each', 'range': (1, 1000)})
    batch: int = field(default=64, metadata={'range': (2, 4096)})
    backbone: str = field(default='resnet-plain-s', metadata={'help': 'see metrabs/backbones'})
    workers: int = field(default=1, metadata={'help': 'processes that compose', 'range': (0, 64)})
    measure: str = field(default='', metadata={'help': 'measure these weights, train nothing'})
    record: bool = field(
        default=False, metadata={'help': 'write what is measured into the file and its card'}
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class WholePeople(CropBatches):
    """Crops that hold every joint of one person."""

    def __init__(self, composer: Composer, batch: int, seed: int) -> None:
        super().__init__(batch, seed)
        self.composer = composer

    def crop(self, step: int, rng: np.random.Generator, item: int = 0) -> Crop:
        """Compose one crop; those that would cut the person off are drawn again."""
        for _ in range(_MOST_DRAWS):
            index = int(rng.integers(len(self.composer.store)))
            crop = self.composer.training_crop(index, rng)
            if crop.joints_px.min() >= 0 and crop.joints_px.max() <= crop.image.shape[0] - 1:
                break
        return crop


class Heatmap2dTask(ImageTask):
    """The network, its batches and its loss."""

    def loss(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses of a batch."""
        geometry = self.model.config.geometry
        images = self.prepared(batch.images)
        with self.autocast(images):
            features = self.model.backbone(images)
        logits = self.model.head(features.float())
        joints, _ = decode(logits, geometry)
        distance = (joints - batch.joints_px[:, :17]).abs().mean() * (_SHARE_M / geometry.proc_side)
        cells = plane_cross_entropy(logits, batch.joints_px[:, :17], geometry).mean()
        return {'total': distance + _CELLS * cells, 'distance': distance, 'cells': cells}


def evaluate(
    model: Heatmap2d, composer: Composer, most: int = 1008, seed: int = 5
) -> dict[str, dict[str, float]]:
    """Measure on held-out people, bodies and rooms, by condition; see the card for the numbers."""
    model.eval()
    results = {}
    for condition in ('clean', *CONDITIONS):
        distances, sizes = [], []
        for batch in held_out_batches(composer, condition, most, seed):
            with torch.no_grad():
                joints = predict(model, batch)
            distances.append((joints - batch.joints_px[:, :17]).norm(dim=-1))
            extent = batch.joints_px[:, :17].amax(dim=1) - batch.joints_px[:, :17].amin(dim=1)
            sizes.append(extent.amax(dim=-1))
        distance, size = torch.cat(distances), torch.cat(sizes)
        person = distance.mean(dim=1)
        results[condition] = {
            'px': round(float(person.mean()), 2),
            'p90_px': round(float(person.quantile(0.9)), 2),
            'pck': round(100 * float((distance < _PCK * size[:, None]).float().mean()), 1),
        }
    return results


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Return joints (B, J, 2) in crop px."""
    return decode(model(batch.images.float() / 255), model.config.geometry)[0]  # type: ignore


def export(
    model: Heatmap2d, config: Heatmap2dTraining, loop: LoopConfig, results: dict, facts: dict
) -> weights.WeightsFile:
    """Write the network in half precision with what was measured, and its card."""
    scale = {'batch': config.batch, 'shards': config.shards}
    file = weights.save(
        config.out,
        half_precision(model),
        {
            'architecture': 'heatmap2d',
            'config': json.dumps(dataclasses.asdict(model.config)),
            'skeleton': 'h36m_17',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps(loop.facts() | scale | facts),
            'measured_error': json.dumps(results),
        },
    )
    weights.write_card(file, _CARD)
    return file


def prepare(config: Heatmap2dTraining, split: str, shards: int) -> Composer:
    """Render what is missing of a split and return its composer."""
    crops = CropConfig(side=Heatmap2dConfig().proc_side, **_WHOLE)
    return Composer(open_sprites(config.sprites, split, shards), Backgrounds(split), crops)


def train(config: Heatmap2dTraining, loop_config: LoopConfig) -> dict[str, dict[str, float]]:
    """Train, measure and write ``config.out``; return what was measured."""
    torch.manual_seed(loop_config.seed)
    testing = prepare(config, 'test', 1)
    if config.measure:
        results = evaluate(load_network(config.measure)[0], testing)
        if config.record:
            weights.rewrite(config.measure, measured_error=json.dumps(results))
        return results
    people = WholePeople(prepare(config, 'train', config.shards), config.batch, loop_config.seed)
    network = Heatmap2d(Heatmap2dConfig(backbone=config.backbone))
    task = Heatmap2dTask(network, people, config.workers, loop_config.precision)
    facts = {'task': dataclasses.asdict(config)}
    loop = TrainingLoop(task, loop_config, config.folder, facts)

    def measure(loop: TrainingLoop, most: int) -> dict[str, dict[str, float]]:
        results = evaluate(loop.average, testing, most)  # type: ignore[arg-type]
        export(loop.average, config, loop_config, results, loop.done())  # type: ignore[arg-type]
        sheet = pose_sheet(testing, lambda batch: predict(loop.average, batch))
        loop.log.picture('held_out', sheet, loop.step)
        loop.log.say(f'step {loop.step}: {json.dumps(results)}')
        return results

    loop.run(lambda loop: measure(loop, 256))
    return measure(loop, 1008) if loop.is_first else {}


@register_trainer('heatmap2d')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config, loop), threads = read_options(description, (Heatmap2dTraining, LoopConfig), arguments)
    torch.set_num_threads(threads)
    results = train(config, loop)
    if is_first():
        print(f'{config.measure or config.out}: {json.dumps(results)}')


if __name__ == '__main__':
    main(None)

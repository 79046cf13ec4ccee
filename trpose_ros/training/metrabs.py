"""Train the small MeTRAbs on rendered people.

People are rendered once as cut-outs (data/sprites.py) and composed anew in every step
(data/compose.py): other backgrounds, crops, people, objects, image borders and hidden parts, so
that joints outside the image and behind things are ordinary. Loss: that of the paper
(metrabs/loss.py), plus an L1 on the 2D heads for joints inside the crop and a cross-entropy on
the heatmaps, which let a small network learn faster. The first steps reconstruct with weak
perspective.
``python -m trpose_ros.training.metrabs --help`` lists the options.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

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
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.heatmaps import decode
from trpose_ros.metrabs.loss import LossConfig
from trpose_ros.metrabs.loss import loss_2d
from trpose_ros.metrabs.loss import loss_3d
from trpose_ros.metrabs.loss import project_mm
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.metrabs.model import MetrabsConfig
from trpose_ros.metrabs.reconstruction import in_view_mask
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.training import register_trainer
from trpose_ros.training.cells import hats
from trpose_ros.training.cells import plane_cross_entropy
from trpose_ros.training.cells import plane_target
from trpose_ros.training.cli import read_options
from trpose_ros.training.distributed import is_first
from trpose_ros.training.images import CREDIT
from trpose_ros.training.images import Batch
from trpose_ros.training.images import CropBatches
from trpose_ros.training.images import ImageTask
from trpose_ros.training.images import half_precision
from trpose_ros.training.images import held_out_batches
from trpose_ros.training.images import open_sprites
from trpose_ros.training.labelled_2d import Batch2d
from trpose_ros.training.labelled_2d import Labelled2d
from trpose_ros.training.labelled_2d import collect_2d
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.loop import TrainingLoop
from trpose_ros.training.pictures import pose_sheet

_CARD = """
One person per crop; 17 joints of Human3.6M in metres in the camera's frame, also outside the crop.

`measured_error`: on 1008 rendered crops of bodies, motion subjects (cmu014, accad_female1) and
photographs that were not trained on, by condition of the truncation protocol (main severity):
`mpjpe_mm` mean root-relative joint distance and `p90_mm` its 90 % quantile over people, hidden
joints included; `px` mean distance of projected joints in px of the 128 px crop. Measured by

    trpose train metrabs --measure metrabs-small

Rendered people are easier than real ones: nothing here says how it does on photographs. It was
trained for about two hours on one processor core; published MeTRAbs networks are far better.
"""
_WEAK_STEPS = 300
_MORE_3D = 2.0  # further weight of the root-free pose: the 3D heads of a small network learn late
_CELLS = 0.05  # weight of the cross-entropy of heatmaps
_EASY = {'loose': 0.05, 'near': 0.03, 'fragments': 0.0, 'rotation_deg': 5.0}
_EASY |= {'border': 0.03, 'hidden': 0.05, 'people': 0.08, 'objects': 0.05}
_HARD = {'loose': 0.12, 'near': 0.13, 'fragments': 0.3, 'rotation_deg': 8.0}
_HARD |= {'border': 0.25, 'hidden': 0.45}


@dataclass(frozen=True)
class MetrabsTraining:
    """One training run."""

    out: str = field(default='metrabs-small.safetensors', metadata={'help': 'weights file'})
    folder: str = field(default='runs/metrabs', metadata={'help': 'sprites, checkpoint and log'})
    batch: int = field(default=64, metadata={'range': (2, 4096)})
    shards: int = field(
        default=24, metadata={'help': f'rendered before, {SHARD} people each', 'range': (1, 1000)}
    )
    backbone: str = field(default='resnet-plain-s', metadata={'help': 'see metrabs/backbones'})
    easy_steps: int = field(
        default=600,
        metadata={
            'help': 'first steps with little truncation: whole people are learned sooner',
            'range': (0, 100_000_000),
        },
    )
    easy_share: float = field(
        default=0.5, metadata={'help': 'share of crops like these afterwards', 'range': (0.0, 1.0)}
    )
    data_2d: str = field(
        default='',
        metadata={'help': 'a data set whose pictures have 2D labels, trained on beside the others'},
    )
    batch_2d: int = field(
        default=32, metadata={'help': 'of these in every step', 'range': (1, 4096)}
    )
    workers: int = field(default=1, metadata={'help': 'processes that compose', 'range': (0, 64)})
    measure: str = field(default='', metadata={'help': 'measure these weights, train nothing'})
    record: bool = field(
        default=False, metadata={'help': 'write what is measured into the file and its card'}
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class MetrabsBatches(CropBatches):
    """Crops with every kind of truncation, some of them with little."""

    def __init__(
        self,
        composer: Composer,
        config: MetrabsTraining,
        seed: int,
        flat: Labelled2d | None = None,
    ) -> None:
        """Take pictures with 2D labels, too, when ``flat`` has some."""
        super().__init__(config.batch, seed)
        self.flat = flat
        self.composer, self.config = composer, config
        easy = dataclasses.replace(composer.config, **_EASY)  # type: ignore[arg-type]
        self.easy = Composer(composer.store, composer.backgrounds, easy)

    def crop(self, step: int, rng: np.random.Generator) -> Crop:
        """Compose one crop."""
        index = int(rng.integers(len(self.composer.store)))
        easy = step < self.config.easy_steps or rng.random() < self.config.easy_share
        return (self.easy if easy else self.composer).training_crop(index, rng)

    def __getitem__(self, step: int) -> Batch:
        """Compose this process's share of the batch of a step."""
        batch = super().__getitem__(step)
        if self.flat is None:
            return batch
        items = self.share.items(self.config.batch_2d)
        rngs = [np.random.default_rng([self.seed, step, self.batch + item]) for item in items]
        crops = [self.flat.crop(rng) for rng in rngs]
        return dataclasses.replace(batch, flat=collect_2d(crops, self.flat.side))


class MetrabsTask(ImageTask):
    """The network, its batches and its loss."""

    loss_config = LossConfig(absolute_from_step=800)

    def loss(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses in metres, see metrabs/loss.py."""
        geometry = self.model.config.geometry
        flat = batch.flat
        images, cameras = batch.images, batch.intrinsics
        if flat is not None:  # both go through the network together
            images, cameras = (
                torch.cat(pair) for pair in ((images, flat.images), (cameras, flat.intrinsics))
            )
        images = self.prepared(images)
        with self.autocast(images):
            features = self.model.backbone(images)
        logits = self.model.heatmap_heads(features.float())
        coords2d, relative = decode(logits, geometry)
        mix = torch.rand(len(coords2d), device=coords2d.device)
        every = reconstruct(
            coords2d, relative, cameras, geometry, mix=mix, weak=step < _WEAK_STEPS
        ).abs_mm
        count = len(batch.images)
        poses, coords2d, relative, logits = (
            value[:count] for value in (every, coords2d, relative, logits)
        )
        valid = torch.ones(poses.shape[:2], dtype=torch.bool, device=poses.device)
        losses = loss_3d(
            poses,
            1000 * batch.joints_m,
            batch.intrinsics,
            valid,
            step,
            geometry,
            self.loss_config,
        )
        metres = geometry.box_size_mm / 1000 / geometry.proc_side
        inside = in_view_mask(batch.joints_px, geometry)
        heads = (coords2d - batch.joints_px).abs().mean(dim=-1) * metres
        losses['heads'] = (heads * inside).sum() / inside.sum().clamp(min=1)
        losses['cells'] = cell_loss(logits, batch, relative, inside, geometry)
        losses['total'] = (
            losses['total']
            + losses['heads']
            + _MORE_3D * losses['relative']
            + _CELLS * losses['cells']
        )
        if flat is not None:
            losses['flat'] = flat_loss(every[count:], flat, geometry)
            losses['total'] = losses['total'] + self.loss_config.weight_2d * losses['flat']
        return losses


def flat_loss(poses: Tensor, flat: Batch2d, geometry: HeatmapGeometry) -> Tensor:
    """Return the projection loss of poses (B, J, 3) mm of people with 2D labels only, metres."""
    valid = torch.isfinite(flat.joints_px).all(dim=-1)
    joints = [[k] for k in range(poses.shape[1])]
    return loss_2d(poses, flat.joints_px, flat.intrinsics, valid, joints, geometry)


def cell_loss(
    logits: Tensor, batch: Batch, relative: Tensor, inside: Tensor, geometry: HeatmapGeometry
) -> Tensor:
    """Return the cross-entropy of the heatmaps with the cells around the true joints.

    The target spreads over neighbouring cells such that its mean is the true place, so this and
    the soft-argmax agree. The metric volume is known up to a shift: its target is the true pose
    moved to the mean of the estimated one, ``relative`` (B, J, 3) mm. ``inside`` (B, J): joints
    that the 2D heatmaps can show.
    """
    joints, depth = batch.joints_px.shape[1], geometry.depth
    stride, first = geometry.stride, geometry.first_px
    crossed = plane_cross_entropy(logits[:, :joints], batch.joints_px, geometry)
    image = (crossed * inside).sum() / inside.sum().clamp(min=1)
    true_mm = 1000 * batch.joints_m
    true_mm = true_mm - true_mm.mean(dim=1, keepdim=True)
    true_mm = true_mm + relative.detach().mean(dim=1, keepdim=True)
    across = (true_mm[..., :2] * geometry.proc_side / geometry.box_size_mm - first) / stride
    along = hats(true_mm[..., 2] / geometry.box_size_mm * (depth - 1), depth)
    volume = logits[:, joints:].unflatten(1, (depth, joints)).transpose(1, 2).flatten(3)
    volume = volume.flatten(2).log_softmax(dim=-1).unflatten(-1, (depth, -1))
    near = -(along * volume.logsumexp(dim=3)).sum(dim=-1).mean()
    beside = plane_target(across, logits.shape[-1]) * volume.logsumexp(dim=2)
    return image + near - beside.sum(dim=-1).mean()


def evaluate(model: Metrabs, composer: Composer, most: int = 1008, seed: int = 5) -> dict:
    """Measure on held-out people, bodies and rooms, by condition.

    Returns:
        ``{'clean': {'mpjpe_mm', 'p90_mm', 'px'}, 'random_box': ...}``: mean root-relative joint
        distance, its 90 % quantile over people, and the mean 2D distance in px of the crop over
        all joints, hidden ones too.

    """
    model.eval()
    results = {}
    for condition in ('clean', *CONDITIONS):
        errors, pixels = [], []
        for batch in held_out_batches(composer, condition, most, seed):
            with torch.no_grad():
                output = model(batch.images.float() / 255, batch.intrinsics)
            pose, truth = output.abs_mm, 1000 * batch.joints_m
            difference = (pose - pose[:, :1]) - (truth - truth[:, :1])
            errors.append(difference.norm(dim=-1).mean(dim=1))
            seen = project_mm(pose, batch.intrinsics)
            pixels.append((seen - batch.joints_px).norm(dim=-1).mean(dim=1))
        error = torch.cat(errors)
        results[condition] = {
            'mpjpe_mm': round(float(error.mean()), 1),
            'p90_mm': round(float(error.quantile(0.9)), 1),
            'px': round(float(torch.cat(pixels).mean()), 2),
        }
    return results


def predict(model: nn.Module, batch: Batch) -> Tensor:
    """Return the projections (B, J, 2) of the estimated joints, crop px."""
    output = model(batch.images.float() / 255, batch.intrinsics)
    return project_mm(output.abs_mm, batch.intrinsics)


def export(
    model: Metrabs, config: MetrabsTraining, loop: LoopConfig, results: dict, facts: dict
) -> weights.WeightsFile:
    """Write the network in half precision with what was measured, and its card."""
    file = weights.save(
        config.out,
        half_precision(model),
        {
            'architecture': 'metrabs',
            'config': json.dumps(model.config.to_dict()),
            'skeleton': 'h36m_17',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps(loop.facts() | _scale(config) | facts),
            'measured_error': json.dumps(results),
        },
    )
    weights.write_card(file, _CARD)
    return file


def _scale(config: MetrabsTraining) -> dict[str, float]:
    """Return what matters of a run besides the loop: no paths."""
    names = ('batch', 'shards', 'easy_steps', 'easy_share')
    return {name: getattr(config, name) for name in names}


def prepare(config: MetrabsTraining, split: str, shards: int) -> Composer:
    """Render what is missing of a split and return its composer."""
    store = open_sprites(Path(config.folder) / 'sprites', split, shards)
    crops = CropConfig(side=MetrabsConfig().proc_side, **_HARD)
    return Composer(store, Backgrounds(split), crops)


def train(config: MetrabsTraining, loop_config: LoopConfig) -> dict:
    """Train, measure and write ``config.out``; return what was measured."""
    torch.manual_seed(loop_config.seed)
    testing = prepare(config, 'test', 1)
    if config.measure:
        results = evaluate(load_network(config.measure).model.float(), testing)
        if config.record:
            weights.rewrite(config.measure, measured_error=json.dumps(results))
        return results
    flat = None
    if config.data_2d:
        flat = Labelled2d.of(config.data_2d, testing.config.side)
    people = prepare(config, 'train', config.shards)
    data = MetrabsBatches(people, config, loop_config.seed, flat)
    task = MetrabsTask(
        Metrabs(MetrabsConfig(backbone=config.backbone)),
        data,
        config.workers,
        loop_config.precision,
    )
    facts = {'task': dataclasses.asdict(config)}
    loop = TrainingLoop(task, loop_config, config.folder, facts)

    def measure(loop: TrainingLoop, most: int) -> dict:
        results = evaluate(loop.average, testing, most)  # type: ignore[arg-type]
        export(loop.average, config, loop_config, results, loop.done())  # type: ignore[arg-type]
        sheet = pose_sheet(testing, lambda batch: predict(loop.average, batch))
        loop.log.picture('held_out', sheet, loop.step)
        loop.log.say(f'step {loop.step}: {json.dumps(results)}')
        return results

    loop.run(lambda loop: measure(loop, 256))
    return measure(loop, 1008) if loop.is_first else {}


@register_trainer('metrabs')
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

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
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.data.backgrounds import Backgrounds
from trpose_ros.data.compose import CONDITIONS
from trpose_ros.data.compose import Composer
from trpose_ros.data.compose import Crop
from trpose_ros.data.compose import CropConfig
from trpose_ros.data.sprites import SHARD
from trpose_ros.data.sprites import SpriteSource
from trpose_ros.data.sprites import SpriteStore
from trpose_ros.data.sprites import write_shard
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.metrabs.heatmaps import HeatmapGeometry
from trpose_ros.metrabs.heatmaps import decode
from trpose_ros.metrabs.loss import LossConfig
from trpose_ros.metrabs.loss import loss_3d
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.metrabs.model import MetrabsConfig
from trpose_ros.metrabs.reconstruction import in_view_mask
from trpose_ros.metrabs.reconstruction import reconstruct
from trpose_ros.training import register_trainer
from trpose_ros.training.cli import read_options
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.loop import TrainingLoop

CREDIT = (
    'rendered people: CC0 bodies and clothes of the MakeHuman community, motion of the CMU Motion '
    'Capture Database (mocap.cs.cmu.edu, funded by NSF EIA-0196217) and of ACCAD, The Ohio State '
    'University (CC BY 3.0), CC0 photographs as backgrounds'
)
_CARD = """
One person per crop; 17 joints of Human3.6M in metres in the camera's frame, also outside the crop.

`measured_error`: on 1008 rendered crops of bodies, motion subjects (cmu014, accad_female1) and
photographs that were not trained on, by condition of the truncation protocol (main severity):
`mpjpe_mm` mean root-relative joint distance and `p90_mm` its 90 % quantile over people, hidden
joints included; `px` mean distance of projected joints in px of the 128 px crop. Measured by

    trpose train metrabs --measure metrabs-small

Rendered people are easier than real ones: nothing here says how it does on photographs. It was
trained in about an hour on one processor core; published MeTRAbs networks are far better.
"""
_WEAK_STEPS = 300
_MORE_3D = 2.0  # further weight of the root-free pose: the 3D heads of a small network learn late
_CELLS = 0.05  # weight of the cross-entropy of heatmaps
_EASY = {'loose': 0.05, 'near': 0.03, 'rotation_deg': 5.0, 'border': 0.03, 'hidden': 0.05}
_EASY |= {'people': 0.08, 'objects': 0.05}
_HARD = {'loose': 0.12, 'near': 0.13, 'rotation_deg': 8.0, 'border': 0.25, 'hidden': 0.45}


@dataclass(frozen=True)
class MetrabsTraining:
    """One training run."""

    out: str = field(default='metrabs-small.safetensors', metadata={'help': 'weights file'})
    folder: str = field(default='runs/metrabs', metadata={'help': 'sprites, checkpoint and log'})
    batch: int = field(default=64, metadata={'range': (2, 4096)})
    shards: int = field(
        default=24, metadata={'help': f'rendered before, {SHARD} people each', 'range': (1, 1000)}
    )
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
    workers: int = field(default=1, metadata={'help': 'processes that compose', 'range': (0, 64)})
    measure: str = field(default='', metadata={'help': 'measure these weights, train nothing'})

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Batch:
    """B crops and their labels."""

    images: Tensor  # (B, 3, S, S) uint8
    intrinsics: Tensor  # (B, 3, 3)
    joints_m: Tensor  # (B, 17, 3) camera of the crop
    joints_px: Tensor  # (B, 17, 2)


def collect(crops: Sequence[Crop]) -> Batch:
    """Put crops into a batch."""
    images = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(np.stack([crop.intrinsics for crop in crops])),
        torch.from_numpy(np.stack([crop.joints_m for crop in crops])),
        torch.from_numpy(np.stack([crop.joints_px for crop in crops])),
    )


class CropBatches(torch.utils.data.Dataset):
    """Batch ``k``: a function of the seed and ``k``."""

    def __init__(self, composer: Composer, config: MetrabsTraining, seed: int) -> None:
        self.composer, self.config, self.seed = composer, config, seed
        easy = dataclasses.replace(composer.config, **_EASY)  # type: ignore[arg-type]
        self.easy = Composer(composer.store, composer.backgrounds, easy)

    def __getitem__(self, step: int) -> Batch:
        """Compose the batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        config, crops = self.config, []
        for index in rng.integers(len(self.composer.store), size=config.batch):
            easy = step < config.easy_steps or rng.random() < config.easy_share
            composer = self.easy if easy else self.composer
            crops.append(composer.training_crop(int(index), rng))
        return collect(crops)


class MetrabsTask:
    """The network, its batches and its loss."""

    def __init__(self, model: Metrabs, data: CropBatches, workers: int) -> None:
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data, self.workers = data, workers
        self.loss_config = LossConfig(absolute_from_step=800)

    def batches(self, first_step: int, last_step: int) -> Iterable[Batch]:
        """Yield batches composed by worker processes ahead of time."""
        return torch.utils.data.DataLoader(
            self.data,
            batch_size=None,
            sampler=range(first_step, last_step),
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )

    def loss(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Return the losses in metres, see metrabs/loss.py."""
        geometry = self.model.config.geometry
        images = batch.images.contiguous(memory_format=torch.channels_last).float() / 255
        with torch.autocast('cpu', torch.bfloat16):
            features = self.model.backbone(images)
        logits = self.model.heatmap_heads(features.float())
        coords2d, relative = decode(logits, geometry)
        poses = reconstruct(
            coords2d, relative, batch.intrinsics, geometry, weak=step < _WEAK_STEPS
        ).abs_mm
        valid = torch.ones(poses.shape[:2], dtype=torch.bool)
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
        return losses


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
    flat = _plane_target((batch.joints_px - first) / stride, logits.shape[-1])
    plane = logits[:, :joints].flatten(2).log_softmax(dim=-1)
    crossed = -(flat * plane).sum(dim=-1)
    image = (crossed * inside).sum() / inside.sum().clamp(min=1)
    true_mm = 1000 * batch.joints_m
    true_mm = true_mm - true_mm.mean(dim=1, keepdim=True)
    true_mm = true_mm + relative.detach().mean(dim=1, keepdim=True)
    across = (true_mm[..., :2] * geometry.proc_side / geometry.box_size_mm - first) / stride
    along = _hats(true_mm[..., 2] / geometry.box_size_mm * (depth - 1), depth)
    volume = logits[:, joints:].unflatten(1, (depth, joints)).transpose(1, 2).flatten(3)
    volume = volume.flatten(2).log_softmax(dim=-1).unflatten(-1, (depth, -1))
    near = -(along * volume.logsumexp(dim=3)).sum(dim=-1).mean()
    beside = _plane_target(across, logits.shape[-1]) * volume.logsumexp(dim=2)
    return image + near - beside.sum(dim=-1).mean()


def _plane_target(cells: Tensor, side: int) -> Tensor:
    """Return (B, J, side * side): bilinear weights of positions (B, J, 2), x and y in cells."""
    x, y = _hats(cells[..., 0], side), _hats(cells[..., 1], side)
    return (y[..., :, None] * x[..., None, :]).flatten(2)


def _hats(position: Tensor, count: int) -> Tensor:
    """Return (..., count): linear weights of the two cells next to a position."""
    cells = torch.arange(count, dtype=position.dtype)
    return (1 - (position.clamp(0, count - 1)[..., None] - cells).abs()).clamp(min=0)


def evaluate(model: Metrabs, composer: Composer, most: int = 1008, seed: int = 5) -> dict:
    """Measure on held-out people, bodies and rooms, by condition.

    Returns:
        ``{'clean': {'mpjpe_mm', 'p90_mm', 'px'}, 'random_box': ...}``: mean root-relative joint
        distance, its 90 % quantile over people, and the mean 2D distance in px of the crop over
        all joints, hidden ones too.

    """
    model.eval()
    count = min(most, len(composer.store))
    results = {}
    for condition in ('clean', *CONDITIONS):
        rng = np.random.default_rng(seed)
        errors, pixels = [], []
        for first in range(0, count, 64):
            indices = range(first, min(first + 64, count))
            batch = collect([composer.test_crop(i, condition, rng) for i in indices])
            with torch.no_grad():
                output = model(batch.images.float() / 255, batch.intrinsics)
            pose, truth = output.abs_mm, 1000 * batch.joints_m
            difference = (pose - pose[:, :1]) - (truth - truth[:, :1])
            errors.append(difference.norm(dim=-1).mean(dim=1))
            seen = pose[..., :2] / pose[..., 2:].clamp(min=1.0)
            seen = seen * batch.intrinsics[:, None, 0, :1] + batch.intrinsics[:, None, :2, 2]
            pixels.append((seen - batch.joints_px).norm(dim=-1).mean(dim=1))
        error = torch.cat(errors)
        results[condition] = {
            'mpjpe_mm': round(float(error.mean()), 1),
            'p90_mm': round(float(error.quantile(0.9)), 1),
            'px': round(float(torch.cat(pixels).mean()), 2),
        }
    return results


def export(
    model: Metrabs, config: MetrabsTraining, loop: LoopConfig, results: dict, facts: dict
) -> weights.WeightsFile:
    """Write the network in half precision with what was measured, and its card."""
    tensors = {
        key: value.float().numpy().astype(np.float16)
        for key, value in model.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    file = weights.save(
        config.out,
        tensors,
        {
            'architecture': 'metrabs',
            'config': json.dumps(model.config.to_dict()),
            'skeleton': 'h36m_17',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps(dataclasses.asdict(loop) | _scale(config) | facts),
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
    store = Path(config.folder) / 'sprites'
    missing = [k for k in range(shards) if not (store / split / f'{k:05d}.npz').exists()]
    source = SpriteSource(split) if missing else None
    for number in missing:
        assert source is not None
        write_shard(store, split, 0, number, source)
        print(f'rendered {split} people {(number + 1) * SHARD}', flush=True)
    crops = CropConfig(side=MetrabsConfig().proc_side, **_HARD)
    return Composer(SpriteStore(store, split), Backgrounds(split), crops)


def train(config: MetrabsTraining, loop_config: LoopConfig) -> dict:
    """Train, measure and write ``config.out``; return what was measured."""
    torch.manual_seed(loop_config.seed)
    testing = prepare(config, 'test', 1)
    if config.measure:
        return evaluate(load_network(config.measure).model.float(), testing)
    data = CropBatches(prepare(config, 'train', config.shards), config, loop_config.seed)
    task = MetrabsTask(Metrabs(MetrabsConfig()), data, config.workers)
    loop = TrainingLoop(task, loop_config, config.folder)

    def measure(loop: TrainingLoop, most: int) -> dict:
        results = evaluate(loop.average, testing, most)  # type: ignore[arg-type]
        facts = {'steps_done': loop.step, 'minutes_done': round(loop.seconds / 60, 1)}
        export(loop.average, config, loop_config, results, facts)  # type: ignore[arg-type]
        print(f'step {loop.step}: {json.dumps(results)}', flush=True)
        return results

    loop.run(lambda loop: measure(loop, 256))
    return measure(loop, 1008)


@register_trainer('metrabs')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config, loop), threads = read_options(description, (MetrabsTraining, LoopConfig), arguments)
    torch.set_num_threads(threads)
    print(f'{config.measure or config.out}: {json.dumps(train(config, loop))}')


if __name__ == '__main__':
    main(None)

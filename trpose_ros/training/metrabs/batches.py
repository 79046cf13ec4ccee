"""What trainers on rendered people share: sprites, batches of crops, held-out crops, files.

People are rendered once as cut-outs (data/rendering/sprites.py) and composed anew in every step
(data/rendering/crops.py). Every crop has its own generator, made of the seed, the step and its
number in the batch: a batch is the same however many processes share it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros.data.rendering.crops import Composer, Crop
from trpose_ros.data.rendering.sprites import SHARD, SpriteSource, SpriteStore, write_shard
from trpose_ros.training.devices import autocast
from trpose_ros.training.distributed import Share, first_alone

CREDIT = (
    'rendered people: CC0 bodies and clothes of the MakeHuman community, motion of the CMU Motion '
    'Capture Database (mocap.cs.cmu.edu, funded by NSF EIA-0196217) and of ACCAD, The Ohio State '
    'University (CC BY 3.0), CC0 photographs as backgrounds'
)


@dataclass(frozen=True)
class Batch:
    """B crops and their labels, joints of body_39; people with 3D labels come first."""

    images: Tensor | None  # (B, 3, S, S) uint8; None: only features are there
    intrinsics: Tensor  # (B, 3, 3)
    joints_m: Tensor  # (B, 39, 3) camera of the crop, NaN where only the picture is known
    joints_px: Tensor  # (B, 39, 2), NaN = no label
    states: Tensor  # (B, 39) uint8, see compose.Crop
    features: Tensor | None = None  # (B, C, h, w) float16 of a frozen stem
    metric: int = 0  # how many of them have 3D labels

    def part(self, rows: slice) -> Batch:
        """Return some of the crops, without their pictures."""
        some = range(len(self.states))[rows]
        return Batch(
            images=None,
            intrinsics=self.intrinsics[rows],
            joints_m=self.joints_m[rows],
            joints_px=self.joints_px[rows],
            states=self.states[rows],
            metric=sum(row < self.metric for row in some),
        )


def collect(crops: Sequence[Crop]) -> Batch:
    """Put crops into a batch, those with 3D labels first."""
    crops = sorted(crops, key=lambda crop: not np.isfinite(crop.joints_m[0, 0]))
    images = np.stack([crop.image for crop in crops]).transpose(0, 3, 1, 2)
    return Batch(
        torch.from_numpy(images),
        torch.from_numpy(np.stack([crop.intrinsics for crop in crops])),
        torch.from_numpy(np.stack([crop.joints_m for crop in crops])),
        torch.from_numpy(np.stack([crop.joints_px for crop in crops])),
        torch.from_numpy(np.stack([crop.states for crop in crops])),
        metric=sum(bool(np.isfinite(crop.joints_m[0, 0])) for crop in crops),
    )


class CropBatches(torch.utils.data.Dataset, ABC):
    """Batch ``k``: a function of the seed and ``k``."""

    def __init__(self, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed
        self.share = Share()

    @abstractmethod
    def crop(self, step: int, rng: np.random.Generator, item: int = 0) -> Crop:
        """Compose crop number ``item`` of the batch of a step."""

    def __getitem__(self, step: int) -> Batch:
        """Compose this process's share of the batch of a step."""
        items = self.share.items(self.batch)
        return collect(
            [self.crop(step, np.random.default_rng([self.seed, step, i]), i) for i in items]
        )


class ImageTask:
    """What the tasks of networks that look at images share: layout, number format, batches."""

    def __init__(self, model: nn.Module, data: Any, workers: int, precision: str = 'auto') -> None:
        """Take a network and its data: ``data[step]`` is the part ``data.share`` of a batch."""
        self.model: Any = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.data, self.workers, self.precision = data, workers, precision

    @property
    def share(self) -> Share:
        """Which part of the batches this process makes."""
        return self.data.share

    @share.setter
    def share(self, value: Share) -> None:
        self.data.share = value

    def batches(self, first_step: int, last_step: int) -> Iterable[Any]:
        """Return the batches of steps in order, made by worker processes ahead of time."""
        return torch.utils.data.DataLoader(
            self.data,
            batch_size=None,
            sampler=range(first_step, last_step),
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            # Without one of its own it would take a number from the generator that a checkpoint
            # keeps, and a run that goes on would draw others.
            generator=torch.Generator(),
        )

    def prepared(self, images: Tensor) -> Tensor:
        """Return images (B, 3, H, W) uint8 as a network takes them: 0..1, channels last."""
        return images.contiguous(memory_format=torch.channels_last).float() / 255

    def autocast(self, images: Tensor) -> torch.autocast:
        """Return the context for what is computed in the chosen number format."""
        return autocast(images.device, self.precision)


def held_out_batches(
    composer: Composer, condition: str, most: int, seed: int = 5, batch: int = 64
) -> Iterator[Batch]:
    """Yield at most ``most`` crops of held-out people under a condition, always the same ones."""
    rng = np.random.default_rng(seed)
    count = min(most, len(composer.store))
    for first in range(0, count, batch):
        indices = range(first, min(first + batch, count))
        yield collect([composer.test_crop(i, condition, rng) for i in indices])


def open_sprites(folder: str | Path, split: str, shards: int) -> SpriteStore:
    """Render what is missing of the first ``shards`` shards of a split and open them."""
    folder = Path(folder)
    with first_alone():
        _render_missing(folder, split, shards)
    return SpriteStore(folder, split)


def _render_missing(folder: Path, split: str, shards: int) -> None:
    missing = [k for k in range(shards) if not (folder / split / f'{k:05d}.npz').exists()]
    source = SpriteSource(split) if missing else None
    for number in missing:
        assert source is not None
        write_shard(folder, split, 0, number, source)
        print(f'rendered {split} people {(number + 1) * SHARD}', flush=True)


def half_precision(model: nn.Module) -> dict[str, np.ndarray]:
    """Return the tensors of a network as they are written to a weights file."""
    return {
        key: value.float().cpu().numpy().astype(np.float16)
        for key, value in model.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }

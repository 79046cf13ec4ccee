"""One training loop: optimiser, schedule, averaged weights, checkpoints, resume.

A task gives a network, batches by step number and a loss; the loop does the rest. Because batch
``k`` depends on the seed and on ``k`` alone, and a checkpoint holds everything else, a run that was
interrupted ends with the same numbers as one that was not. A step with a non-finite loss or
gradient is left out and counted; many in a row end the run.
"""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import Protocol

import torch
from torch import Tensor
from torch import nn

from trpose_ros.configuration import check_fields

_MOST_BAD_STEPS = 50


@dataclass(frozen=True)
class LoopConfig:
    """What is common to all trainings."""

    steps: int = field(default=10_000, metadata={'range': (1, 100_000_000)})
    minutes: float = field(
        default=0.0,
        metadata={
            'help': 'end the schedule after this time when that comes before `steps`; 0 = never. '
            'A run that ends by time cannot be repeated exactly',
            'range': (0.0, 100_000.0),
        },
    )
    learning_rate: float = field(default=1e-3, metadata={'range': (0.0, 1.0)})
    weight_decay: float = field(default=0.02, metadata={'range': (0.0, 1.0)})
    warm_up: int = field(default=300, metadata={'help': 'steps', 'range': (0, 1_000_000)})
    clip: float = field(default=10.0, metadata={'help': 'largest gradient norm'})
    average: float = field(
        default=0.999, metadata={'help': 'decay of the averaged weights', 'range': (0.0, 1.0)}
    )
    optimizer: str = field(
        default='adamw',
        metadata={
            'help': 'adam = with amsgrad, decay inside the gradient',
            'choices': ('adamw', 'adam'),
        },
    )
    schedule: str = field(
        default='cosine',
        metadata={
            'help': 'of the learning rate: a cosine, or a factor after every epoch',
            'choices': ('cosine', 'epochs'),
        },
    )
    epoch_steps: int = field(
        default=1000, metadata={'help': 'steps that count as an epoch', 'range': (1, 10_000_000)}
    )
    decay: float = field(
        default=0.95, metadata={'help': 'of the learning rate per epoch', 'range': (0.0, 1.0)}
    )
    halve_every: int = field(
        default=0,
        metadata={
            'help': 'epochs after which the rate is halved; 0 = never',
            'range': (0, 100_000),
        },
    )
    checkpoint_minutes: float = field(default=5.0, metadata={'range': (0.0, 1000.0)})
    log_every: int = field(default=50, metadata={'range': (1, 1_000_000)})
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class Task(Protocol):
    """What is trained."""

    model: nn.Module

    def batches(self, first_step: int, last_step: int) -> Iterable[Any]:
        """Yield the batch of every step from ``first_step`` to before ``last_step``."""
        ...

    def loss(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Return the losses of a batch; 'total' is minimised, the others are logged."""
        ...


class TrainingLoop:
    """Runs a task, with its state in a folder."""

    def __init__(self, task: Task, config: LoopConfig, folder: str | Path) -> None:
        """Continue from ``folder`` when it holds a checkpoint, else start afresh."""
        self.task, self.config = task, config
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.average = copy.deepcopy(task.model).requires_grad_(False)
        self.optimizer = _optimizer(task.model, config)
        self.step, self.seconds, self.bad_steps = 0, 0.0, 0
        if self._checkpoint.exists():
            self._load()

    def run(self, report: Callable[[TrainingLoop], object] | None = None) -> nn.Module:
        """Train to the end and return the averaged network; ``report`` follows checkpoints."""
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        sums: dict[str, float] = {}
        logged = self.step
        for batch in self.task.batches(self.step, self.config.steps):
            if self.progress >= 1:
                break
            for name, value in self._train(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            self.seconds = time.monotonic() - began
            if self.step % self.config.log_every == 0:
                count = self.step - logged
                self._log({name: value / count for name, value in sums.items()})
                sums, logged = {}, self.step
            if time.monotonic() - saved > 60 * self.config.checkpoint_minutes:
                self.save()
                if report is not None:
                    report(self)
                saved = time.monotonic()
        self.save()
        return self.average

    @property
    def progress(self) -> float:
        """How much of the schedule is done, 0..1."""
        share = self.step / self.config.steps
        if self.config.minutes:
            share = max(share, self.seconds / (60 * self.config.minutes))
        return min(share, 1.0)

    def _train(self, batch: Any) -> dict[str, float]:
        config, model = self.config, self.task.model
        rate = self._rate()
        for group in self.optimizer.param_groups:
            group['lr'] = rate
        model.train()
        losses = self.task.loss(batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses['total'].backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        if not torch.isfinite(losses['total'] + norm):
            self.bad_steps += 1
            if self.bad_steps > _MOST_BAD_STEPS:
                raise FloatingPointError(
                    f'{self.bad_steps} steps without a finite loss, the last one {self.step}: '
                    f'lower learning_rate ({config.learning_rate})'
                )
            return {}
        self.optimizer.step()
        self._follow()
        return {name: float(value.detach()) for name, value in losses.items()} | {
            'learning_rate': rate
        }

    def _rate(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(config.warm_up, 1))
        if config.schedule == 'epochs':
            epoch = self.step // config.epoch_steps
            halved = epoch // config.halve_every if config.halve_every else 0
            return config.learning_rate * config.decay**epoch * 0.5**halved * warm
        cosine = 0.5 * (1 + math.cos(math.pi * self.progress))
        return config.learning_rate * (0.01 + 0.99 * cosine) * warm

    def _follow(self) -> None:
        """Move the averaged weights; they catch up faster in the beginning."""
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        for mean, now in zip(
            self.average.state_dict().values(), self.task.model.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def _log(self, means: dict[str, float]) -> None:
        path = self.folder / 'log.csv'
        row = {'step': self.step, 'seconds': round(self.seconds, 1)}
        row |= {name: round(value, 6) for name, value in means.items()}
        fresh = not path.exists()
        with open(path, 'a', newline='', encoding='utf-8') as stream:
            writer = csv.DictWriter(stream, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        left = self.seconds * (1 - self.progress) / max(self.progress, 1e-6)
        text = ' '.join(f'{name} {value:.4g}' for name, value in means.items())
        print(f'step {self.step}: {text}; {left / 60:.0f} min to go', flush=True)

    @property
    def _checkpoint(self) -> Path:
        return self.folder / 'checkpoint.pt'

    def save(self) -> None:
        """Write the checkpoint (to a temporary name, then renamed)."""
        state = {
            'step': self.step,
            'seconds': self.seconds,
            'bad_steps': self.bad_steps,
            'model': self.task.model.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'random': torch.get_rng_state(),
        }
        partial = self._checkpoint.with_suffix('.part')
        torch.save(state, partial)
        os.replace(partial, self._checkpoint)

    def _load(self) -> None:
        state = torch.load(self._checkpoint, weights_only=True)
        self.step, self.seconds = state['step'], state['seconds']
        self.bad_steps = state['bad_steps']
        self.task.model.load_state_dict(state['model'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        torch.set_rng_state(state['random'])


def _optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    if config.optimizer == 'adam':
        return torch.optim.Adam(
            model.parameters(),
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            amsgrad=True,
            fused=True,
        )
    return torch.optim.AdamW(
        _groups(model, config.weight_decay), lr=config.learning_rate, fused=True
    )


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups: matrices decay, biases and normalisations do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {'params': [p for p in parameters if p.ndim > 1], 'weight_decay': weight_decay},
        {'params': [p for p in parameters if p.ndim <= 1], 'weight_decay': 0.0},
    ]

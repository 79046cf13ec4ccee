"""One training loop: optimiser, schedule, averaged weights, checkpoints, resume.

A task gives a network, batches by step number and a loss; the loop does the rest. Because batch
``k`` depends on the seed and on ``k`` alone, and a checkpoint holds everything else, a run that was
interrupted ends with the same numbers as one that was not. A step with a non-finite loss or
gradient is left out and counted; many of them end the run.

Started by torchrun, several processes share every batch (distributed.py).
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trpose_ros.configuration import check_fields, setting
from trpose_ros.training import TrainingError, distributed, provenance
from trpose_ros.training.devices import pick_device, uses_bfloat16
from trpose_ros.training.initialisation import start_from
from trpose_ros.training.logbook import Logbook
from trpose_ros.training.optimizers import make_optimizer
from trpose_ros.weights.torch_files import read_torch_file
from trpose_ros.writing import whole_stream

_MOST_BAD_STEPS = 50


@dataclass(frozen=True)
class LoopConfig:
    """What is common to all trainings."""

    steps: int = setting(10_000, range=(1, 100_000_000))
    minutes: float = setting(
        0.0,
        'end the schedule after this time when that comes before `steps`; 0 = never. '
        'A run that ends by time cannot be repeated exactly',
        range=(0.0, 100_000.0),
    )
    learning_rate: float = setting(1e-3, range=(0.0, 1.0))
    weight_decay: float = setting(0.02, range=(0.0, 1.0))
    warm_up: int = setting(300, 'steps', range=(0, 1_000_000))
    clip: float = setting(10.0, 'largest gradient norm')
    average: float = setting(0.999, 'decay of the averaged weights', range=(0.0, 1.0))
    optimizer: str = setting(
        'adamw',
        'adam = with amsgrad, decay inside the gradient; muon = Muon for the maps between hidden '
        'layers: short trainings of transformers come much further',
        choices=('adamw', 'adam', 'muon'),
    )
    schedule: str = setting(
        'cosine',
        'of the learning rate: a cosine, or a factor after every epoch',
        choices=('cosine', 'epochs'),
    )
    epoch_steps: int = setting(1000, 'steps that count as an epoch', range=(1, 10_000_000))
    decay: float = setting(0.95, 'of the learning rate per epoch', range=(0.0, 1.0))
    halve_every: int = setting(
        0, 'epochs after which the rate is halved; 0 = never', range=(0, 100_000)
    )
    checkpoint_minutes: float = setting(5.0, range=(0.0, 1000.0))
    log_every: int = setting(50, range=(1, 1_000_000))
    seed: int = 0
    device: str = setting('auto', "'auto' (CUDA when there is one), 'cpu', 'cuda', 'cuda:N'")
    precision: str = setting(
        'auto',
        'of image networks; auto = bfloat16 where the device multiplies it itself',
        choices=('auto', 'float32', 'bfloat16'),
    )
    tensorboard: bool = setting(True, 'log for it, where it is installed')
    start: str = setting('', 'weights to begin with, of an earlier run: a name or a file')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)

    def facts(self) -> dict[str, Any]:
        """Return what belongs into a card: everything but paths."""
        facts = dataclasses.asdict(self)
        del facts['start']
        return facts


class Task(Protocol):
    """What is trained.

    A task that composes its batches item by item may have an attribute ``share``; it is told there
    which part of each batch it shall make. The batches of others are cut into parts. Batches are
    moved to the device of the network.
    """

    model: nn.Module

    def batches(self, first_step: int, last_step: int) -> Iterable[Any]:
        """Yield the batch of every step from ``first_step`` to before ``last_step``."""
        ...

    def loss(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Return the losses of a batch; 'total' is minimised, the others are logged."""
        ...


class _Losses(nn.Module):
    """The loss of a task as a module: DistributedDataParallel averages gradients of modules."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = task.model
        self._task = task

    def forward(self, batch: Any, step: int) -> dict[str, Tensor]:
        return self._task.loss(batch, step)


class TrainingLoop:
    """Runs a task, with its state in a folder."""

    def __init__(
        self,
        task: Task,
        config: LoopConfig,
        folder: str | Path,
        facts: dict[str, Any] | None = None,
    ) -> None:
        """Continue from ``folder`` when it holds a checkpoint, else start afresh.

        ``facts``: what else belongs into run.json, such as the configuration of the task.
        """
        self.task, self.config = task, config
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = distributed.local_device(pick_device(config.device))
        self._share = distributed.share()
        self.earlier = start_from(task.model, config.start) if config.start else {}
        task.model.to(self.device)
        self.average = copy.deepcopy(task.model).requires_grad_(False)
        self.optimizer = make_optimizer(
            task.model,
            config.optimizer,
            config.learning_rate,
            config.weight_decay,
            getattr(task, 'rate_of', None),
        )
        self.step, self.seconds, self.bad_steps = 0, 0.0, 0
        self._sums: dict[str, float] = {}  # of losses since the last line of the log
        self._logged = 0  # the step of that line
        if self._share.ranks > 1:  # dropout must not be the same in all of them
            torch.manual_seed(config.seed * 1_000_003 + self._share.rank)
        if self._checkpoint.exists():
            self._load()
        self._losses: nn.Module = _Losses(task)
        self._shared = hasattr(task, 'share')
        if self._shared:
            task.share = self._share  # type: ignore[attr-defined]
        if self._share.ranks > 1:
            self._losses = DistributedDataParallel(self._losses)
        silent = self._share.rank > 0
        self.log = Logbook(self.folder, self.step, config.tensorboard, silent)
        self.log.record(self._facts() | (facts or {}))

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and prints."""
        return self._share.rank == 0

    def run(self, report: Callable[[TrainingLoop], object] | None = None) -> nn.Module:
        """Train to the end and return the averaged network; ``report`` follows checkpoints.

        The averaged network is on the processor, in evaluation of ``report`` too; ``report`` is
        called in the first process only.

        Raises:
            TrainingError: a checkpoint cannot be written, or a process that makes batches died.
            FloatingPointError: too many steps without a finite loss.

        """
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        with self.log, _deaths_named(self.folder):
            for batch in self._batches():
                if self.progress >= 1:
                    break
                for name, value in self._train(batch).items():
                    self._sums[name] = self._sums.get(name, 0.0) + value
                self.step += 1
                late = time.monotonic() - saved > 60 * self.config.checkpoint_minutes
                self.seconds, due = distributed.from_first([time.monotonic() - began, late])
                self.log.follow(self.step, self.seconds, self.progress)
                if self.step % self.config.log_every == 0:
                    self._log()
                if due:
                    self.save()
                    self._report(report)
                    saved = time.monotonic()
            self.save()
        self.average.to('cpu')
        return self.average

    def _log(self) -> None:
        count = self.step - self._logged
        means = {name: value / count for name, value in self._sums.items()}
        self.log.log(self.step, self.seconds, self.progress, means)
        self._sums, self._logged = {}, self.step

    def _report(self, report: Callable[[TrainingLoop], object] | None) -> None:
        if report is not None and self.is_first:
            self.average.to('cpu')
            report(self)
            self.average.to(self.device)
        distributed.wait()

    def _batches(self) -> Iterator[Any]:
        """Yield this process's part of the batches, on the device of the network."""
        source = iter(self.task.batches(self.step, self.config.steps))
        while True:
            try:
                batch = next(source)
            except StopIteration:
                return
            if not self._shared:
                batch = distributed.part_of(batch, self._share)
            if self.device.type != 'cpu':
                batch = distributed.map_tensors(batch, lambda t: t.to(self.device))
            yield batch

    def done(self) -> dict[str, Any]:
        """Return how far the run has come, and what it began with, for a card."""
        done: dict[str, Any] = {
            'steps_done': self.step,
            'minutes_done': round(self.seconds / 60, 1),
            'machine': provenance.machine(self.device),
            'commit': provenance.commit(),
        }
        return done | ({'start': self.earlier} if self.earlier else {})

    def _facts(self) -> dict[str, Any]:
        return {
            'loop': dataclasses.asdict(self.config),
            'first_step': self.step,
            'torch': torch.__version__,
            'device': str(self.device),
            'bfloat16': uses_bfloat16(self.device, self.config.precision),
            'processes': self._share.ranks,
        }

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
            group['lr'] = rate * group.get('factor', 1.0)
        model.train()
        losses = self._losses(batch, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses['total'].backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        means = distributed.means(losses)
        if not math.isfinite(means['total'] + float(norm)):
            self.bad_steps += 1
            if self.bad_steps > _MOST_BAD_STEPS:
                raise FloatingPointError(
                    f'{self.bad_steps} steps without a finite loss, the last one {self.step}: '
                    f'lower learning_rate ({config.learning_rate})'
                )
            return {}
        self.optimizer.step()
        self._follow()
        return means | {'learning_rate': rate}

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

    @property
    def _checkpoint(self) -> Path:
        return self.folder / 'checkpoint.pt'

    def save(self) -> None:
        """Write the checkpoint (to a temporary name, then renamed).

        Raises TrainingError when it cannot be written; the one before stays as it is.
        """
        random = [torch.stack(distributed.gathered(torch.get_rng_state()))]
        if self.device.type == 'cuda':
            random.append(torch.cuda.get_rng_state(self.device))
        if not self.is_first:
            return
        state = {
            'step': self.step,
            'seconds': self.seconds,
            'bad_steps': self.bad_steps,
            'sums': self._sums,
            'logged': self._logged,
            'model': self.task.model.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'random': random,
        }
        try:
            with whole_stream(self._checkpoint) as stream:
                torch.save(state, stream)
        except (OSError, RuntimeError) as error:
            left = 'the one before is kept' if self._checkpoint.exists() else 'there is none before'
            raise TrainingError(
                f'the checkpoint of step {self.step} cannot be written to {self._checkpoint} '
                f'({error}); {left}. Free some space and give the same command again'
            ) from error

    def _load(self) -> None:
        state = _with_tensors(read_torch_file(self._checkpoint))
        self.step, self.seconds = state['step'], state['seconds']
        self.bad_steps = state['bad_steps']
        self._sums, self._logged = state['sums'], state['logged']
        self.task.model.load_state_dict(state['model'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        ranks = state['random'][0].cpu()
        if len(ranks) == self._share.ranks:  # with another number of processes the draws differ
            torch.set_rng_state(ranks[self._share.rank].clone())  # a view crashes it
        if len(state['random']) > 1 and self.device.type == 'cuda':
            torch.cuda.set_rng_state(state['random'][1].cpu(), self.device)


def _with_tensors(state: Any) -> Any:
    """Return nested dictionaries, lists and tuples with tensors in place of arrays."""
    if isinstance(state, np.ndarray):
        return torch.as_tensor(state)
    if isinstance(state, dict):
        return {key: _with_tensors(value) for key, value in state.items()}
    return type(state)(map(_with_tensors, state)) if isinstance(state, (list, tuple)) else state


@contextmanager
def _deaths_named(folder: Path) -> Iterator[None]:
    """Turn what PyTorch raises when a process that makes batches dies into a TrainingError."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:
        if isinstance(error, RuntimeError) and 'DataLoader worker' not in str(error):
            raise
        with suppress(RuntimeError):  # raised by the signal of the death, which may come later
            time.sleep(1.0)
        raise TrainingError(
            f'a process that makes batches died ({error}). Out of memory? Take fewer --workers. '
            f'The same command goes on from the last checkpoint in {folder}'
        ) from error

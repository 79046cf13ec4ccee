"""Training in several processes, on one machine or many, by PyTorch's own engine.

``torchrun`` starts the processes; each takes its share of every batch, gradients are averaged
(DistributedDataParallel), and the first process alone writes files. The batch is the same whatever
the number of processes. Processors talk through gloo, GPUs through nccl. Without torchrun there is
one process, and nothing of this is used.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

_PATIENCE = timedelta(hours=4)  # the others wait while the first process renders or measures


@dataclass(frozen=True)
class Share:
    """The part of every batch that one of several processes takes."""

    rank: int = 0
    ranks: int = 1

    def items(self, count: int) -> range:
        """Return the numbers of this process's items of a batch of ``count``."""
        return range(count * self.rank // self.ranks, count * (self.rank + 1) // self.ranks)


@contextmanager
def processes() -> Iterator[Share]:
    """Join the other processes that torchrun started, for as long as the context lasts."""
    if int(os.environ.get('WORLD_SIZE', '1')) > 1 and not distributed.is_initialized():
        gpu = torch.cuda.is_available()
        distributed.init_process_group('cpu:gloo,cuda:nccl' if gpu else 'gloo', timeout=_PATIENCE)
        try:
            yield share()
        finally:
            distributed.destroy_process_group()
    else:
        yield share()


def share() -> Share:
    """Return this process's share."""
    if not distributed.is_initialized():
        return Share()
    return Share(distributed.get_rank(), distributed.get_world_size())


def is_first() -> bool:
    """Say whether this process writes files and prints."""
    return share().rank == 0


def local_device(device: torch.device) -> torch.device:
    """Return the GPU of this process where ``device`` means any."""
    if device.type == 'cuda' and device.index is None and share().ranks > 1:
        return torch.device('cuda', int(os.environ.get('LOCAL_RANK', '0')))
    return device


@contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process go through the context before all others (to prepare files)."""
    others = share().ranks > 1
    if others and not is_first():
        distributed.barrier()
    yield
    if others and is_first():
        distributed.barrier()


def wait() -> None:
    """Wait until all processes are here."""
    if share().ranks > 1:
        distributed.barrier()


def from_first(values: list[float]) -> list[float]:
    """Return the first process's numbers: what depends on a clock must not differ."""
    if share().ranks == 1:
        return values
    numbers = torch.tensor(values, dtype=torch.float64)
    distributed.broadcast(numbers, 0)
    return numbers.tolist()


def means(values: dict[str, Tensor]) -> dict[str, float]:
    """Return the means over the processes of numbers that all of them have, by name."""
    names = sorted(values)
    numbers = torch.stack([values[name].detach().double().reshape(()) for name in names]).cpu()
    if share().ranks > 1:
        distributed.all_reduce(numbers)
        numbers /= share().ranks
    found = dict(zip(names, numbers.tolist(), strict=True))
    return {name: found[name] for name in values}


def gathered(state: Tensor) -> list[Tensor]:
    """Return the tensors of all processes, of equal shapes, in order."""
    if share().ranks == 1:
        return [state]
    parts = [torch.empty_like(state) for _ in range(share().ranks)]
    distributed.all_gather(parts, state)
    return parts


def part_of(batch: Any, mine: Share) -> Any:
    """Return this process's part of a batch: every tensor as long as the first one is cut."""
    first = next(_tensors(batch), None)
    if mine.ranks == 1 or first is None:
        return batch
    count = len(first)
    items = mine.items(count)

    def cut(tensor: Tensor) -> Tensor:
        whole = tensor.ndim == 0 or len(tensor) != count
        return tensor if whole else tensor[items.start : items.stop]

    return map_tensors(batch, cut)


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return a batch (tensors in tuples, lists, dicts or dataclasses) with all tensors changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, '_fields'):
        return type(value)(*(map_tensors(item, change) for item in value))
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [entry.name for entry in dataclasses.fields(value)]
        changed = {name: map_tensors(getattr(value, name), change) for name in names}
        return dataclasses.replace(value, **changed)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    found: list[Tensor] = []
    map_tensors(value, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    yield from (tensor for tensor in found if tensor.ndim)

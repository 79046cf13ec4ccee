"""The optimisers of the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def make_optimizer(
    model: nn.Module,
    kind: str,
    learning_rate: float,
    weight_decay: float,
    rate_of: Callable[[str], float] | None = None,
) -> torch.optim.Optimizer:
    """Return AdamW, or for the kind 'adam' Adam with amsgrad.

    ``rate_of`` gives the factor of the learning rate of a parameter by its name; every group of
    parameters keeps its own as ``factor``. Parameters without gradients are left out.
    """
    if kind == 'adam':
        return torch.optim.Adam(
            model.parameters(),
            lr=learning_rate,
            weight_decay=weight_decay,
            amsgrad=True,
            fused=True,
        )
    return torch.optim.AdamW(
        _groups(model, weight_decay, rate_of or (lambda _: 1.0)),
        lr=learning_rate,
        fused=True,
    )


def _groups(
    model: nn.Module, weight_decay: float, rate_of: Callable[[str], float]
) -> list[dict[str, Any]]:
    """Return parameter groups: matrices decay, biases and normalisations do not."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = []
    for factor in sorted({rate_of(name) for name, _ in named}):
        own = [p for name, p in named if rate_of(name) == factor]
        decay = {'weight_decay': weight_decay, 'factor': factor}
        groups.append({'params': [p for p in own if p.ndim > 1]} | decay)
        groups.append({'params': [p for p in own if p.ndim <= 1]} | decay | {'weight_decay': 0.0})
    return [group for group in groups if group['params']]

"""The optimisers of the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

import torch
from torch import nn

if TYPE_CHECKING:
    from trpose_ros.training.loop import LoopConfig


def make_optimizer(model: nn.Module, config: LoopConfig) -> torch.optim.Optimizer:
    """Return AdamW, or Adam with amsgrad, as the configuration says."""
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

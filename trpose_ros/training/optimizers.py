"""The optimisers of the loop: AdamW, Adam with amsgrad, and Muon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

# Muon's step for a matrix, in spectral norm, in units of the learning rate, which is Adam's for all
# else. Found with MixSTE of 64 channels: 0.02 beside a rate of 3e-3.
_SPECTRAL = 7.0
_MOMENTUM = 0.95
# Neither maps from or to joints (17 x 3 numbers at most), nor matrices so large that the iteration
# would cost more than the step.
_SMALLEST, _LARGEST = 52, 256


class Muon(torch.optim.Optimizer):
    """Muon for the maps between hidden layers, Adam for everything else.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024: the momentum of
    a matrix is replaced by the nearest orthogonal one, by five steps of Newton and Schulz, so that
    all its directions learn about equally fast. Groups with ``matrix`` are such; kernels of
    convolutions count as matrices (out, in x width).
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {'lr': lr, 'weight_decay': 0.0, 'matrix': False})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take one step with the gradients that are there."""
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group['lr'] * group['weight_decay'])
                move = self._orthogonal if group['matrix'] else self._adam
                parameter.add_(move(parameter), alpha=-group['lr'])

    def _orthogonal(self, parameter: Tensor) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state['momentum'] = torch.zeros_like(parameter)
        state['momentum'].lerp_(gradient, 1 - _MOMENTUM)
        move = gradient.lerp(state['momentum'], _MOMENTUM).flatten(1)
        factor = _SPECTRAL * max(1.0, move.shape[0] / move.shape[1]) ** 0.5
        return factor * orthogonal(move).view_as(parameter)

    def _adam(self, parameter: Tensor) -> Tensor:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state |= {'step': 0, 'mean': torch.zeros_like(parameter)}
            state['square'] = torch.zeros_like(parameter)
        state['step'] += 1
        state['mean'].lerp_(gradient, 0.1)
        state['square'].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        mean = state['mean'] / (1 - 0.9 ** state['step'])
        return mean / ((state['square'] / (1 - 0.999 ** state['step'])).sqrt() + 1e-8)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix (M, N) with its singular values brought near 1 (0.7 to 1.2)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (2.0315 * square @ square - 4.7750 * square) @ x
    return x if wide is matrix else x.mT


def make_optimizer(
    model: nn.Module,
    kind: str,
    learning_rate: float,
    weight_decay: float,
    rate_of: Callable[[str], float] | None = None,
) -> torch.optim.Optimizer:
    """Return AdamW, for the kind 'adam' Adam with amsgrad, for 'muon' Muon.

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
    groups = _groups(model, weight_decay, rate_of or (lambda _: 1.0))
    if kind == 'muon':
        return Muon(_apart(model, groups), learning_rate)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _apart(model: nn.Module, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups with the matrices that Muon is for in groups of their own."""
    hidden = {
        id(module.weight)
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
        and min(module.weight.shape[:2]) >= _SMALLEST
        and min(module.weight.flatten(1).shape) <= _LARGEST
    }
    apart = []
    for group in groups:
        for matrix in (False, True):
            own = [p for p in group['params'] if (id(p) in hidden) == matrix]
            if own:
                apart.append(group | {'params': own, 'matrix': matrix})
    return apart


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

"""Muon: orthogonal steps for hidden matrices, Adam's for all else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trpose_ros.training.optimizers import make_optimizer, orthogonal


@pytest.mark.parametrize('shape', [(128, 60), (60, 180), (1, 5), (1, 1)])
def test_singular_values_come_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrix)
    values = torch.linalg.svdvals(made)
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
    assert float((made * matrix).sum()) > 0  # the same way, not against it


def test_no_gradient_at_all_moves_nothing():
    assert torch.equal(orthogonal(torch.zeros(3, 4)), torch.zeros(3, 4))


def network():
    torch.manual_seed(0)
    hidden = (nn.Linear(64, 128), nn.Conv1d(128, 64, 1), nn.LayerNorm(64))
    return nn.Sequential(nn.Linear(34, 64), *hidden, nn.Linear(64, 51))


def test_hidden_matrices_are_muons_and_the_rest_is_adams():
    model = network()
    muon = make_optimizer(model, 'muon', 0.01, 0.0)
    adam = make_optimizer(other := network(), 'adamw', 0.01, 0.0)
    before = {name: value.clone() for name, value in model.named_parameters()}
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for one, two in zip(model.parameters(), other.parameters(), strict=True):
            one.grad = two.grad = torch.randn(one.shape, generator=generator)
        muon.step()
        adam.step()
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        if name in ('1.weight', '2.weight'):
            move = (one - before[name]).detach().flatten(1)
            # Three steps of 7 x 0.01 in spectral norm at most, times the root of 2 where it widens.
            widens = 2**0.5 if name == '1.weight' else 1.0
            assert 0.02 < float(torch.linalg.matrix_norm(move, 2)) < 3 * 0.07 * 1.3 * widens
        else:
            torch.testing.assert_close(one, two)


def test_matrices_decay_and_parameters_without_gradients_stay():
    model = network()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    muon = make_optimizer(model, 'muon', 0.01, 0.5)
    model[1].weight.grad = torch.zeros_like(model[1].weight)
    muon.step()
    torch.testing.assert_close(model[1].weight, before['1.weight'] * (1 - 0.01 * 0.5))
    for name, value in model.named_parameters():
        if name != '1.weight':
            assert torch.equal(value, before[name])

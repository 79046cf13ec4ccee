"""Begin a training with the weights of an earlier one."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from torch import nn

from trpose_ros import weights
from trpose_ros.metrabs.tensors import load_tensors


def start_from(model: nn.Module, name: str) -> dict[str, Any]:
    """Give a network the tensors of a weights file, by name or path; return what made them.

    A lifter that takes marks can begin with weights of one that does not: at first it heeds them
    little or not at all.

    Returns:
        {'weights': identity of the file, 'training': the facts in its card}, for the new card.

    Raises:
        WeightsError: the file is missing or damaged, or does not fit the network.

    """
    file = weights.load(name)
    tensors = dict(file.tensors)
    if getattr(getattr(model, 'config', None), 'values_in', 2) > file.config.get('values_in', 2):
        for key, wanted in model.state_dict().items():
            if key in tensors:
                tensors[key] = with_marks(tensors[key], tuple(wanted.shape))
    load_tensors(model, tensors, str(file.path))
    return {'weights': file.weights_id, 'training': json.loads(file.meta.get('training', '{}'))}


def with_marks(tensor: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """Return a tensor whose one axis of x, y, x, y ... has become x, y, mark, x, ...: marks are 0.

    Where no axis, or more than one, differs like this, the tensor is returned as it is.
    """
    if tensor.ndim != len(wanted):
        return tensor
    axes = [i for i in range(tensor.ndim) if tensor.shape[i] != wanted[i]]
    if len(axes) != 1 or 3 * tensor.shape[axes[0]] != 2 * wanted[axes[0]]:
        return tensor
    wide = np.zeros(wanted, tensor.dtype)
    places = np.flatnonzero(np.arange(wanted[axes[0]]) % 3 < 2)
    np.moveaxis(wide, axes[0], 0)[places] = np.moveaxis(tensor, axes[0], 0)
    return wide

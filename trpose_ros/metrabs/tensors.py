"""Parameters by name: what a file holds against what a network wants."""

from __future__ import annotations

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.weights import WeightsError

TRANSFORM_KEY = 'joint_transform_matrix'


def load_tensors(model: torch.nn.Module, tensors: dict[str, np.ndarray], source: str) -> None:
    """Put tensors into a model; missing, extra and wrongly shaped ones are listed by name.

    Files may hold half precision; the model keeps the number format that it is made with.
    """
    check_tensors(model, tensors, source)
    state = {}
    for key, wanted in model.state_dict().items():
        given = tensors.get(key, np.zeros(wanted.shape))  # only a counter may be absent
        state[key] = torch.from_numpy(np.ascontiguousarray(given)).to(wanted.dtype)
    model.load_state_dict(state, assign=True)


def check_tensors(model: torch.nn.Module, tensors: dict[str, np.ndarray], source: str) -> None:
    """Raise WeightsError that lists missing, extra and wrongly shaped tensors, if there are any."""
    wanted = model.state_dict()
    given = {key: value for key, value in tensors.items() if not _is_counter(key)}
    weights.check_keys((k for k in wanted if not _is_counter(k)), given, source)
    shapes = [
        f'{key}: {tuple(given[key].shape)} instead of {tuple(wanted[key].shape)}'
        for key in given
        if tuple(given[key].shape) != tuple(wanted[key].shape)
    ]
    if shapes:
        raise WeightsError(f'{source} does not fit the model: {"; ".join(shapes[:6])}')


def _is_counter(key: str) -> bool:
    """Batch norm's step counters say nothing about inference and may be absent."""
    return key.endswith('num_batches_tracked')

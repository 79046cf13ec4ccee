"""Begin a training with the weights of an earlier one."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from trpose_ros import weights
from trpose_ros.metrabs.checkpoints import load_tensors


def start_from(model: nn.Module, name: str) -> dict[str, Any]:
    """Give a network the tensors of a weights file, by name or path; return what made them.

    Returns:
        {'weights': identity of the file, 'training': the facts in its card}, for the new card.

    Raises:
        WeightsError: the file is missing or damaged, or does not fit the network.

    """
    file = weights.load(name)
    load_tensors(model, file.tensors, str(file.path))
    return {'weights': file.weights_id, 'training': json.loads(file.meta.get('training', '{}'))}

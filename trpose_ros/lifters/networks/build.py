"""The networks of the lifters by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from trpose_ros.configuration import check_sizes
from trpose_ros.registry import Registry

MOST_FRAMES = 10_000  # of a window; the longest published one has 351
# A network is made of its ``Config``; each module registers its own.
NETWORKS: Registry[Any] = Registry(
    'lifter',
    {
        name: f'trpose_ros.lifters.networks.{name}'
        for name in ('videopose3d', 'mhformer', 'mixste', 'pstmo')
    },
)


def check_network(config: Any, **most: int) -> None:
    """Raise ValueError for sizes that no network has: each is 1 to what is given for its name.

    The limits are several times what published networks have. What all of them know is here.
    """
    check_sizes(config, channels=8192, values_in=8, **most)
    relative = config.relative
    if not isinstance(relative, (int, float)) or not 0 <= relative <= 1000:
        raise ValueError(f'relative must lie in 0..1000, got {relative!r:.80}')


def build_network(architecture: str, config: dict[str, Any]) -> nn.Module:
    """Return a network with random parameters.

    Raises:
        ValueError: unknown architecture, impossible sizes, or larger ones than any network has.
        TypeError: ``config`` has an entry that the architecture does not know.

    """
    network = NETWORKS[architecture]
    return network(network.Config(**config))

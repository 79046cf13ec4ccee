"""The networks of the lifters by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from trpose_ros.registry import Registry

# A network is made of its ``Config``; each module registers its own.
NETWORKS: Registry[Any] = Registry(
    'lifter',
    {
        name: f'trpose_ros.lifters.networks.{name}'
        for name in ('videopose3d', 'mhformer', 'mixste', 'pstmo')
    },
)


def build_network(architecture: str, config: dict[str, Any]) -> nn.Module:
    """Return a network with random parameters.

    Raises:
        ValueError: unknown architecture, or impossible sizes.
        TypeError: ``config`` has an entry that the architecture does not know.

    """
    network = NETWORKS[architecture]
    return network(network.Config(**config))

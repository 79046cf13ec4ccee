"""The networks of the lifters by name."""

from __future__ import annotations

from typing import Any

from torch import nn

from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig

_NETWORKS: dict[str, tuple[Any, Any]] = {
    'videopose3d': (VideoPose3D, VideoPose3DConfig),
    'mhformer': (MHFormer, MHFormerConfig),
    'mixste': (MixSTE, MixSTEConfig),
    'pstmo': (PSTMO, PSTMOConfig),
}


def build_network(architecture: str, config: dict[str, Any]) -> nn.Module:
    """Return a network with random parameters.

    Raises:
        ValueError: unknown architecture, or impossible sizes.
        TypeError: ``config`` has an entry that the architecture does not know.

    """
    if architecture not in _NETWORKS:
        raise ValueError(f'lifter must be one of {sorted(_NETWORKS)}, got {architecture!r}')
    network, sizes = _NETWORKS[architecture]
    return network(sizes(**config))

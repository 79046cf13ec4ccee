"""The lifters by name, and how a stream is made from a configuration and weights.

A builder turns weights and a configuration into a core; it is registered under the network's
name, which is also the ``architecture`` in the weights' header. Builders import their network
when called, so that listing lifters needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from trpose_ros.lifters.base import Core
from trpose_ros.lifters.base import LifterConfig
from trpose_ros.weights import WeightsError
from trpose_ros.weights import check_keys

if TYPE_CHECKING:
    from torch import nn

    from trpose_ros.lifters.streaming import LifterStream


@dataclass(frozen=True)
class LoadedWeights:
    """Weights of a lifter, from our own file or an official checkpoint."""

    tensors: dict[str, Any]  # key -> array or tensor
    config: dict[str, Any]  # of the architecture's configuration dataclass
    source: str  # for messages
    trajectory: dict[str, Any] | None = None  # tensors of VideoPose3D's trajectory model


Builder = Callable[[LoadedWeights, LifterConfig], Core]
LIFTERS: dict[str, Builder] = {}


def register_lifter(name: str) -> Callable[[Builder], Builder]:
    """Register a builder under the network's name."""

    def register(builder: Builder) -> Builder:
        LIFTERS[name] = builder
        return builder

    return register


@register_lifter('videopose3d')
def _videopose3d(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build ring buffers, with the trajectory model where the weights have one."""
    from trpose_ros.lifters.videopose3d import VideoPose3D
    from trpose_ros.lifters.videopose3d import VideoPose3DConfig
    from trpose_ros.lifters.videopose3d_stream import VideoPose3DCore

    model = fill(VideoPose3D(VideoPose3DConfig(**weights.config)), weights.tensors, weights.source)
    return VideoPose3DCore(prepare(model, config), config.look_ahead)


@register_lifter('mhformer')
def _mhformer(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build a window of 2D joints."""
    from trpose_ros.lifters.mhformer import MHFormer
    from trpose_ros.lifters.mhformer import MHFormerConfig
    from trpose_ros.lifters.window_stream import mhformer_core

    model = fill(MHFormer(MHFormerConfig(**weights.config)), weights.tensors, weights.source)
    return mhformer_core(prepare(model, config), config.look_ahead)


@register_lifter('mixste')
def _mixste(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build a window of frames that went through the first spatial block."""
    from trpose_ros.lifters.mixste import MixSTE
    from trpose_ros.lifters.mixste import MixSTEConfig
    from trpose_ros.lifters.window_stream import mixste_core

    model = fill(MixSTE(MixSTEConfig(**weights.config)), weights.tensors, weights.source)
    return mixste_core(prepare(model, config), config.look_ahead)


@register_lifter('pstmo')
def _pstmo(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build a window of frames that went through the per-frame encoder."""
    from trpose_ros.lifters.pstmo import PSTMO
    from trpose_ros.lifters.pstmo import PSTMOConfig
    from trpose_ros.lifters.window_stream import pstmo_core

    model = fill(PSTMO(PSTMOConfig(**weights.config)), weights.tensors, weights.source)
    return pstmo_core(prepare(model, config), config.look_ahead, config.frame_step)


def fill(model: nn.Module, tensors: dict[str, Any], source: str) -> nn.Module:
    """Load parameters by name; missing, extra or wrongly shaped ones are refused by name."""
    import torch

    wanted = model.state_dict()
    check_keys(wanted, tensors, source)
    given = {key: torch.as_tensor(value) for key, value in tensors.items()}
    wrong = [
        f'{key} is {tuple(given[key].shape)}, not {tuple(value.shape)}'
        for key, value in wanted.items()
        if given[key].shape != value.shape
    ]
    if wrong:
        raise WeightsError(f'{source} does not fit the model: {"; ".join(wrong[:6])}')
    model.load_state_dict(given)
    return model


def prepare(model: nn.Module, config: LifterConfig) -> Any:
    """Bring a model to the device and number type of the configuration, in eval mode."""
    import torch

    return model.eval().requires_grad_(False).to(pick_device(config), getattr(torch, config.dtype))


def pick_device(config: LifterConfig) -> str:
    """Return 'cuda' or 'cpu'; raise ValueError when a named device is not there."""
    import torch

    if config.device == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    if config.device.startswith('cuda') and not torch.cuda.is_available():
        raise ValueError(f"device {config.device!r} is not available; use 'auto' or 'cpu'")
    return config.device


def create_lifter(config: LifterConfig) -> LifterStream:
    """Load weights and make the stream.

    Raises:
        WeightsError: weights are missing, corrupt, or for another network; the message says how
            to get or import them.
        ValueError: a setting does not fit the network (look_ahead, hop, device, rate).

    """
    import torch

    from trpose_ros import weights as store
    from trpose_ros.lifters.streaming import LifterStream

    if config.name not in LIFTERS:
        raise ValueError(f'lifter must be one of {sorted(LIFTERS)}, got {config.name!r}')
    file = store.load(config.model, config.name)
    loaded = LoadedWeights(file.tensors, file.config, str(file.path))
    rate = config.rate_hz or file.meta.get('rate_hz')
    if rate is None:
        raise ValueError(f'{file.path} does not state its training rate; set rate_hz')
    return LifterStream(
        LIFTERS[config.name](loaded, config),
        config,
        rate_hz=float(rate),
        weights_id=file.weights_id,
        licence=file.meta['licence'],
        dtype=getattr(torch, config.dtype),
        device=pick_device(config),
    )

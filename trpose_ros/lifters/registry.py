"""The lifters by name, and how a stream is made from a configuration and weights.

A builder turns weights and a configuration into a core; it is registered under the network's
name, which is also the ``architecture`` in the weights' header. Builders import their network
when called, so that listing lifters needs no torch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trpose_ros.lifters import checkpoints
from trpose_ros.lifters.streams.base import Core, LifterConfig
from trpose_ros.registry import Registry
from trpose_ros.weights import WeightsError, WeightsFile

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trpose_ros.lifters.streams.stream import LifterStream


_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedWeights:
    """Weights of a lifter, from our own file or an official checkpoint."""

    tensors: dict[str, Any]  # key -> array or tensor
    config: dict[str, Any]  # of the architecture's configuration dataclass
    source: str  # for messages
    trajectory: dict[str, Any] | None = None  # tensors of VideoPose3D's trajectory model
    rate_hz: float | None = None  # that it was trained at
    weights_id: str = ''
    licence: str = ''


Builder = Callable[[LoadedWeights, LifterConfig], Core]
LIFTERS: Registry[Builder] = Registry('lifter')


@LIFTERS.register('videopose3d')
def _videopose3d(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build ring buffers, with the trajectory model where the weights have one."""
    from trpose_ros.lifters.streams.videopose3d import RootedCore, VideoPose3DCore

    if weights.config.get('joints_in', 17) != 17 or weights.config.get('joints_out', 17) != 17:
        raise WeightsError(
            f'{weights.source} lifts {weights.config.get("joints_in")!s:.80} joints to '
            f'{weights.config.get("joints_out")!s:.80}; a stream takes and gives the 17 of '
            'Human3.6M'
        )
    half = config.dtype == 'bfloat16'
    model = load_network('videopose3d', weights, config)
    pose = VideoPose3DCore(model, config.look_ahead, half)
    if weights.trajectory is None:
        return pose
    source = f'{weights.source} (trajectory)'
    sizes = checkpoints.trajectory_config(weights.config, weights.trajectory, source)
    root = LoadedWeights(weights.trajectory, sizes, source)
    model = load_network('videopose3d', root, config)
    return RootedCore(pose, VideoPose3DCore(model, config.look_ahead, half))


@LIFTERS.register('mhformer')
def _mhformer(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build a window of 2D joints."""
    from trpose_ros.lifters.streams.windows import mhformer_core

    return mhformer_core(load_network('mhformer', weights, config), config.look_ahead)


@LIFTERS.register('mixste')
def _mixste(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build a window of frames that went through the first spatial block."""
    from trpose_ros.lifters.streams.windows import mixste_core

    return mixste_core(load_network('mixste', weights, config), config.look_ahead)


@LIFTERS.register('pstmo')
def _pstmo(weights: LoadedWeights, config: LifterConfig) -> Core:
    """Build a window of frames that went through the per-frame encoder."""
    from trpose_ros.lifters.streams.windows import pstmo_core

    model = load_network('pstmo', weights, config)
    half = config.dtype == 'bfloat16'
    return pstmo_core(model, config.look_ahead, config.frame_step, half)


def load_network(architecture: str, weights: LoadedWeights, config: LifterConfig) -> Any:
    """Return the network with these weights, ready to run."""
    import torch

    from trpose_ros.lifters.networks.build import build_network

    try:
        with torch.device('meta'):  # first without memory: a file may state any sizes
            wanted = build_network(architecture, weights.config)
    except (TypeError, ValueError) as error:
        raise WeightsError(f'{weights.source} does not fit {architecture}: {error}') from error
    checkpoints.check_tensors(wanted, weights.tensors, weights.source)
    model = build_network(architecture, weights.config)
    return prepare(fill(model, weights.tensors, weights.source), config)


def fill(model: nn.Module, tensors: dict[str, Any], source: str) -> nn.Module:
    """Load parameters by name; missing, extra or wrongly shaped ones are refused by name."""
    import torch

    checkpoints.check_tensors(model, tensors, source)
    model.load_state_dict({key: torch.as_tensor(value) for key, value in tensors.items()})
    return model


def prepare(model: nn.Module, config: LifterConfig) -> Any:
    """Bring a model to the device and number type of the configuration, in eval mode."""
    from trpose_ros.lifters.networks.precision import halve

    model = model.eval().requires_grad_(False).to(pick_device(config), pick_dtype(config))
    return halve(model) if config.dtype == 'bfloat16' else model


def with_native_type(config: LifterConfig) -> LifterConfig:
    """Return the configuration with float32 for a bfloat16 that could only be emulated.

    Emulated, it is several times slower than float32 and less exact; a warning says so.
    """
    from trpose_ros.runtimes.processor import cpu_has_bfloat16

    if config.dtype != 'bfloat16' or pick_device(config) != 'cpu' or cpu_has_bfloat16():
        return config
    _LOG.warning(
        'this processor has no bfloat16 instructions and would emulate them, which is several '
        'times slower than float32: %s runs in float32',
        config.name,
    )
    return replace(config, dtype='float32')


def pick_dtype(config: LifterConfig) -> torch.dtype:
    """Return the type of what goes in and comes out; bfloat16 is for weights inside only."""
    import torch

    return torch.float64 if config.dtype == 'float64' else torch.float32


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
    from trpose_ros.lifters.streams.stream import LifterStream

    build = LIFTERS[config.name]
    config = with_native_type(config)
    loaded = load_weights(config)
    rate = config.rate_hz or loaded.rate_hz
    if rate is None:
        raise ValueError(f'{loaded.source} does not state its training rate; set rate_hz')
    core, config = _core(build, loaded, config)
    return LifterStream(
        core,
        config,
        rate_hz=float(rate),
        weights_id=loaded.weights_id,
        licence=loaded.licence,
        dtype=pick_dtype(config),
        device=pick_device(config),
    )


def _core(build: Builder, loaded: LoadedWeights, config: LifterConfig) -> tuple[Core, LifterConfig]:
    """Return the core, without the share of its future that smoothing takes, and that share."""
    # First as asked: a look-ahead that the network cannot have is refused in the user's number, and
    # one that is not given is the network's own.
    core = build(loaded, config)
    side = min(config.smoothing, core.look_ahead)
    if side > 0:
        core = build(loaded, replace(config, look_ahead=core.look_ahead - side))
    return core, replace(config, smoothing=side)


def load_weights(config: LifterConfig) -> LoadedWeights:
    """Read our own weights file, or a published checkpoint by its ending."""
    from trpose_ros import weights as store

    if checkpoints.is_checkpoint(config.model):
        read = checkpoints.read_checkpoint(config.model, causal=config.causal)
        if read.architecture != config.name:
            raise WeightsError(
                f'{read.path} is a checkpoint of {read.architecture!r}, not {config.name!r}'
            )
        return LoadedWeights(
            read.tensors,
            read.config,
            str(read.path),
            trajectory=read.trajectory,
            weights_id=f'{read.path.stem}@{store.sha256_of(read.path)[:12]}',
            licence=checkpoints.LICENCE,
        )
    file = store.load(config.model, config.name)
    tensors, trajectory = checkpoints.split_trajectory(file.tensors)
    return LoadedWeights(
        tensors,
        file.config,
        str(file.path),
        trajectory=trajectory,
        rate_hz=_rate_hz(file),
        weights_id=file.weights_id,
        licence=file.meta['licence'],
    )


def _rate_hz(file: WeightsFile) -> float | None:
    """Return the training rate that a header states; None where it states none."""
    text = file.meta.get('rate_hz')
    try:
        rate = None if text is None else float(text)
    except ValueError:
        rate = math.nan
    if rate is not None and not 1 <= rate <= 1000:
        raise WeightsError(f'{file.path}: rate_hz must lie in 1..1000, got {text!r:.80}')
    return rate

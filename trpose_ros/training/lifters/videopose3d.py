"""Train VideoPose3D: mean joint distance of the lifted frame.

Pavllo et al., CVPR 2019: batches of independent windows, Adam, the momentum of the batch norms
decaying from 0.1 to 0.001 over ``steps`` (a run that ends by ``minutes`` hardly changes it).
27 frames, 384 channels; ``--frames 243 --channels 1024`` is the published network. ``--causal``
lifts the newest frame; ``--trajectory`` and ``--unlabelled``: see videopose3d_rooted.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from torch import Tensor

from trpose_ros.configuration import setting
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.training import register_trainer
from trpose_ros.training.lifters.trainer import LiftingTraining, WindowTask, mpjpe, run_trainer
from trpose_ros.training.lifters.videopose3d_rooted import (
    RootedTask,
    RootedVideoPose3D,
    decay_momentum,
)
from trpose_ros.training.lifters.windows import Windows
from trpose_ros.training.loop import LoopConfig


@dataclass(frozen=True)
class VideoPose3DTraining(LiftingTraining):
    """Sizes and data."""

    folder: str = 'training-videopose3d'
    out: str = 'videopose3d.safetensors'
    frames: int = setting(27, 'a power of three', range=(3, 729))
    batch: int = setting(1024, 'windows', range=(2, 65536))
    channels: int = setting(384, range=(8, 4096))
    causal: bool = setting(False, 'no look-ahead')
    dropout: float = setting(0.1, range=(0.0, 0.9))

    trajectory: bool = setting(False, "train a model of the root's position, too")
    unlabelled: float = setting(
        0.0,
        'weight of what people without 3D labels teach by their 2D joints (needs '
        "--trajectory): those of --unlabelled-subjects, of the packs those of the split 'val'",
        range=(0.0, 1000.0),
    )
    unlabelled_after: int = setting(1000, 'steps without them first', range=(0, 100_000_000))

    def __post_init__(self) -> None:
        """Validate the ranges."""
        super().__post_init__()
        if self.unlabelled > 0 and not self.trajectory:
            raise ValueError(
                f'unlabelled = {self.unlabelled:g} needs trajectory = true: without a root a '
                'skeleton cannot be projected'
            )
        if 3**self.layers != self.frames:
            raise ValueError(f'frames must be a power of three, got {self.frames}')

    @property
    def layers(self) -> int:
        """Number of filters of width three."""
        return round(math.log(self.frames, 3))


@dataclass(frozen=True)
class VideoPose3DLoop(LoopConfig):
    """The schedule."""

    steps: int = setting(6000, range=(1, 100_000_000))
    learning_rate: float = setting(1e-3, range=(0.0, 1.0))
    weight_decay: float = setting(0.0, range=(0.0, 1.0))
    warm_up: int = setting(100, 'steps', range=(0, 1_000_000))


class VideoPose3DTask(WindowTask):
    """VideoPose3D with its loss."""

    training: VideoPose3DTraining

    @property
    def dial_share(self) -> float:
        """Share of windows whose future is cut off."""
        return 0.0 if self.training.causal else self.training.dial_share

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the mean joint distance of the lifted frame, metres."""
        joints, target_m = batch
        model = cast(VideoPose3D, self.model)
        decay_momentum(model, step / self.steps)
        lifted = -1 if self.training.causal else target_m.shape[1] // 2
        predicted_m = self.run(model.forward_windows, joints)
        return {'total': mpjpe(predicted_m[:, 0], target_m[:, lifted])}


def build(training: VideoPose3DTraining, values_in: int) -> VideoPose3D:
    """Return the untrained network."""
    config = VideoPose3DConfig(
        (3,) * training.layers,
        training.channels,
        training.causal,
        training.dropout,
        values_in=values_in,
        relative=training.relative,
    )
    return RootedVideoPose3D(config) if training.trajectory else VideoPose3D(config)


def make_task(
    model: VideoPose3D, training: VideoPose3DTraining, windows: Windows, seed: int, steps: int = 1
) -> WindowTask:
    """Return the task that the options ask for."""
    kind = RootedTask if training.trajectory else VideoPose3DTask
    return kind(model, training, windows, seed, steps)


@register_trainer('videopose3d')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    kinds = (VideoPose3DTraining, VideoPose3DLoop)
    run_trainer(__doc__, kinds, 'videopose3d', build, make_task, arguments)

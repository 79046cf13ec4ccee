"""Train VideoPose3D: mean joint distance of the lifted frame.

Pavllo et al., CVPR 2019: batches of independent windows, Adam, the momentum of the batch norms
decaying from 0.1 to 0.001 over ``steps`` (a run that ends by ``minutes`` hardly changes it).
27 frames, 384 channels; ``--frames 243 --channels 1024`` is the published network. ``--causal``
lifts the newest frame; ``--trajectory`` and ``--unlabelled``: see videopose3d_rooted.py.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.training import TRAINERS
from trpose_ros.training.lifters.trainer import WindowTask, mpjpe, run_trainer
from trpose_ros.training.lifters.videopose3d_options import VideoPose3DLoop, VideoPose3DTraining
from trpose_ros.training.lifters.videopose3d_rooted import (
    RootedTask,
    RootedVideoPose3D,
    decay_momentum,
)
from trpose_ros.training.lifters.windows import Windows


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
        size_power=training.size_power,
    )
    return RootedVideoPose3D(config) if training.trajectory else VideoPose3D(config)


def make_task(
    model: VideoPose3D, training: VideoPose3DTraining, windows: Windows, seed: int, steps: int = 1
) -> WindowTask:
    """Return the task that the options ask for."""
    kind = RootedTask if training.trajectory else VideoPose3DTask
    return kind(model, training, windows, seed, steps)


@TRAINERS.register('videopose3d')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    kinds = (VideoPose3DTraining, VideoPose3DLoop)
    run_trainer(__doc__, kinds, 'videopose3d', build, make_task, arguments)

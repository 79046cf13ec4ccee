"""Train MixSTE: weighted joint distances, a smooth prediction, and the right velocities.

Zhang et al., CVPR 2022. Defaults are the published recipe: 243 frames, 512 channels, 8 pairs of
blocks, AdamW 4e-5 with decay 0.1, x0.99 per epoch, 120 epochs, four windows a batch. An epoch is
``epoch_steps`` steps here. The published program scales the gradient by the loss itself; that is
the gradient of half its square, which ``scale_by_loss`` minimises.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from torch import Tensor

from trpose_ros.configuration import setting
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.training import TRAINERS
from trpose_ros.training.lifters.trainer import (
    LiftingTraining,
    WindowTask,
    open_windows,
    run_trainer,
)
from trpose_ros.training.lifters.windows import Windows
from trpose_ros.training.loop import LoopConfig

# Of each joint in Human3.6M order: limbs count more, hands most.
JOINT_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)


@dataclass(frozen=True)
class MixSTETraining(LiftingTraining):
    """Sizes, data and the weights of the losses."""

    folder: str = 'training-mixste'
    out: str = 'mixste.safetensors'
    frames: int = setting(243, 'of a window', range=(2, 1000))
    batch: int = setting(4, 'windows', range=(2, 65536))
    channels: int = setting(512, range=(8, 4096))
    depth: int = setting(8, range=(1, 64))
    heads: int = setting(8, range=(1, 64))
    drop_path: float = setting(0.1, range=(0.0, 0.9))
    smoothness: float = setting(0.5, 'of squared steps of the prediction', range=(0.0, 100.0))
    velocity: float = setting(2.0, 'of wrong velocities', range=(0.0, 100.0))
    short_frames: int = setting(
        0,
        'begin with windows of so many frames, more of them a step: attention costs '
        'less and batches differ more; 0 = never',
        range=(0, 1000),
    )
    short_steps: int = setting(0, 'steps with short windows', range=(0, 100_000_000))
    scale_by_loss: bool = setting(True, 'scale the gradient by the loss, as published')


@dataclass(frozen=True)
class MixSTELoop(LoopConfig):
    """The published schedule."""

    steps: int = setting(120_000, range=(1, 100_000_000))
    learning_rate: float = setting(4e-5, range=(0.0, 1.0))
    weight_decay: float = setting(0.1, range=(0.0, 1.0))
    warm_up: int = setting(0, 'steps', range=(0, 1_000_000))
    average: float = setting(0.0, range=(0.0, 1.0))
    schedule: str = setting('epochs', choices=('cosine', 'epochs'))
    decay: float = setting(0.99, range=(0.0, 1.0))


def weighted_mpjpe(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Return the mean joint distance of (B, T, 17, 3), joints weighted."""
    weights = predicted_m.new_tensor(JOINT_WEIGHTS)
    return (weights * (predicted_m - target_m).norm(dim=-1)).mean()


def smoothness(predicted_m: Tensor) -> Tensor:
    """Return the weighted mean square of the steps from frame to frame."""
    weights = predicted_m.new_tensor(JOINT_WEIGHTS)[:, None]
    return (weights * predicted_m.diff(dim=1).square()).mean()


def velocity_error(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Return the mean distance of the velocities, metres per frame."""
    return (predicted_m - target_m).diff(dim=1).norm(dim=-1).mean()


class MixSTETask(WindowTask):
    """MixSTE with its losses."""

    training: MixSTETraining

    @cached_property
    def _short(self) -> Windows:
        """Windows of ``short_frames``."""
        return open_windows(dataclasses.replace(self.training, frames=self.training.short_frames))

    def source(self, step: int) -> tuple[Windows, int]:
        """Return short windows at the beginning, as many as have the frames of a batch."""
        training = self.training
        if not training.short_frames or step >= training.short_steps:
            return super().source(step)
        return self._short, training.batch * training.frames // training.short_frames

    def _lift(self, joints: Tensor, step: int) -> Tensor:
        """Lift windows; short ones lie anywhere in the window that the positions are for."""
        frames, whole = joints.shape[1], self.training.frames
        if frames == whole:
            return self.run(self.model, joints)
        first = int(np.random.default_rng([self.seed, step, 2]).integers(whole - frames + 1))
        positions = cast(MixSTE, self.model).Temporal_pos_embed[:, first : first + frames]
        return self.run(self._lift_part, joints, positions)

    def _lift_part(self, joints: Tensor, positions: Tensor) -> Tensor:
        model = cast(MixSTE, self.model)
        return model.lift_placed(model.embed(joints).transpose(1, 2).flatten(0, 1) + positions)

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the losses; 'sum' is what the paper minimises."""
        joints, target_m = batch
        predicted_m = self._lift(joints, step)
        losses = {
            'joints': weighted_mpjpe(predicted_m, target_m),
            'smoothness': smoothness(predicted_m),
            'velocity': velocity_error(predicted_m, target_m),
        }
        whole = losses['joints'] + self.training.smoothness * losses['smoothness']
        whole = whole + self.training.velocity * losses['velocity']
        scaled = 0.5 * whole.square() if self.training.scale_by_loss else whole
        return {'total': scaled, 'sum': whole, **losses}


def build(training: MixSTETraining, values_in: int) -> MixSTE:
    """Return the untrained network."""
    config = MixSTEConfig(
        training.frames,
        training.channels,
        training.depth,
        training.heads,
        training.drop_path,
        values_in,
        training.relative,
        training.size_power,
    )
    return MixSTE(config)


@TRAINERS.register('mixste')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    kinds = (MixSTETraining, MixSTELoop)
    run_trainer(__doc__, kinds, 'mixste', build, MixSTETask, arguments)

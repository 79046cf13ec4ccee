"""Train MHFormer: mean joint distance over all frames of the window.

Li et al., CVPR 2022. Defaults are the published recipe: 351 frames, 512 channels, Adam with
amsgrad, 1e-3, x0.95 per epoch and halved every fifth, 20 epochs, batch 128 (256 for shorter
windows), mirrored windows. An epoch is ``epoch_steps`` steps here, whatever the data.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from trpose_ros.configuration import setting
from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.training import TRAINERS
from trpose_ros.training.lifters.trainer import LiftingTraining, WindowTask, mpjpe, run_trainer
from trpose_ros.training.loop import LoopConfig


@dataclass(frozen=True)
class MHFormerTraining(LiftingTraining):
    """Sizes and data."""

    folder: str = 'training-mhformer'
    out: str = 'mhformer.safetensors'
    frames: int = setting(351, 'of a window', range=(9, 1000))
    batch: int = setting(128, 'windows', range=(2, 65536))
    channels: int = setting(512, range=(8, 4096))
    hidden: int = setting(1024, range=(1, 16384))
    layers: int = setting(3, range=(1, 32))


@dataclass(frozen=True)
class MHFormerLoop(LoopConfig):
    """The published schedule."""

    steps: int = setting(20_000, range=(1, 100_000_000))
    learning_rate: float = setting(1e-3, range=(0.0, 1.0))
    weight_decay: float = setting(0.0, range=(0.0, 1.0))
    warm_up: int = setting(0, 'steps', range=(0, 1_000_000))
    average: float = setting(0.0, range=(0.0, 1.0))
    optimizer: str = setting('adam', choices=('adamw', 'adam', 'muon'))
    schedule: str = setting('epochs', choices=('cosine', 'epochs'))
    decay: float = setting(0.95, range=(0.0, 1.0))
    halve_every: int = setting(5, range=(0, 100_000))


class MHFormerTask(WindowTask):
    """MHFormer with its loss."""

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the mean joint distance over all frames, metres."""
        joints, target_m = batch
        return {'total': mpjpe(self.run(self.model, joints), target_m)}


def build(training: MHFormerTraining, values_in: int) -> MHFormer:
    """Return the untrained network."""
    config = MHFormerConfig(
        training.frames,
        training.channels,
        training.hidden,
        training.layers,
        values_in,
        training.relative,
        training.size_power,
    )
    return MHFormer(config)


@TRAINERS.register('mhformer')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    kinds = (MHFormerTraining, MHFormerLoop)
    run_trainer(__doc__, kinds, 'mhformer', build, MHFormerTask, arguments)

"""What can be chosen when VideoPose3D is trained, with or without its trajectory model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trpose_ros.configuration import setting
from trpose_ros.training.lifters.trainer import LiftingTraining
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

"""Train VideoPose3D: mean joint distance of the lifted frame.

Pavllo et al., CVPR 2019: batches of independent windows, Adam, the momentum of the batch norms
decaying from 0.1 to 0.001 over ``steps`` (a run that ends by ``minutes`` hardly changes it).
27 frames, 384 channels; ``--frames 243 --channels 1024`` is the published network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from dataclasses import field
from typing import cast

from torch import Tensor

from trpose_ros.lifters.videopose3d import VideoPose3D
from trpose_ros.lifters.videopose3d import VideoPose3DConfig
from trpose_ros.training import register_trainer
from trpose_ros.training.lifting import LiftingTraining
from trpose_ros.training.lifting import WindowTask
from trpose_ros.training.lifting import mpjpe
from trpose_ros.training.lifting import run_trainer
from trpose_ros.training.loop import LoopConfig

_MOMENTUM = 0.1  # of the batch norms at the beginning; at the end a hundredth of it


@dataclass(frozen=True)
class VideoPose3DTraining(LiftingTraining):
    """Sizes and data."""

    folder: str = 'training-videopose3d'
    out: str = 'videopose3d.safetensors'
    frames: int = field(default=27, metadata={'help': 'a power of three', 'range': (3, 729)})
    batch: int = field(default=1024, metadata={'help': 'windows', 'range': (2, 65536)})
    channels: int = field(default=384, metadata={'range': (8, 4096)})
    causal: bool = field(default=False, metadata={'help': 'no look-ahead'})
    dropout: float = field(default=0.1, metadata={'range': (0.0, 0.9)})

    def __post_init__(self) -> None:
        """Validate the ranges."""
        super().__post_init__()
        if 3**self.layers != self.frames:
            raise ValueError(f'frames must be a power of three, got {self.frames}')

    @property
    def layers(self) -> int:
        """Number of filters of width three."""
        return round(math.log(self.frames, 3))


@dataclass(frozen=True)
class VideoPose3DLoop(LoopConfig):
    """The schedule."""

    steps: int = field(default=6000, metadata={'range': (1, 100_000_000)})
    learning_rate: float = field(default=1e-3, metadata={'range': (0.0, 1.0)})
    weight_decay: float = field(default=0.0, metadata={'range': (0.0, 1.0)})
    warm_up: int = field(default=100, metadata={'help': 'steps', 'range': (0, 1_000_000)})


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
        model.set_bn_momentum(_MOMENTUM * 100 ** -(step / self.steps))
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
    return VideoPose3D(config)


@register_trainer('videopose3d')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    kinds = (VideoPose3DTraining, VideoPose3DLoop)
    run_trainer(__doc__, kinds, 'videopose3d', build, VideoPose3DTask, arguments)

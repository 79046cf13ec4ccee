"""Train P-STMO: draw hidden frames and joints of 2D first, then lift.

Shan et al., ECCV 2022. Stage 1 hides most frames of a window and some joints of the others and
draws all 2D joints (mean distance in the image). Stage 2 takes over what has the same name and
minimises the distance of the centre pose and of all frames' poses, from a second head. Defaults are
P-STMO-S with detected 2D: 243 frames, rates 0.8 and 2 joints; stage 1 1e-4 x0.97 per epoch, stage 2
7e-4 x0.97 and halved after 80 epochs, 80 epochs, batch 160, Adam with amsgrad. An epoch is
``epoch_steps`` steps here. Unlike the published program, masks depend on the seed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from trpose_ros.configuration import setting
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig, apply_head
from trpose_ros.lifters.networks.pstmo_pretraining import MaskedPSTMO, draw_masks, frame_order
from trpose_ros.training import TRAINERS
from trpose_ros.training.lifters.trainer import LiftingTraining, WindowTask, mpjpe, run_trainer
from trpose_ros.training.loop import LoopConfig, TrainingLoop


@dataclass(frozen=True)
class PSTMOTraining(LiftingTraining):
    """Sizes, data and the masks of stage 1."""

    folder: str = 'training-pstmo'
    out: str = 'pstmo.safetensors'
    frames: int = setting(243, 'of a window', range=(9, 351))
    batch: int = setting(160, 'windows', range=(2, 65536))
    channels: int = setting(256, range=(8, 4096))
    hidden: int = setting(512, range=(1, 16384))
    layers: int = setting(3, range=(1, 32))
    stage1_steps: int = setting(80_000, '0 = no pre-training', range=(0, 100_000_000))
    stage1_rate: float = setting(1e-4, 'learning rate', range=(0.0, 1.0))
    hidden_frames: float = setting(0.8, 'share of frames hidden in stage 1', range=(0.0, 0.99))
    hidden_joints: int = setting(2, 'joints hidden in the others', range=(0, 16))


@dataclass(frozen=True)
class PSTMOLoop(LoopConfig):
    """The published schedule of stage 2."""

    steps: int = setting(80_000, range=(1, 100_000_000))
    learning_rate: float = setting(7e-4, range=(0.0, 1.0))
    weight_decay: float = setting(0.0, range=(0.0, 1.0))
    warm_up: int = setting(0, 'steps', range=(0, 1_000_000))
    average: float = setting(0.0, range=(0.0, 1.0))
    optimizer: str = setting('adam', choices=('adamw', 'adam', 'muon'))
    schedule: str = setting('epochs', choices=('cosine', 'epochs'))
    decay: float = setting(0.97, range=(0.0, 1.0))
    halve_every: int = setting(80, range=(0, 100_000))


class MaskedTask(WindowTask):
    """Stage 1."""

    training: PSTMOTraining

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the mean distance of the drawn 2D joints, in halves of the image width."""
        joints, _ = batch
        rng = np.random.default_rng([self.seed, step, 1])
        masks = draw_masks(
            self.training.frames, self.training.hidden_frames, self.training.hidden_joints, rng
        )
        frame_mask, joint_mask = (torch.from_numpy(mask) for mask in masks)
        drawn = self.run(lambda x: self.model(x, frame_mask, joint_mask), joints)
        return {'total': mpjpe(drawn, joints[:, frame_order(frame_mask), :, :2])}


class PSTMOTask(WindowTask):
    """Stage 2."""

    training: PSTMOTraining

    @property
    def dial_share(self) -> float:
        """Share of windows whose future is cut off."""
        return self.training.dial_share

    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the distances of the centre pose and of all poses, metres."""
        joints, target_m = batch
        middle = target_m.shape[1] // 2
        both = self.run(self._both, joints)
        losses = {
            'centre': mpjpe(both[:, :1], target_m[:, middle : middle + 1]),
            'sequence': mpjpe(both[:, 1:], target_m),
        }
        return {'total': losses['centre'] + losses['sequence'], **losses}

    def _both(self, joints: Tensor) -> Tensor:
        """Return (B, 1 + T, 17, 3): the centre pose and all poses, from one pass."""
        model = cast(PSTMO, self.model)
        x = model.Transformer(model.embed(joints))
        centre = apply_head(model.fcn, model.Transformer_reduce(x), 3)
        return torch.cat([centre, apply_head(model.fcn_1, x, 3)], dim=1)


def sizes(training: PSTMOTraining, values_in: int = 2) -> PSTMOConfig:
    """Return the sizes of the network."""
    return PSTMOConfig(
        training.frames,
        training.channels,
        training.hidden,
        training.layers,
        values_in,
        training.relative,
        training.size_power,
    )


def take_over(model: PSTMO, masked: MaskedPSTMO) -> int:
    """Copy what stage 1 learned into the network that lifts; return how many tensors.

    Only the encoder and the first transformer have the same names; ValueError when none has.
    """
    learned = masked.state_dict()
    own = model.state_dict()
    shared = [k for k in own if k in learned and own[k].shape == learned[k].shape]
    if not shared:
        raise ValueError('stage 1 shares no tensor with the network; their sizes differ')
    model.load_state_dict({key: learned[key] for key in shared}, strict=False)
    return len(shared)


def pretrain(training: PSTMOTraining, loop: LoopConfig, task: MaskedTask) -> MaskedPSTMO:
    """Run stage 1, or finish it."""
    stage = dataclasses.replace(
        loop,
        steps=training.stage1_steps,
        learning_rate=training.stage1_rate,
        halve_every=0,
        start='',
    )
    TrainingLoop(task, stage, Path(training.folder) / 'stage1').run()
    return cast(MaskedPSTMO, task.model)


def build(training: PSTMOTraining, values_in: int) -> PSTMO:
    """Return the untrained network."""
    return PSTMO(sizes(training, values_in))


def pretrained(task: WindowTask, loop: LoopConfig) -> None:
    """Give the network of stage 2 what stage 1 learns, unless it is left out."""
    training, model = cast(PSTMOTraining, task.training), cast(PSTMO, task.model)
    if not training.stage1_steps:
        return
    torch.manual_seed(loop.seed)
    first = MaskedTask(MaskedPSTMO(model.config), training, task.windows, loop.seed, loop.steps)
    masked = pretrain(training, loop, first)
    print(f'stage 1 gives {take_over(model, masked)} tensors to stage 2', flush=True)
    torch.manual_seed(loop.seed)  # whether stage 1 was just run or read makes no difference


@TRAINERS.register('pstmo')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    kinds = (PSTMOTraining, PSTMOLoop)
    run_trainer(__doc__, kinds, 'pstmo', build, PSTMOTask, arguments, pretrained)

"""A training for several processes: torchrun --nproc-per-node N test/training_lines.py FOLDER."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn

from trpose_ros.training.distributed import processes
from trpose_ros.training.loop import LoopConfig, TrainingLoop


class Lines:
    """Fit a plane through points that depend on the step alone; 10 points in every batch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(2, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 1))
        self.seen: list[int] = []

    def batches(self, first_step, last_step):
        for step in range(first_step, last_step):
            x = torch.randn((10, 2), generator=torch.Generator().manual_seed(step))
            yield {'x': x, 'y': x @ torch.tensor([[3.0], [-2.0]])}

    def loss(self, batch, step):
        self.seen.append(len(batch['x']))
        if step == int(os.environ.get('DIES_AT', '-1')) and os.environ.get('RANK') == '1':
            os.kill(os.getpid(), 9)
        error = (self.model(batch['x']) - batch['y']).square().mean()
        return {'total': error}


def main(folder: str) -> None:
    """Train and write what came out."""
    torch.set_num_threads(1)
    with processes() as share:
        config = LoopConfig(
            steps=60,
            warm_up=5,
            learning_rate=0.1,
            log_every=10,
            checkpoint_minutes=0.0,
            device='cpu',
            tensorboard=False,
        )
        task = Lines()
        loop = TrainingLoop(task, config, folder)
        first = loop.step
        average = loop.run()
        torch.save(
            {'average': average.state_dict(), 'seen': sorted(set(task.seen)), 'first': first},
            Path(folder) / f'result{share.rank}.pt',
        )


if __name__ == '__main__':
    main(sys.argv[1])

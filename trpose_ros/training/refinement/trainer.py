"""Train the refinement on recorded passes (passes.py).

    python -m trpose_ros.training.refinement.passes --folder passes --clips 100
    trpose train refinement --passes passes --minutes 30

The passes of the split 'val' decide the factor of the standard deviations, and are measured at the
end of the training, and by ``--measure``, against the fusion by constants and the one-euro filter.
``--without-lifter`` trains a network that knows the estimator's 3D alone.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.rendering.sprites import load_motion
from trpose_ros.refinement.model import ARCHITECTURE
from trpose_ros.refinement.network import RefinementNetwork, load_network
from trpose_ros.refinement.settings import RefinementConfig
from trpose_ros.training import TRAINERS, TrainingError
from trpose_ros.training.loop import LoopConfig, TrainingLoop
from trpose_ros.training.options import read_options
from trpose_ros.training.refinement.measure import fitted_factor, measure, table
from trpose_ros.training.refinement.mixtures import mixed_tracks
from trpose_ros.training.refinement.sequences import Named, Track, tracks
from trpose_ros.training.refinement.task import RefinementTask

_MIXED_AHEAD = {0: 0.6, 2: 0.15, 13: 0.25}  # share of each look-ahead
CREDIT = (
    'rendered people: MakeHuman bodies (CC0) moved by CMU Motion Capture Database '
    '(mocap.cs.cmu.edu, funded by NSF EIA-0196217) and ACCAD, The Ohio State University '
    '(CC BY 3.0), as metrabs-m, metrabs-s and the robust lifters see them'
)


@dataclass(frozen=True)
class RefinementTraining:
    """What is trained, and on what."""

    passes: str = setting('passes', 'folder of the recorded passes')
    folder: str = setting('runs/refinement', 'checkpoints and log')
    out: str = setting('refinement.safetensors', 'weights file')
    hidden: int = setting(160, 'numbers of the state', range=(8, 4096))
    batch: int = setting(32, 'windows of a step', range=(1, 4096))
    frames: int = setting(64, 'of a window', range=(3, 1000))
    dropout: float = setting(0.05, 'share of input numbers that are zero', range=(0.0, 0.9))
    motion: float = setting(1.0, 'weight of errors of speed and acceleration', range=(0.0, 100.0))
    mixed: int = setting(2000, 'tracks of other motions with mixed errors', range=(0, 1_000_000))
    without_lifter: bool = setting(False, "the estimator's 3D alone")
    measure: str = setting('', 'measure these weights instead')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class RefinementLoop(LoopConfig):
    """The loop, with what suits a recurrent network."""

    learning_rate: float = setting(1e-3, range=(0.0, 1.0))
    weight_decay: float = setting(0.05, range=(0.0, 1.0))
    clip: float = setting(0.5, 'largest gradient norm')
    average: float = setting(0.995, 'decay of the averaged weights', range=(0.0, 1.0))
    steps: int = setting(3000, range=(1, 100_000_000))
    warm_up: int = setting(100, 'steps', range=(0, 1_000_000))
    log_every: int = setting(20, range=(1, 1_000_000))


def train(training: RefinementTraining, loop: LoopConfig) -> weights.WeightsFile:
    """Train, write the weights with their card, and print how they do on the split 'val'."""
    seen, apart = read(training, 'train'), read(training, 'val')
    torch.manual_seed(loop.seed)
    model = RefinementNetwork(RefinementConfig(hidden=training.hidden))
    task = RefinementTask(
        model,
        seen,
        training.batch,
        training.frames,
        loop.seed,
        training.dropout,
        training.motion,
        more(training, seen, loop.seed),
    )
    run = TrainingLoop(task, loop, training.folder, dataclasses.asdict(training))

    def save(run: TrainingLoop) -> weights.WeightsFile:
        network = cast(RefinementNetwork, run.average).eval()
        network.config = RefinementConfig(training.hidden)
        factor = round(fitted_factor(network, apart), 3)
        network.config = RefinementConfig(training.hidden, sigma_factor=factor)
        rows = measure(network, apart)
        print(table(rows), flush=True)
        file = write(run, training, rows)
        network.config = RefinementConfig(training.hidden)
        return file

    run.run(save)
    return save(run)


def read(training: RefinementTraining, split: str) -> list[Named]:
    """Return the tracks of a split; raises TrainingError where there are none."""
    found = list(tracks(Path(training.passes), split))
    if training.without_lifter:
        found = [_unlifted(named) for named in found if named.lifter == found[0].lifter]
    if not found:
        raise TrainingError(
            f'{training.passes} holds no passes of the split {split!r}; record some: '
            'python -m trpose_ros.training.refinement.passes'
        )
    return found


def more(training: RefinementTraining, seen: list[Named], seed: int) -> list[Track]:
    """Return tracks of other motions, most of them lifted without a future."""
    if not training.mixed:
        return []
    tracks, motions = [named.track for named in seen], load_motion('train')
    made = []
    for look_ahead, share in _MIXED_AHEAD.items():
        count = round(share * training.mixed)
        made += mixed_tracks(tracks, motions, count, look_ahead, seed)
    if training.without_lifter:
        made = [dataclasses.replace(t, lifted_m=np.full_like(t.lifted_m, np.nan)) for t in made]
    return made


def _unlifted(named: Named) -> Named:
    nothing = np.full_like(named.track.lifted_m, np.nan)
    return Named(named.name, 'none', dataclasses.replace(named.track, lifted_m=nothing))


def write(
    run: TrainingLoop, training: RefinementTraining, rows: list[dict[str, float | str]]
) -> weights.WeightsFile:
    """Write the averaged network with the facts of its training, and its card."""
    network = cast(RefinementNetwork, run.average)
    tensors = {
        key: value.half().numpy() if value.dtype == torch.float32 else value.numpy()
        for key, value in network.state_dict().items()
    }
    facts = dataclasses.asdict(training) | run.config.facts() | run.done()
    for name in ('folder', 'out', 'passes', 'measure'):  # of the machine that trains
        facts.pop(name)
    file = weights.save(
        training.out,
        tensors,
        {
            'architecture': ARCHITECTURE,
            'config': json.dumps(dataclasses.asdict(network.config)),
            'skeleton': 'h36m_17',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps(facts),
            'measured_error': json.dumps(rows),
            'packing': 'int8 per output',
        },
    )
    weights.write_card(file, (__doc__ or '').strip())
    return file


@TRAINERS.register('refinement')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (training, loop), threads = read_options(
        description, (RefinementTraining, RefinementLoop), arguments
    )
    torch.set_num_threads(threads)
    if training.measure:
        print(table(measure(load_network(training.measure), read(training, 'val'))))
        return
    file = train(training, loop)
    print(f'wrote {file.path} ({file.sha256[:12]})')


if __name__ == '__main__':
    main()

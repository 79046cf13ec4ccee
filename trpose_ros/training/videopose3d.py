"""Train VideoPose3D for robots: motion capture through random cameras, with an estimator's noise.

Every sample is a window of real motion on a body of random proportions, seen by a random camera
at a robot's height, with the noise and the gaps of a 2D estimator (data/virtual_cameras.py). The
network learns root-relative joints in the camera frame, in metres, by the mean joint distance.
Adam with a cosine schedule; the momentum of the batch norms decays from 0.1 to 0.001 as in the
paper. ``python -m trpose_ros.training.videopose3d --help`` lists the options;
videopose3d_measure.py measures the result and writes it in half precision with its card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import time
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
import torch

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.data.motion import MotionPack
from trpose_ros.data.motion import find_shared
from trpose_ros.data.motion import load_mocap
from trpose_ros.data.motion import vary_bones
from trpose_ros.data.virtual_cameras import CameraConfig
from trpose_ros.data.virtual_cameras import NoiseConfig
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.lifters.videopose3d import VideoPose3D
from trpose_ros.lifters.videopose3d import VideoPose3DConfig
from trpose_ros.training import register_trainer
from trpose_ros.training.lifting_samples import make_sample
from trpose_ros.training.videopose3d_measure import evaluate

CREDIT = (
    'CMU Motion Capture Database (mocap.cs.cmu.edu, funded by NSF EIA-0196217) and ACCAD, The '
    'Ohio State University (CC BY 3.0): 39 minutes of real motion seen by random virtual cameras'
)


@dataclass(frozen=True)
class TrainingConfig:
    """One training run."""

    out: str = field(default='videopose3d-27.safetensors', metadata={'help': 'weights file'})
    causal: bool = field(default=False, metadata={'help': 'no look-ahead'})
    filter_widths: tuple[int, ...] = (3, 3, 3)
    channels: int = field(default=512, metadata={'range': (8, 4096)})
    steps: int = field(default=6000, metadata={'range': (1, 10_000_000)})
    batch: int = field(default=1024, metadata={'range': (2, 65536)})
    learning_rate: float = field(default=1e-3, metadata={'range': (0.0, 1.0)})
    dropout: float = field(default=0.1, metadata={'range': (0.0, 0.9)})
    dial_share: float = field(
        default=0.6,
        metadata={
            'help': 'share of windows whose future is cut at a random look-ahead and repeated, as '
            'a stream with a smaller look-ahead does; one network then serves all settings',
            'range': (0.0, 1.0),
        },
    )
    bf16: bool = field(default=True, metadata={'help': 'bfloat16 matrix products'})
    save_every: int = field(default=500, metadata={'range': (1, 10_000_000)})
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate."""
        check_fields(self)


def cut_future(joints: np.ndarray, index: int, share: float, rng: np.random.Generator) -> None:
    """Repeat the newest known frame in a share of windows (B, T, J, 2), in place.

    A third of those end at frame ``index`` itself (look-ahead 0), the others at a random later one.
    """
    frames = joints.shape[1]
    for window in np.flatnonzero(rng.random(len(joints)) < share):
        newest = index if rng.random() < 1 / 3 else int(rng.integers(index, frames))
        joints[window, newest + 1 :] = joints[window, newest]


def mpjpe(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean distance of joints, in the unit of the input."""
    return (predicted - target).norm(dim=-1).mean()


def train(config: TrainingConfig, pack: MotionPack) -> VideoPose3D:
    """Train on the pack's train split; writes ``config.out`` on the way and at the end.

    Beside it the state of the run is kept until it ends; a run that was cut off goes on from there
    and gives the same weights as one that was not.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = VideoPose3DConfig(
        config.filter_widths, config.channels, config.causal, config.dropout
    )
    model = VideoPose3D(network).train()
    frames = network.receptive_field
    index = frames - 1 if config.causal else frames // 2
    starts = pack.select('train').window_starts(frames)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True)
    filler, cameras = JointFiller(), CameraConfig(rate_hz=pack.rate_hz)
    run = _Run(config, model, optimizer, rng)
    first, spent = run.resume()
    started, losses = time.monotonic() - spent, []
    for step in range(first, config.steps):
        progress = step / config.steps
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group['lr'] = config.learning_rate * warm * (0.01 + 0.99 * _cosine(progress))
        model.set_bn_momentum(0.1 * 100**-progress)
        world = pack.windows(rng.choice(starts, config.batch), frames)
        sample = make_sample(vary_bones(world, rng), rng, cameras, NoiseConfig(), filler)
        cut_future(sample.joints, index, config.dial_share, rng)
        with torch.autocast('cpu', torch.bfloat16, enabled=config.bf16):
            predicted = model.forward_windows(torch.from_numpy(sample.joints))
        loss = mpjpe(predicted.float(), torch.from_numpy(sample.target_m[:, index : index + 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
            mean = 1000 * float(np.mean(losses[-config.save_every :]))
            seconds = time.monotonic() - started
            print(f'step {step + 1}/{config.steps} loss {mean:.1f} mm, {seconds:.0f} s', flush=True)
            run.keep(step + 1, seconds)
            save(model, config, pack, seconds, step + 1)
    run.path.unlink(missing_ok=True)
    return model


@dataclass(frozen=True)
class _Run:
    """Everything that changes during a run, on disk: OUT.state beside the weights."""

    config: TrainingConfig
    model: VideoPose3D
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator

    @property
    def path(self) -> Path:
        return Path(f'{self.config.out}.state')

    def _key(self) -> str:
        return json.dumps(dataclasses.asdict(self.config) | {'out': '', 'save_every': 0})

    def keep(self, step: int, seconds: float) -> None:
        """Write the state after ``step`` steps."""
        content = {
            'key': self._key(),
            'step': step,
            'seconds': seconds,
            'model': self.model.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'numpy': json.dumps(self.rng.bit_generator.state),
            'torch': torch.get_rng_state(),
        }
        temporary = self.path.with_suffix('.part')
        torch.save(content, temporary)
        os.replace(temporary, self.path)

    def resume(self) -> tuple[int, float]:
        """Restore the last state; return the steps and seconds done, zeros for a new run.

        Raises:
            ValueError: the state is of a run with other settings.

        """
        if not self.path.is_file():
            return 0, 0.0
        content = torch.load(self.path, weights_only=True)
        if content['key'] != self._key():
            raise ValueError(
                f'{self.path} is the state of a run with other settings; remove it or choose '
                'another --out'
            )
        self.model.load_state_dict(content['model'])
        self.optimizer.load_state_dict(content['optimizer'])
        self.rng.bit_generator.state = json.loads(content['numpy'])
        torch.set_rng_state(content['torch'])
        return content['step'], content['seconds']


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def save(
    model: VideoPose3D, config: TrainingConfig, pack: MotionPack, seconds: float, step: int
) -> weights.WeightsFile:
    """Measure the model and write it with its card's facts in the header."""
    results = evaluate(model, pack)
    network = dataclasses.asdict(model.config)
    facts = dataclasses.asdict(config) | {'steps done': step, 'seconds': round(seconds)}
    del facts['out']  # a path of the machine that trains
    return weights.save(
        config.out,
        {key: value.numpy() for key, value in model.state_dict().items()},
        {
            'architecture': 'videopose3d',
            'config': json.dumps(network),
            'skeleton': 'h36m_17',
            'rate_hz': f'{pack.rate_hz:g}',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps(facts),
            'measured_error': json.dumps(results),
        },
    )


@register_trainer('videopose3d')
def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for entry in dataclasses.fields(TrainingConfig):
        option = '--' + entry.name.replace('_', '-')
        text = entry.metadata.get('help', '')
        if isinstance(entry.default, bool):
            parser.add_argument(
                option, action=argparse.BooleanOptionalAction, default=entry.default, help=text
            )
        elif isinstance(entry.default, tuple):
            parser.add_argument(option, type=int, nargs='+', default=entry.default, help=text)
        else:
            parser.add_argument(option, type=type(entry.default), default=entry.default, help=text)
    parser.add_argument('--mocap', help='folder of the motion packs')
    parser.add_argument('--threads', type=int, default=1, help='torch threads')
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(options.pop('threads'))
    folder = options.pop('mocap')
    if folder is None:
        shared = find_shared()
        if shared is None:
            parser.error('no motion packs: give --mocap FOLDER or set TRPOSE_SHARED')
        folder = shared / 'data' / 'mocap'
    options['filter_widths'] = tuple(options['filter_widths'])
    config = TrainingConfig(**options)
    model = train(config, load_mocap(folder))
    written = weights.load(Path(config.out), 'videopose3d')
    print(f'wrote {written.path} ({written.sha256[:12]}): {written.meta["measured_error"]}')
    del model


if __name__ == '__main__':
    main(None)

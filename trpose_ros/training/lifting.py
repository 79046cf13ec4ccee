"""What the trainers of lifters that see windows share: batches, measuring, weights.

A batch is real motion on bodies of random proportions, seen by random cameras at a robot's height,
half of it mirrored (data/virtual_cameras.py). ``recipe`` decides what the network sees of it:
'clean' the exact 2D joints, as the papers train on good detections, 'robust' an estimator's noise,
people cut off by the image, and gaps filled as the live stream fills them. Batch ``k`` depends on
the seed and ``k`` alone, so that a run that was cut off goes on with the same numbers.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch import nn

from trpose_ros import weights
from trpose_ros.configuration import check_fields
from trpose_ros.data.motion import MotionPack
from trpose_ros.data.motion import find_shared
from trpose_ros.data.motion import load_mocap
from trpose_ros.data.motion import vary_bones
from trpose_ros.data.virtual_cameras import CameraConfig
from trpose_ros.data.virtual_cameras import NoiseConfig
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.training.lifting_samples import Sample
from trpose_ros.training.lifting_samples import make_sample
from trpose_ros.training.loop import LoopConfig
from trpose_ros.training.loop import TrainingLoop
from trpose_ros.training.videopose3d_measure import TEST_SUBJECTS
from trpose_ros.training.videopose3d_measure import procrustes

CREDIT = (
    'CMU Motion Capture Database (mocap.cs.cmu.edu, funded by NSF EIA-0196217) and ACCAD, The '
    'Ohio State University (CC BY 3.0), seen by random virtual cameras'
)


@dataclass(frozen=True)
class LiftingTraining:
    """What is trained on, and where it goes."""

    folder: str = field(default='training', metadata={'help': 'for checkpoints and the log'})
    out: str = field(default='lifter.safetensors', metadata={'help': 'weights file'})
    mocap: str = field(default='', metadata={'help': 'folder of the motion packs'})
    recipe: str = field(
        default='robust',
        metadata={'help': 'what is seen of the motion', 'choices': ('clean', 'robust')},
    )
    batch: int = field(default=256, metadata={'help': 'windows', 'range': (2, 65536)})
    bf16: bool = field(default=False, metadata={'help': 'bfloat16 matrix products'})
    frames: int = field(default=27, metadata={'help': 'of a window', 'range': (1, 1000)})
    test_windows: int = field(
        default=600, metadata={'help': 'windows per test subject', 'range': (1, 1_000_000)}
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class WindowTask(ABC):
    """Batches of windows for a network; a trainer adds the loss."""

    def __init__(
        self, model: nn.Module, training: LiftingTraining, pack: MotionPack, seed: int
    ) -> None:
        """Raise ValueError when no training clip is as long as a window."""
        self.model, self.training, self.seed = model, training, seed
        self._pack = pack.select('train')
        self._starts = self._pack.window_starts(training.frames)
        if len(self._starts) == 0:
            raise ValueError(
                f'no training clip has {training.frames} frames at {pack.rate_hz:g} Hz; choose '
                'fewer frames'
            )

    def batches(self, first_step: int, last_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (B, T, 17, 2) joints and (B, T, 17, 3) root-relative metres of every step."""
        for step in range(first_step, last_step):
            rng = np.random.default_rng([self.seed, step])
            starts = rng.choice(self._starts, self.training.batch)
            world = vary_bones(self._pack.windows(starts, self.training.frames), rng)
            sample = see(world, self._pack.rate_hz, rng)
            joints = sample.joints if self.training.recipe == 'robust' else sample.exact
            yield torch.from_numpy(joints), torch.from_numpy(sample.target_m)

    @abstractmethod
    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the losses of a batch; 'total' is minimised."""

    def run(self, forward: object, joints: Tensor) -> Tensor:
        """Return what ``forward`` makes of the joints, in float32, through bf16 when asked."""
        with torch.autocast('cpu', torch.bfloat16, enabled=self.training.bf16):
            return forward(joints).float()  # type: ignore[operator]


def see(world_m: np.ndarray, rate_hz: float, rng: np.random.Generator) -> Sample:
    """Return world joints (B, T, 17, 3) as random cameras see them."""
    return make_sample(world_m, rng, CameraConfig(rate_hz=rate_hz), NoiseConfig(), JointFiller())


def mpjpe(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Return the mean distance of joints, metres."""
    return (predicted_m - target_m).norm(dim=-1).mean()


def load_motion(training: LiftingTraining) -> MotionPack:
    """Return the motion packs; raises FileNotFoundError saying how to get them."""
    if training.mocap:
        return load_mocap(training.mocap)
    shared = find_shared()
    if shared is None:
        raise FileNotFoundError(
            'no motion packs: give --mocap FOLDER, or build them: trpose data prepare motion'
        )
    return load_mocap(shared / 'data' / 'mocap')


def train(
    task: WindowTask, loop: LoopConfig, folder: str | Path, pack: MotionPack, architecture: str
) -> nn.Module:
    """Run the loop and write the weights with what was measured; return the network."""
    run = TrainingLoop(task, loop, folder)

    def save(run: TrainingLoop) -> None:
        results = measure(run.average, pack, task.training)
        write(run, task, results, pack.rate_hz, architecture)

    model = run.run(save)
    save(run)
    return model


@torch.no_grad()
def measure(
    model: nn.Module, pack: MotionPack, training: LiftingTraining, seed: int = 1
) -> dict[str, dict[str, float]]:
    """Measure the centre frame of windows of the test subjects, without and with noise.

    Returns:
        ``{'cmu exact': {'mpjpe', 'p_mpjpe'}, 'cmu noisy': ..., 'accad ...': ...}`` in mm; all
        joints but the root. Subjects without a window of that length are left out.

    """
    model.eval()
    results: dict[str, dict[str, float]] = {}
    middle = training.frames // 2
    for name, subject in TEST_SUBJECTS:
        clips = pack.select('test', subject)
        starts = clips.window_starts(training.frames)
        if len(starts) == 0:
            continue
        rng = np.random.default_rng(seed)
        starts = np.sort(rng.choice(starts, min(len(starts), training.test_windows), replace=False))
        sample = see(clips.windows(starts, training.frames), pack.rate_hz, rng)
        target = sample.target_m[:, middle : middle + 1]
        for kind, joints in (('exact', sample.exact), ('noisy', sample.joints)):
            parts = [model(part) for part in torch.from_numpy(joints).split(64)]
            poses = torch.cat([p[:, p.shape[1] // 2 : p.shape[1] // 2 + 1] for p in parts])
            results[f'{name} {kind}'] = centre_errors_mm(poses.float().numpy(), target)
    return results


def centre_errors_mm(predicted_m: np.ndarray, target_m: np.ndarray) -> dict[str, float]:
    """Return MPJPE and P-MPJPE of (B, 1, 17, 3) root-relative poses, without the root."""
    predicted, target = predicted_m[:, 0, 1:].astype(float), target_m[:, 0, 1:].astype(float)
    aligned = procrustes(predicted, target)
    errors = {'mpjpe': predicted - target, 'p_mpjpe': aligned - target}
    return {k: round(1000 * float(np.linalg.norm(v, axis=-1).mean()), 1) for k, v in errors.items()}


def write(
    run: TrainingLoop, task: WindowTask, results: dict, rate_hz: float, architecture: str
) -> weights.WeightsFile:
    """Write the averaged network in half precision with the facts of its training."""
    tensors = {
        key: value.half().numpy() if value.dtype == torch.float32 else value.numpy()
        for key, value in run.average.state_dict().items()
    }
    facts = dataclasses.asdict(task.training) | dataclasses.asdict(run.config)
    facts |= {'steps done': run.step, 'seconds': round(run.seconds)}
    for path in ('folder', 'out', 'mocap'):  # paths of the machine that trains
        facts.pop(path)
    return weights.save(
        task.training.out,
        tensors,
        {
            'architecture': architecture,
            'config': json.dumps(dataclasses.asdict(run.average.config)),  # type: ignore
            'skeleton': 'h36m_17',
            'rate_hz': f'{rate_hz:g}',
            'licence': 'Apache-2.0',
            'training_data': CREDIT,
            'training': json.dumps(facts),
            'measured_error': json.dumps(results),
        },
    )


def say(training: LiftingTraining) -> None:
    """Print what was written and what was measured."""
    written = weights.load(Path(training.out))
    print(f'wrote {written.path} ({written.sha256[:12]}): {written.meta["measured_error"]}')

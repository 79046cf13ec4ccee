"""What the trainers of lifters that see windows share: batches, measuring, weights.

By default a batch is real motion on bodies of random proportions, seen by random cameras at a
robot's height, half of it mirrored. ``recipe`` decides what the network sees of it: 'clean' the
exact 2D joints, as the papers train on good detections, 'robust' an estimator's noise, people cut
off by the image, and gaps filled as the live stream fills them. ``dataset`` trains on a published
data set instead, with its own 2D. Batch ``k`` depends on the seed and ``k`` alone, so that a run
that was cut off goes on with the same numbers.
"""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trpose_ros import weights
from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.motion.packs import find_shared, load_mocap
from trpose_ros.evaluation.metrics.positions import procrustes
from trpose_ros.lifters.checkpoints import split_trajectory
from trpose_ros.lifters.networks.attention import DropPath
from trpose_ros.lifters.networks.build import build_network
from trpose_ros.lifters.registry import fill
from trpose_ros.training import distributed
from trpose_ros.training.lifters.windows import DatasetWindows, MotionWindows, Windows
from trpose_ros.training.loop import LoopConfig, TrainingLoop
from trpose_ros.training.options import read_options

_CARD = """
2D joints of Human3.6M's order in, 3D relative to the pelvis out.

`measured_error`: mm, the lifted frame of windows of two people that training did not see, random
cameras, all joints but the root: MPJPE and P-MPJPE. `exact`: true 2D; `noisy`: an estimator's
noise; `part`: one body part unseen, `rand`: 30 % of the joints, `gap`: everything for ten frames
around the lifted one; what is unseen is guessed badly (bias, jitter, jumps). Measured by

    trpose train {kind} --measure {name}

Not measured there: real images, Human3.6M, motion far from everyday's. One camera does not see
size: who is much taller or smaller than average is scaled wrongly.
"""


@dataclass(frozen=True)
class LiftingTraining:
    """What is trained on, and where it goes."""

    folder: str = setting('training', 'for checkpoints and the log')
    out: str = setting('lifter.safetensors', 'weights file')
    mocap: str = setting('', 'folder of the motion packs')
    dataset: str = setting('', 'a data set of `trpose data list` instead of the packs')
    data: str = setting('', "the data set's folder; default: its own")
    keypoints: str = setting('', 'the 2D of the data set, for example cpn_ft_h36m_dbb')
    unlabelled_subjects: str = setting(
        '', 'of the data set, whose 2D alone is used, for example S2,S3,S4'
    )
    recipe: str = setting('clean', 'what is seen of the motion', choices=('clean', 'robust'))
    estimator: str = setting(
        'metrabs-small',
        "fitted errors of these, with commas between, are half of what 'robust' sees; '' = none",
    )
    batch: int = setting(256, 'windows', range=(2, 65536))
    bf16: bool = setting(False, 'bfloat16 matrix products')
    compiled: bool = setting(
        False,
        'compile the network (torch.compile, needs a C++ compiler), which may make '
        'small transformers faster on a CPU',
    )
    frames: int = setting(27, 'of a window', range=(1, 1000))
    relative: float = setting(
        0.0,
        'the network takes joints relative to the root, so many times as large; 0 = '
        'as they are, as published. Short trainings come further with 1.5',
        range=(0.0, 100.0),
    )
    size_power: float = setting(
        0.0,
        "with `relative`, divided by this power of a person's size in the image; 0 = not, as "
        'published. Short trainings come further with 0.8',
        range=(0.0, 1.0),
    )
    dropouts: float = setting(
        1.0,
        'factor of every dropout and drop path; short trainings come further with 0',
        range=(0.0, 1.0),
    )
    dial_share: float = setting(
        0.6,
        "with 'robust', for networks that lift the centre frame alone: share "
        'of windows whose future is cut off at a random frame and repeated, as a stream with a '
        'smaller look-ahead does',
        range=(0.0, 1.0),
    )
    measure: str = setting('', 'measure these weights, train nothing')
    record: bool = setting(False, 'write what is measured into the file and its card')
    look_ahead: int = setting(
        -1,
        'measure with so many frames of future, the newest repeated after them; '
        '-1 = the whole window',
        range=(-1, 1000),
    )
    test_windows: int = setting(600, 'windows per test subject', range=(1, 1_000_000))

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)
        if self.record and self.look_ahead >= 0:
            raise ValueError(
                f'record writes the errors of whole windows, got look_ahead {self.look_ahead}: '
                'leave one of them out'
            )


class WindowTask(ABC):
    """Batches of windows for a network; a trainer adds the loss."""

    def __init__(
        self,
        model: nn.Module,
        training: LiftingTraining,
        windows: Windows,
        seed: int,
        steps: int = 1,
    ) -> None:
        self.model, self.training, self.windows, self.seed = model, training, windows, seed
        self.steps = steps  # of the whole run
        self._compiled: dict[str, Callable[..., Tensor]] = {}

    @property
    def dial_share(self) -> float:
        """Share of windows whose future is cut off; none where every frame is lifted anyway."""
        return 0.0

    def source(self, step: int) -> tuple[Windows, int]:
        """Return where the windows of a step come from, and how many they are."""
        return self.windows, self.training.batch

    def batches(self, first_step: int, last_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (B, T, 17, 2 or 3) joints and (B, T, 17, 3) root-relative m of every step."""
        for step in range(first_step, last_step):
            rng = np.random.default_rng([self.seed, step])
            windows, count = self.source(step)
            joints, target_m = windows.draw(rng, count)
            if windows.marked:
                cut_future(joints, self.dial_share, rng)
            yield torch.from_numpy(joints), torch.from_numpy(target_m)

    @abstractmethod
    def loss(self, batch: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        """Return the losses of a batch; 'total' is minimised."""

    def run(self, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """Return what ``forward`` makes of its inputs, in float32, through bf16 when asked."""
        if self.training.compiled:
            name = getattr(forward, '__name__', 'forward')
            if name not in self._compiled:
                self._compiled[name] = torch.compile(forward)
            forward = self._compiled[name]
        with torch.autocast('cpu', torch.bfloat16, enabled=self.training.bf16):
            return forward(*inputs).float()


def cut_future(joints: np.ndarray, share: float, rng: np.random.Generator) -> None:
    """Repeat the newest known frame in a share of windows (B, T, J, C), in place.

    A third of those end at the centre frame itself (look-ahead 0), the others at a later one.
    """
    frames = joints.shape[1]
    for window in np.flatnonzero(rng.random(len(joints)) < share):
        now = frames // 2
        newest = now if rng.random() < 1 / 3 else int(rng.integers(now, frames))
        joints[window, newest + 1 :] = joints[window, newest]


def scale_dropouts(model: nn.Module, factor: float) -> nn.Module:
    """Multiply every dropout and drop path of a network, in place; return it."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p *= factor
        elif isinstance(module, DropPath):
            module.rate *= factor
    return model


def mpjpe(predicted_m: Tensor, target_m: Tensor) -> Tensor:
    """Return the mean distance of joints, metres."""
    return (predicted_m - target_m).norm(dim=-1).mean()


def open_windows(training: LiftingTraining) -> Windows:
    """Return the windows that a configuration names.

    Raises FileNotFoundError and DataError saying what to obtain, ValueError for a window longer
    than every clip.
    """
    if training.dataset:
        return DatasetWindows(
            training.dataset,
            training.data,
            training.keypoints,
            training.frames,
            training.recipe,
            tuple(name for name in training.unlabelled_subjects.split(',') if name),
        )
    folder = Path(training.mocap)
    if not training.mocap:
        shared = find_shared()
        if shared is None:
            raise FileNotFoundError(
                'no motion packs: give --mocap FOLDER, or build them: trpose data prepare motion'
            )
        folder = shared / 'data' / 'mocap'
    return MotionWindows(load_mocap(folder), training.frames, training.recipe, training.estimator)


def train(task: WindowTask, loop: LoopConfig, folder: str | Path, architecture: str) -> nn.Module:
    """Run the loop and write the weights with what was measured; return the network."""
    run = TrainingLoop(task, loop, folder)

    def save(run: TrainingLoop) -> None:
        results = measure(run.average, task.windows, task.training)
        write(run, task, results, architecture)

    model = run.run(save)
    if run.is_first:
        save(run)
    distributed.wait()  # the others read what was written
    return model


@torch.no_grad()
def measure(
    model: nn.Module, windows: Windows, training: LiftingTraining, seed: int = 1
) -> dict[str, dict[str, float]]:
    """Measure the centre frame of windows of people that training does not see.

    Returns:
        ``{'cmu exact': {'mpjpe', 'p_mpjpe'}, 'cmu noisy': ..., 'accad ...': ...}`` in mm; all
        joints but the root; the kinds are those of ``MotionWindows.tests``. Empty when there are
        no such windows.

    """
    model.eval()
    results: dict[str, dict[str, float]] = {}
    middle = training.frames // 2
    rng = np.random.default_rng(seed)
    for name, (joints, target) in windows.tests(training.test_windows, rng):
        if training.look_ahead >= 0:
            newest = min(middle + training.look_ahead, training.frames - 1)
            joints[:, newest:] = joints[:, newest : newest + 1]
        parts = [model(part) for part in torch.from_numpy(joints).split(64)]
        poses = torch.cat([p[:, p.shape[1] // 2 : p.shape[1] // 2 + 1] for p in parts])
        results[name] = centre_errors_mm(poses.float().numpy(), target[:, middle : middle + 1])
    return results


def centre_errors_mm(predicted_m: np.ndarray, target_m: np.ndarray) -> dict[str, float]:
    """Return MPJPE and P-MPJPE of (B, 1, 17, 3) root-relative poses, without the root."""
    predicted, target = predicted_m[:, 0, 1:].astype(float), target_m[:, 0, 1:].astype(float)
    aligned = procrustes(predicted, target)
    errors = {'mpjpe': predicted - target, 'p_mpjpe': aligned - target}
    return {k: round(1000 * float(np.linalg.norm(v, axis=-1).mean()), 1) for k, v in errors.items()}


def write(
    run: TrainingLoop, task: WindowTask, results: dict, architecture: str
) -> weights.WeightsFile:
    """Write the averaged network in half precision with the facts of its training, and its card."""
    tensors = {
        key: value.half().numpy() if value.dtype == torch.float32 else value.numpy()
        for key, value in run.average.state_dict().items()
    }
    facts = dataclasses.asdict(task.training) | run.config.facts() | run.done()
    # paths of the machine that trains, and what is no part of it
    for name in ('folder', 'out', 'mocap', 'data', 'measure', 'record'):
        facts.pop(name)
    file = weights.save(
        task.training.out,
        tensors,
        {
            'architecture': architecture,
            'config': json.dumps(dataclasses.asdict(run.average.config)),  # type: ignore
            'skeleton': 'h36m_17',
            'rate_hz': f'{task.windows.rate_hz:g}',
            'licence': 'Apache-2.0',
            'training_data': task.windows.credit,
            'training': json.dumps(facts),
            'measured_error': json.dumps(results),
        },
    )
    weights.write_card(file, _CARD.format(name=Path(task.training.out).stem, kind=architecture))
    return file


def run_trainer(
    description: str | None,
    kinds: tuple[type, type],
    architecture: str,
    build: Callable[[Any, int], nn.Module],
    make_task: Callable[..., WindowTask],
    arguments: list[str] | None,
    before: Callable[[WindowTask, LoopConfig], None] | None = None,
) -> None:
    """Train a lifter, or measure one, from the command line.

    ``build`` makes the network of a configuration that takes so many numbers per joint; ``before``
    prepares it for the run.
    """
    title = (description or '').splitlines()[0]
    (training, loop), threads = read_options(title, kinds, arguments)
    torch.set_num_threads(threads)
    if training.measure:
        results = measure_weights(training.measure, training)
        print(json.dumps(results, indent=1))
        if training.record:
            weights.rewrite(training.measure, measured_error=json.dumps(results))
        return
    torch.manual_seed(loop.seed)
    windows = open_windows(training)
    model = scale_dropouts(build(training, 3 if windows.marked else 2), training.dropouts)
    task = make_task(model, training, windows, loop.seed, loop.steps)
    if before is not None:
        before(task, loop)
    train(task, loop, Path(training.folder), architecture)
    written = weights.load(Path(training.out))
    print(f'wrote {written.path} ({written.sha256[:12]}): {written.meta["measured_error"]}')


def load_network(name: str) -> nn.Module:
    """Return the network of a weights file in float32, in eval mode."""
    file = weights.load(weights.resolve(name))
    model = build_network(file.meta['architecture'], file.config)
    tensors = {
        key: value.astype(np.float32) if value.dtype == np.float16 else value
        for key, value in split_trajectory(file.tensors)[0].items()
    }
    return fill(model, tensors, str(file.path)).eval().requires_grad_(False)


def measure_weights(name: str, training: LiftingTraining) -> dict[str, dict[str, float]]:
    """Measure a weights file, as at the end of its training, on the data of ``training``."""
    model = load_network(name)
    config: Any = model.config
    frames = getattr(config, 'frames', None) or config.receptive_field
    recipe = 'robust' if config.values_in == 3 else 'clean'
    training = dataclasses.replace(training, frames=frames, recipe=recipe)
    return measure(model, open_windows(training), training)

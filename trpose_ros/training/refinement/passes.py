"""What estimators make of rendered people, whole: the data that the refinement learns from.

    python -m trpose_ros.training.refinement.passes --folder passes --clips 100

As training/lifters/noise_runs.py, but everything is kept: stamps, cameras, tracks, 2D, 3D, states
and covariances, with the true joints in metres. A clip is shown clean or under a condition drawn
for it, each in a severity drawn for it, so that few clips hold much variety. There is a file for
every pass; those that are there already are not made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trpose_ros.archives import pack_arrays
from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.drawn_clips import drawn_clip
from trpose_ros.estimators import Estimator
from trpose_ros.evaluation.cases import EvaluationConfig
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.estimation import EstimatorPass, load_pass, run_pass, save_pass
from trpose_ros.evaluation.rendered_sequences import evaluated
from trpose_ros.occlusion.occluder import FIVE, PROFILES
from trpose_ros.training.options import read_options
from trpose_ros.writing import whole_stream

_OTHERS = ('entry_exit', 'blackout', 'near_crop', 'fixed_left', 'fixed_right')
_VALIDATION_EVERY = 8  # clips


@dataclass(frozen=True)
class PassesConfig:
    """Which passes are recorded, and where they go."""

    folder: str = setting('passes', 'where the files go')
    estimators: str = setting(
        'metrabs-m,metrabs-m,metrabs-s', 'take turns at the clips, joined by commas'
    )
    clips: int = setting(100, 'rendered clips', range=(1, 100000))
    first: int = setting(0, 'number of the first clip', range=(0, 100000))
    seconds: float = setting(3.0, 'of each', range=(0.5, 60.0))
    near: float = setting(0.25, 'share of clips seen from near', range=(0.0, 1.0))
    seed: int = 0

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Recorded:
    """One pass over one clip."""

    name: str  # split-number-estimator-condition-severity
    seen: EstimatorPass
    truth_m: np.ndarray  # (T, 17, 3) float32, camera frame
    near: bool  # the image itself cuts the person off


def record(config: PassesConfig) -> Iterator[str]:
    """Make the passes that are missing; yield the name of each when it is written.

    Raises bodies.PackError without the data packs and whatever the estimator raises.
    """
    folder = Path(config.folder)
    folder.mkdir(parents=True, exist_ok=True)
    networks: dict[str, Estimator] = {}
    library, names = BodyLibrary(), config.estimators.split(',')
    try:
        for number in range(config.first, config.first + config.clips):
            name = names[number % len(names)]
            evaluation = EvaluationConfig(estimators=(name,), threads=1)
            if name not in networks:
                networks[name] = evaluation.create_estimator(name)
            yield from _record_clip(config, number, evaluation, networks[name], library, folder)
    finally:
        for network in networks.values():
            network.close()


def _record_clip(
    config: PassesConfig,
    number: int,
    evaluation: EvaluationConfig,
    network: Estimator,
    library: BodyLibrary,
    folder: Path,
) -> Iterator[str]:
    estimator = evaluation.estimators[0]
    split = 'val' if number % _VALIDATION_EVERY == _VALIDATION_EVERY - 1 else 'train'
    rng = np.random.default_rng([config.seed, number])
    near = bool(rng.random() < config.near)
    files = {
        folder / f'{split}-{number:04d}-{estimator}-{c.name}-{c.severity_index}.npz': c
        for c in conditions_of(number, near, rng)
    }
    if all(file.is_file() for file in files):
        return
    clip = drawn_clip(split, config.seconds, near, [config.seed, number, 1], library)
    shown = evaluated(clip, f'{split}-{number}', clip.motion.rate_hz)
    truth = np.stack([people.joints_m[0] for people in shown.truth.values()])
    for file, condition in files.items():
        if not file.is_file():
            seen = run_pass(shown, condition, evaluation.pipeline(estimator), network)
            with whole_stream(file.with_suffix('.truth.npz')) as stream:
                np.savez_compressed(stream, truth_m=truth, near=near)
            save_pass(file, seen)
            yield file.stem


def conditions_of(number: int, near: bool, rng: np.random.Generator) -> list[Condition]:
    """Return the two conditions of a clip: the five in turn, and another or none."""
    first = FIVE[number % len(FIVE)]
    second = 'none' if near or rng.random() < 0.4 else str(rng.choice(_OTHERS))
    return [
        Condition(
            name,
            -1 if rng.random() < 0.6 else int(rng.integers(len(PROFILES[name].labels))),
            draw=number % 3,
        )
        for name in (second, first)
    ]


def load(folder: Path, split: str) -> Iterator[Recorded]:
    """Read the passes of a split, in the order of their names; raises OSError, ValueError."""
    for file in sorted(folder.glob(f'{split}-*.npz')):
        truth = file.with_suffix('.truth.npz')
        if not file.name.endswith('.truth.npz'):
            data = pack_arrays(truth)
            yield Recorded(file.stem, load_pass(file), data['truth_m'], bool(data['near']))


def main(arguments: list[str] | None = None) -> None:
    """Record from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config,), _ = read_options(description, (PassesConfig,), arguments)
    for name in record(config):
        print(name, flush=True)


if __name__ == '__main__':
    main()

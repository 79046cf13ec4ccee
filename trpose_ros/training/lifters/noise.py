"""Measure the errors of a 2D pose estimator on rendered people and fit a model to them.

    trpose train noise --estimator metrabs-s

shows people of the training split to the estimator, as they are, from near, and under the five
conditions of the truncation protocol, and writes the numbers with which
``NoiseConfig.fitted('metrabs-s')`` disturbs exact joints. Every fourth clip is left out of the
fit; on it the model is compared with the measurement in the table that is printed. Recorded passes
(training/refinement/passes.py) serve as well: ``--passes FOLDER``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.motion.keypoint_errors import STATES, DetectorErrors
from trpose_ros.training import TRAINERS
from trpose_ros.training.lifters.noise_fit import (
    Measured,
    distances,
    fit,
    measured,
    simulate,
    steps,
)
from trpose_ros.training.lifters.noise_runs import (
    NoiseRun,
    load_runs,
    observe,
    recorded,
    save_runs,
)
from trpose_ros.training.options import read_options

_HELD_OUT_EVERY = 4
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_LAGS = (1, 5, 15)


@dataclass(frozen=True)
class NoiseTraining:
    """What is measured and where the numbers go."""

    estimator: str = setting('metrabs-s', "weights, or 'kind:weights', as for evaluate")
    clips: int = setting(24, 'rendered clips', range=(4, 1000))
    seconds: float = setting(1.0, 'of each', range=(0.5, 60.0))
    seed: int = 0
    runs: str = setting('', 'keep what was seen in this .npz, or reuse it')
    passes: str = setting('', 'folder of recorded passes to read instead of rendering clips')
    out: str = setting('', 'file; default: where the package keeps it')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)

    @property
    def file(self) -> Path:
        """Return where the numbers are written."""
        name = self.estimator.replace(':', '-').replace('/', '-')
        folder = Path(__file__).parents[2] / 'data' / 'motion' / 'noise'
        return Path(self.out) if self.out else folder / f'{name}.json'


def train(config: NoiseTraining) -> DetectorErrors:
    """Measure, fit, print the comparison on the clips left out, and write ``config.file``."""
    runs = _runs(config)
    numbers = sorted({run.clip for run in runs})
    apart = set(numbers[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY])
    fitting = [run for run in runs if run.clip not in apart]
    testing = [run for run in runs if run.clip in apart]
    severity = 'conditions in any severity' if config.passes else 'conditions'
    words = (
        f'{len(numbers) - len(apart)} rendered clips of the training split, '
        f'{sum(len(run.truth) for run in fitting)} frames, clean, near and five '
        f'{severity}, seed {config.seed}'
    )
    errors = fit(fitting, config.estimator, words, config.seed)
    config.file.parent.mkdir(parents=True, exist_ok=True)
    errors.save(config.file)
    print(f'{config.estimator}: {words}')
    for name, part in (('fitted', fitting), ('held out', testing)):
        print('\n'.join(comparison(errors, part, name)))
    return errors


def _runs(config: NoiseTraining) -> list[NoiseRun]:
    if config.passes:
        return recorded(Path(config.passes), config.estimator)
    path = Path(config.runs) if config.runs else None
    origin = f'{config.estimator}, {config.clips} clips of {config.seconds:g} s, seed {config.seed}'
    if path is not None and path.is_file():
        return load_runs(path, origin)
    runs = []
    for run in observe(config.estimator, config.clips, config.seconds, config.seed):
        runs.append(run)
        answered = int(np.isfinite(run.seen).all(axis=(1, 2)).sum())
        print(f'clip {run.clip} {run.condition}: {answered} of {len(run.seen)} frames', flush=True)
    if path is not None:
        save_runs(path, runs, origin)
    return runs


def comparison(errors: DetectorErrors, runs: Sequence[NoiseRun], name: str) -> list[str]:
    """Return a table of measured and modelled errors, in percent of the person's size."""
    real, made = [measured(run) for run in runs], simulate(errors, runs, 8, seed=99)
    head = ' '.join(f'{f"q{100 * q:.0f}":>6}' for q in _QUANTILES)
    follow = ' '.join(f'{f"r({lag})":>6}' for lag in _LAGS)
    lines = [f'{name:>9} {"":8} {"joints":>7} {head} {"step":>6} {follow}']
    for index, state in enumerate(STATES):
        for who, data in (('measured', real), ('model', made)):
            lengths = distances(data, index)
            if len(lengths) == 0:
                continue
            values = [f'{100 * v:6.1f}' for v in np.quantile(lengths, _QUANTILES)]
            changes = np.concatenate([steps(d, index) for d in data])
            values.append(f'{100 * float(np.median(changes)):6.2f}' if len(changes) else '')
            values += [f'{_correlation(data, index, lag):6.2f}' for lag in _LAGS]
            lines.append(f'{state:>9} {who:8} {len(lengths):7d} {" ".join(values)}')
    for who, data in (('measured', real), ('model', made)):
        swaps = {
            limb: float(np.nanmean(np.concatenate([d.swapped[limb] for d in data])))
            for limb in data[0].swapped
        }
        words = ', '.join(f'{limb} swapped {100 * v:.1f} %' for limb, v in swaps.items())
        lost = float(np.concatenate([d.lost for d in data]).mean())
        missing = f', no output {100 * lost:.1f} %' if who == 'measured' else ''
        lines.append(f'{"":9} {who:8} {words}{missing}')
    return lines


def _correlation(data: Sequence[Measured], state: int, lag: int) -> float:
    """Return the correlation of errors ``lag`` frames apart.

    Errors are clipped at their 95th percentile: a few jumps would decide otherwise.
    """
    lengths = distances(data, state)
    limit = float(np.quantile(lengths, 0.95)) if len(lengths) else 0.0
    products, squares = [], []
    for d in data:
        if len(d.error) <= lag:
            continue
        length = np.linalg.norm(d.error, axis=-1, keepdims=True)
        error = d.error * np.minimum(1.0, limit / np.maximum(length, 1e-9))
        first, second = error[:-lag], error[lag:]
        both = (d.state[lag:] == state) & (d.state[:-lag] == state)
        both &= np.isfinite(first[..., 0]) & np.isfinite(second[..., 0])
        products.append((first * second)[both].ravel())
        squares.append((first**2 + second**2)[both].ravel() / 2)
    total = float(np.concatenate([np.zeros(0), *squares]).sum())
    return float(np.concatenate([np.zeros(0), *products]).sum()) / total if total else float('nan')


@TRAINERS.register('noise')
def main(arguments: list[str] | None = None) -> None:
    """Fit from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config,), threads = read_options(description, (NoiseTraining,), arguments)
    torch.set_num_threads(threads)
    train(config)
    print(f'wrote {config.file}')


if __name__ == '__main__':
    main(None)

"""Fit and measure the uncertainty of a MeTRAbs network on rendered people.

The weights of metrabs/uncertainty.py are those of largest likelihood on composed crops of the
training people, with all kinds of truncation; what is reported was measured on held-out people,
bodies and rooms. They are written into the header of the network's file.
``python -m trpose_ros.training.metrabs.uncertainty --help`` lists the options.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize

from trpose_ros import weights
from trpose_ros.configuration import check_fields, setting
from trpose_ros.data.rendering.crops import Composer
from trpose_ros.data.rendering.hiding import CONDITIONS
from trpose_ros.evaluation.metrics.uncertainty import ellipsoid_coverage, spearman
from trpose_ros.metrabs.checkpoints import network_from_file
from trpose_ros.metrabs.inference import CropPoses, CropRunner
from trpose_ros.metrabs.uncertainty import FEATURES, UncertaintyModel, covariances_mm2, features_of
from trpose_ros.training import TRAINERS
from trpose_ros.training.metrabs.batches import collect
from trpose_ros.training.metrabs.trainer import MetrabsTraining, prepare
from trpose_ros.training.options import read_options

_CARD_BEGIN = '`uncertainty_measured`: '
_CARD = """on held-out rendered people by condition, `spearman` rank correlation of the
stated standard deviation and the error of a joint, `spearman_relative` the same relative to the
root joint, `inside_50` and `inside_90` percent of joints inside the ellipsoids that should hold 50
and 90 percent, `error_mm` median error. Fitted on training people and measured by

"""
_RIDGE = 1e-3
_HUBER = 3.0  # residuals beyond this many sigmas count linearly: outliers must not widen all


@dataclass(frozen=True)
class UncertaintyTraining:
    """One fit."""

    model: str = setting('metrabs-s', 'weights file to read and write')
    sprites: str = setting('runs/sprites', 'rendered people')
    shards: int = setting(24, 'of sprites', range=(1, 1000))
    crops: int = setting(3000, 'to fit on', range=(50, 1_000_000))
    test_crops: int = setting(500, 'to measure on, per condition', range=(10, 100_000))
    batch: int = setting(64, range=(1, 4096))
    seed: int = setting(0, 'of the crops')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


@dataclass(frozen=True)
class Observed:
    """Features and errors of B crops."""

    features: np.ndarray  # (B, J, F)
    joints_mm: np.ndarray  # (B, J, 3)
    errors_mm: np.ndarray  # (B, J, 3)

    def components(self) -> tuple[np.ndarray, np.ndarray]:
        """Return squared errors (B, J) mm2: mean of the two across the sight, and along it."""
        sight = self.joints_mm / np.linalg.norm(self.joints_mm, axis=-1, keepdims=True)
        along = (self.errors_mm * sight).sum(axis=-1)
        across2 = (self.errors_mm**2).sum(axis=-1) - along**2
        return np.maximum(across2, 0.0) / 2, along**2


def observe(runner: CropRunner, composer: Composer, config: UncertaintyTraining, condition: str,
            count: int, seed: int) -> Observed:  # fmt: skip
    """Run the network on composed crops: of a test condition, or '' for training crops."""
    rng = np.random.default_rng([config.seed, seed])
    parts = []
    for first in range(0, count, config.batch):
        size = min(config.batch, count - first)
        if condition:
            crops = [
                composer.test_crop(k % len(composer.store), condition, rng)
                for k in range(first, first + size)
            ]
        else:
            chosen = rng.integers(len(composer.store), size=size)
            crops = [composer.training_crop(int(i), rng) for i in chosen]
        batch = collect(crops)
        assert batch.images is not None
        intrinsics = batch.intrinsics.numpy().astype(np.float64)
        poses: CropPoses = runner.run(batch.images, intrinsics)
        truth = 1000 * batch.joints_m.numpy()[:, : poses.abs_mm.shape[1]]
        fine = poses.solvable & (np.median(poses.abs_mm[..., 2], axis=1) > 50)
        features = features_of(poses, intrinsics, runner.config.geometry)
        joints = poses.abs_mm.astype(np.float64)
        parts.append((features[fine], joints[fine], (joints - truth)[fine]))
    columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Observed(*columns)


def fit(data: Observed) -> UncertaintyModel:
    """Return the weights of largest likelihood."""
    across2, along2 = data.components()
    return UncertaintyModel(
        _fit_one(data.features, across2, components=2), _fit_one(data.features, along2, 1)
    )


def _fit_one(features: np.ndarray, squared: np.ndarray, components: int) -> np.ndarray:
    """Minimise the negative log likelihood of squared errors (B, J); it is convex."""
    count, joints = features.shape[2], features.shape[1]
    total = squared.size

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        logs = features @ w[:count] + w[count:]
        ratio = squared * np.exp(-2 * logs)
        wide = ratio > _HUBER**2
        root = np.sqrt(np.maximum(ratio, 1e-12))
        cost = np.where(wide, 2 * _HUBER * root - _HUBER**2, ratio) / 2 + logs
        slope = 1 - np.where(wide, _HUBER * root, ratio)
        gradient = np.concatenate([np.einsum('bj,bjf->f', slope, features), slope.sum(axis=0)])
        value = components * cost.sum() / total + _RIDGE * (w[:count] ** 2).sum()
        gradient = components * gradient / total
        gradient[:count] += 2 * _RIDGE * w[:count]
        return float(value), gradient

    start = np.zeros(count + joints)
    start[count:] = 0.5 * np.log(squared.mean(axis=0) + 1.0)
    return minimize(loss, start, jac=True, method='L-BFGS-B').x


def measure(model: UncertaintyModel, data: Observed) -> dict[str, float]:
    """Return Spearman(sigma, error) over joints and the coverage of the ellipsoids, percent.

    ``spearman_relative`` is that of the error relative to the root joint and the sigma across the
    sight: a wrong distance of the whole person is not in it.
    """
    covariances = covariances_mm2(model, data.features, data.joints_mm)
    sigma = np.sqrt(np.trace(covariances, axis1=-2, axis2=-1) / 3)
    error = np.linalg.norm(data.errors_mm, axis=-1)
    relative = np.linalg.norm(data.errors_mm - data.errors_mm[:, :1], axis=-1)[:, 1:]
    across = model.sigmas_mm(data.features)[0][:, 1:]
    covered = ellipsoid_coverage(data.errors_mm, covariances, (0.5, 0.9))
    return {
        'spearman': round(spearman(sigma, error), 3),
        'spearman_relative': round(spearman(across, relative), 3),
        'inside_50': round(float(covered[0]), 1),
        'inside_90': round(float(covered[1]), 1),
        'error_mm': round(float(np.median(error)), 1),
        'people': len(error),
    }


def run(config: UncertaintyTraining) -> dict[str, dict[str, float]]:
    """Fit, measure on held-out people, write the header; return what was measured."""
    file = weights.load(config.model, architecture='metrabs')
    network = network_from_file(file)
    runner = CropRunner(network.model, torch.device('cpu'), torch.float32)
    people = MetrabsTraining(
        sprites=config.sprites, shards=config.shards, side=network.model.config.proc_side
    )
    training = prepare(people, 'train', config.shards)
    testing = prepare(people, 'test', 1)
    model = fit(observe(runner, training, config, '', config.crops, 0))
    results = {}
    for i, condition in enumerate(('clean', *CONDITIONS)):
        held_out = observe(runner, testing, config, condition, config.test_crops, 1 + i)
        results[condition] = measure(model, held_out)
        print(f'{condition}: {json.dumps(results[condition])}', flush=True)
    for name, along, across in zip(FEATURES, model.along, model.across, strict=False):
        print(f'{name}: across {across:.2f}, along {along:.2f}')
    meta = file.meta | {
        'uncertainty': model.to_json(),
        'uncertainty_measured': json.dumps(results),
    }
    write_card(weights.save(file.path, file.tensors, meta), config)
    return results


def write_card(file: weights.WeightsFile, config: UncertaintyTraining) -> None:
    """Write the card anew: its words stay, those about the uncertainty are those of this fit."""
    card = file.path.with_suffix('.md')
    text = card.read_text(encoding='utf-8') if card.is_file() else ''
    words = ''.join(text.split('\n\n', 2)[2:]).partition(_CARD_BEGIN)[0].rstrip()  # after the list
    options = ' '.join(
        f'--{name.replace("_", "-")} {getattr(config, name)}'
        for name in ('shards', 'crops', 'test_crops', 'seed')
    )
    weights.write_card(
        file, f'{words}\n\n{_CARD_BEGIN}{_CARD}    trpose train uncertainty {options}'
    )


@TRAINERS.register('uncertainty')
def main(arguments: list[str] | None = None) -> None:
    """Fit from the command line."""
    description = (__doc__ or '').splitlines()[0]
    (config,), threads = read_options(description, (UncertaintyTraining,), arguments)
    torch.set_num_threads(threads)
    run(config)


if __name__ == '__main__':
    main(None)

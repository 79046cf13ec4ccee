"""Can a single image say that a joint is hidden? What the heatmaps know about it, measured.

A joint is hidden where its own body is in front of it or a rectangle covers it; whether it is, is
known for rendered people. A logistic regression on the features of metrabs/uncertainty.py is
fitted on training people; reported is, for held-out ones, how often the joints that it is surest
about are hidden. The state OCCLUDED would need a precision of 70 % at least.
``python -m trpose_ros.training.hidden_joints --help`` lists the options.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from dataclasses import field

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from trpose_ros.configuration import check_fields
from trpose_ros.data.compose import Composer
from trpose_ros.data.hiding import CONDITIONS
from trpose_ros.metrabs.checkpoints import load_network
from trpose_ros.metrabs.inference import CropRunner
from trpose_ros.metrabs.uncertainty import features_of
from trpose_ros.training.cli import read_options
from trpose_ros.training.images import collect
from trpose_ros.training.metrabs import MetrabsTraining
from trpose_ros.training.metrabs import prepare

_RIDGE = 1e-3
_SUREST = (0.01, 0.05, 0.2)  # shares of the joints


@dataclass(frozen=True)
class HiddenJoints:
    """One measurement."""

    model: str = field(default='metrabs-small', metadata={'help': 'weights'})
    folder: str = field(default='runs/metrabs', metadata={'help': 'sprites of the training'})
    shards: int = field(default=24, metadata={'help': 'of sprites', 'range': (1, 1000)})
    crops: int = field(
        default=300, metadata={'help': 'per condition, of each split', 'range': (10, 100_000)}
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


def observe(
    runner: CropRunner, composer: Composer, condition: str, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return features (M, F + J) of the joints estimated inside the crop, and which are hidden."""
    rng = np.random.default_rng(seed)
    indices = rng.integers(len(composer.store), size=count)
    seeds = rng.integers(2**31, size=count)
    side = runner.config.proc_side

    def crops(kind: str) -> list:
        return [
            composer.test_crop(int(i), kind, np.random.default_rng(int(s)))
            for i, s in zip(indices, seeds, strict=True)
        ]

    clean, covered = collect(crops('clean')), collect(crops(condition))
    intrinsics = covered.intrinsics.numpy().astype(np.float64)
    poses = runner.run(covered.images, intrinsics)
    features = features_of(poses, intrinsics, runner.config.geometry)
    joints = features.shape[1]
    features = np.concatenate([features, np.tile(np.eye(joints), (count, 1, 1))], axis=-1)
    place = covered.joints_px.numpy().round().astype(int)
    inside = ((place >= 0) & (place < side)).all(axis=-1) & poses.in_view & poses.solvable[:, None]
    x, y = place.clip(0, side - 1).transpose(2, 0, 1)
    rows = np.arange(count)[:, None]
    same = (clean.images.numpy()[rows, :, y, x] == covered.images.numpy()[rows, :, y, x]).all(-1)
    bare = np.stack([composer.store[int(i)]['visible'] for i in indices])
    return features[inside], ~(same & bare)[inside]


def fit(features: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Return the weights (F + 1,) of a ridge logistic regression; the last is the offset."""
    spread = features.std(axis=0) + 1e-6
    middle = features.mean(axis=0)
    scaled = (features - middle) / spread

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ w[:-1] + w[-1]
        cost = np.logaddexp(0, odds) - hidden * odds
        slope = expit(odds) - hidden
        gradient = np.append(slope @ scaled / len(odds) + 2 * _RIDGE * w[:-1], slope.mean())
        return float(cost.mean() + _RIDGE * (w[:-1] ** 2).sum()), gradient

    w = minimize(loss, np.zeros(features.shape[1] + 1), jac=True, method='L-BFGS-B').x
    return np.append(w[:-1] / spread, w[-1] - (w[:-1] * middle / spread).sum())


def measure(weights: np.ndarray, features: np.ndarray, hidden: np.ndarray) -> dict[str, float]:
    """Return the share of hidden joints, overall and among those surest to be, and the ROC area."""
    odds = features @ weights[:-1] + weights[-1]
    ranks, count = rankdata(odds), int(hidden.sum())
    area = (ranks[hidden].sum() - count * (count + 1) / 2) / max(count * (~hidden).sum(), 1)
    order = np.argsort(-odds)
    result = {'joints': len(hidden), 'hidden': hidden.mean(), 'roc_area': area}
    for share in _SUREST:
        surest = order[: max(int(share * len(order)), 1)]
        result[f'hidden_of_surest_{share:.0%}'] = hidden[surest].mean()
    return {name: round(float(value), 3) for name, value in result.items()}


def run(config: HiddenJoints) -> dict[str, float]:
    """Fit on training people, measure on held-out ones, return what was measured."""
    network = load_network(config.model)
    runner = CropRunner(network.model, torch.device('cpu'), torch.float32)
    people = MetrabsTraining(folder=config.folder, shards=config.shards)
    parts = []
    for number, split in enumerate(('train', 'test')):
        composer = prepare(people, split, config.shards if split == 'train' else 1)
        seen = [
            observe(runner, composer, condition, config.crops, 100 * number + k)
            for k, condition in enumerate(CONDITIONS)
        ]
        parts.append([np.concatenate(column) for column in zip(*seen, strict=True)])
    (features, hidden), (held_out, truth) = parts
    return measure(fit(features, hidden), held_out, truth)


if __name__ == '__main__':
    (_config,), _threads = read_options((__doc__ or '').splitlines()[0], (HiddenJoints,), None)
    torch.set_num_threads(_threads)
    print(dataclasses.asdict(_config), run(_config), sep='\n')

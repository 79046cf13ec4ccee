"""How the refinement does on tracks, beside what it is to replace.

Measured are the estimator's 3D alone, the lifted 3D, their fusion by constants, that of a one-euro
filter behind the estimator and behind the plain mean of both, and the refinement.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
import torch

from trpose_ros.evaluation.metrics.bodies import bone_variation
from trpose_ros.evaluation.metrics.motion import acceleration_error
from trpose_ros.evaluation.metrics.positions import mpjpe, p_mpjpe
from trpose_ros.evaluation.metrics.uncertainty import ellipsoid_coverage
from trpose_ros.refinement.moments import ROOT, SKELETON
from trpose_ros.refinement.network import RefinementNetwork
from trpose_ros.training.refinement.samples import Windows, moments_of
from trpose_ros.training.refinement.sequences import Named, Track

Row = dict[str, 'float | str']
_LEAST = 3  # frames that have an acceleration
_SHARE = 0.95
_QUANTILE = 7.815  # of chi squared with three degrees of freedom


def refined(network: RefinementNetwork, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Return joints (T, 17, 3) in the camera frame and covariances (T, 17, 3, 3) of a track."""
    given = moments_of(Windows.of(track))
    with torch.no_grad():
        out, _ = network(given, network.start(1))
    joints = out.joints_m[0].double().numpy() + track.fused_m[:, ROOT : ROOT + 1]
    turn = given.rotation[0, :, None].double().numpy()
    spread = out.sigmas_m[0][..., [0, 0, 1]].double().numpy() ** 2
    return joints, np.swapaxes(turn, 2, 3) @ (spread[..., None] * turn)


def fitted_factor(network: RefinementNetwork, tracks: Iterable[Named]) -> float:
    """Return the factor of the standard deviations that puts 95 % of joints into ellipsoids.

    Each condition counts the same.
    """
    squares: dict[str, list[np.ndarray]] = defaultdict(list)
    for named in tracks:
        joints, covariances = refined(network, named.track)
        error = joints - named.track.true_m
        value = np.linalg.solve(covariances, error[..., None])[..., 0]
        squares[condition_of(named)].append((error * value).sum(axis=-1).ravel())
    levels = [float(np.quantile(np.concatenate(part), _SHARE)) for part in squares.values()]
    return math.sqrt(float(np.median(levels)) / _QUANTILE)


def condition_of(named: Named) -> str:
    """Return the condition of a pass by its name."""
    return named.name.split('-')[-2]


def measure(network: RefinementNetwork, tracks: Sequence[Named]) -> list[Row]:
    """Return a row for every condition, lifter and method: means over tracks by frames."""
    sums: dict[tuple[str, str, str], list[tuple[int, dict[str, float]]]] = defaultdict(list)
    for named in tracks:
        track = named.track
        if len(track) < _LEAST:
            continue
        joints, covariances = refined(network, track)
        nothing = np.full(covariances.shape, np.nan)
        lifted = track.lifted_m + track.estimated_m[:, :1]
        seconds = (track.stamps_ns - track.stamps_ns[0]) * 1e-9
        methods = {
            'estimator': (track.estimated_m, track.covariances_m2),
            'lifted': (lifted, nothing),
            'one-euro(estimator)': (one_euro(track.estimated_m, seconds), nothing),
            'constants': (track.fused_m, track.fused_m2),
            'one-euro(constants)': (one_euro(track.fused_m, seconds), nothing),
            'refinement': (joints, covariances),
        }
        whole = all(np.isfinite(m[0]).all() for m in methods.values())
        for method, (found, spread) in methods.items():
            if whole or named.lifter == 'none':
                key = (condition_of(named), named.lifter, method)
                sums[key].append((len(track), _values(found, spread, track.true_m)))
    return [
        {'condition': c, 'lifter': lifter, 'method': method, **_mean(values)}
        for (c, lifter, method), values in sorted(sums.items())
    ]


def _values(found: np.ndarray, spread: np.ndarray, true: np.ndarray) -> dict[str, float]:
    found, true = found.astype(np.float64), true.astype(np.float64)
    return {
        'mpjpe_mm': mpjpe(found, true, ROOT),
        'p_mpjpe_mm': p_mpjpe(found, true),
        'accel_mm': acceleration_error(found, true, ROOT),
        'mrpe_mm': 1e3 * float(np.linalg.norm(found[:, ROOT] - true[:, ROOT], axis=-1).mean()),
        'bone_percent': bone_variation(found, SKELETON),
        'inside95_percent': float(ellipsoid_coverage(found - true, spread)[-1]),
    }


def _mean(values: list[tuple[int, dict[str, float]]]) -> dict[str, float]:
    counts = np.array([count for count, _ in values], float)
    names = values[0][1]
    means = {
        name: float(np.average([v[name] for _, v in values], weights=counts)) for name in names
    }
    return {'frames': float(counts.sum())} | {k: round(v, 2) for k, v in means.items()}


def table(rows: Sequence[Row]) -> str:
    """Return rows as text: all conditions, then their means by method."""
    lines = []
    for lifter in sorted({str(row['lifter']) for row in rows}):
        part = [row for row in rows if row['lifter'] == lifter]
        names = [n for n in part[0] if n not in ('condition', 'lifter', 'method')]
        lines.append(f'{lifter}\n{"":34}' + ''.join(f'{n:>18}' for n in names))
        for clean in (True, False):
            chosen = [row for row in part if (row['condition'] == 'clean') == clean]
            for method in dict.fromkeys(str(row['method']) for row in part):
                own = [row for row in chosen if row['method'] == method]
                if own:
                    words = f'{"clean" if clean else "truncated"} {method}'
                    means = [np.mean([float(row[n]) for row in own]) for n in names]
                    lines.append(f'{words:34}' + ''.join(f'{m:18.2f}' for m in means))
    return '\n'.join(lines)


def one_euro(
    joints: np.ndarray, seconds: np.ndarray, cutoff_hz: float = 1.0, slope: float = 1.0
) -> np.ndarray:
    """Return values (T, ...) filtered as Casiez et al. (CHI 2012) do, with a speed cutoff of 1 Hz.

    The cutoff is ``cutoff_hz`` plus ``slope`` per m/s.
    """
    out, speed = joints.astype(np.float64).copy(), np.zeros(joints.shape[1:])
    for t in range(1, len(joints)):
        elapsed = max(float(seconds[t] - seconds[t - 1]), 1e-3)
        raw = (joints[t] - out[t - 1]) / elapsed
        speed = speed + _share(1.0, elapsed) * (raw - speed)
        gain = _share(cutoff_hz + slope * np.abs(speed), elapsed)
        out[t] = out[t - 1] + gain * (joints[t] - out[t - 1])
    return out


def _share(cutoff_hz: np.ndarray | float, elapsed_s: float) -> np.ndarray:
    ratio = 2 * math.pi * np.asarray(cutoff_hz) * elapsed_s
    return np.asarray(ratio / (ratio + 1))

"""Fits the numbers of data/motion/keypoint_errors.py to what an estimator made of known people.

Each part of the model has its own statistic: the pull is a regression on the way to the visible
middle, jumps are what lies far outside the core of the errors, and the three normal parts are told
apart by how the core's covariance falls with the lag. A person's level is the median error of a
clip. At the end model and measurement are compared row by row, and the normal parts and the jumps
are scaled until their quantiles agree (jumps inflate medians, levels inflate tails).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from trpose_ros.data.motion.keypoint_errors import (
    GROUPS,
    LIMBS,
    STATES,
    DetectorErrors,
    JointErrors,
    Spells,
    apparent_size,
    states_of,
    visible_middle,
    with_errors,
)
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training.lifters.noise_runs import NoiseRun

_MIRROR = get_skeleton('h36m_17').mirror
_FEWEST = 200  # errors of a kind of joint; fewer: those of all kinds in that state
_CORE = 4.0  # robust standard deviations; what lies farther is a jump
_LAGS = (0, 1, 2, 3, 5, 8, 12, 18, 25, 35)
_TIMES_S = (0.03, 0.06, 0.1, 0.15, 0.25, 0.4, 0.7, 1.2)
_APART = 0.12  # of the size: limbs nearer to each other than this cannot be seen to be swapped
_RAYLEIGH_MEDIAN = 1.1774
_ROUNDS = 4


@dataclass(frozen=True)
class Measured:
    """The errors of one run in shares of the apparent size; NaN where nothing can be said."""

    error: np.ndarray  # (T, 17, 2); without swapped frames
    way: np.ndarray  # (T, 17, 2) to the middle of what is visible
    state: np.ndarray  # (T, 17) index into STATES
    swapped: dict[str, np.ndarray]  # of each limb, (T,) 1, 0, or NaN where it cannot be told
    lost: np.ndarray  # (T,) bool
    rate_hz: float


def measured(run: NoiseRun, seen: np.ndarray | None = None) -> Measured:
    """Compare what was seen (the run's own by default) with the truth."""
    seen = run.seen if seen is None else seen
    truth = run.truth[None]
    size = float(apparent_size(truth)[0])
    state = states_of(truth, run.hidden[None], np.array([run.half_height]))
    way = (visible_middle(truth, state) - truth)[0] / size
    error = (seen - run.truth) / size
    crossed = np.linalg.norm(seen - run.truth[:, _MIRROR], axis=-1) / size
    straight = np.linalg.norm(error, axis=-1)
    apart = np.linalg.norm(run.truth - run.truth[:, _MIRROR], axis=-1) / size
    lost = np.isnan(straight).all(axis=1)
    swapped = {}
    for limb, joints in LIMBS.items():
        lower = [j for j in joints if j not in (1, 4, 11, 14)]  # hips and shoulders lie close
        told = (apart[:, lower].max(axis=1) > _APART) & ~lost
        swap = crossed[:, lower].sum(axis=1) < 0.5 * straight[:, lower].sum(axis=1)
        swapped[limb] = np.where(told, swap.astype(float), np.nan)
        error[np.ix_(told & swap, list(joints))] = np.nan
    return Measured(error, way, state[0], swapped, lost, run.rate_hz)


def fit(runs: Sequence[NoiseRun], estimator: str, fitted_on: str, seed: int = 0) -> DetectorErrors:
    """Return the errors of an estimator; raises ValueError when it hardly ever gave an output."""
    data = [measured(run) for run in runs]
    answered = sum(int((~d.lost).sum()) for d in data)
    if answered < 30:
        raise ValueError(f'{estimator} answered in {answered} frames; nothing can be fitted')
    levels = {state: _levels(data, number) for number, state in enumerate(STATES)}
    rows: dict[str, dict[str, Any]] = {}
    for number, state in enumerate(STATES):
        every = _row(data, levels[state], number, range(17))
        nearest = rows.get(STATES[number - 1], {})  # what was hardly seen is as bad as the last
        rows[state] = {
            group: _row(data, levels[state], number, joints) or every or nearest.get(group)
            for group, joints in GROUPS.items()
        }
    errors = DetectorErrors(
        estimator=estimator,
        rows=rows,
        level={state: _spread(values) for state, values in levels.items()},
        unrest={state: _unrest(data, number) for number, state in enumerate(STATES)},
        common=_common(data, levels[STATES[0]]),
        swaps={limb: _spells([d.swapped[limb] for d in data], data[0].rate_hz) for limb in LIMBS},
        missing=_missing(data),
        fitted_on=fitted_on,
    )
    return _calibrated(errors, runs, data, seed)


def simulate(
    errors: DetectorErrors, runs: Sequence[NoiseRun], repeats: int, seed: int
) -> list[Measured]:
    """Return the model's errors on the same truth, ``repeats`` times."""
    rng = np.random.default_rng(seed)
    out = []
    for run in runs:
        truth = np.repeat(run.truth[None], repeats, axis=0)
        hidden = np.repeat(run.hidden[None], repeats, axis=0)
        state = states_of(truth, hidden, np.full(repeats, run.half_height))
        seen = with_errors(truth, state, errors, run.rate_hz, rng)
        out += [measured(run, one) for one in seen]
    return out


def distances(
    data: Sequence[Measured], state: int, joints: Sequence[int] = range(17)
) -> np.ndarray:
    """Return the lengths of all errors of joints in a state, as shares of the size."""
    parts = [
        np.linalg.norm(d.error[:, j], axis=-1)[d.state[:, j] == state] for d in data for j in joints
    ]
    lengths = np.concatenate([np.zeros(0), *parts])
    return lengths[np.isfinite(lengths)]


def _levels(data: Sequence[Measured], state: int) -> list[float]:
    """Return the level of each run: the median error of a state over the usual one; NaN unknown."""
    medians = []
    for one in data:
        lengths = distances([one], state)
        medians.append(float(np.median(lengths)) if len(lengths) >= 30 else np.nan)
    known = np.log([m for m in medians if m > 0])
    usual = float(np.exp(known.mean())) if len(known) else 1.0
    return [m / usual for m in medians]


def _spread(levels: Sequence[float]) -> float:
    """Return the standard deviation of the logarithm of levels."""
    known = np.log([level for level in levels if level > 0])
    return min(float(known.std()), 1.5) if len(known) > 1 else 0.0


def _unrest(data: Sequence[Measured], state: int) -> float:
    """Return how uneven the changes of errors are over time, from mean square and median.

    For normal changes of one size the ratio is that of a Rayleigh distribution; a size with a
    logarithm of standard deviation s lowers the median by exp(-s^2), the mean square being kept.
    """
    changes = np.concatenate([np.zeros(0), *(steps(d, state) for d in data)])
    if len(changes) < _FEWEST:
        return 0.0
    changes = changes[changes < np.quantile(changes, 0.98)]  # jumps are something else
    ratio = float(np.sqrt((changes**2).mean()) / max(np.median(changes), 1e-9))
    return float(np.sqrt(np.clip(np.log(ratio * _RAYLEIGH_MEDIAN / np.sqrt(2)), 0.0, 1.5)))


def steps(one: Measured, state: int, joints: Sequence[int] = range(17)) -> np.ndarray:
    """Return the lengths of the changes of errors from frame to frame within a state."""
    inside = one.state[:, list(joints)] == state
    both = inside[1:] & inside[:-1]
    lengths = np.linalg.norm(np.diff(one.error[:, list(joints)], axis=0), axis=-1)[both]
    return lengths[np.isfinite(lengths)]


def _row(
    data: Sequence[Measured], levels: Sequence[float], state: int, joints: Sequence[int]
) -> JointErrors | None:
    """Return the errors of some joints in a state; None where too few were seen."""
    joints = list(joints)
    known = [(d, level) for d, level in zip(data, levels, strict=True) if level > 0]
    data, levels = [d for d, _ in known], [level for _, level in known]
    inside = [(d.state[:, joints] == state) & np.isfinite(d.error[:, joints, 0]) for d in data]
    if sum(int(i.sum()) for i in inside) < _FEWEST:
        return None
    error = np.concatenate([d.error[:, joints][i] for d, i in zip(data, inside, strict=True)])
    way = np.concatenate([d.way[:, joints][i] for d, i in zip(data, inside, strict=True)])
    # Weighted, so that a few wild errors do not decide: all count the same beyond the median.
    far = np.linalg.norm(error, axis=1, keepdims=True)
    weight = 1 / np.maximum(far, np.median(far))
    pull = float((weight * error * way).sum() / max(float((weight * way * way).sum()), 1e-9))
    rest = [
        np.where(i[..., None], (d.error[:, joints] - pull * d.way[:, joints]) / level, np.nan)
        for d, i, level in zip(data, inside, levels, strict=True)
    ]
    length = np.concatenate([np.linalg.norm(r, axis=-1).ravel() for r in rest])
    length = length[np.isfinite(length)]
    limit = _CORE * float(np.median(length)) / _RAYLEIGH_MEDIAN
    away = [np.linalg.norm(r, axis=-1) > limit for r in rest]
    core = [np.where(a[..., None], np.nan, r) for a, r in zip(away, rest, strict=True)]
    fixed, slow, slow_s, jitter = _parts(core, data[0].rate_hz)
    lengths = [n for a in away for column in a.T for n in _run_lengths(column)]
    # Jumps are not larger for a person who is seen badly: their lengths are not levelled.
    jumps = [
        np.linalg.norm(r, axis=-1)[a] * level
        for r, a, level in zip(rest, away, levels, strict=True)
    ]
    jump = np.concatenate(jumps)
    return JointErrors(
        pull=float(np.clip(pull, -0.5, 1.0)),
        fixed=fixed,
        slow=slow,
        slow_s=slow_s,
        jitter=jitter,
        jump_share=len(jump) / len(length),
        jump_s=_mean_length(lengths) / data[0].rate_hz if lengths else 0.1,
        jump=min(float(np.sqrt(np.mean(jump**2) / 2)), 1.0) if len(jump) else 0.0,
    )


def _parts(core: Sequence[np.ndarray], rate_hz: float) -> tuple[float, float, float, float]:
    """Return fixed, slow, its time in s, and jitter, from the covariance over time."""
    lags = [lag for lag in _LAGS if any(len(c) > lag for c in core)]
    covariance = np.array([_covariance(core, lag) for lag in lags])
    lags = [lag for lag, value in zip(lags, covariance, strict=True) if np.isfinite(value)]
    covariance = covariance[np.isfinite(covariance)]
    best: tuple[float, np.ndarray, float] | None = None
    for time_s in _TIMES_S:
        falls = np.exp(-np.array(lags) / (rate_hz * time_s))
        basis = np.stack([np.ones(len(lags)), falls, np.array(lags) == 0], axis=1)
        variances, misfit = nnls(basis, covariance)
        if best is None or misfit < best[0]:
            best = float(misfit), variances, time_s
    assert best is not None
    fixed, slow, jitter = np.sqrt(best[1])
    return float(fixed), float(slow), best[2], float(jitter)


def _covariance(core: Sequence[np.ndarray], lag: int) -> float:
    """Return the mean product of errors ``lag`` frames apart, per axis; NaN without any."""
    products = [(c[: len(c) - lag] * c[lag:]).ravel() for c in core if len(c) > lag]
    values = np.concatenate([np.zeros(0), *products])
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float('nan')


def _common(data: Sequence[Measured], levels: Sequence[float]) -> float:
    """Return how much of the variance all joints of a frame share: their mean correlation."""
    total, own = 0.0, 0.0
    for one, level in zip(data, levels, strict=True):
        if not level > 0:
            continue
        length = np.linalg.norm(one.error, axis=-1)
        usual = _CORE * np.nanmedian(length) if np.isfinite(length).any() else 0.0
        error = np.where((length < usual)[..., None], one.error / level, np.nan)
        count = np.isfinite(error[..., 0]).sum(axis=1)
        error = np.nan_to_num(error)
        squares = (error**2).sum(axis=(1, 2))
        enough = count > 1
        pairs = (error.sum(axis=1) ** 2).sum(axis=1) - squares
        total += float((pairs[enough] / (count * (count - 1))[enough]).sum())
        own += float((squares[enough] / count[enough]).sum())
    return float(np.clip(total / max(own, 1e-12), 0.0, 1.0))


def _run_lengths(flags: np.ndarray) -> list[int]:
    """Return the lengths of the runs of True in (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


def _mean_length(lengths: Sequence[int]) -> float:
    """Return the mean length of runs, from the mean over frames: crossings count little."""
    runs = np.array(lengths, float)
    return (float((runs**2).sum() / runs.sum()) + 1) / 2


def _spells(flags: Sequence[np.ndarray], rate_hz: float) -> Spells:
    """Return share and mean length of what is 1 in (T,) arrays of 1, 0 and NaN (unknown)."""
    known = np.concatenate([f[np.isfinite(f)] for f in flags])
    lengths = [n for f in flags for n in _run_lengths(f == 1)]
    share = float(known.mean()) if len(known) else 0.0
    return Spells(share, _mean_length(lengths) / rate_hz if lengths else 0.1)


def _missing(data: Sequence[Measured]) -> dict[str, Spells]:
    out = {}
    for name, wanted in (('whole', True), ('cut', False)):
        flags = []
        for d in data:
            whole = (d.state == 0).all(axis=1)
            flags.append(np.where(whole == wanted, d.lost.astype(float), np.nan))
        spell = _spells(flags, data[0].rate_hz)
        out[name] = Spells(min(spell.share, 0.95), spell.mean_s)
    return out


def _calibrated(
    errors: DetectorErrors, runs: Sequence[NoiseRun], data: Sequence[Measured], seed: int
) -> DetectorErrors:
    """Scale normal parts by the median, jumps by the 97th percentile, jitter by the median step."""
    for number in range(_ROUNDS):
        model = simulate(errors, runs, 6, seed + number)
        rows = {}
        for index, state in enumerate(STATES):
            rows[state] = {
                group: _scaled(errors.rows[state][group], data, model, index, joints)
                for group, joints in GROUPS.items()
            }
        errors = dataclasses.replace(errors, rows=rows)
    return errors


def _scaled(
    row: JointErrors,
    data: Sequence[Measured],
    model: Sequence[Measured],
    state: int,
    joints: Sequence[int],
) -> JointErrors:
    real, made = distances(data, state, joints), distances(model, state, joints)
    if len(real) < _FEWEST:
        return row
    core = _factor(np.median(real), np.median(made))
    tail = _factor(np.quantile(real, 0.97), np.quantile(made, 0.97))
    moved = [np.concatenate([steps(d, state, joints) for d in some]) for some in (data, model)]
    calm = 1.0
    if min(map(len, moved)) >= _FEWEST:
        calm = _factor(np.median(moved[0]), np.median(moved[1]))
    return dataclasses.replace(
        row,
        fixed=row.fixed * core,
        slow=row.slow * core,
        jitter=max(row.jitter, 1e-4) * calm,
        jump=min(row.jump * tail, 1.0),
    )


def _factor(real: float, made: float) -> float:
    """Return by how much to scale, not far at once."""
    return float(np.clip(real / max(made, 1e-9), 0.6, 1.6))

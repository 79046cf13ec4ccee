"""Metrics of motion and flicker of the truncation protocol v1 (section 4).

Poses are (T, J, 3) in metres at a constant rate ``fps``; units stand in the names. Differences
over frames without a value do not count. As in positions.py, ``root`` None leaves poses where they
are. Jitter has the unit of SmoothNet and its successors, 10 m/s^3, and is that of the prediction
alone; its ratio to the true jitter says whether a motion is shaky (above 1) or over-smoothed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import welch

from trpose_ros.evaluation.metrics.positions import (
    MM,
    check_pair,
    finite_mean,
    joint_errors,
    relative,
)

CUTOFF_HZ = 6.0  # human motion has little energy above
STILL_M_S = 0.05
STILL_S = 0.5
ONSET_FRAMES = 5
RECOVERED = 1.1  # times the clean error


def _difference_mm(predicted: np.ndarray, true: np.ndarray, order: int, root: int | None) -> float:
    check_pair(predicted, true)
    error = relative(predicted, root) - relative(true, root)
    steps = np.diff(error, n=order, axis=0) if len(error) > order else error[:0]
    return float(finite_mean(np.linalg.norm(steps, axis=-1))) * MM


def mpjve(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> float:
    """Return the mean error of the first difference, mm/frame."""
    return _difference_mm(predicted, true, 1, root)


def acceleration_error(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> float:
    """Return the mean error of the second difference, mm/frame^2 (Accel)."""
    return _difference_mm(predicted, true, 2, root)


def acceleration_error_m_s2(
    predicted: np.ndarray, true: np.ndarray, fps: float, root: int | None = 0
) -> float:
    """Return Accel in m/s^2."""
    return acceleration_error(predicted, true, root) / MM * fps**2


def jitter(poses: np.ndarray, fps: float, root: int | None = 0) -> float:
    """Return the mean size of the third derivative, in 10 m/s^3."""
    poses = relative(poses, root)
    jerk = np.diff(poses, n=3, axis=0) if len(poses) > 3 else poses[:0]
    return float(finite_mean(np.linalg.norm(jerk, axis=-1))) * fps**3 / 10.0


def jitter_ratio(
    predicted: np.ndarray, true: np.ndarray, fps: float, root: int | None = 0
) -> float:
    """Return jitter over the true jitter: 1 is ideal, below 1 over-smoothed."""
    reference = jitter(true, fps, root)
    return jitter(predicted, fps, root) / reference if reference > 0 else float('nan')


def high_frequency_ratio(
    predicted: np.ndarray,
    true: np.ndarray,
    fps: float,
    root: int | None = 0,
    cutoff_hz: float = CUTOFF_HZ,
) -> np.ndarray:
    """Return (J,) energy of the error above ``cutoff_hz`` over energy of the truth above it.

    Welch's periodograms with windows of two seconds (shorter clips: the clip), without detrending
    beyond the mean. Each joint is measured over its longest run of finite frames; NaN for runs
    below 8 frames, for a rate that cannot show the cut-off, and for the root itself.
    """
    check_pair(predicted, true)
    predicted, true = relative(predicted, root), relative(true, root)
    joints = true.shape[1]
    ratio = np.full(joints, np.nan)
    if fps <= 2 * cutoff_hz:
        return ratio
    known = np.isfinite(predicted).all(-1) & np.isfinite(true).all(-1)
    runs = [_longest_run(known[:, j]) for j in range(joints)]
    for run in set(runs):
        columns = [j for j in range(joints) if runs[j] == run]
        part = slice(*run)
        if run[1] - run[0] < 8:
            continue
        noise = _energy_above(predicted[part, columns] - true[part, columns], fps, cutoff_hz)
        signal = _energy_above(true[part, columns], fps, cutoff_hz)
        good = signal > 1e-18
        ratio[np.array(columns)[good]] = noise[good] / signal[good]
    return ratio


def _energy_above(signal: np.ndarray, fps: float, cutoff_hz: float) -> np.ndarray:
    """Return (J,) the power of signals (T, J, 3) above the cut-off."""
    window = min(len(signal), max(8, round(2 * fps)))
    frequency, density = welch(signal, fps, nperseg=window, axis=0, detrend='constant')
    return density[frequency > cutoff_hz].sum(axis=(0, 2))


def _longest_run(flags: np.ndarray) -> tuple[int, int]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    starts, stops = edges[::2], edges[1::2]
    if starts.size == 0:
        return 0, 0
    best = int((stops - starts).argmax())
    return int(starts[best]), int(stops[best])


def static_std(
    predicted: np.ndarray,
    true: np.ndarray,
    fps: float,
    root: int | None = 0,
) -> float:
    """Return how much joints tremble while they are truly still, mm.

    Over every window of 0.5 s in which the true joint stays slower than 50 mm/s: the standard
    deviation of the predicted joint in 3D, averaged over windows and joints; NaN without any.
    """
    check_pair(predicted, true)
    predicted, true = relative(predicted, root), relative(true, root)
    length = max(2, round(STILL_S * fps))
    if len(true) < length:
        return float('nan')
    speed = np.linalg.norm(np.diff(true, axis=0), axis=-1) * fps
    still = np.lib.stride_tricks.sliding_window_view(speed < STILL_M_S, length - 1, axis=0)
    slow = np.asarray(still.all(-1))
    windows = np.lib.stride_tricks.sliding_window_view(predicted, length, axis=0)
    deviation = np.sqrt(windows.var(axis=-1).sum(axis=-1))  # (T - length + 1, J)
    if root is not None:
        slow[:, root] = False  # the root is zero by definition
    return float(finite_mean(np.where(slow, deviation, np.nan))) * MM


def onset_step(
    predicted: np.ndarray,
    true: np.ndarray,
    hidden: np.ndarray,
    root: int | None = 0,
) -> float:
    """Return the jump at the moment a joint becomes hidden or visible, mm/frame.

    For every change of ``hidden`` (T, J): the largest error of the first difference within five
    frames of it; the mean over all changes, NaN without any.
    """
    check_pair(predicted, true)
    hidden = _checked_hidden(hidden, true)
    if len(true) < 2:
        return float('nan')
    error = relative(predicted, root) - relative(true, root)
    steps = np.linalg.norm(np.diff(error, axis=0), axis=-1) * MM  # (T - 1, J)
    padded = np.pad(
        np.where(np.isfinite(steps), steps, -np.inf),
        ((ONSET_FRAMES, ONSET_FRAMES), (0, 0)),
        constant_values=-np.inf,
    )
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * ONSET_FRAMES + 1, axis=0).max(-1)
    changes = hidden[1:] != hidden[:-1]
    if root is not None:
        changes[:, root] = False
    largest = near[changes]
    return float(finite_mean(largest))


@dataclass(frozen=True)
class Recovery:
    """How long errors outlast an occlusion."""

    events: int  # re-appearances
    recovered_percent: float  # of them, before the joint is hidden again or the clip ends
    frames: float  # mean length; those that did not recover count with the time they had


def recovery(
    predicted: np.ndarray,
    true: np.ndarray,
    hidden: np.ndarray,
    clean_mm: np.ndarray | float,
    root: int | None = 0,
) -> Recovery:
    """Return the time from re-appearance until a joint's error is below 1.1 x its clean level.

    hidden is (T, J) bool; ``clean_mm`` is the clean error of each joint (J,) or of all.
    """
    errors = joint_errors(predicted, true, root)
    hidden = _checked_hidden(hidden, true)
    level = np.broadcast_to(np.asarray(clean_mm, np.float64), errors.shape[1:]) * RECOVERED
    lengths, recovered = [], 0
    for joint in range(errors.shape[1]):
        if joint == root:
            continue
        shown = np.flatnonzero(hidden[:-1, joint] & ~hidden[1:, joint]) + 1
        hides = np.flatnonzero(~hidden[:-1, joint] & hidden[1:, joint]) + 1
        for start in shown:
            later = hides[hides > start]
            stop = int(later[0]) if later.size else len(errors)
            good = np.flatnonzero(errors[start:stop, joint] < level[joint])
            recovered += bool(good.size)
            lengths.append(int(good[0]) if good.size else stop - int(start))
    if not lengths:
        return Recovery(0, float('nan'), float('nan'))
    return Recovery(len(lengths), 100.0 * recovered / len(lengths), float(np.mean(lengths)))


def _checked_hidden(hidden: np.ndarray, true: np.ndarray) -> np.ndarray:
    hidden = np.asarray(hidden, dtype=bool)
    if hidden.shape != np.shape(true)[:2]:
        raise ValueError(f'hidden must be {np.shape(true)[:2]}, got shape {hidden.shape}')
    return hidden


def effective_lag_ms(
    predicted: np.ndarray,
    true: np.ndarray,
    fps: float,
    root: int | None = 0,
    max_lag_s: float = 1.0,
) -> float:
    """Return by how many ms the prediction follows the truth (negative: it leads).

    The lag, in whole frames, at which the velocities correlate best. NaN for clips that are too
    short or motionless.
    """
    check_pair(predicted, true)
    if len(true) < 3:
        return float('nan')
    first = np.diff(relative(predicted, root), axis=0)
    second = np.diff(relative(true, root), axis=0)
    first, second = (np.nan_to_num(v).reshape(len(v), -1) for v in (first, second))
    most = min(round(max_lag_s * fps), len(first) - 2)
    if most < 0 or not first.any() or not second.any():
        return float('nan')
    best, best_lag = -np.inf, 0
    for lag in sorted(range(-most, most + 1), key=abs):  # of equals the smallest
        a = first[max(lag, 0) : len(first) + min(lag, 0)]
        b = second[max(-lag, 0) : len(second) - max(lag, 0)]
        size = np.sqrt((a * a).sum() * (b * b).sum())
        value = (a * b).sum() / size if size > 0 else -np.inf
        if value > best + 1e-12:
            best, best_lag = value, lag
    return 1000.0 * best_lag / fps

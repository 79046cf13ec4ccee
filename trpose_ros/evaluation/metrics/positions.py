"""Position metrics of the truncation protocol v1 (section 4), vectorised over frames.

Poses are (T, J, 3) in metres, results in mm unless stated. ``root`` is the joint that both poses
are made relative to (protocol v1: the root), or None to leave the poses where they are. NaN means
"no value": such joints do not count, and a mean over nothing is NaN.

MPJPE as in Ionescu et al. 2014, P-MPJPE after a similarity transform (Procrustes; Umeyama 1991
guards against reflections), N-MPJPE after scaling (Rhodin et al. 2018), PCK and AUC as in
Mehta et al. 2017.
"""

from __future__ import annotations

import numpy as np

MM = 1000.0
PCK_MM = 150.0
FAILURE_MM = 150.0
AUC_THRESHOLDS_MM = np.arange(0.0, 151.0, 5.0)


def finite_mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    """Return the mean of the finite values; NaN, without a warning, where there is none."""
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def relative(poses: np.ndarray, root: int | None) -> np.ndarray:
    """Return poses (..., J, 3) as float64, relative to joint ``root`` unless it is None."""
    poses = np.asarray(poses, dtype=np.float64)
    return poses if root is None else poses - poses[..., root : root + 1, :]


def check_pair(predicted: np.ndarray, true: np.ndarray) -> None:
    """Raise ValueError unless both are (..., J, 3) of the same shape."""
    if np.shape(predicted) != np.shape(true) or np.ndim(true) < 2 or np.shape(true)[-1] != 3:
        raise ValueError(
            f'predicted and true poses must both be (T, J, 3), got {np.shape(predicted)} and '
            f'{np.shape(true)}'
        )


def joint_errors(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> np.ndarray:
    """Return the distance (T, J) of each joint from the truth, mm."""
    check_pair(predicted, true)
    return np.linalg.norm(relative(predicted, root) - relative(true, root), axis=-1) * MM


def frame_errors(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> np.ndarray:
    """Return the mean joint error (T,) of each frame, mm: MPJPE before the mean over frames."""
    return finite_mean(joint_errors(predicted, true, root), axis=-1)


def mpjpe(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> float:
    """Return the mean per-joint position error, mm, over all joints and frames."""
    return float(finite_mean(joint_errors(predicted, true, root)))


def procrustes(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return predicted poses (T, J, 3) after the best similarity transform of each frame.

    Least squares over rotation (never a reflection), scale and translation, using the joints that
    both have; frames with fewer than three of them are NaN, joints without value stay NaN.
    """
    check_pair(predicted, true)
    predicted, true = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    known = np.isfinite(predicted).all(-1) & np.isfinite(true).all(-1)
    weight = known[..., None].astype(np.float64)
    count = np.maximum(weight.sum(axis=-2, keepdims=True), 1.0)
    x, y = np.where(known[..., None], predicted, 0.0), np.where(known[..., None], true, 0.0)
    mean_x, mean_y = (x.sum(-2, keepdims=True) / count), (y.sum(-2, keepdims=True) / count)
    x, y = (x - mean_x) * weight, (y - mean_y) * weight
    u, s, vt = np.linalg.svd(np.swapaxes(x, -1, -2) @ y)
    sign = np.sign(np.linalg.det(u @ vt))
    signs = np.ones_like(s)
    signs[..., -1] = np.where(sign < 0, -1.0, 1.0)
    rotation = (u * signs[..., None, :]) @ vt  # x @ rotation is nearest to y
    size = (x**2).sum(axis=(-1, -2))
    scale = np.where(size > 0, (s * signs).sum(-1) / np.where(size > 0, size, 1.0), 0.0)
    aligned = scale[..., None, None] * ((np.asarray(predicted) - mean_x) @ rotation) + mean_y
    aligned[known.sum(-1) < 3] = np.nan
    return aligned


def p_mpjpe(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return MPJPE, mm, after aligning each frame with a similarity transform."""
    return mpjpe(procrustes(predicted, true), true, root=None)


def n_mpjpe(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> float:
    """Return MPJPE, mm, after scaling each frame's prediction by the best factor."""
    check_pair(predicted, true)
    predicted, true = relative(predicted, root), relative(true, root)
    known = (np.isfinite(predicted) & np.isfinite(true)).all(-1, keepdims=True)
    x, y = np.where(known, predicted, 0.0), np.where(known, true, 0.0)
    size, overlap = (x * x).sum(axis=(-1, -2)), (x * y).sum(axis=(-1, -2))
    scale = overlap / np.where(size > 0, size, 1.0)
    return mpjpe(scale[..., None, None] * predicted, true, root=None)


def abs_mpjpe(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return MPJPE, mm, in the camera frame: nothing is subtracted or aligned."""
    return mpjpe(predicted, true, root=None)


def mrpe(predicted: np.ndarray, true: np.ndarray, root: int = 0) -> float:
    """Return the mean distance of the root joint from the truth, mm."""
    return float(finite_mean(joint_errors(predicted, true, None)[..., root]))


def pck(
    predicted: np.ndarray,
    true: np.ndarray,
    threshold_mm: float = PCK_MM,
    root: int | None = 0,
) -> float:
    """Return the share of joints that are nearer to the truth than the threshold, in %."""
    errors = joint_errors(predicted, true, root)
    known = np.isfinite(errors)
    return float(finite_mean(np.where(known, errors < threshold_mm, np.nan))) * 100.0


def auc(predicted: np.ndarray, true: np.ndarray, root: int | None = 0) -> float:
    """Return the mean of PCK, %, over the thresholds 0, 5, ..., 150 mm."""
    errors = joint_errors(predicted, true, root)
    errors = errors[np.isfinite(errors)]
    if errors.size == 0:
        return float('nan')
    below = np.searchsorted(np.sort(errors), AUC_THRESHOLDS_MM, side='left')
    return float(below.mean() / errors.size) * 100.0


def split_mpjpe(
    predicted: np.ndarray, true: np.ndarray, hidden: np.ndarray, root: int | None = 0
) -> tuple[float, float]:
    """Return MPJPE, mm, over the visible and over the occluded joints; hidden is (T, J) bool."""
    errors = joint_errors(predicted, true, root)
    hidden = np.asarray(hidden, dtype=bool)
    if hidden.shape != errors.shape:
        raise ValueError(f'hidden must be {errors.shape}, got shape {hidden.shape}')
    return float(finite_mean(errors[~hidden])), float(finite_mean(errors[hidden]))


def cvar(errors: np.ndarray, share: float = 0.05) -> float:
    """Return the mean of the worst ``share`` of the finite errors (at least one of them).

    CVaR95 of frame errors with the default share. Raises ValueError for a share outside (0, 1].
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f'share must lie in (0, 1], got {share}')
    errors = np.asarray(errors, np.float64).ravel()
    errors = np.sort(errors[np.isfinite(errors)])
    if errors.size == 0:
        return float('nan')
    # 0.05 * 40 is 2.0000000000000004 for a computer: round before taking the ceiling
    worst = int(np.ceil(round(share * errors.size, 9)))
    return float(errors[-worst:].mean())


def failure_rate(errors: np.ndarray, threshold_mm: float = FAILURE_MM) -> float:
    """Return the share, %, of the finite frame errors (mm) above the threshold."""
    errors = np.asarray(errors, np.float64)
    known = np.isfinite(errors)
    return float(finite_mean(np.where(known, errors > threshold_mm, np.nan))) * 100.0


def retention(occluded_mm: float, clean_mm: float) -> float:
    """Return how many times as large the error is under occlusion (1: nothing lost)."""
    return float(occluded_mm / clean_mm) if clean_mm > 0 else float('nan')


def severity_area(severities: np.ndarray, errors_mm: np.ndarray) -> float:
    """Return the area under the severity curve over its width: a mean error, mm.

    severities (S,) in any order, errors (S,); the trapezoidal rule. One severity alone gives its
    error.
    """
    order = np.argsort(severities)
    x, y = np.asarray(severities, np.float64)[order], np.asarray(errors_mm, np.float64)[order]
    if x.size == 0:
        return float('nan')
    width = x[-1] - x[0]
    if width <= 0:
        return float(y.mean())
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / width)

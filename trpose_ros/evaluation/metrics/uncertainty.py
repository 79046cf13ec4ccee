"""Does a predicted uncertainty say something about the error? (protocol v1, section 4)."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2, spearmanr

LEVELS = (0.5, 0.9, 0.95)


def spearman(sigmas: np.ndarray, errors: np.ndarray) -> float:
    """Return the rank correlation of predicted sigma and error; NaN without variation."""
    sigmas, errors = _pairs(sigmas, errors)
    if sigmas.size < 2 or np.ptp(sigmas) == 0 or np.ptp(errors) == 0:
        return float('nan')
    return float(spearmanr(sigmas, errors).statistic)


def ause(sigmas: np.ndarray, errors: np.ndarray, steps: int = 100) -> float:
    """Return the area under the sparsification error, 0 for a perfect ranking.

    The worst by sigma are removed in ``steps`` shares from none to all but one share; the mean
    error of the rest, over the mean of all, is compared with removing the worst by true error
    (Ilg et al. 2018). NaN without a positive error.
    """
    sigmas, errors = _pairs(sigmas, errors)
    if errors.size == 0 or errors.sum() <= 0:
        return float('nan')
    kept = np.maximum(1, np.ceil(errors.size * (1 - np.arange(steps) / steps)).astype(int))
    curves = []
    for key in (sigmas, errors):
        ordered = errors[np.argsort(key, kind='stable')]
        curves.append((np.cumsum(ordered) / np.arange(1, ordered.size + 1))[kept - 1])
    return float((curves[0] - curves[1]).mean() / errors.mean())


def ellipsoid_coverage(
    errors_m: np.ndarray, covariances_m2: np.ndarray, levels: tuple[float, ...] = LEVELS
) -> np.ndarray:
    """Return the share, %, of errors inside the predicted ellipsoid of each level.

    errors_m is (..., 3), predicted minus true; covariances (..., 3, 3); or ellipses, (..., 2) and
    (..., 2, 2) in pixels. Ideal: the level itself. Values and covariances that are not finite, and
    singular covariances, do not count.
    """
    size = np.shape(errors_m)[-1]
    errors = np.asarray(errors_m, np.float64).reshape(-1, size)
    covariances = np.asarray(covariances_m2, np.float64).reshape(-1, size, size)
    known = np.isfinite(errors).all(-1) & np.isfinite(covariances).all((-1, -2))
    errors, covariances = errors[known], covariances[known]
    regular = np.linalg.det(covariances) > 0
    errors, covariances = errors[regular], covariances[regular]
    if not len(errors):
        return np.full(len(levels), np.nan)
    solved = np.linalg.solve(covariances, errors[..., None])[..., 0]
    squared = (errors * solved).sum(-1)
    return np.array([(squared <= chi2.ppf(level, size)).mean() * 100.0 for level in levels])


def projected_covariances(
    covariances_m2: np.ndarray, joints_m: np.ndarray, matrices: np.ndarray
) -> np.ndarray:
    """Return covariances (..., 2, 2) px2 in the image, to first order.

    Of joints (..., 3) in the camera's frame with covariances (..., 3, 3), of the same length unit,
    seen by pinhole cameras with matrices (..., 3, 3). What a covariance says along the line of
    sight does not show. Joints that are not before the camera give NaN.
    """
    joints, covariances = np.asarray(joints_m, np.float64), np.asarray(covariances_m2, np.float64)
    depth = np.where(joints[..., 2] > 0, joints[..., 2], np.nan)
    ray = joints[..., :2] / depth[..., None]
    jacobian = np.zeros((*joints.shape[:-1], 2, 3))
    jacobian[..., 0, 0] = jacobian[..., 1, 1] = 1.0
    jacobian[..., 2] = -ray
    jacobian = np.asarray(matrices, np.float64)[..., :2, :2] @ jacobian / depth[..., None, None]
    return np.asarray(jacobian @ covariances @ jacobian.swapaxes(-1, -2))


def _pairs(sigmas: np.ndarray, errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sigmas, errors = np.asarray(sigmas, np.float64).ravel(), np.asarray(errors, np.float64).ravel()
    if sigmas.shape != errors.shape:
        raise ValueError(f'{sigmas.size} sigmas do not fit {errors.size} errors')
    known = np.isfinite(sigmas) & np.isfinite(errors)
    return sigmas[known], errors[known]

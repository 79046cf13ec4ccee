"""All measures of one person in one sequence under one condition: a row of the results table.

Names end in their unit. Poses are those of Joined.held_m, so frames without output count with the
last one; ``coverage_percent`` says how often that happened. MPJPE and everything without ``abs_``
or ``mrpe`` is relative to the root.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.evaluation.metrics import bodies, motion, uncertainty
from trpose_ros.evaluation.metrics import positions as metrics
from trpose_ros.evaluation.metrics.join import Joined

ABSOLUTE = ('abs_mpjpe_mm', 'mrpe_mm', 'abs_accel_mm_frame2', 'foot_sliding_mm_frame')


def measure(
    joined: Joined,
    fps: float,
    hidden: np.ndarray | None = None,
    clean_joint_mm: np.ndarray | None = None,
) -> dict[str, float]:
    """Return every measure by name; NaN where it cannot be taken.

    ``hidden`` (T, J) bool says which joints an occlusion hides; ``clean_joint_mm`` (J,) is the
    joint's mean error without occlusion, which the recovery time is measured against.
    """
    if hidden is None:
        hidden = np.zeros(joined.true_m.shape[:2], bool)
    row = _positions(joined, hidden)
    row |= _motions(joined, fps)
    row |= _occlusion_edges(joined, hidden, clean_joint_mm)
    row |= _bodies(joined, fps)
    row |= _uncertainties(joined)
    if not joined.held_m[:, joined.root].any():
        # A root that never leaves the origin is no position: the skeletons are relative ones.
        for name in ABSOLUTE:
            row[name] = float('nan')
    return row


def joint_means(joined: Joined) -> np.ndarray:
    """Return the mean error (J,) of each joint, mm."""
    return metrics.finite_mean(
        metrics.joint_errors(joined.held_m, joined.true_m, joined.root), axis=0
    )


def _positions(joined: Joined, hidden: np.ndarray) -> dict[str, float]:
    held, true, root = joined.held_m, joined.true_m, joined.root
    frames = metrics.frame_errors(held, true, root)
    visible, occluded = metrics.split_mpjpe(held, true, hidden, root)
    return {
        'frames': len(true),
        'coverage_percent': 100.0 * joined.coverage,
        'hidden_percent': 100.0 * float(metrics.finite_mean(hidden)),
        'mpjpe_mm': metrics.mpjpe(held, true, root),
        'mpjpe_visible_mm': visible,
        'mpjpe_occluded_mm': occluded,
        'mpjpe_output_mm': metrics.mpjpe(joined.output_m, true, root),
        'p_mpjpe_mm': metrics.p_mpjpe(held, true),
        'n_mpjpe_mm': metrics.n_mpjpe(held, true, root),
        'abs_mpjpe_mm': metrics.abs_mpjpe(held, true),
        'mrpe_mm': metrics.mrpe(held, true, root),
        'pck150_percent': metrics.pck(held, true, root=root),
        'auc_percent': metrics.auc(held, true, root=root),
        'cvar95_mm': metrics.cvar(frames),
        'failure_percent': metrics.failure_rate(frames),
    }


def _motions(joined: Joined, fps: float) -> dict[str, float]:
    held, true, root = joined.held_m, joined.true_m, joined.root
    return {
        'mpjve_mm_frame': motion.mpjve(held, true, root),
        'accel_mm_frame2': motion.acceleration_error(held, true, root),
        'accel_m_s2': motion.acceleration_error_m_s2(held, true, fps, root),
        'abs_accel_mm_frame2': motion.acceleration_error(held, true, None),
        'jitter_10m_s3': motion.jitter(held, fps, root),
        'jitter_ratio': motion.jitter_ratio(held, true, fps, root),
        'high_frequency_ratio': float(
            metrics.finite_mean(motion.high_frequency_ratio(held, true, fps, root))
        ),
        'static_std_mm': motion.static_std(held, true, fps, root),
        'lag_ms': motion.effective_lag_ms(held, true, fps, root),
    }


def _occlusion_edges(
    joined: Joined, hidden: np.ndarray, clean_joint_mm: np.ndarray | None
) -> dict[str, float]:
    held, true, root = joined.held_m, joined.true_m, joined.root
    row = {
        'onset_step_mm_frame': motion.onset_step(held, true, hidden, root),
        'recovery_frames': float('nan'),
        'recovered_percent': float('nan'),
    }
    if clean_joint_mm is not None:
        result = motion.recovery(held, true, hidden, clean_joint_mm, root)
        row['recovery_frames'], row['recovered_percent'] = result.frames, result.recovered_percent
    return row


def _bodies(joined: Joined, fps: float) -> dict[str, float]:
    held, true, name = joined.held_m, joined.true_m, joined.skeleton
    return {
        'bone_cv_percent': bodies.bone_variation(held, name),
        'asymmetry_mm': bodies.asymmetry(held, name),
        'implausible_percent': bodies.implausible_frames(held, true, name),
        'foot_sliding_mm_frame': bodies.foot_sliding(held, true, name, fps),
    }


def _uncertainties(joined: Joined) -> dict[str, float]:
    difference = joined.output_m - joined.true_m
    errors = np.linalg.norm(difference, axis=-1)
    sigmas = np.sqrt(np.trace(joined.covariances_m2, axis1=-2, axis2=-1) / 3.0)
    inside = uncertainty.ellipsoid_coverage(difference, joined.covariances_m2)
    row = {
        'sigma_spearman': uncertainty.spearman(sigmas, errors),
        'sigma_ause': uncertainty.ause(sigmas, errors),
    }
    for level, share in zip(uncertainty.LEVELS, inside, strict=True):
        row[f'inside{round(100 * level)}_percent'] = float(share)
    return row

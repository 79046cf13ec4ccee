"""Methods in words: what stands in the tables, plots and videos of a report."""

from __future__ import annotations

from collections.abc import Iterable

from trpose_ros.evaluation.study import is_baseline, method_of
from trpose_ros.evaluation.truth_source import TRUTH_2D

Method = tuple[str, str]  # estimator and lifter, as in the results

_UNITS = {
    'mm_frame2': 'mm/frame²',
    'mm_frame': 'mm/frame',
    'percent': '%',
    'mm': 'mm',
    'ms': 'ms',
    'frames': 'frames',
}
_WORDS = {
    'mpjpe_occluded_mm': 'MPJPE, occluded joints, mm',
    'mpjpe_visible_mm': 'MPJPE, visible joints, mm',
    'cvar95_mm': 'CVaR95, mm',
    'mrpe_mm': 'MRPE, mm',
    'accel_mm_frame2': 'Accel, mm/frame²',
    'bone_cv_percent': 'bone CV, %',
    'look_ahead': 'look-ahead, frames',
}


def source_of(estimator: str) -> str:
    """Return what gave the 2D joints: 'MeTRAbs', 'baseline', 'true' or the name itself."""
    if is_baseline(estimator):
        return 'baseline'
    if estimator.partition(':')[0] == TRUTH_2D:
        return 'true'
    return 'MeTRAbs' if 'metrabs' in estimator.lower() else estimator


def label_of(method: Method) -> str:
    """Return a method in words: 'MixSTE + fusion (MeTRAbs 2D)', 'MeTRAbs alone'."""
    estimator, lifter = method
    source = source_of(estimator)
    if lifter == 'none':
        return f'{source} alone'
    return f'{method_of(lifter)} ({source} 2D)'


def labels_of(methods: Iterable[Method]) -> dict[Method, str]:
    """Return labels that differ: look-ahead or weights are added where words alone do not tell."""
    methods = list(dict.fromkeys(methods))
    plain = {method: label_of(method) for method in methods}
    labels = {}
    for method, label in plain.items():
        twins = [other for other in methods if plain[other] == label]
        if len(twins) > 1:
            label = f'{label} {_details(method, [t for t in twins if t != method])}'.strip()
        labels[method] = label
    return labels


def _details(method: Method, twins: list[Method]) -> str:
    estimator, lifter = method
    parts = []
    if any(twin[0] != estimator for twin in twins):
        parts.append(estimator)
    if any(twin[1] != lifter for twin in twins):
        text = lifter.partition('+')[0]
        parts.append(text.partition(':')[2] or text.partition('@')[2] or 'own look-ahead')
    return f'[{", ".join(parts)}]' if parts else ''


def column_name(name: str) -> str:
    """Return a column of a table in words: 'fixed_upper' is 'fixed upper'."""
    if name in _WORDS:
        return _WORDS[name]
    for suffix, unit in _UNITS.items():
        if name.endswith(f'_{suffix}') or (suffix == 'frames' and name.endswith('_frames')):
            words = name.removesuffix(f'_{suffix}').replace('_', ' ')
            return f'{words}, {unit}'
    return name.replace('_', ' ')

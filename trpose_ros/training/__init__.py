"""Training: everything needed to make the shipped weights again.

Offline: nothing of the live path imports this package. A trainer is a function that takes command
line arguments; it registers under the name of what it trains, and its module is imported when it
is asked for, because each needs the extra ``[train]``.

Imports: vocabulary, weights, runtimes, metrabs.
"""

from __future__ import annotations

from collections.abc import Callable

from trpose_ros.registry import Registry


class TrainingError(RuntimeError):
    """A run ended too early; the message says why, and what is left of it."""


TRAINERS: Registry[Callable[[list[str] | None], None]] = Registry(
    'network',
    {
        'metrabs': 'trpose_ros.training.metrabs.trainer',
        'uncertainty': 'trpose_ros.training.metrabs.uncertainty',
        'videopose3d': 'trpose_ros.training.lifters.videopose3d',
        'mhformer': 'trpose_ros.training.lifters.mhformer',
        'mixste': 'trpose_ros.training.lifters.mixste',
        'pstmo': 'trpose_ros.training.lifters.pstmo',
        'noise': 'trpose_ros.training.lifters.noise',
        'refinement': 'trpose_ros.training.refinement.trainer',
    },
)

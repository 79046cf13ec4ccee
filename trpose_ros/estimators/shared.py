"""One estimator for several cameras in one process: loaded once, asked by one at a time.

Networks take all cores of a processor, or the GPU, for each frame: two cameras that ask at the same
time would not be answered sooner. What is shared is the memory, and the time of loading. Frames of
different cameras are not put into one batch: they come at different times.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from trpose_ros.estimators.base import Estimator, EstimatorConfig, create_estimator
from trpose_ros.people import Frame, People


class SharedEstimators:
    """Makes estimators; those of the same name and settings are one."""

    def __init__(
        self, create: Callable[[str, EstimatorConfig], Estimator] = create_estimator
    ) -> None:
        self._create = create
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, EstimatorConfig], tuple[Estimator, threading.Lock, int]] = {}

    def __call__(self, name: str, config: EstimatorConfig) -> SharedEstimator:
        """Return an estimator to use and close like one's own; raises as ``create_estimator``."""
        key = name, config
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._create(name, config), threading.Lock(), 0
            estimator, turn, users = self._kept[key]
            self._kept[key] = estimator, turn, users + 1
        return SharedEstimator(estimator, turn, lambda: self._give_back(key))

    def _give_back(self, key: tuple[str, EstimatorConfig]) -> None:
        with self._lock:
            estimator, turn, users = self._kept[key]
            self._kept[key] = estimator, turn, users - 1
            if users == 1:
                del self._kept[key]
                estimator.close()


class SharedEstimator:
    """An estimator that others use, too."""

    def __init__(
        self, estimator: Estimator, turn: threading.Lock, give_back: Callable[[], None]
    ) -> None:
        self._estimator, self._turn = estimator, turn
        self._give_back: Callable[[], None] | None = give_back

    def __getattr__(self, name: str) -> Any:
        """Return what the estimator itself has."""
        return getattr(self._estimator, name)

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Estimate when it is this camera's turn."""
        with self._turn:
            return self._estimator.estimate(frame, boxes_px)

    def close(self) -> None:
        """Free the model when nobody else uses it; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

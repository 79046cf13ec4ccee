"""Estimators: image and boxes in, people out; a registry by name.

An estimator turns one frame and the boxes of people in it into People: 2D joints in pixels of the
image, metric 3D joints in the camera frame (NaN from a 2D estimator: a lifter and the fit of its
root, lifters/root.py, give 3D then). Boxes come from a tracker or from a box source
(boxes.py). People whom it cannot estimate are left out and counted by reason in ``skipped``;
bad boxes or hopeless images never raise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.people import Frame, People


class Estimator(Protocol):
    """What every estimator offers."""

    name: str
    skeleton: str  # a name in skeletons.SKELETONS
    weights_id: str
    licence: str  # of the weights
    metric_3d: bool  # whether it gives joints_m at all

    @property
    def skipped(self) -> Mapping[str, int]:
        """People left out since the start, by reason."""
        ...

    def estimate(self, frame: Frame, boxes_px: np.ndarray) -> People:
        """Return the people in the boxes (N, 4) x, y, w, h px; at most N rows, in order."""
        ...

    def close(self) -> None:
        """Free the model; the estimator must not be used afterwards."""
        ...


@dataclass(frozen=True)
class EstimatorConfig:
    """Settings of an estimator; fields that a kind does not have are ignored by it."""

    model: str = setting(
        'auto',
        "weights: 'auto' (metrabs-m on a GPU or a processor with bfloat16, else "
        'metrabs-s), a name shown by `trpose weights list`, a .safetensors file, or the '
        'folder of a published MeTRAbs package (PyTorch) or SavedModel (TensorFlow)',
    )
    skeleton: str = setting(
        '', "skeleton to return where the model knows several; '' = its default"
    )
    device: str = setting('auto', "'auto' (CUDA when there is one), 'cpu', 'cuda' or 'cuda:N'")
    num_aug: int = setting(1, 'variants of each crop (test-time augmentation)', range=(1, 32))
    precision: str = setting(
        'auto',
        "number format of the backbone; 'auto' = the fastest that keeps accuracy",
        choices=('auto', 'float32', 'bfloat16', 'float16'),
    )
    runtime: str = setting(
        'auto',
        "what runs the network on a processor; 'auto' = OpenVINO where it is "
        'installed, else PyTorch, which also runs it on a GPU',
        choices=('auto', 'torch', 'openvino'),
    )
    threads: int = setting(0, 'CPU threads of the network; 0 = leave as it is', range=(0, 256))
    batch_size: int = setting(64, 'crops per call of the network', range=(1, 1024))
    antialias: int = setting(
        1, 'render crops this many times larger and average (published models)', range=(1, 8)
    )
    compatible: bool = setting(
        False,
        'repeat the original MeTRAbs exactly: normalisation over the whole batch, '
        'its warps, its augmentation table',
    )
    suppress_implausible: bool = setting(True, 'drop poses whose variants disagree, and duplicates')

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)
        if not self.model:
            raise ValueError('model must name weights, got an empty string')
        kind = self.device.partition(':')[0]
        if kind not in ('auto', 'cpu', 'cuda'):
            raise ValueError(
                f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {self.device!r}"
            )


Factory = Callable[[EstimatorConfig], Estimator]
ESTIMATORS: dict[str, Factory] = {}


def register_estimator(name: str) -> Callable[[Factory], Factory]:
    """Return a decorator that files a factory under ``name``."""

    def register(factory: Factory) -> Factory:
        ESTIMATORS[name] = factory
        return factory

    return register


def create_estimator(name: str, config: EstimatorConfig | None = None) -> Estimator:
    """Load an estimator.

    Raises ValueError for an unknown name and weights.WeightsError when the weights are missing,
    corrupt or for another architecture.
    """
    if name not in ESTIMATORS:
        raise ValueError(f'unknown estimator {name!r}; known are {sorted(ESTIMATORS)}')
    return ESTIMATORS[name](config or EstimatorConfig())


@register_estimator('metrabs_torch')
def _metrabs_torch(config: EstimatorConfig) -> Estimator:
    from trpose_ros.estimators.metrabs_torch import MetrabsTorch  # imports torch

    return MetrabsTorch(config)


@register_estimator('metrabs_tensorflow')
def _metrabs_tensorflow(config: EstimatorConfig) -> Estimator:
    from trpose_ros.estimators.metrabs_tensorflow import MetrabsTensorflow  # TensorFlow: slow

    return MetrabsTensorflow(config)


@register_estimator('movenet')
def _movenet(config: EstimatorConfig) -> Estimator:
    from trpose_ros.estimators.movenet import MoveNetEstimator  # imports torch

    return MoveNetEstimator(config)

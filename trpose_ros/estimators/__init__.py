"""Estimators: image and boxes in, people out; a registry by name, and sources of boxes.

``create_estimator(NAME, EstimatorConfig(...))`` loads one; ``base`` says what each offers.
Imports the vocabulary, weights, runtimes, metrabs and movenet. Importing this room needs neither
torch nor TensorFlow.
"""

from trpose_ros.estimators.base import (
    ESTIMATORS,
    Estimator,
    EstimatorConfig,
    create_estimator,
)

__all__ = ['ESTIMATORS', 'Estimator', 'EstimatorConfig', 'create_estimator']

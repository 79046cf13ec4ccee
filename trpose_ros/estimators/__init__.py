"""Estimators: image and boxes in, people out; a registry by name, and sources of boxes.

``create_estimator(NAME, EstimatorConfig(...))`` loads one; ``base`` says what each offers,
``shared`` lends one to several cameras.
Importing this room needs neither torch nor TensorFlow.

Imports: vocabulary, weights, runtimes, metrabs, movenet.
"""

from trpose_ros.estimators.base import (
    ESTIMATORS,
    Estimator,
    EstimatorConfig,
    create_estimator,
)

__all__ = ['ESTIMATORS', 'Estimator', 'EstimatorConfig', 'create_estimator']

"""Estimators: image and boxes in, people out; a registry by name, and sources of boxes.

``create_estimator(NAME, EstimatorConfig(...))`` loads one; ``base`` says what each offers.
Imports the vocabulary, weights, runtimes, metrabs and movenet. Importing this room needs neither
torch nor TensorFlow.
"""

from trpose_ros.estimators.base import ESTIMATORS as ESTIMATORS
from trpose_ros.estimators.base import Estimator as Estimator
from trpose_ros.estimators.base import EstimatorConfig as EstimatorConfig
from trpose_ros.estimators.base import create_estimator as create_estimator
from trpose_ros.estimators.base import register_estimator as register_estimator

"""Motion capture: packs of it, the files it is published in, and cameras that look at it.

``keypoint_errors`` is the model of a 2D estimator's errors that lifters are trained on.

Imports: vocabulary, data.
"""

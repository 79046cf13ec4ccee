"""Trainers of the four lifters, and of the model of 2D errors that they are trained with.

``trainer`` is common to all; ``windows``, ``samples`` and ``masks`` make what they see.

Imports: vocabulary, occlusion, weights, lifters, lifters/networks, lifters/streams, pipeline, data,
data/motion, data/rendering, evaluation, evaluation/metrics, training,
training/refinement.
"""

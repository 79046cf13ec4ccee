"""The truncation benchmark: clips under conditions, through estimators and lifters, measured.

``runner`` runs cases, ``results`` keeps rows, ``study`` makes the tables. Offline.

Imports: vocabulary, occlusion, weights, estimators, lifters, pipeline, multiview, recordings, data,
data/motion, data/rendering, evaluation/metrics.
"""

"""The trainer of MeTRAbs: rendered people and photographs, losses, measures, uncertainty.

``trainer`` is the run, ``batches`` and ``crop_cache`` what it sees, ``losses`` what it minimises,
``measure`` and ``real_video`` how good it is.

Imports: vocabulary, drawing, weights, metrabs, movenet, data, data/rendering, evaluation/metrics,
training.
"""

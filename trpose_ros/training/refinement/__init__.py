"""Trainer of the refinement: the network that joins the estimator's 3D and the lifted 3D.

``passes`` records what estimators make of rendered people, ``sequences`` what lifters make of that,
``mixtures`` gives their errors to other motions,
``samples`` changes it in the ways that live data differ; ``task`` says what is learned, ``measure``
how well.

Imports: vocabulary, occlusion, weights, estimators, lifters, refinement, pipeline, data/motion,
data/rendering, evaluation, evaluation/metrics, training.
"""

"""The way of a frame: boxes, poses, tracks, lifting, fusion; the only place that knows the order.

``pipeline`` puts the stages together; ``pose_stage`` and ``lift_stage`` are its two halves, which
the nodes run apart; ``tracking`` and ``association`` keep people's ids, ``fusion`` joins estimated
and lifted 3D by constants and ``refinement`` by a network, ``stills`` is the way of pictures that
have nothing to do with each other.

Imports: vocabulary, occlusion, estimators, lifters, refinement.
"""

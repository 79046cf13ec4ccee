"""`trpose demo`: the whole chain on real ROS 2 traffic, measured, with pictures of it.

Imports: vocabulary, occlusion, drawing, estimators, pipeline, recordings, evaluation,
evaluation/metrics, offline, nodes.
"""

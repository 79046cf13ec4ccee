"""ROS 2 nodes: they translate messages and call the stages of the pipeline.

base/conversions.py is the only file that knows message fields; this room and the demonstration's
processes are the only ones that need ROS.

Imports: vocabulary, occlusion, drawing, estimators, lifters, pipeline, recordings, evaluation,
report, nodes/base.
"""

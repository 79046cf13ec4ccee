"""ROS 2 nodes: they translate messages and call the stages of the pipeline.

This room and the demonstration's processes are the only ones that need ROS: the fields of messages
are known to recordings/messages.py, base/conversions.py has their classes.

Imports: vocabulary, occlusion, drawing, viewer, estimators, lifters, pipeline, multiview,
recordings, evaluation, report, nodes/base.
"""

"""`trpose demo`: the whole chain on real ROS 2 traffic, measured, with pictures of it.

Imports nodes (to start them as processes), offline, pipeline, drawing and evaluation.
"""

"""ROS 2 nodes: they translate messages and call the stages of trpose_ros.pipeline.

conversions.py is the only file that knows message fields, and this package the only one that
imports rclpy.
"""

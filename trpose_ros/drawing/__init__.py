"""People as pictures: over an image, as 3D figures, and as markers for RViz.

No window and no ROS, only arrays: ``overlay`` draws on images, ``figures`` lays pictures out,
``markers`` makes plain arrays that nodes/base/conversions.py and recordings/messages.py put on the
wire.

Imports: vocabulary.
"""

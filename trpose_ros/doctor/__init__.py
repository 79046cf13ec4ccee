"""``trpose doctor``: what is wrong with this installation, in plain words, and what to do.

``checkup`` runs the checks, each in a process of its own (``isolated``), so that one that hangs or
crashes, or lacks a package, is itself a finding; ``findings`` is what they return. One file for
each kind of check. The listening on camera topics needs ROS and is done in nodes/camera_survey.py.

Imports: vocabulary, weights, runtimes, recordings, nodes, nodes/base.
"""

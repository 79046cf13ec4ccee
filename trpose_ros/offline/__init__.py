"""The pipeline without ROS: over recordings, videos, cameras and pictures, and what it leaves.

``replay`` works on recordings frame by frame, ``run`` on cameras and videos, ``pictures`` on
photographs.

Imports: vocabulary, drawing, pipeline, recordings, evaluation, evaluation/metrics, report.
"""

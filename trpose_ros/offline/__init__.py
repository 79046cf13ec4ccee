"""The pipeline without ROS: over recordings, videos, cameras and pictures, and what it leaves.

``replay`` works on recordings frame by frame, ``several`` on those of several cameras, ``run`` on
cameras and videos, ``pictures`` on photographs, ``lift`` on keypoints that other programs found.
``viewing`` shows a run meanwhile.

Imports: vocabulary, drawing, viewer, pipeline, multiview, recordings, keypoints, exports,
evaluation, evaluation/metrics, report.
"""

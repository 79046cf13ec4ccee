"""What the nodes share: life cycle, images by stamp, parameters, one worker, statistics.

``stage_node`` is the base of all, ``image_node`` of those that take images.

Imports: vocabulary, occlusion, drawing, recordings.
"""

"""The truncation simulators of protocol v1: one implementation for node, evaluator and trainer.

``occluder`` hides regions of images, ``profiles`` says where each condition hides them, ``boxes``
against which box, and ``keypoints`` is their twin on 2D joints alone.

Imports: vocabulary.
"""

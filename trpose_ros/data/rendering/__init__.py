"""Rendered people with exact labels: bodies, poses, rooms, and the crops and clips made of them.

``sprites`` are people rendered once, ``crops`` composes training crops from them, ``clips`` renders
videos, ``groups`` scenes with several people.

Imports: vocabulary, metrabs, recordings, data, data/motion.
"""

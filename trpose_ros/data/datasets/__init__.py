"""Data sets that people have on disk, each read into the same frozen ``Sample``.

One file a data set, registered in data/registry.py; loaders never import one another.

Imports: vocabulary, weights, movenet, recordings, data, data/motion, data/rendering.
"""

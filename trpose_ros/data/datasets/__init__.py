"""Data sets that people have on disk, each read into the same frozen ``Sample``.

One file a data set, registered in data/registry.py; loaders never import one another. Imports the
vocabulary, weights (pickles), recordings, movenet (labels of photographs), data/motion and
data/rendering.
"""

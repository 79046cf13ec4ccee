"""Data sets that people have on disk, each read into the same frozen ``Sample``.

``registry`` knows them by name, with what must be obtained and where; loaders import one another
never. Imports the vocabulary, weights (pickles), recordings and movenet (labels of photographs).
"""

"""Data for training and evaluation: data sets, motion, rendered people. Offline only.

``samples`` is what every loader gives and ``registry`` knows the loaders by name.

Imports: vocabulary.
"""

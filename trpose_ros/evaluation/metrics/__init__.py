"""The metrics of protocol v1: positions, motion, bodies, identity, uncertainty.

``join`` pairs results with ground truth by stamp; ``all_measures`` makes one row of them.

Imports: vocabulary.
"""

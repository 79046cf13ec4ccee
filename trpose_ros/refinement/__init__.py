"""The learned refinement: what is known of a person until now becomes one skeleton for now.

``moments`` turns what was observed into numbers that no camera shows in, ``network`` is the network
that filters them, ``model`` reads it from a weights file. ``pipeline/refinement.py`` runs it on the
people of a stream, where ``pipeline/fusion.py`` would do with constants.

Imports: vocabulary, weights, lifters.
"""

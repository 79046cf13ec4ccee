"""The lifters' networks, one file each, with the folded form that streams run beside it.

``build.build_network`` makes one by name. Written from the papers; parameters have the names and
the order of the published checkpoints.

Imports: vocabulary.
"""

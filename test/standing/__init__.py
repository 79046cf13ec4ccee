"""Nodes that know the stand-in network, for tests that start processes."""

"""Skeletons as files that other programs read: CSV, npz, JSON, BVH (Blender), TRC (OpenSim).

``files`` writes what a user names; one file a format. ``tracks`` puts people over time into arrays.

Imports: vocabulary, recordings.
"""

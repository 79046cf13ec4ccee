"""Lifters over time: frames of many tracks come in one by one, lifted frames go out.

``stream`` holds the tracks, ``clock`` turns stamps into network frames, ``missing`` fills what was
not seen, ``windows`` and ``videopose3d`` run the networks without computing anything twice.

Imports: vocabulary, lifters/networks.
"""

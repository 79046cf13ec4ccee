"""`trpose ...`: one file a command; options and printing only, the work is in the rooms.

``main`` is the entry point and forwards to the others.

Imports: every room.
"""

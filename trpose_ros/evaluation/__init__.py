"""The truncation benchmark: clips under conditions, through estimators and lifters, measured.

``runner`` runs cases, ``results`` keeps rows, ``study`` makes the tables. Offline: imports the
vocabulary, pipeline, recordings, occlusion, data and weights; nothing of nodes or commands.
"""

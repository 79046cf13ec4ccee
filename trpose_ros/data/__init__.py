"""Data for training and evaluation: motion, bodies, virtual cameras. Offline only."""

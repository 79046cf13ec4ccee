"""Data for training and evaluation: data sets, motion, rendered people. Offline only."""

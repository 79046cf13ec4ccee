"""Evaluation: errors of results against ground truth."""

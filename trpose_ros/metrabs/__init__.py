"""MeTRAbs: metric-scale truncation-robust heatmaps for absolute 3D human pose (T-BIOM 2020).

Written from the papers. The network of one crop is in model.py; crops, test-time augmentation
and pose filtering around it have modules of their own.

Imports: vocabulary, weights, runtimes, metrabs/backbones.
"""

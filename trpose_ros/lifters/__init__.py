"""Lifters: 2D joint sequences become 3D skeletons."""

"""Comparing the networks with reference numbers, file by file: `make parity DIR=...`."""

"""Backbones by name, and what a builder of one is."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from trpose_ros.registry import Registry

# (stride, centered_stride) -> network, number of its channels; ValueError for a stride that the
# family does not have.
Builder = Callable[[int, bool], tuple[nn.Module, int]]
BACKBONES: Registry[Builder] = Registry('backbone')

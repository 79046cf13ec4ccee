"""Backbones by name: a decorator files a builder, ``build_backbone`` calls it."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

Builder = Callable[[int, bool], tuple[nn.Module, int]]
BACKBONES: dict[str, Builder] = {}


def register_backbone(name: str) -> Callable[[Builder], Builder]:
    """Return a decorator that files a builder under ``name``."""

    def register(builder: Builder) -> Builder:
        BACKBONES[name] = builder
        return builder

    return register


def build_backbone(name: str, stride: int, centered_stride: bool) -> tuple[nn.Module, int]:
    """Return the backbone called ``name`` and its number of output channels.

    Raises ValueError for an unknown name or a stride that the family does not have.
    """
    if name not in BACKBONES:
        raise ValueError(f'unknown backbone {name!r}; known are {sorted(BACKBONES)}')
    return BACKBONES[name](stride, centered_stride)

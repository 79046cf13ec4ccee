"""Lifters: sequences of 2D joints become stable root-relative 3D skeletons.

``create_lifter(LifterConfig(...))`` gives a ``LifterStream``; ``LIFTERS`` are the networks by name.
Importing this package needs no torch.

Imports: vocabulary, weights, runtimes, lifters/networks, lifters/streams.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trpose_ros.lifters.registry import LIFTERS, create_lifter
from trpose_ros.lifters.streams.base import LIFTER_NAMES, Lifted, LifterConfig

if TYPE_CHECKING:
    from trpose_ros.lifters.streams.stream import LifterStream

__all__ = [
    'LIFTERS',
    'LIFTER_NAMES',
    'Lifted',
    'LifterConfig',
    'LifterStream',
    'create_lifter',
]


def __getattr__(name: str) -> Any:
    """Import the stream, and torch with it, only when it is asked for."""
    if name == 'LifterStream':
        from trpose_ros.lifters.streams.stream import LifterStream

        return LifterStream
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

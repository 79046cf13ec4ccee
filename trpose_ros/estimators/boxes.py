"""Where people are: sources of boxes for people whom nobody tracks yet; a registry by name.

A box source is made by ``factory(**settings)`` and offers ``boxes(frame) -> (N, 5)``: x, y (upper
left), width, height in pixels, score in 0..1 (NaN: none). A new one registers itself with
``@register_box_source('name')``; one that needs heavy imports gets a line in ``_LATER`` instead,
so that its module is imported when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

import numpy as np

from trpose_ros.people import Frame


class BoxSource(Protocol):
    """Finds people in a frame."""

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) float32: x, y, width, height in px, score."""
        ...


BOX_SOURCES: dict[str, Callable[..., BoxSource]] = {}
_LATER = {'detector': 'trpose_ros.estimators.detector'}  # name -> module that registers it


def register_box_source(
    name: str,
) -> Callable[[Callable[..., BoxSource]], Callable[..., BoxSource]]:
    """Return a decorator that files a class or factory under ``name``."""

    def register(factory: Callable[..., BoxSource]) -> Callable[..., BoxSource]:
        BOX_SOURCES[name] = factory
        return factory

    return register


def known_box_sources() -> list[str]:
    """Return all names that create_box_source takes."""
    return sorted(set(BOX_SOURCES) | set(_LATER))


def create_box_source(name: str, **settings: object) -> BoxSource:
    """Make a box source; raises ValueError for an unknown name."""
    if name not in BOX_SOURCES and name in _LATER:
        importlib.import_module(_LATER[name])
    if name not in BOX_SOURCES:
        raise ValueError(f'unknown box source {name!r}; known are {known_box_sources()}')
    return BOX_SOURCES[name](**settings)


@register_box_source('image')
class WholeImage:
    """The last resort: one box that is the whole image, without a score."""

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (1, 5): the image's own rectangle."""
        size = (frame.camera.width, frame.camera.height)
        return np.array([[0.0, 0.0, *size, np.nan]], np.float32)

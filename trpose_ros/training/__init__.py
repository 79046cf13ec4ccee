"""Training: everything needed to make the shipped weights again.

Offline: nothing of the live path imports this package. A trainer is a function that takes command
line arguments; it registers under the name of what it trains. ``load_trainers`` imports all of
them, because each needs the extra ``[train]``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable


class TrainingError(RuntimeError):
    """A run ended too early; the message says why, and what is left of it."""


Trainer = Callable[[list[str] | None], None]
TRAINERS: dict[str, Trainer] = {}


def register_trainer(name: str) -> Callable[[Trainer], Trainer]:
    """Register a trainer under ``name``."""

    def register(trainer: Trainer) -> Trainer:
        TRAINERS[name] = trainer
        return trainer

    return register


def load_trainers() -> dict[str, Trainer]:
    """Import every module of this package and return the trainers by name."""
    for module in pkgutil.walk_packages(__path__, f'{__name__}.'):
        importlib.import_module(module.name)
    return TRAINERS

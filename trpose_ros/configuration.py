"""Checks for configuration dataclasses, driven by the metadata of their fields.

A configuration is a frozen dataclass. Each field says in its metadata what it means and which
values it takes, once, for everybody: validation here, ROS parameter descriptors in the nodes and
tables in the documentation all come from the same words::

    share: float = field(default=0.5, metadata={'help': 'what it does', 'range': (0.0, 1.0)})
    root: str = field(default='auto', metadata={'help': '...', 'choices': ('auto', 'fit')})
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def check_fields(config: Any) -> None:
    """Validate a dataclass instance against the ``range`` and ``choices`` of its fields.

    Call it from ``__post_init__``. ``None`` is accepted where it is the default.

    Raises:
        ValueError: names the field, the offending value and what is allowed.

    """
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if value is None and entry.default is None:
            continue
        choices = entry.metadata.get('choices')
        if choices is not None and value not in choices:
            raise ValueError(f'{entry.name} must be one of {list(choices)}, got {value!r}')
        limits = entry.metadata.get('range')
        if limits is not None:
            low, high = limits
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or math.isnan(value) or not low <= value <= high:
                raise ValueError(f'{entry.name} must lie in {low}..{high}, got {value!r}')

"""Settings: the fields of configuration dataclasses, described and checked once for everybody.

A configuration is a frozen dataclass. Each field says what it means and which values it takes, and
validation here, ROS parameter descriptors in the nodes, options of the trainers and tables in the
documentation all come from the same words::

    @dataclass(frozen=True)
    class BoxConfig:
        share: float = setting(0.5, 'how much of the box must be seen', range=(0.0, 1.0))
        root: str = setting('auto', 'where depth comes from', choices=('auto', 'fit'))

        def __post_init__(self) -> None:
            check_fields(self)
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def setting(
    default: Any,
    help: str = '',  # the field's word for it; shadows nothing that is used here
    *,
    range: tuple[float, float] | None = None,
    choices: tuple[Any, ...] | None = None,
) -> Any:
    """Return a dataclass field with a description, and what ``check_fields`` holds it to.

    Args:
        default: the value without one given.
        help: one sentence for people: meaning, unit, what special values do.
        range: lowest and highest value, both allowed.
        choices: all values there are.

    """
    metadata = {'help': help, 'range': range, 'choices': choices}
    known = {name: value for name, value in metadata.items() if value not in (None, '')}
    return dataclasses.field(default=default, metadata=known)


def check_sizes(config: Any, **most: int) -> None:
    """Raise ValueError unless the named fields are whole numbers from 1 to what is given.

    For sizes that a file states: a network is made of them, so no file may ask for any size.
    """
    for name, largest in most.items():
        value = getattr(config, name)
        if type(value) is not int or not 1 <= value <= largest:
            raise ValueError(f'{name} must be a whole number in 1..{largest}, got {value!r:.80}')


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

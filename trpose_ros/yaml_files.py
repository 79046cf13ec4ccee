"""YAML from users and recordings: plain values, in bounded time and memory, errors by file.

A few lines of YAML can mean an endless list (an alias of a list of aliases ...), exhaust the
parser (brackets within brackets) or keep it busy (numbers without end). All are refused before
anything is built: no file that is read here needs any of them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # the same, ten times as fast
_LARGEST_BYTES = 4 << 20
_MOST_DEPTH = 50
_LONGEST_REASON = 300  # characters
# Numbers that no such file has: many long ones share a hash, and one to the base of 60 (1:30:00)
# takes time that grows with the square of its length.
_LONG = re.compile(r'[-+]?([0-9_]{21,}|0[xob][0-9a-fA-F_]{17,}|[0-9_:.]{41,})')
# What the loader raises for values that are not of the type that a tag says.
_BROKEN = (
    *(ValueError, TypeError, KeyError, IndexError, AttributeError),
    *(RecursionError, OverflowError),
)


def load_yaml(path: Path, most_bytes: int = _LARGEST_BYTES) -> Any:
    """Return the content of a YAML file.

    Raises ValueError, naming the file and the reason, for a file that is no plain YAML, has
    aliases, is nested deeper than any such file or larger than ``most_bytes``; OSError when it
    cannot be opened.
    """
    with path.open('rb') as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f'{path} has more than {most_bytes / 1e6:.1f} MB: no such file has')
    try:
        text = data.decode('utf-8-sig')
        _check(text)
        return yaml.load(text, Loader=_LOADER)
    except (*_BROKEN, yaml.YAMLError) as error:
        words = ' '.join((str(error) or type(error).__name__).split())
        raise ValueError(f'{path} is not plain YAML ({words[:_LONGEST_REASON]})') from error


def _check(text: str) -> None:
    """Raise ValueError for aliases and for what is nested too deep, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f'line {event.start_mark.line + 1} has an alias: write it out')
        plain = isinstance(event, yaml.ScalarEvent) and (event.implicit[0] or event.tag)
        if plain and _LONG.fullmatch(event.value):
            raise ValueError(f'line {event.start_mark.line + 1} has a number of too many digits')
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise ValueError(f'line {event.start_mark.line + 1} is nested too deep')

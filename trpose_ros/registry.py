"""Things by name: estimators, lifters, data sets and whatever else a user picks by a word.

A registry holds one kind of thing. What takes part registers itself; what is heavy to import is
only announced, and its module is imported when somebody asks for it::

    SHAPES: Registry[Callable[[], Shape]] = Registry('shape', {'blob': 'my_package.blob'})

    @SHAPES.register('square')
    class Square: ...

    SHAPES['blob']     # imports my_package.blob, which registers 'blob'
    SHAPES['sqare']    # ValueError: unknown shape 'sqare'; known are blob, square; did you mean ...
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

_LONGEST = 80  # characters of an unknown name
Entry = TypeVar('Entry')
Given = TypeVar('Given')


class _Later(str):
    """The module that registers a name when it is imported."""


class Registry(Generic[Entry]):
    """Name -> entry of one kind, in a fixed order: first what is announced, then as registered."""

    def __init__(self, kind: str, later: Mapping[str, str] | None = None) -> None:
        """Name the kind for messages; ``later`` is name -> module that registers it."""
        self.kind = kind
        self._entries: dict[str, Entry | _Later] = {
            name: _Later(module) for name, module in (later or {}).items()
        }

    def register(self, name: str) -> Callable[[Given], Given]:
        """Return a decorator that files what it decorates under ``name``.

        Raises ValueError for a name that is taken: nobody replaces what others rely on.
        """

        def file(entry: Given) -> Given:
            if not isinstance(self._entries.get(name, _Later()), _Later):
                raise ValueError(f'{self.kind} {name!r} is registered twice')
            self._entries[name] = entry  # type: ignore[assignment]  # what is decorated keeps its type
            return entry

        return file

    def __getitem__(self, name: str) -> Entry:
        """Return the entry, importing its module if need be; ValueError lists the known names."""
        if name not in self._entries:
            # A name may be megabytes from outside: neither compared nor repeated whole.
            near = difflib.get_close_matches(str(name)[:_LONGEST], self._entries, n=1)
            hint = f'; did you mean {near[0]!r}?' if near else ''
            known = ', '.join(sorted(self._entries))
            raise ValueError(f'unknown {self.kind} {name!r:.{_LONGEST}}; known are {known}{hint}')
        entry = self._entries[name]
        if isinstance(entry, _Later):
            importlib.import_module(entry)
            entry = self._entries[name]
        if isinstance(entry, _Later):
            raise RuntimeError(f'{entry} registers no {self.kind} {name!r}')
        return entry

    def __contains__(self, name: object) -> bool:
        """Say whether the name is known, without importing anything."""
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """Iterate over the known names, without importing anything."""
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        """Return how many names are known."""
        return len(self._entries)

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Iterate over (name, entry), importing what is announced."""
        return ((name, self[name]) for name in self)

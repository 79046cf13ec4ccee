"""Things that belong to the image with a certain stamp."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar('Value')
_KEPT = 64


class StampBook(Generic[Value]):
    """Remembers the newest values by stamp. Thread-safe: one thread adds, another one asks."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._condition = threading.Condition()
        self._values: OrderedDict[int, Value] = OrderedDict()
        self._closed = False

    def add(self, stamp_ns: int, value: Value) -> None:
        """Remember a value; one with the same stamp is replaced."""
        with self._condition:
            self._values.pop(stamp_ns, None)
            self._values[stamp_ns] = value
            while len(self._values) > self._kept:
                self._values.popitem(last=False)
            self._condition.notify_all()

    def close(self) -> None:
        """End all waiting."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def find(self, stamp_ns: int, wait_s: float = 0.0) -> Value | None:
        """Return the value with this very stamp, waiting for it a moment; None without one."""
        with self._condition:
            if wait_s > 0:
                self._condition.wait_for(lambda: stamp_ns in self._values or self._closed, wait_s)
            return self._values.get(stamp_ns)

    def nearest(self, stamp_ns: int) -> tuple[int, Value] | None:
        """Return the stamp and value whose stamp is nearest to one; None when there is none."""
        with self._condition:
            if not self._values:
                return None
            return min(self._values.items(), key=lambda entry: abs(entry[0] - stamp_ns))

    def newest(self) -> tuple[int, Value] | None:
        """Return the stamp and value that were added last; None when there is none."""
        with self._condition:
            return next(reversed(self._values.items())) if self._values else None

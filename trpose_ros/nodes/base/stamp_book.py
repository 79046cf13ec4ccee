"""Things that belong to the image with a certain stamp, and stamps that do not behave."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar('Value')
_KEPT = 64


class StampBook(Generic[Value]):
    """Remembers the newest values by stamp. Thread-safe: one thread adds, another one asks."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._values: OrderedDict[int, Value] = OrderedDict()
        self._closed = False

    def add(self, stamp_ns: int, value: Value) -> None:
        """Remember a value; one with the same stamp is replaced."""
        with self._condition:
            self._values.pop(stamp_ns, None)
            self._values[stamp_ns] = value
            while len(self._values) > _KEPT:
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

    def newest(self) -> tuple[int, Value] | None:
        """Return the stamp and value that were added last; None when there is none."""
        with self._condition:
            return next(reversed(self._values.items())) if self._values else None


class StampWatch:
    """Names stamps that jump back, repeat, or are zero."""

    def __init__(self) -> None:
        self._last_ns: int | None = None

    def check(self, stamp_ns: int) -> str:
        """Return 'zero_stamps', 'repeated_stamps', 'time_jumps' or '' for the next stamp."""
        last_ns, self._last_ns = self._last_ns, stamp_ns
        if stamp_ns == 0:
            return 'zero_stamps'
        if last_ns is None or stamp_ns > last_ns:
            return ''
        return 'repeated_stamps' if stamp_ns == last_ns else 'time_jumps'


REMEDIES = {
    'zero_stamps': 'has stamp zero: people are estimated, but without time nothing can be tracked '
    'over it or lifted; let the camera driver stamp its images',
    'repeated_stamps': 'repeats the stamp of the message before: the lifter takes each moment '
    'once; let the source stamp every image',
    'time_jumps': 'is older than the message before (a recording that starts again?): tracks and '
    'windows start afresh',
}

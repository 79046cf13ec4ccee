"""One thread that does the work, so that the callbacks of a node only store messages.

The queue has a fixed length: with length 1 the newest item wins, and what a slow model cannot
take is dropped, oldest first, and counted. So the age of a result stays bounded: at most one item
waits while one is being worked on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Worker(Generic[Item]):
    """Calls ``work(item)`` in its own thread for the items that are put in.

    Exceptions of ``work`` go to ``on_error`` and the next item goes on. ``on_idle`` is called
    once whenever nothing was put in for ``idle_s``; when it returns False, again that much later.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        *,
        name: str,
        on_error: Callable[[Exception], None],
        on_idle: Callable[[], bool | None] | None = None,
        idle_s: float | None = None,
        length: int = 1,
    ) -> None:
        self._work = work
        self._on_error = on_error
        self._on_idle = on_idle
        self._idle_s = idle_s if on_idle is not None else None
        self._items: deque[Item] = deque()
        self._length = length
        self._condition = threading.Condition()
        self._stopping = False
        self.dropped = 0
        # Not a daemon: a thread inside a native library at exit would crash the process.
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Add an item; the oldest one waiting is dropped when the queue is full."""
        with self._condition:
            if len(self._items) >= self._length:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._condition.notify()

    @property
    def stopping(self) -> bool:
        """Whether ``stop`` was called: a long ``work`` may look and end early."""
        return self._stopping

    def stop(self, timeout_s: float | None = None) -> bool:
        """Drop what waits, let the present item end; return whether the thread has ended."""
        with self._condition:
            self._stopping = True
            self._items.clear()
            self._condition.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        idle = True  # nothing to report before the first item
        while True:
            with self._condition:
                timeout_s = None if idle else self._idle_s
                ready = self._condition.wait_for(lambda: self._stopping or self._items, timeout_s)
                if self._stopping:
                    return
                item = self._items.popleft() if ready else None
            try:
                if item is not None:
                    idle = False
                    self._work(item)
                elif self._on_idle is not None:
                    idle = True  # also when it raises
                    idle = self._on_idle() is not False
            except Exception as error:  # anything: the next item must go on
                self._on_error(error)

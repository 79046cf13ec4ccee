"""Ctrl-C between two pieces of work instead of within one, so that what is written is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

EXIT_CODE = 130  # of a command that was stopped by Ctrl-C, as shells have it


class Interruption:
    """A context manager: the first Ctrl-C is remembered, the second one raises as always.

    Outside the main thread, where Python lets nobody listen to signals, it does nothing.
    """

    def __init__(self) -> None:
        """Nothing has happened."""
        self.requested = False
        self._before: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

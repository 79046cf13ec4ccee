"""Keeping OpenCV's codecs from writing to the terminal: what they say is found out by asking."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_TERMINAL = Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Send what C libraries write to standard error nowhere; one user at a time.

    Only the file descriptor will do, because the messages come from C. Use it around a call whose
    failure is seen in another way.
    """
    with _TERMINAL:
        sys.stderr.flush()
        terminal = os.dup(2)
        try:
            with open(os.devnull, 'w') as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)

"""What a node says about trouble from outside: short, and each kind of it rarely.

A stranger's message can hold megabytes, and a thousand of them a second can each be wrong in
another number. Log and diagnostics get the beginning of a text, and of each kind of trouble (a text
without its numbers and quoted words) one line in ten seconds, with how many there were.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

LONGEST_WORD = 200  # characters of anything that came from outside
_LONGEST_TEXT = 600
_PERIOD_S = 10.0
_MOST_KINDS = 16  # that are told apart; what comes on top waits until one of them has ended
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_LONG_WORDS = re.compile(rf"""('[^']{{{LONGEST_WORD}}})[^']*|("[^"]{{{LONGEST_WORD}}})[^"]*""")
_LONG_RUNS = re.compile(rf'(?<!\S)([^\s\'"]{{{LONGEST_WORD}}})\S+')  # quoted ones are cut already
_NUMBERS = re.compile(r'[-+]?\d[\d.eE_x+-]*|\b(nan|inf)\b')


def shortened(text: str) -> str:
    """Return a text with each long word in it, quoted or not, cut, and not too long as a whole."""
    text = text[: 20 * _LONGEST_TEXT]
    text = _LONG_WORDS.sub(lambda found: f'{found[1] or found[2]} ...', text)
    text = _LONG_RUNS.sub(r'\1 ...', text)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + ' ...'


def kind_of(text: str) -> str:
    """Return what texts have in common that differ in numbers and quoted words alone."""
    return _NUMBERS.sub('#', _QUOTED.sub("''", text))[:100]


class Throttle:
    """Decides what is logged now."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, int]] = {}  # when last logged, how often since
        self._others = 0

    def words(self, text: str) -> str:
        """Return what to log about a text, '' for nothing."""
        now_s, kind = self._clock(), kind_of(text)
        if kind not in self._kinds and len(self._kinds) >= _MOST_KINDS:
            self._kinds = {k: v for k, v in self._kinds.items() if now_s - v[0] < _PERIOD_S}
            if len(self._kinds) >= _MOST_KINDS:
                self._others += 1
                return ''
        last_s, count = self._kinds.get(kind, (-_PERIOD_S, 0))
        if kind in self._kinds and now_s - last_s < _PERIOD_S:
            self._kinds[kind] = (last_s, count + 1)
            return ''
        self._kinds[kind] = (now_s, 0)
        more = f' (and {count} more of this kind)' if count else ''
        if self._others:
            more += f' (and {self._others} of other kinds)'
            self._others = 0
        return text + more

"""Stamps of images as drivers send them: good ones, zeros, repetitions, jumps.

Everything that happens over time here (tracks, windows, results joined with the truth) happens by
stamps. So a single stamp that does not fit costs its own image and nothing else, and a recording
whose stamps say nothing is read by its times of recording. The nodes and the readers of
recordings ask the same object.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

_DAY_NS = 86_400 * 1_000_000_000
_LATE_NS = 100_000_000  # an image that overtook another on the way, not a recording that restarts
_FOLLOWS_NS = 10_000_000_000

REMEDIES = {
    'zero_stamps': 'has stamp zero: people are estimated, but without time nothing can be tracked '
    'over it or lifted; let the camera driver stamp its images',
    'repeated_stamps': 'repeats the stamp of the message before: the lifter takes each moment '
    'once; let the source stamp every image',
    'odd_stamps': 'has a stamp that does not fit those around it (zero, days off, or a little '
    'late): it is left out; look at the clocks of the camera and of its driver',
    'time_jumps': 'is older than the message before, or days later (a recording that starts '
    'again, a clock that was set?): tracks and windows start afresh',
}
SKIPPED = 'odd_stamps'


class StampWatch:
    """Names stamps that are zero, repeat, jump, or do not fit at all.

    A stamp that is zero among others, a day or more away, or less than a tenth of a second late
    is ``odd_stamps``: the message is to be left out. When the next one follows it, time really
    went on from there, which costs that one message. Other stamps that go back are ``time_jumps``.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._held_ns: int | None = None  # the odd one before

    def check(self, stamp_ns: int) -> str:
        """Return a key of REMEDIES for the next stamp, '' when it is fine."""
        last_ns, held_ns = self._last_ns, self._held_ns
        self._held_ns = None
        step_ns = 0 if last_ns is None else stamp_ns - last_ns
        if last_ns:
            odd = stamp_ns == 0 or abs(step_ns) >= _DAY_NS or -_LATE_NS <= step_ns < 0
            follows = held_ns is not None and 0 <= stamp_ns - held_ns <= _FOLLOWS_NS
            if odd and not follows:
                self._held_ns = stamp_ns
                return SKIPPED
        self._last_ns = stamp_ns
        if stamp_ns == 0:
            return 'zero_stamps'
        if not last_ns or 0 < step_ns < _DAY_NS:
            return ''
        return 'time_jumps' if step_ns else 'repeated_stamps'


def say_nothing(stamps_ns: Sequence[int]) -> bool:
    """Whether most of these stamps, in order, are no times of their own: zero or repeated."""
    return len(stamps_ns) > 1 and 2 * len(set(stamps_ns) - {0}) <= len(stamps_ns)


def stamp_notes(topic: str, counts: Counter[str]) -> list[str]:
    """Return in words how often stamps of a topic did not behave."""
    return [
        f'{topic}: {counts[name]} of its messages: each {REMEDIES[name]}'
        for name in REMEDIES
        if counts[name]
    ]

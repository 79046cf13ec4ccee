"""What a check found: a mark, what there is, what that means, what to do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

OK, NOTE, PROBLEM = 'ok', 'note', 'problem'
MARKS = (OK, NOTE, PROBLEM)


@dataclass(frozen=True)
class Finding:
    """One finding; a problem always says what it means and what to do."""

    mark: str
    text: str
    means: str = ''
    do: str = ''
    facts: dict[str, Any] = field(default_factory=dict)  # the same as values, for scripts

    def __post_init__(self) -> None:
        """Validate; raises ValueError."""
        if self.mark not in MARKS:
            raise ValueError(f'mark must be one of {MARKS}, got {self.mark!r}')
        if not self.text:
            raise ValueError('a finding needs words')
        if self.mark == PROBLEM and not (self.means and self.do):
            raise ValueError(f'a problem needs a meaning and a remedy: {self.text!r}')

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, as they stand in the JSON document."""
        return dataclasses.asdict(self)


def ok(text: str, means: str = '', **facts: Any) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(OK, text, means, '', facts)


def note(text: str, means: str, do: str = '', **facts: Any) -> Finding:
    """Return a finding that may matter."""
    return Finding(NOTE, text, means, do, facts)


def problem(text: str, means: str, do: str, **facts: Any) -> Finding:
    """Return a finding that keeps something from working, or makes it worse."""
    return Finding(PROBLEM, text, means, do, facts)


def one_line(error: BaseException | str, most: int = 300) -> str:
    """Return the words of an error in one line that is not too long."""
    text = error if isinstance(error, str) else f'{type(error).__name__}: {error}'
    line = ' '.join(text.split())
    return line if len(line) <= most else f'{line[:most]} ...'

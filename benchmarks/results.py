"""Numbers that a benchmark measures, as JSON: what run.py compares with the baseline.

Every bench_*.py takes ``--json FILE``. A number says which way is better, and whether it is
``portable``: a ratio, a count or an error belongs to the code, a time belongs to the processor too.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from trpose_ros.writing import write_text


@dataclass(frozen=True)
class Number:
    """One measured number; ``floor`` is the relative change that nobody needs to look at."""

    name: str
    value: float
    unit: str
    better: str = 'lower'  # or 'higher'
    portable: bool = False
    floor: float = 0.1


class Numbers:
    """What one benchmark measured."""

    def __init__(self) -> None:
        self.entries: list[Number] = []

    def time(self, name: str, value: float, unit: str = 'ms') -> None:
        """Add a time, less is better."""
        self._add(Number(name, float(value), unit))

    def rate(self, name: str, value: float, unit: str) -> None:
        """Add a speed, more is better."""
        self._add(Number(name, float(value), unit, 'higher'))

    def ratio(self, name: str, value: float, unit: str = 'x', better: str = 'lower') -> None:
        """Add a ratio of two times of one run, or a size."""
        self._add(Number(name, float(value), unit, better, portable=True))

    def error(self, name: str, value: float, unit: str = 'mm') -> None:
        """Add an error, which the same code repeats on every machine but for rounding."""
        self._add(Number(name, float(value), unit, portable=True, floor=0.01))

    def _add(self, number: Number) -> None:
        if math.isfinite(number.value):
            self.entries.append(number)

    def write(self, path: Path | None) -> None:
        """Write the file, whole or not at all; None writes nothing."""
        if path is None:
            return
        text = json.dumps([asdict(number) for number in self.entries], indent=1)
        write_text(path, text + '\n')


def read(path: Path) -> list[Number]:
    """Read what ``Numbers.write`` wrote."""
    return [Number(**entry) for entry in json.loads(path.read_text(encoding='utf-8'))]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command line."""
    parser.add_argument('--json', type=Path, help='also write the numbers to this file')

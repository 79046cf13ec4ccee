"""`make parity DIR=...`: compare every stage with the reference numbers in a folder.

Each file whose name a checker knows is run; the table shows the worst difference per file and
quantity beside its tolerance. Files that nobody knows are named, so that nothing is skipped
silently. metrabs_numbers.py and lifters_numbers.py offer ``CHECKERS``, a mapping from a file name
pattern to a function that yields differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ('parity.metrabs_numbers', 'parity.lifters_numbers')
_COMPANIONS = ('*_index.json', '*.md', '*.py')  # explain the numbers, hold none


@dataclass(frozen=True)
class Difference:
    """The worst difference of one quantity in one file."""

    file: str
    quantity: str
    worst: float  # absolute
    tolerance: float  # absolute; a relative one may come on top
    fine: bool  # everything lies within the tolerances


Checker = Callable[[Path], Iterable[Difference]]


@dataclass(frozen=True)
class Comparison:
    """What was found in a folder."""

    rows: tuple[Difference, ...]  # the worst per file and quantity
    failed: tuple[str, ...]  # files that could not be compared, and why
    unknown: tuple[str, ...]  # files that no checker knows

    @property
    def fine(self) -> bool:
        """Whether every difference is within its tolerance and no file failed."""
        return not self.failed and all(row.fine for row in self.rows)


def checkers() -> dict[str, Checker]:
    """Return file name pattern -> checker of all model packages."""
    found: dict[str, Checker] = {}
    for name in _PACKAGES:
        if find_spec(name) is not None:
            found.update(import_module(name).CHECKERS)
    return found


def compare(folder: Path) -> Comparison:
    """Run all files of a folder and the folders in it.

    Raises FileNotFoundError when the folder does not exist or holds no reference file at all.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder} is not a folder; name one with reference files')
    known = checkers()
    worst: dict[tuple[str, str], Difference] = {}
    failed, unknown = [], []
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
        matching = [check for pattern, check in known.items() if fnmatch(path.name, pattern)]
        if not matching and not _is_companion(path, known):
            unknown.append(path.name)
        try:
            for check in matching:
                for row in check(path):
                    key = (row.file, row.quantity)
                    if key not in worst or _is_worse(row, worst[key]):
                        worst[key] = row
        except Exception as error:  # a damaged file must not hide the others
            failed.append(f'{path.name}: {type(error).__name__}: {error}')
    if not worst and not failed:
        raise FileNotFoundError(
            f'{folder} holds no reference file; known are {", ".join(sorted(known))}'
        )
    return Comparison(tuple(worst.values()), tuple(failed), tuple(unknown))


def _is_worse(row: Difference, other: Difference) -> bool:
    """Order by verdict, then by difference; NaN is worse than any number."""
    if row.fine != other.fine:
        return other.fine
    return not row.worst <= other.worst


def _is_companion(path: Path, known: dict[str, Checker]) -> bool:
    """Whether a file only explains, or holds, numbers that belong to another one."""
    twin = path.with_suffix({'.json': '.npz', '.npz': '.json'}.get(path.suffix, '.none'))
    return any(fnmatch(path.name, pattern) for pattern in _COMPANIONS) or (
        twin.is_file() and any(fnmatch(twin.name, pattern) for pattern in known)
    )


def report(folder: Path) -> bool:
    """Print the table of a folder; return whether everything is within tolerance."""
    from rich.console import Console
    from rich.table import Table

    found = compare(folder)
    console = Console()
    table = Table(title=f'worst difference from the reference numbers in {folder}')
    for column in ('file', 'quantity'):
        table.add_column(column, overflow='fold')
    for column in ('worst', 'tolerance', ''):
        table.add_column(column, justify='right')
    last = ''
    for row in found.rows:
        name, last = (row.file if row.file != last else ''), row.file
        verdict = '[green]ok[/]' if row.fine else '[red]FAR[/]'
        table.add_row(name, row.quantity, f'{row.worst:.3g}', f'{row.tolerance:.3g}', verdict)
    console.print(table)
    for line in found.failed:
        console.print(f'[red]failed[/] {line}', soft_wrap=True)
    if found.unknown:
        console.print(f'not compared (no checker knows them): {", ".join(found.unknown)}')
    return found.fine

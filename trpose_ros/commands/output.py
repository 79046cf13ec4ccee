"""What the commands show on the terminal: a bar while they work, a table at the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from trpose_ros.offline.replay import ReplayResult


class FrameBar:
    """A progress bar of frames; a context manager."""

    def __init__(self, name: str, what: str = 'frames') -> None:
        """Show ``name`` and so many ``what``."""
        self._progress = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(what),
            TimeRemainingColumn(),
        )
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self) -> FrameBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, done: int, total: int) -> None:
        """Show the number of frames."""
        self._progress.update(self._task, completed=done, total=total or None)


def report_replay(result: ReplayResult, out: Path) -> None:
    """Say what came of a replay: problems, errors where the truth is known, times by stage."""
    console = Console()
    for problem in result.problems:
        console.print(f'[yellow]note[/] {escape(problem)}', highlight=False)
    metrics = result.metrics()
    for name, errors in metrics['errors'].items():
        console.print(
            f'{name}: MPJPE {_mm(errors["mpjpe_held_mm"])}, root {_mm(errors["mrpe_mm"])}, '
            f'output in {100 * (errors["coverage"] or 0):.0f} % of the frames'
        )
    table = Table(
        'stage', 'ms/frame', title=f'{result.frames} frames, {result.skeletons} skeletons'
    )
    for name, seconds in result.stage_s.items():
        table.add_row(name, f'{1e3 * seconds / max(result.frames, 1):.1f}')
    console.print(table)
    for path in result.exported:
        console.print(f'wrote {escape(str(path))}', highlight=False)
    console.print(f'results in {escape(str(out))}')


def _mm(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f} mm'

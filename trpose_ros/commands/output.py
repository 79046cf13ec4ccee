"""What the commands show on the terminal: a bar while they work, a table at the end.

With --quiet that is nothing but errors; with --json one document on standard output at the end.
"""

from __future__ import annotations

import json
import math
import sys
from contextlib import AbstractContextManager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trpose_ros.interruption import EXIT_CODE

if TYPE_CHECKING:
    from trpose_ros.offline.pictures import PictureRun
    from trpose_ros.offline.replay import ReplayResult
    from trpose_ros.offline.run import Watched
    from trpose_ros.offline.several import SeveralResult

Quiet = Annotated[bool, typer.Option('--quiet', '-q', help='print nothing but errors')]
Json = Annotated[
    bool, typer.Option('--json', help='print one JSON document at the end, and nothing else')
]


class Voice:
    """How a command speaks; a context manager for its work.

    With ``as_json`` whatever is printed meanwhile goes to standard error: standard output belongs
    to the document.
    """

    def __init__(self, quiet: bool = False, as_json: bool = False) -> None:
        """Choose; ``as_json`` is quiet, too."""
        self.console = Console(quiet=quiet or as_json)
        self.silent = quiet or as_json
        self._as_json = as_json
        self._redirect: AbstractContextManager | None = None

    def __enter__(self) -> Voice:
        if self._as_json:
            self._redirect = redirect_stdout(sys.stderr)
            self._redirect.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._redirect is not None:
            self._redirect.__exit__(*error)
            self._redirect = None

    def say(self, text: str) -> None:
        """Print a text as it is."""
        if not self.silent:
            typer.echo(text)

    def end(self, command: str, code: int, **values: Any) -> None:
        """Print the document, where one is wanted; end the command unless its code is 0."""
        if self._as_json:
            document = {'command': command, 'exit_code': code, **values}
            typer.echo(json.dumps(_plain(document), indent=2))
        if code:
            raise typer.Exit(code)


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: no value is null."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


class FrameBar:
    """A progress bar of frames; a context manager."""

    def __init__(
        self,
        name: str,
        what: str = 'frames',
        console: Console | None = None,
        transient: bool = False,
    ) -> None:
        """Show ``name`` and so many ``what``; ``transient``: gone at the end."""
        self._progress = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(what),
            TimeRemainingColumn(),
            console=console,
            transient=transient,
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

    def begin(self, name: str) -> None:
        """Begin something else, which starts at zero."""
        self._progress.reset(self._task, description=name, total=None)


def passing_bar(name: str, what: str) -> FrameBar:
    """Return a bar on standard error that is gone at the end; without a terminal it is nothing.

    For commands whose standard output is lines that somebody may read by a script.
    """
    return FrameBar(name, what, Console(stderr=True), transient=True)


def end_replay(result: ReplayResult, out: Path, voice: Voice) -> None:
    """Print the document of a replay; the command ends when something went wrong."""
    code = EXIT_CODE if result.interrupted else int(result.frames == 0 or bool(result.lost))
    stage_ms = {
        name: round(1e3 * seconds / max(result.frames, 1), 2)
        for name, seconds in result.stage_s.items()
    }
    voice.end(
        'replay',
        code,
        out=out,
        view=result.view,
        interrupted=result.interrupted,
        missing_files=result.lost,
        stage_ms_per_frame=stage_ms,
        **result.metrics(),
    )


def end_run(result: Watched, out: Path | None, voice: Voice) -> None:
    """Print the document of a run on a camera or video; without any frame it has failed."""
    voice.end(
        'run',
        EXIT_CODE if result.interrupted else int(result.frames == 0 or bool(result.lost)),
        out=out if result.frames else None,
        view=result.view,
        interrupted=result.interrupted,
        frames=result.frames,
        seconds=round(result.seconds, 3),
        ms_per_frame=result.ms_per_frame,
        problems=result.problems,
    )


def end_demo(out: Path, voice: Voice) -> None:
    """Print the document of a demonstration: its table, as it lies in ``out``."""
    table = json.loads((out / 'table.json').read_text(encoding='utf-8'))
    voice.end('demo', 0, out=out, **table)


def end_pictures(result: PictureRun, problems: list[str], out: Path, voice: Voice) -> None:
    """Print the document of a run on pictures; it has failed when none was read, or not all."""
    voice.end(
        'run',
        EXIT_CODE if result.interrupted else int(result.read == 0 or not result.complete),
        out=out,
        interrupted=result.interrupted,
        **result.counts,
        failed=[{'file': str(file.path), 'reason': why} for file, why in result.skipped],
        problems=problems,
    )


def report_replay(result: ReplayResult, out: Path, console: Console) -> None:
    """Say what came of a replay: problems, errors where the truth is known, times by stage."""
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
    for path in (*result.exported, *([] if result.view is None else [result.view])):
        console.print(f'wrote {escape(str(path))}', highlight=False)
    console.print(f'results in {escape(str(out))}')


def end_several(result: SeveralResult, out: Path, voice: Voice) -> None:
    """Print the document of a replay of several cameras; without people in common it has failed."""
    nothing = not result.frames or not result.fused
    voice.end(
        'replay',
        EXIT_CODE if result.interrupted else int(nothing or bool(result.lost)),
        out=out,
        interrupted=result.interrupted,
        missing_files=result.lost,
        **result.metrics(),
    )


def report_several(result: SeveralResult, out: Path, console: Console) -> None:
    """Say what came of several cameras: problems, how each is, errors where the truth is known."""
    for problem in result.problems:
        console.print(f'[yellow]note[/] {escape(problem)}', highlight=False)
    metrics = result.metrics()
    table = Table(
        'camera', 'frames', 'weight', 'ABS-MPJPE', 'how it is', title='cameras', highlight=False
    )
    for name, camera in metrics['cameras'].items():
        error = camera['errors'].get('lifted') or camera['errors'].get('estimator') or {}
        table.add_row(
            name,
            str(camera['frames']),
            f'{camera["weight"]:.2f}',
            _mm(error.get('abs_mpjpe_held_mm')),
            escape(camera['health']),
        )
    console.print(table)
    error = metrics['errors'].get('fused') or {}
    console.print(
        f'{metrics["people"]} people in {metrics["fused_frames"]} frames of '
        f'{escape(metrics["world"]) or "no world"}, ABS-MPJPE '
        f'{_mm(error.get("abs_mpjpe_held_mm"))}, MPJPE {_mm(error.get("mpjpe_held_mm"))}',
        highlight=False,
    )
    for path in result.exported:
        console.print(f'wrote {escape(str(path))}', highlight=False)
    console.print(f'results in {escape(str(out))}')


def _mm(value: float | None) -> str:
    return '-' if value is None else f'{value:.1f} mm'

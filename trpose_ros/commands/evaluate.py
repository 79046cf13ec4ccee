"""``trpose evaluate``: the truncation benchmark from the command line.

The function is mounted by the command line of the package; it imports what is heavy when called.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from trpose_ros.commands.output import FrameBar, Json, Quiet, Voice
from trpose_ros.interruption import EXIT_CODE

if TYPE_CHECKING:
    from trpose_ros.evaluation.results import Row, Table
    from trpose_ros.evaluation.runner import EvaluationRun
    from trpose_ros.evaluation.sequences import EvaluationClip
    from trpose_ros.recordings.camera_book import CameraConfig

# Square brackets of the help are no markup.
app = typer.Typer(add_completion=False, rich_markup_mode=None, help='The truncation benchmark.')


@app.command('evaluate')
def evaluate(
    data: Annotated[
        list[str] | None,
        typer.Option(help="'rendered', a data set of `trpose data list`, or a recording"),
    ] = None,
    estimator: Annotated[
        list[str] | None, typer.Option(help="weights, KIND:WEIGHTS, or 'truth2d[:drop]': true 2D")
    ] = None,
    lifter: Annotated[
        list[str] | None,
        typer.Option(
            help="'none' or NAME[:WEIGHTS][@[LOOK_AHEAD][~SMOOTHING][/HOP]], then "
            '+fusion or +refinement'
        ),
    ] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="a profile, or 'five', 'extra', 'all', 'skeleton'")
    ] = None,
    severities: Annotated[str, typer.Option(help="'main' or 'all'")] = 'main',
    seeds: Annotated[int, typer.Option(min=1, max=100, help='repetitions k = 0, 1, ...')] = 3,
    realisation: Annotated[
        str, typer.Option(help="'main', 'fill' or 'crop' (of what can be cropped)")
    ] = 'main',
    track: Annotated[str, typer.Option(help="'DET' or 'GT' (boxes of the true bodies)")] = 'DET',
    boxes: Annotated[
        str, typer.Option(help="'detector' or 'image': who finds people")
    ] = 'detector',
    clips: Annotated[
        int,
        typer.Option(min=0, help='only so many clips, the rendered ones evenly chosen; 0 = all'),
    ] = 0,
    quick: Annotated[
        bool, typer.Option('--quick', help='two short clips, one seed: some minutes')
    ] = False,
    out: Annotated[Path, typer.Option(help='folder of the results')] = Path('out/evaluation'),
    cache: Annotated[
        Path | None, typer.Option(help='folder of estimator passes (default: the user cache)')
    ] = None,
    no_cache: Annotated[bool, typer.Option('--no-cache', help='keep no estimator passes')] = False,
    threads: Annotated[int, typer.Option(min=0, help='CPU threads of the estimator')] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help='processes that share the work, by Ray; 0 = this one alone')
    ] = 0,
    ray: Annotated[
        str, typer.Option(help="address of a running Ray cluster, e.g. 'auto' or HOST:6379")
    ] = '',
    report: Annotated[bool, typer.Option(help='write report.html, with videos')] = True,
    rectified: Annotated[
        bool, typer.Option('--rectified', help='recordings hold undistorted images: P, not K')
    ] = False,
    any_frame: Annotated[
        bool, typer.Option('--any-frame', help='take camera_info of another frame_id')
    ] = False,
    rotate_deg: Annotated[
        int, typer.Option(help='turn images clockwise by 90, 180 or 270: a camera mounted turned')
    ] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure estimators and lifters under the truncation conditions of protocol v1.

    Without --estimator and --lifter the study is run: MeTRAbs alone and every lifter, with the
    baseline's 2D and with MeTRAbs 2D, as far as their weights are there.

    A run that was interrupted goes on where it stopped when it is started again with the same
    settings. Results: report.html, results.parquet (one row per sequence and condition),
    tables.md, tables.json and failed.json in --out.
    """
    from trpose_ros.evaluation import results
    from trpose_ros.evaluation.cases import EvaluationConfig
    from trpose_ros.evaluation.conditions import plan
    from trpose_ros.evaluation.estimation import cache_folder
    from trpose_ros.evaluation.runner import EvaluationRun
    from trpose_ros.evaluation.sequences import turned_clip
    from trpose_ros.evaluation.spread import load_ray
    from trpose_ros.recordings.bags import BagError
    from trpose_ros.recordings.camera_book import CameraConfig
    from trpose_ros.recordings.sources import SourceError
    from trpose_ros.report import check_libraries

    voice = Voice(quiet, as_json)
    console = voice.console
    try:
        results.check_extra()
        if workers or ray:
            load_ray()
        if report:
            check_libraries()
        chosen = plan(condition or ['five'], severities, range(1 if quick else seeds), realisation)
        what = _what_to_compare(estimator, lifter, console)
        opened = _open(
            data or ['rendered'],
            clips,
            quick,
            console,
            CameraConfig(rectified=rectified, any_frame=any_frame),
        )
        opened = [turned_clip(clip, rotate_deg) for clip in opened]
        config = EvaluationConfig(
            estimators=what.estimators,
            lifters=what.lifters,
            pairs=what.pairs,
            conditions=tuple(chosen),
            track=track,
            boxes=boxes,
            threads=threads,
            cache=None if no_cache else (cache or cache_folder()),
            shown_clip=opened[0].identity if report else '',
        )
        run = EvaluationRun(config, opened, out, workers=workers, address=ray)
    except ModuleNotFoundError as error:
        needs = f"{error.name} is missing: pip install 'trpose_ros[train,evaluate]'"
        _say(Console(stderr=True), 'error', needs, 'red')
        raise typer.Exit(2) from error
    except (ValueError, RuntimeError, OSError, ImportError, BagError, SourceError) as error:
        _say(Console(stderr=True), 'error', str(error), 'red')
        raise typer.Exit(2) from error
    with voice:
        values, code = _measure(run, what.notes, report, console)
    voice.end('evaluate', code, out=out, **values)


def _measure(
    run: EvaluationRun, notes: tuple[str, ...], report: bool, console: Console
) -> tuple[dict[str, Any], int]:
    """Run the cases and write everything; return what the document says, and the exit code.

    After Ctrl-C the tables hold the cases that are done.
    """
    begin_s = time.perf_counter()
    interrupted = False
    try:
        _follow(run, console)
    except KeyboardInterrupt:
        interrupted = True
    rows = run.rows()
    if interrupted:
        text = (
            f'by Ctrl-C; {len(rows)} rows of finished cases are in {run.folder}; the same command '
            'goes on from there'
        )
        _say(console, 'stopped', text, 'yellow')
    _tabulate(rows, run, notes, console)
    seconds = time.perf_counter() - begin_s
    console.print(f'{len(rows)} rows in {seconds:.0f} s -> {run.folder}')
    if report and rows and not interrupted:
        _write_report(run.folder, console)
    values = {
        'interrupted': interrupted,
        'cases': len(run.cases),
        'rows': len(rows),
        'failed': run.failed,
        'tables': run.folder / 'tables.json' if rows else None,
        'report': run.folder / 'report.html' if report and rows and not interrupted else None,
        'seconds': round(seconds, 1),
        'notes': list(notes),
    }
    return values, EXIT_CODE if interrupted else int(bool(run.failed))


@dataclass(frozen=True)
class _Comparison:
    """What was asked for: one of the estimators with one of the lifters is a method."""

    estimators: tuple[str, ...]
    lifters: tuple[str, ...]
    pairs: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


def _what_to_compare(
    estimators: list[str] | None, lifters: list[str] | None, console: Console
) -> _Comparison:
    """Return what is given, or the study; loads every lifter once, to fail early."""
    from trpose_ros.evaluation import study
    from trpose_ros.evaluation.cases import EvaluationConfig, LifterSpec

    if estimators or lifters:
        chosen = _Comparison(
            tuple(estimators or EvaluationConfig.estimators),
            tuple(lifters or EvaluationConfig.lifters),
            {},
        )
    else:
        preset = study.preset()
        for sentence in preset.missing:
            _say(console, 'study', sentence, 'yellow')
        chosen = _Comparison(preset.estimators, ('none',), preset.pairs, preset.missing)
    for text in dict.fromkeys((*chosen.lifters, *chain(*chosen.pairs.values()))):
        LifterSpec.parse(text).stage()  # missing weights are better named now than in an hour
    return chosen


def _open(
    names: list[str], limit: int, quick: bool, console: Console, camera: CameraConfig
) -> list[EvaluationClip]:
    from trpose_ros.evaluation.open_data import open_data
    from trpose_ros.recordings.sources import SourceOptions

    opened: list[EvaluationClip] = []
    for name in names:
        if quick and name == 'rendered':
            from trpose_ros.evaluation.rendered_sequences import (
                QUICK_MOTIONS,
                QUICK_SECONDS,
                rendered_clips,
            )

            opened += rendered_clips(limit, QUICK_SECONDS, QUICK_MOTIONS)
        else:
            opened += open_data(name, limit, SourceOptions(camera=camera))
    for clip in opened:
        for problem in clip.problems:
            _say(console, clip.identity, problem, 'yellow')
        if not clip.truth:
            note = 'no ground truth; measured against the unoccluded run'
            _say(console, clip.identity, note, 'yellow')
    return opened


def _say(console: Console, what: str, text: str, colour: str) -> None:
    """Print a line; square brackets in it are no markup."""
    console.print(Text.assemble((f'{what}: ', colour), text), soft_wrap=True)


def _follow(run: EvaluationRun, console: Console) -> None:
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task('evaluating', total=len(run.cases))
        for step in run.steps():
            name = f'{step.case.clip.identity} {step.case.condition.name}'
            bar.update(task, advance=1, description=name[:60])
            if step.error:
                _say(bar.console, f'failed: {name}', step.error, 'red')


def _tabulate(
    rows: list[Row], run: EvaluationRun, notes: tuple[str, ...], console: Console
) -> None:
    """Print the tables and write them as Markdown and JSON."""
    from trpose_ros.evaluation import tables

    if not rows:
        console.print('[red]no case could be evaluated[/red]; see failed.json')
        return
    for table in tables.all_tables(rows):
        console.print(_rich(table))
    console.print(tables.write_tables(run.folder, rows, run.config.track, run.failed, notes))


def _write_report(folder: Path, console: Console) -> None:
    from trpose_ros.report import write_report

    begin = time.perf_counter()
    with FrameBar('writing the report', 'videos', console) as bar:
        path = write_report(folder, folder / 'report.html', bar.update)
    console.print(f'report in {time.perf_counter() - begin:.0f} s -> {path}')


def _rich(table: Table) -> RichTable:
    out = RichTable(title=table.title)
    for name in table.head:
        out.add_column(name, overflow='fold')
    for name in table.columns:
        out.add_column(name, justify='right', overflow='fold')
    for row in table.rows:
        out.add_row(*row, *(table.cell(row, column).text() for column in table.columns))
    return out

"""``trpose report`` and ``trpose compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trpose_ros.commands.output import passing_bar

app = typer.Typer(add_completion=False, rich_markup_mode=None, help='Reports and videos of runs.')

Method = Annotated[str, typer.Option(help='of an evaluation: LIFTER or ESTIMATOR/LIFTER')]
Topic = Annotated[str, typer.Option(help='of a recording: the PersonArray topic to show')]


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help='folder of an evaluation')],
    out: Annotated[Path | None, typer.Option(help='file; default: report.html in RUN')] = None,
) -> None:
    """Write the report of an evaluation: one HTML file that needs no network."""
    from trpose_ros.report import write_report

    with passing_bar('writing the report', 'videos') as bar:
        path = write_report(run, out or run / 'report.html', bar.update)
    typer.echo(f'{path}: {path.stat().st_size / 1e6:.1f} MB')


@app.command()
def compare(
    first: Annotated[
        Path, typer.Argument(help='left: a recording with results, a replay or an evaluation')
    ],
    second: Annotated[Path, typer.Argument(help='right: the same or another')],
    out: Annotated[Path, typer.Option(help='.mp4, or .webm for browsers')] = Path('compare.mp4'),
    condition: Annotated[str, typer.Option(help='of an evaluation, e.g. fixed_lower')] = '',
    left: Method = '',
    right: Method = '',
    left_topic: Topic = '',
    right_topic: Topic = '',
) -> None:
    """Write a side-by-side video of two runs."""
    from trpose_ros.report.compare import compare as write_video

    with passing_bar(f'drawing {out.name}', 'pictures') as bar:
        count = write_video(
            first,
            second,
            out,
            condition=condition,
            methods=(left, right),
            topics=(left_topic, right_topic),
            progress=bar.update,
        )
    typer.echo(f'{out}: {count} pictures')

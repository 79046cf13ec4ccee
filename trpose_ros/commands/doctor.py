"""``trpose doctor``: what is wrong with this installation, in plain words, and what to do."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from trpose_ros.doctor.checkup import Check, Section, all_checks, chosen, count, document, examine
from trpose_ros.doctor.findings import NOTE, OK, PROBLEM, Finding

app = typer.Typer(add_completion=False, rich_markup_mode=None, help='Look for what is wrong.')

_COLOURS = {OK: 'green', NOTE: 'yellow', PROBLEM: 'bold red'}
_WIDTH = max(map(len, _COLOURS)) + 1


@app.command('doctor')
def doctor(
    seconds: Annotated[
        float, typer.Option(min=0.2, max=600, help='listen to the cameras for so long')
    ] = 3.0,
    only: Annotated[
        str,
        typer.Option(
            help='these checks alone, with commas: '
            + ', '.join(check.name for check in all_checks())
        ),
    ] = '',
    as_json: Annotated[
        bool, typer.Option('--json', help='one JSON document instead of words')
    ] = False,
) -> None:
    """Look at Python, ROS, DDS, shared memory, PyTorch, extras, OpenCV, weights, disks, cameras.

    Ends with 0 without problems, with 1 when there are some. Each check runs in a process of its
    own: one that fails or hangs is a finding like the others.
    """
    try:
        checks = chosen(all_checks(seconds), [name.strip() for name in only.split(',') if name])
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint='--only') from error
    sections = _json(checks) if as_json else _words(checks)
    if count(sections)[PROBLEM]:
        raise typer.Exit(1)


def _json(checks: tuple[Check, ...]) -> list[Section]:
    sections = list(examine(checks))
    json.dump(document(sections), sys.stdout, indent=2)
    sys.stdout.write('\n')
    return sections


def _words(checks: tuple[Check, ...]) -> list[Section]:
    """Print each section when it is there."""
    console = Console()
    sections = []
    found = examine(checks)
    for check in checks:
        with console.status(Text(f'{check.title} ...')):
            section = next(found)
        sections.append(section)
        console.print(Text(section.check.title, style='bold'))
        for finding in section.findings:
            _show(finding, console)
    counts = count(sections)
    console.print(
        Text(
            f'{_number(counts[PROBLEM], PROBLEM)}, {_number(counts[NOTE], NOTE)}, {counts[OK]} ok',
            style=_COLOURS[PROBLEM if counts[PROBLEM] else OK],
        )
    )
    return sections


def _show(finding: Finding, console: Console) -> None:
    """Print one finding; lines are not broken, so that commands can be copied."""
    begin = (f'  {finding.mark:<{_WIDTH}}', _COLOURS[finding.mark])
    console.print(Text.assemble(begin, finding.text), soft_wrap=True)
    for line in (finding.means, finding.do and f'-> {finding.do}'):
        if line:
            console.print(Text(f'  {"":<{_WIDTH}}{line}'), soft_wrap=True)


def _number(count: int, what: str) -> str:
    return f'{count} {what}{"" if count == 1 else "s"}'

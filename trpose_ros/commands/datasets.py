"""``trpose data list | check | prepare``: the data sets that people have, and packs from originals.

``app`` holds the commands; the command line mounts them beside those for rendered people.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from trpose_ros.commands.output import passing_bar
from trpose_ros.data.registry import (
    DATASETS,
    data_folder,
    load_dataset,
    packs_folder,
    recognise,
)

app = typer.Typer(help='Published data sets: list, check, prepare.')
_PACKS = {'motion': 'mocap/mocap_cmu_30hz.npz', 'bodies': 'body'}


@app.command(name='list')
def list_datasets() -> None:
    """List the data sets that can be read, and which of them are there."""
    from rich.console import Console
    from rich.table import Table

    table = Table('name', 'data set', 'there', 'licence', title=f'data folder: {data_folder()}')
    for name, info in sorted(DATASETS.items()):
        folder = data_folder() / name
        here = 'yes' if folder.is_dir() and info.present(folder) else '-'
        table.add_row(name, info.title, here, info.licence)
    Console().print(table)
    typer.echo('trpose data check NAME says what to obtain for one that is not there.')


@app.command()
def check(
    where: Annotated[str, typer.Argument(help='folder with a data set, or the name of one')],
    name: Annotated[str, typer.Option(help='read the folder as this data set')] = '',
) -> None:
    """Read a whole data set and say what it holds; exit with 1 when something is wrong."""
    if where in DATASETS and not Path(where).is_dir():
        names, folder = [where], data_folder() / where
    else:
        folder = Path(where).expanduser()
        names = [name] if name else recognise(folder)
    if not names:
        typer.echo(f'{folder} holds files of no data set known: {", ".join(sorted(DATASETS))}')
        raise typer.Exit(1)
    for each in names:
        _check(each, folder)


def _check(name: str, folder: Path) -> None:
    samples: Counter[str] = Counter()
    minutes: dict[str, float] = {}
    subjects: dict[str, set[str]] = {}
    invalid = joints = with_images = 0
    try:
        with passing_bar(f'reading {name}', 'samples') as bar:
            for sample in load_dataset(name, folder):
                samples[sample.split] += 1
                length = len(sample) / sample.fps / 60
                minutes[sample.split] = minutes.get(sample.split, 0.0) + length
                subjects.setdefault(sample.split, set()).add(sample.subject)
                invalid += int((~sample.valid).sum())
                joints += sample.valid.size
                with_images += sample.images is not None
                bar.update(samples.total(), 0)  # nobody knows how many there will be
    except (OSError, ValueError, ImportError) as error:
        typer.echo(f'{DATASETS[name].title}: {error}')
        raise typer.Exit(1) from error
    typer.echo(f'{DATASETS[name].title} in {folder}:')
    for split in samples:
        known = sorted(subjects[split])
        shown = ' '.join(known[:12]) + (' ...' if len(known) > 12 else '')
        typer.echo(
            f'  {split:5} {samples[split]:6} samples, {minutes[split]:8.1f} minutes, '
            f'{len(known)} subjects: {shown}'
        )
    typer.echo(
        f'  {100 * invalid / max(joints, 1):.2f} % of the joints without annotation, '
        f'{with_images} samples with images'
    )


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="'human36m', 'motion' or 'bodies'")],
    source: Annotated[
        Path | None, typer.Option('--from', help='folder of the originals; default: its own')
    ] = None,
    out: Annotated[Path | None, typer.Option(help='where to write; default: the packs')] = None,
    rate: Annotated[float, typer.Option(help='motion: frames per second of the pack')] = 30.0,
    shapes: Annotated[int, typer.Option(help='bodies: how many body shapes')] = 40,
    seed: Annotated[int, typer.Option(help='bodies: seed of the shapes')] = 0,
) -> None:
    """Build what takes time once: camera poses, the motion pack, the body pack."""
    folder = (source or data_folder() / name).expanduser()
    try:
        if name == 'human36m':
            from trpose_ros.data.datasets.human36m import prepare as find_cameras

            with passing_bar('finding cameras', 'subjects') as bar:
                path = find_cameras(folder, bar.update)
            typer.echo(f'wrote {path}')
        elif name == 'motion':
            _motion(folder, out or packs_folder() / 'data' / _PACKS[name], rate)
        elif name == 'bodies':
            from trpose_ros.data.rendering.prepare_bodies import prepare as build

            target = out or packs_folder() / 'data' / _PACKS[name]
            with passing_bar('making bodies', 'shapes and garments') as bar:
                for line in build(folder, target, shapes, seed, bar.update):
                    typer.echo(line)
        else:
            raise ValueError(
                f"nothing to prepare for {name!r}: give 'human36m', 'motion' or 'bodies'; other "
                'data sets are read as they are'
            )
    except (OSError, ValueError) as error:
        typer.echo(str(error))
        raise typer.Exit(1) from error


def _motion(folder: Path, target: Path, rate: float) -> None:
    from trpose_ros.data.motion.prepare import MotionConfig
    from trpose_ros.data.motion.prepare import prepare as build

    with passing_bar('reading motion', 'files') as bar:
        clips = build(folder, target, MotionConfig(rate_hz=rate), typer.echo, bar.update)
    minutes = sum(len(clip.joints_m) for clip in clips) / rate / 60
    people = len({clip.subject for clip in clips})
    typer.echo(f'wrote {target}: {len(clips)} clips, {minutes:.1f} minutes, {people} subjects')

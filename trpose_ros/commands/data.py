"""``trpose data``: rendered training pictures and clips, the sample recording, data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer

from trpose_ros.commands import datasets as datasets_cli
from trpose_ros.commands.output import passing_bar
from trpose_ros.data.registry import data_folder
from trpose_ros.writing import write_bytes

app = typer.Typer(help='Rendered people, the sample recording, published data sets.')
app.registered_commands += datasets_cli.app.registered_commands
_EDGES = (40, 220, 60)


@app.command()
def preview(
    out: Annotated[Path, typer.Argument(help='picture to write (.png or .jpg)')],
    kind: Annotated[
        str, typer.Option(help="'crops' (estimator), 'scenes' (detector) or 'clips'")
    ] = 'crops',
    split: Annotated[str, typer.Option(help='train, val or test')] = 'train',
    count: Annotated[int, typer.Option(min=1, max=400, help='pictures')] = 24,
    seed: int = 0,
) -> None:
    """Write a contact sheet of what the networks are trained on, with its labels."""
    makers = {'crops': _crops, 'scenes': _scenes, 'clips': _clips}
    if kind not in makers:
        raise typer.BadParameter(f'kind must be one of {sorted(makers)}, got {kind!r}')
    with passing_bar(f'rendering {kind}', 'pictures') as bar:
        tiles = makers[kind](split, count, seed, bar.update)
    columns = min(8 if kind == 'crops' else 6, len(tiles))
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    _write(out, np.vstack(rows))
    typer.echo(f'wrote {out}: {count} {kind} of split {split}')


@app.command()
def sample(
    out: Annotated[Path | None, typer.Argument(help='recording; default: the shipped one')] = None,
) -> None:
    """Render the sample recording of the package."""
    from trpose_ros.data.rendering.clips import Clip
    from trpose_ros.data.rendering.sample_recording import SHIPPED, WALK, write_recording

    path = out or SHIPPED
    with passing_bar(f'rendering {path.name}', 'frames') as bar:
        frames = write_recording(Clip(WALK), path, progress=bar.update)
    typer.echo(f'wrote {path}: {frames} frames, {path.stat().st_size / 1e6:.2f} MB')


@app.command()
def clip(
    out: Annotated[Path, typer.Argument(help='recording (.mcap)')],
    motions: Annotated[
        list[str] | None,
        typer.Option('--motion', help="one per person; 'a+b' plays one after the other"),
    ] = None,
    seconds: float = 8.0,
    framing: Annotated[str, typer.Option(help="'whole' or 'near'")] = 'whole',
    split: str = 'test',
    seed: int = 0,
    exposure: Annotated[float, typer.Option(help='shutter time, of that between frames')] = 0.0,
    lens_blur: Annotated[float, typer.Option(help='blur of the whole image, px')] = 0.0,
    things: Annotated[int, typer.Option(help='panels before people')] = 0,
) -> None:
    """Render a clip with ground truth as a recording."""
    from trpose_ros.data.rendering.clips import Clip, ClipConfig
    from trpose_ros.data.rendering.sample_recording import write_recording

    config = ClipConfig(
        motions=tuple(motions or ()),
        seconds=seconds,
        framing=framing,
        split=split,
        seed=seed,
        exposure=exposure,
        lens_blur_px=lens_blur,
        things=things,
    )
    with passing_bar(f'rendering {out.name}', 'frames') as bar:
        frames = write_recording(Clip(config), out, progress=bar.update)
    typer.echo(f'wrote {out}: {frames} frames')


@app.command()
def label(
    folder: Annotated[Path, typer.Argument(help='photographs of people, .jpg or .png')],
    out: Annotated[
        Path | None, typer.Option(help="labels.npz; default: in the data set's folder")
    ] = None,
) -> None:
    """Label photographs by two networks that have to agree; what they say trains MeTRAbs."""
    from trpose_ros.data.datasets.photographs import label as label_photographs
    from trpose_ros.data.samples import DataError

    target = out or data_folder() / 'photographs' / 'labels.npz'
    try:
        if not folder.is_dir():
            raise DataError(f'{folder} is not a folder; give one that holds .jpg or .png pictures')
        with passing_bar(f'labelling {folder.name}', 'pictures') as bar:
            counts = label_photographs(folder, target, bar.update)
    except DataError as error:
        typer.echo(f'error: {error}', err=True)
        raise typer.Exit(1) from error
    typer.echo(f'wrote {target}: ' + ', '.join(f'{n} {name}' for name, n in counts.items()))


Tick = Callable[[int, int], object]  # so far, in all


def _crops(split: str, count: int, seed: int, tick: Tick) -> list[np.ndarray]:
    from trpose_ros.data.rendering.backgrounds import Backgrounds
    from trpose_ros.data.rendering.crops import Composer
    from trpose_ros.data.rendering.sprites import SpriteSource
    from trpose_ros.skeletons import get_skeleton

    parents = get_skeleton('h36m_17').parents
    composer = Composer(_Sheet(SpriteSource(split), count, seed, tick), Backgrounds(split))  # type: ignore
    tiles = []
    for number in range(count):
        crop = composer.training_crop(number, np.random.default_rng([seed, number]))
        tile = np.ascontiguousarray(crop.image)
        points = np.rint(np.clip(crop.joints_px, -1e4, 1e4)).astype(int)
        for joint, parent in enumerate(parents):
            if parent >= 0 and number % 2:  # every second picture, to see both
                cv2.line(tile, points[joint].tolist(), points[parent].tolist(), _EDGES, 1)
        tiles.append(tile)
    return tiles


def _scenes(split: str, count: int, seed: int, tick: Tick) -> list[np.ndarray]:
    from trpose_ros.data.rendering.backgrounds import Backgrounds
    from trpose_ros.data.rendering.groups import SceneComposer
    from trpose_ros.data.rendering.sprites import SpriteSource

    store = _Sheet(SpriteSource(split), max(count, 24), seed, tick)
    composer = SceneComposer(store, Backgrounds(split))  # type: ignore[arg-type]
    tiles = []
    for number in range(count):
        scene = composer.scene(np.random.default_rng([seed, number]))
        for x, y, w, h in scene.boxes_px:
            low, high = (round(x + 0.5), round(y + 0.5)), (round(x + w - 0.5), round(y + h - 0.5))
            cv2.rectangle(scene.image, low, high, _EDGES, 1)
        tiles.append(scene.image)
    return tiles


def _clips(split: str, count: int, seed: int, tick: Tick) -> list[np.ndarray]:
    from trpose_ros.data.rendering.bodies import BodyLibrary
    from trpose_ros.data.rendering.clips import Clip, ClipConfig
    from trpose_ros.drawing.overlay import draw_people

    library, tiles = BodyLibrary(), []
    for row in range(-(-count // 6)):
        framing = 'near' if row % 2 else 'whole'
        config = ClipConfig(split=split, seconds=2.0, framing=framing, seed=seed + row)
        if row % 4 > 1:
            config = dataclasses.replace(config, things=2, exposure=0.5, lens_blur_px=1.0)
        moving = Clip(config, library)
        for index in np.linspace(0, len(moving) - 1, 6).astype(int):
            frame, people = moving.draw(int(index))
            image = draw_people(frame.image.copy(), people) if index else frame.image
            tiles.append(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
            tick(len(tiles), 6 * -(-count // 6))
    return tiles[:count]


class _Sheet:
    """A store of sprites in memory, rendered when it is made."""

    def __init__(self, source, count: int, seed: int, tick: Tick) -> None:
        from trpose_ros.data.rendering.sprites import join

        # Many people, two poses of each.
        figures = -(-count // 2)
        parts = []
        for i in range(figures):
            parts.append(source.figure_sprites(seed, i, 2))
            tick(min(2 * len(parts), count), count)
        self._all = join(parts)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        names = ('rgba', 'intrinsics', 'joints_m', 'visible', 'up')
        return {name: getattr(self._all, name)[index] for name in names}


def _write(path: Path, picture: np.ndarray) -> None:
    ending = path.suffix or '.png'
    done, data = cv2.imencode(ending, picture[..., ::-1])
    if not done:
        raise typer.BadParameter(f'{path}: pictures end in .png or .jpg')
    write_bytes(path, data.tobytes())

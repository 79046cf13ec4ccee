"""``trpose weights``: what weights there are, what they are, how foreign ones come in, ours go out.

``import`` takes the folder of a published MeTRAbs package for PyTorch, an official checkpoint of
a lifter, a MoveNet as TensorFlow.js graph model (.json, its .bin beside it), or a weights file of
ours, and leaves NAME.safetensors with a model card in the user's folder. Nothing in a foreign file
is executed and nothing is ever downloaded. SavedModels stay as they are: the estimator
metrabs_tensorflow takes their folder. ``export`` writes a network for other runtimes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from trpose_ros import weights
from trpose_ros.weights import WeightsError, WeightsFile
from trpose_ros.weights.packing import INT8
from trpose_ros.writing import write_bytes

if TYPE_CHECKING:
    from trpose_ros.runtimes.onnx_export import Exportable

app = typer.Typer(
    help='List, show, check and import weights.',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help='a name from the list, or a .safetensors file')]


@app.command(name='list')
def list_weights() -> None:
    """List shipped and imported weights."""
    from rich.table import Table

    table = Table()
    for column in ('name', 'architecture', 'skeleton', 'licence', 'size', 'from'):
        table.add_column(column, justify='right' if column == 'size' else 'left')
    damaged = []
    for name, path in weights.available().items():
        origin = 'shipped' if path.parent == weights.SHIPPED else str(path.parent)
        try:
            meta = weights.read_meta(path)
        except (WeightsError, OSError) as error:
            damaged.append(str(error))
            continue
        size = f'{path.stat().st_size / 1e6:.1f} MB'
        table.add_row(name, meta['architecture'], meta['skeleton'], meta['licence'], size, origin)
    Console().print(table)
    for line in damaged:
        typer.secho(line, fg='red', err=True)
    if damaged:
        raise typer.Exit(1)


@app.command()
def show(name: Name) -> None:
    """Show the header of a weights file: architecture, data, licence, measured error."""
    try:
        file = weights.load(name)
    except WeightsError as error:
        _fail(error)
    typer.echo(f'{file.path}\nid: {file.weights_id}\nsha256: {file.sha256}')
    for key in (*weights.REQUIRED_META, *sorted(set(file.meta) - set(weights.REQUIRED_META))):
        typer.echo(f'{key}: {_shortened(file.meta[key])}')
    parameters = sum(int(value.size) for value in file.tensors.values())
    typer.echo(f'tensors: {len(file.tensors)} with {parameters / 1e6:.2f} million values')


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help='names or files; without any: all there are')
    ] = None,
) -> None:
    """Compare weights with the checksum in their model card, and see that their network loads."""
    failed = False
    for name in names or sorted(weights.available()):
        try:
            file = weights.verify(name)
            loads = _try_network(file)
        except WeightsError as error:
            typer.secho(f'{name}: {error}', fg='red', err=True)
            failed = True
            continue
        typer.echo(f'{name}: sha256 as in its card{loads}')
    if failed:
        raise typer.Exit(1)


@app.command(name='import')
def import_weights(
    path: Annotated[
        Path, typer.Argument(help='package folder, checkpoint, graph model or weights file')
    ],
    name: Annotated[str, typer.Option(help='name to give; default: that of the source')] = '',
    rate_hz: Annotated[
        float, typer.Option(help='lifters: frame rate of the training data (Human3.6M: 50)')
    ] = 50.0,
    causal: Annotated[
        bool | None,
        typer.Option('--causal/--symmetric', help='VideoPose3D: which one; no file says it'),
    ] = None,
    dense: Annotated[
        bool | None,
        typer.Option('--dense/--dilated', help='VideoPose3D: the undilated ablation, or not'),
    ] = None,
    licence: Annotated[
        str, typer.Option(help='licence to note; default: what publishers of such files say')
    ] = '',
) -> None:
    """Convert foreign weights to safetensors with a model card, in the user's folder."""
    try:
        target = _target(path, name)
        if path.is_dir():
            file = _import_package(path, target, licence)
        elif path.suffix == '.safetensors':
            file = _import_ours(path, target)
        elif path.suffix == '.json':
            file = _import_movenet(path, target, licence)
        else:
            file = _import_lifter(path, target, rate_hz, causal, dense, licence)
    except WeightsError as error:
        _fail(error)
    typer.echo(f'{file.path}\nid: {file.weights_id}\nlicence: {file.meta["licence"]}')


@app.command()
def pack(
    name: Name,
    out: Annotated[Path, typer.Argument(help='file to write, ending in .safetensors')],
) -> None:
    """Write weights at half their size, large matrices as bytes; measure them again afterwards."""
    try:
        file = weights.rewrite(name, out, packing=INT8)
    except WeightsError as error:
        _fail(error)
    kind = file.meta['architecture']
    typer.echo(
        f'{file.path}: {file.path.stat().st_size / 1e6:.2f} MB\n'
        f'measure it, and write that into its card: trpose train {kind} --measure {file.path} '
        '--record true'
    )


@app.command()
def export(
    name: Name,
    onnx: Annotated[Path, typer.Option('--onnx', help='file to write, ending in .onnx')],
) -> None:
    """Write the network of MeTRAbs or of a lifter as ONNX, after comparing it with PyTorch."""
    if onnx.suffix.lower() != '.onnx':
        raise ValueError(f'--onnx must end in .onnx, got {onnx}')
    from trpose_ros.runtimes.onnx_export import BATCHES
    from trpose_ros.runtimes.onnx_export import export as make

    try:
        network = _exportable(name)
    except WeightsError as error:
        _fail(error)
    with Console(stderr=True).status('tracing, and comparing with PyTorch'):
        made = make(network)
    write_bytes(onnx, made.content)
    shape = 'x'.join(map(str, network.shape))
    typer.echo(
        f'{onnx}: {onnx.stat().st_size / 1e6:.2f} MB, {network.facts["weights_id"]}, '
        f'licence: {network.facts["licence"]}\n'
        f'{network.input_name}: batch x {shape}; '
        f'{made.multiply_adds / 1e6:.1f} million multiply-adds each\n'
        f'largest difference between ONNX Runtime and PyTorch, batches of {BATCHES}:'
    )
    for output, difference in made.differences.items():
        typer.echo(f'  {output}: {difference:.2g}')


def _exportable(name: str) -> Exportable:
    meta = weights.load(name).meta
    kind = meta['architecture']
    if kind == 'metrabs':
        from trpose_ros.metrabs import onnx_network as crops
        from trpose_ros.metrabs.checkpoints import load_network

        return crops.exportable(load_network(name))
    from trpose_ros.lifters import LIFTER_NAMES
    from trpose_ros.lifters import onnx_network as windows

    if kind not in LIFTER_NAMES:
        raise WeightsError(f'{name} is of {kind!r:.80}; metrabs and lifters can be exported')
    return windows.exportable(kind, name)


def _target(path: Path, name: str) -> Path:
    if not path.exists():
        raise WeightsError(f'{path} does not exist')
    chosen = name or (path.resolve().name if path.is_dir() else path.stem)
    if '/' in chosen:
        raise WeightsError(f'a name must not hold a slash, got {chosen!r}')
    if (weights.SHIPPED / f'{chosen}.safetensors').is_file():
        raise WeightsError(f'{chosen!r} is the name of shipped weights; give another with --name')
    return weights.user_folder() / f'{chosen}.safetensors'


def _import_package(path: Path, target: Path, licence: str) -> WeightsFile:
    if (path / 'saved_model.pb').is_file():
        raise WeightsError(
            f'{path} is a TensorFlow SavedModel: it is used as it is, with estimator '
            f"metrabs_tensorflow and model '{path}'"
        )
    from trpose_ros.metrabs.packages import read_package

    package = read_package(path)
    meta = package.meta | {'imported_sha256': package.sha256}
    if licence:
        meta['licence'] = licence
    file = weights.save(target, package.tensors, meta)
    weights.write_card(file)
    return file


def _import_ours(path: Path, target: Path) -> WeightsFile:
    given = weights.load(path)
    file = weights.save(target, given.tensors, given.meta)
    weights.write_card(file)
    return file


def _import_movenet(path: Path, target: Path, licence: str) -> WeightsFile:
    from trpose_ros.movenet import checkpoints

    return checkpoints.convert(path, target, licence=licence or checkpoints.LICENCE)


def _import_lifter(
    path: Path,
    target: Path,
    rate_hz: float,
    causal: bool | None,
    dense: bool | None,
    licence: str,
) -> WeightsFile:
    from trpose_ros.lifters import checkpoints

    return checkpoints.import_checkpoint(
        path,
        target,
        rate_hz=rate_hz,
        causal=causal,
        dense=dense,
        licence=licence or checkpoints.LICENCE,
    )


def _try_network(file: WeightsFile) -> str:
    """Build the network where this module knows how; return what to say about it."""
    kind = file.meta['architecture']
    if kind == 'metrabs':
        from trpose_ros.metrabs.checkpoints import network_from_file

        network_from_file(file)
    elif kind == 'movenet':
        from trpose_ros.movenet import checkpoints

        checkpoints.network_from_file(file)
    else:
        return ''
    return ', its network loads'


def _shortened(value: str, most: int = 400) -> str:
    line = ' '.join(value.split())
    return line if len(line) <= most else f'{line[:most]}... ({len(line)} characters)'


def _fail(error: WeightsError) -> NoReturn:
    typer.secho(f'trpose: {error}', fg='red', err=True)
    raise typer.Exit(1) from error

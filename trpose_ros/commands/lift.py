"""``trpose lift``: 3D skeletons from 2D keypoints that are in a file already."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trpose_ros.commands.output import FrameBar, Json, Quiet, Voice
from trpose_ros.interruption import EXIT_CODE

if TYPE_CHECKING:
    from trpose_ros.offline.lift import LiftOptions

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def lift(
    source: Annotated[
        Path,
        typer.Argument(
            help='keypoints: .npz (VideoPose3D or arrays), .npy, .json (COCO, MMPose, MediaPipe), '
            '.csv, or a folder of OpenPose'
        ),
    ],
    out: Annotated[Path, typer.Option(help='npz to write')] = Path('out/lift/joints.npz'),
    export: Annotated[
        str, typer.Option(help='also write csv, json, bvh, trc beside it, joined by commas')
    ] = '',
    lifter: Annotated[str, typer.Option(help='network that lifts')] = 'videopose3d',
    lifter_model: Annotated[
        str, typer.Option(help='its weights: name or file; default: NAME-robust')
    ] = '',
    look_ahead: Annotated[int, typer.Option(help='frames of future; -1: as trained')] = -1,
    smoothing: Annotated[int, typer.Option(help='frames of these that average', min=0)] = 0,
    hop: Annotated[
        int, typer.Option(help='run mixste, mhformer once per so many frames', min=1)
    ] = 1,
    device: Annotated[str, typer.Option(help="'auto', 'cpu', 'cuda' or 'cuda:N'")] = 'auto',
    skeleton: Annotated[
        str, typer.Option(help='order of the joints, where the file does not say it: coco_17, ...')
    ] = '',
    unit: Annotated[
        str, typer.Option(help="'px', 'shares' of the sides, 'screen' (x from -1 to 1)")
    ] = '',
    take: Annotated[
        str, typer.Option(help='part of a file that holds several: SUBJECT/ACTION[/CAMERA], array')
    ] = '',
    rate: Annotated[float, typer.Option(help='frames a second; 0: as the file says', min=0)] = 0.0,
    size: Annotated[str, typer.Option(help='of the images, px: 1920x1080')] = '',
    fov_deg: Annotated[
        float, typer.Option(help='field of view along the larger side, without calibration')
    ] = 55.0,
    calibration: Annotated[
        Path | None, typer.Option(help='YAML of camera_calibration of the camera')
    ] = None,
    least_score: Annotated[
        float, typer.Option(help='joints with lower scores are not trusted', min=0, max=1)
    ] = 0.3,
    single: Annotated[
        bool, typer.Option('--single', help='the largest person of each frame is always the same')
    ] = False,
    ignore_ids: Annotated[
        bool, typer.Option('--ignore-ids', help='tell people apart by where they are')
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Lift 2D keypoints of other programs to 3D, as the live nodes would; see docs/lift.md."""
    from rich.markup import escape

    from trpose_ros.exports.files import Export, formats_of, write_exports
    from trpose_ros.keypoints.read import read_keypoints
    from trpose_ros.offline.lift import check
    from trpose_ros.offline.lift import lift as run_lift

    if out.suffix.lower() != '.npz':
        raise ValueError(f'--out must end in .npz, got {out}; other formats: --export csv,bvh')
    formats = formats_of(export)
    if lifter == 'none':
        raise ValueError("lifter 'none' lifts nothing: name a network with --lifter")
    options = _options(locals())
    keypoints = read_keypoints(source, skeleton=skeleton, unit=unit, take=take)
    check(keypoints, options)
    stage = _stage(locals())
    voice = Voice(quiet, as_json)
    console = voice.console
    with voice, FrameBar(f'lift {source.name}', console=console) as bar:
        result = run_lift(keypoints, stage, options, bar.update)
    written = Export(result.frames, result.facts)
    paths = write_exports(list(dict.fromkeys(('npz', *formats))), written, out.with_suffix(''))
    for problem in result.problems:
        console.print(f'[yellow]note[/] {escape(problem)}', highlight=False)
    licence = result.facts['licence']
    console.print(
        f'{len(result.frames)} frames, {result.tracks} tracks, {result.skeletons} skeletons by '
        f'{escape(result.facts["weights_id"])} ({escape(licence)})',
        highlight=False,
    )
    for path in paths:
        console.print(f'wrote {escape(str(path))}', highlight=False)
    voice.end(
        'lift',
        EXIT_CODE if result.interrupted else int(result.skeletons == 0),
        out=out,
        interrupted=result.interrupted,
        frames=len(result.frames),
        tracks=result.tracks,
        skeletons=result.skeletons,
        weights_id=result.facts['weights_id'],
        licence=licence,
        files=paths,
        problems=result.problems,
    )


def _options(given: dict[str, Any]) -> LiftOptions:
    from trpose_ros.offline.lift import LiftOptions
    from trpose_ros.recordings.calibration import read_calibration

    size = None
    if given['size']:
        match = re.fullmatch(r'(\d{1,6})x(\d{1,6})', given['size'].lower())
        if match is None:
            raise ValueError(f'--size must be WIDTHxHEIGHT such as 1920x1080, got {given["size"]}')
        size = int(match[1]), int(match[2])
    calibration = given['calibration']
    return LiftOptions(
        size=size,
        rate_hz=given['rate'] or None,
        fov_deg=given['fov_deg'],
        calibration=None if calibration is None else read_calibration(calibration),
        least_score=given['least_score'],
        single=given['single'],
        ignore_ids=given['ignore_ids'],
    )


def _stage(given: dict[str, Any]) -> Any:
    from trpose_ros.lifters import LifterConfig
    from trpose_ros.offline.lift import MAX_WAIT_S
    from trpose_ros.pipeline.pipeline import LiftStageConfig, PipelineConfig, build_lift_stage

    look_ahead = given['look_ahead']
    lifter = LifterConfig(
        name=given['lifter'],
        model=given['lifter_model'] or f'{given["lifter"]}-robust',
        look_ahead=look_ahead if look_ahead >= 0 else None,
        smoothing=given['smoothing'],
        hop=given['hop'],
        device=given['device'],
    )
    config = PipelineConfig(lifter=lifter, lift=LiftStageConfig(max_wait_s=MAX_WAIT_S))
    return build_lift_stage(config)

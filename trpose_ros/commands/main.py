"""``trpose``: the command line.

Everything heavy is imported by the command that needs it, so that ``--help`` is quick and a
missing extra is named by the one command that needs it.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trpose_ros import __version__
from trpose_ros.commands.friendly import Friendly
from trpose_ros.commands.given import pipeline_config, source_options
from trpose_ros.commands.options import (
    AnyFrame,
    Boxes,
    Calibration,
    CameraHeight,
    CameraPitch,
    CameraRoll,
    DepthTopic,
    Device,
    Estimator,
    ExportOption,
    Fov,
    FusionOption,
    ImageTopic,
    InfoTopic,
    Lifter,
    LifterModel,
    LookAhead,
    MaxMegapixels,
    Model,
    NumAug,
    Occlusion,
    PersonHeight,
    Realisation,
    Rectified,
    RotateDeg,
    SaveView,
    Severity,
    Smoothing,
    SourcesArgument,
    TruthTopic,
    ViewOption,
    ViewQuality,
)
from trpose_ros.commands.output import Json, Quiet

if TYPE_CHECKING:
    from trpose_ros.pipeline.pipeline import PipelineConfig

app = typer.Typer(
    name='trpose',
    help='Stable 3D human skeletons, even when people are cut off or hidden.',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

_NO_CALIBRATION = {'calibration': None}  # of one camera
_PASS_ON = {'allow_extra_args': True, 'ignore_unknown_options': True, 'help_option_names': []}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f'trpose_ros {__version__}')
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool,
        typer.Option('--version', callback=_print_version, is_eager=True, help='print the version'),
    ] = False,
) -> None:
    pass


@app.command()
def replay(
    source: SourcesArgument,
    out: Annotated[Path, typer.Option(help='folder for the results')] = Path('out/replay'),
    occlusion: Occlusion = 'none',
    severity: Severity = -1,
    realisation: Realisation = 'main',
    estimator: Estimator = 'metrabs_torch',
    model: Model = '',
    boxes: Boxes = 'detector',
    lifter: Lifter = '',
    lifter_model: LifterModel = '',
    look_ahead: LookAhead = -1,
    smoothing: Smoothing = 0,
    fusion: FusionOption = '',
    device: Device = 'auto',
    num_aug: NumAug = 1,
    image_topic: ImageTopic = '',
    camera_info_topic: InfoTopic = '',
    truth_topic: TruthTopic = '',
    depth_topic: DepthTopic = '',
    fov_deg: Fov = 55.0,
    calibration: Calibration = None,
    rectified: Rectified = False,
    any_frame: AnyFrame = False,
    rotate_deg: RotateDeg = 0,
    person_height_m: PersonHeight = 0.0,
    camera_height_m: CameraHeight = 0.0,
    camera_pitch_deg: CameraPitch = 0.0,
    camera_roll_deg: CameraRoll = 0.0,
    video: Annotated[bool, typer.Option(help='write annotated.mp4')] = True,
    bag: Annotated[bool, typer.Option(help='write result.mcap')] = True,
    export: ExportOption = '',
    view: ViewOption = False,
    save_view: SaveView = None,
    view_quality: ViewQuality = 85,
    max_frames: Annotated[int, typer.Option(help='stop after so many frames; 0: all', min=0)] = 0,
    identity: Annotated[
        str,
        typer.Option(
            help="'dataset|subject|action|camera': part of the occlusion's seed; by default "
            'that of the recording'
        ),
    ] = '',
    report: Annotated[
        bool, typer.Option('--report', help='replay without occlusion, too; write tables, report')
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Process every frame of a recording or video; write bag, video and metrics.

    Several cameras: a recording of each (as NAME=PATH) and a --calibration of all of them; their
    people are joined in the world. docs/several_cameras.md describes it.
    """
    with Friendly():
        from trpose_ros.commands.several import is_several, replay_cameras

        if is_several(source, calibration):
            config, where = pipeline_config(locals()), source_options(locals() | _NO_CALIBRATION)
            replay_cameras(source, config, where, locals())
            return
        from trpose_ros.commands.output import FrameBar, Voice, end_replay, report_replay
        from trpose_ros.exports.files import formats_of
        from trpose_ros.offline.replay import ReplayOptions
        from trpose_ros.offline.replay import replay as run_replay
        from trpose_ros.offline.viewing import ViewOptions
        from trpose_ros.recordings.sources import open_source

        formats = formats_of(export)
        config, where = pipeline_config(locals()), source_options(locals())
        opened = open_source(source[0], where)
        identity = identity or opened.identity
        options = ReplayOptions(
            bag=bag,
            video=video,
            max_frames=max_frames,
            identity=identity,
            export=formats,
            view=ViewOptions(view, save_view, view_quality),
        )
        voice = Voice(quiet, as_json)
        bar = FrameBar(f'replay of {opened.name}', console=voice.console)
        with voice, bar:
            if report:
                from trpose_ros.offline.replay_report import replay_and_report

                opened.close()
                result, rows = replay_and_report(
                    source[0], out, config, options, where, progress=bar.update, stage=bar.begin
                )
            else:
                result = run_replay(opened, out, config, options, progress=bar.update)
        report_replay(result, out, voice.console)
        if report and rows:
            from trpose_ros.evaluation.passes import summary

            voice.say('\n'.join(summary(rows)))
        end_replay(result, out, voice)


@app.command()
def run(
    source: Annotated[
        list[str],
        typer.Argument(
            help='a bag (.mcap, .db3, folder), a video file or /dev/video0; or pictures: files, '
            "folders, patterns such as 'photos/*.jpg'"
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help='write an annotated video to this file; of pictures: annotated copies and '
            'people.json into this folder, out/pictures if none is named'
        ),
    ] = None,
    occlusion: Occlusion = 'none',
    severity: Severity = -1,
    realisation: Realisation = 'main',
    estimator: Estimator = 'metrabs_torch',
    model: Model = '',
    boxes: Boxes = 'detector',
    lifter: Lifter = '',
    lifter_model: LifterModel = '',
    look_ahead: LookAhead = -1,
    smoothing: Smoothing = 0,
    fusion: FusionOption = '',
    device: Device = 'auto',
    num_aug: NumAug = 1,
    image_topic: ImageTopic = '',
    camera_info_topic: InfoTopic = '',
    truth_topic: TruthTopic = '',
    depth_topic: DepthTopic = '',
    fov_deg: Fov = 55.0,
    calibration: Calibration = None,
    rectified: Rectified = False,
    any_frame: AnyFrame = False,
    rotate_deg: RotateDeg = 0,
    person_height_m: PersonHeight = 0.0,
    camera_height_m: CameraHeight = 0.0,
    camera_pitch_deg: CameraPitch = 0.0,
    camera_roll_deg: CameraRoll = 0.0,
    max_megapixels: MaxMegapixels = 64.0,
    export: ExportOption = '',
    view: ViewOption = False,
    save_view: SaveView = None,
    view_quality: ViewQuality = 85,
    seconds: Annotated[float, typer.Option(help='stop after this time; 0: at the end')] = 0.0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run on a camera, video or bag in the terminal, or on pictures; no ROS; Ctrl-C ends.

    Pictures have nothing to do with each other: people are found anew in each, and there is no
    temporal lifter (the 3D joints are the estimator's own). docs/pictures.md describes the results.
    """
    with Friendly():
        from trpose_ros.exports.files import formats_of
        from trpose_ros.recordings.picture_files import are_pictures

        formats = formats_of(export)
        config = pipeline_config(locals())
        if are_pictures(source):
            if depth_topic:
                raise ValueError('pictures have no --depth-topic: it is of recordings')
            if formats:
                raise ValueError('pictures have people.json: --export is for videos and recordings')
            if view or save_view is not None:
                raise ValueError('pictures have annotated copies: --view is for what has a time')
            _run_pictures(source, config, locals())
            return
        from trpose_ros.commands.output import Voice, end_run
        from trpose_ros.offline.run import watch
        from trpose_ros.offline.viewing import ViewOptions
        from trpose_ros.recordings.sources import open_source

        opened = open_source(source[0], source_options(locals()))
        with Voice(quiet, as_json) as voice:
            result = watch(
                opened,
                config,
                out=out,
                limit_s=seconds,
                export=formats,
                view=ViewOptions(view, save_view, view_quality),
                console=voice.console,
            )
        end_run(result, out, voice)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def lift(context: typer.Context) -> None:
    """Lift 2D keypoints of a file (VideoPose3D, COCO, OpenPose, ...) to 3D skeletons."""
    with Friendly():
        _forward('trpose_ros.commands.lift', context)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help='folder for the results')] = Path('out/demo'),
    recording: Annotated[
        Path | None, typer.Option(help='a bag with camera_info and ground truth; default: shipped')
    ] = None,
    model: Model = '',
    lifter: Lifter = '',
    lifter_model: LifterModel = '',
    boxes: Boxes = '',
    look_ahead: LookAhead = -1,
    video: Annotated[bool, typer.Option(help='write the video and the picture')] = True,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Play a recording through the real ROS nodes, clean and truncated, and measure."""
    with Friendly():
        from trpose_ros.demo.demo import run_demo

        given = {
            'model': model,
            'lifter': lifter,
            'lifter_model': lifter_model,
            'boxes': boxes,
            'look_ahead': look_ahead if look_ahead >= 0 else '',
        }
        parameters = {name: value for name, value in given.items() if value != ''}
        from trpose_ros.commands.output import Voice, end_demo

        with Voice(quiet, as_json) as voice:
            run_demo(
                out,
                recording=recording,
                parameters=parameters,
                video=video,
                console=voice.console,
            )
        end_demo(out, voice)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def doctor(context: typer.Context) -> None:
    """Look at ROS, DDS, GPU, weights and cameras; say what is wrong and what to do."""
    _forward('trpose_ros.commands.doctor', context)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def messages(context: typer.Context) -> None:
    """Build the ROS messages into this environment (ROS from wheels)."""
    with Friendly():
        _forward('trpose_ros.commands.ros', context, 'messages')


@app.command(context_settings=_PASS_ON, add_help_option=False)
def node(context: typer.Context) -> None:
    """Run a ROS node without ros2 run: NAME --ros-args ..."""
    with Friendly():
        _forward('trpose_ros.commands.ros', context, 'node')


@app.command(context_settings=_PASS_ON, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train a network: NAME OPTIONS; without a name, list what can be trained."""
    with Friendly():
        from trpose_ros.training.run import run as run_trainer

        run_trainer(context.args)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def weights(context: typer.Context) -> None:
    """List, check, import and export weights."""
    with Friendly():
        _forward('trpose_ros.commands.weights', context)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def data(context: typer.Context) -> None:
    """List, check and prepare data sets; render people."""
    _forward('trpose_ros.commands.data', context)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def evaluate(context: typer.Context) -> None:
    """Run the truncation benchmark."""
    _forward('trpose_ros.commands.evaluate', context)


@app.command(context_settings=_PASS_ON, add_help_option=False)
def report(context: typer.Context) -> None:
    """Write the HTML report of an evaluation."""
    with Friendly():
        _forward('trpose_ros.commands.report', context, 'report')


@app.command(context_settings=_PASS_ON, add_help_option=False)
def compare(context: typer.Context) -> None:
    """Write a side-by-side video of two runs."""
    with Friendly():
        _forward('trpose_ros.commands.report', context, 'compare')


def main() -> None:
    """Run the command line."""
    app(prog_name='trpose')


def _forward(module: str, context: typer.Context, *command: str) -> None:
    """Hand the rest of the command line to the ``app`` of a module, or to a command of it."""
    with Friendly():
        part = importlib.import_module(module).app
    name = 'trpose' if command else f'trpose {context.info_name}'
    part(args=[*command, *context.args], prog_name=name)


def _run_pictures(names: list[str], config: PipelineConfig, given: dict[str, Any]) -> None:
    from trpose_ros.commands.output import FrameBar, Voice, end_pictures
    from trpose_ros.offline.pictures import report, run_pictures
    from trpose_ros.recordings.picture_source import open_pictures

    out = given['out'] or Path('out/pictures')
    source = open_pictures(names, dataclasses.replace(source_options(given), results=out))
    if given['lifter'] or given['lifter_model'] or given['look_ahead'] >= 0 or given['smoothing']:
        source.problems.append('pictures are not lifted: options of the lifter have no effect')
    voice = Voice(given['quiet'], given['as_json'])
    with voice, FrameBar(source.name, 'pictures', voice.console) as bar:
        result = run_pictures(source, config, out, limit_s=given['seconds'], progress=bar.update)
    report(source, result, out, voice.console)
    end_pictures(result, source.problems, out, voice)


if __name__ == '__main__':
    main()

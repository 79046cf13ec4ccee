"""``trpose demo``: the whole idea, measured, on real ROS 2 traffic between processes.

A player sends the images of a recording at their own speed; an occlusion_node hides parts of
them; pose_node, lifter_node and a recorder do what they do on a robot. The first pass of the
recording comes at the camera's rate, whatever the nodes manage: rate, latency and what is dropped
are measured there. Then each condition is one pass in step, an image when the last one has been
answered: untouched, and the five truncations of protocol v1. Errors are measured there, on every
frame, so that they do not depend on how fast the machine is. All numbers come from the recorder's
bag:

* frame rate: skeletons that arrived per second;
* latency: from the arrival of an image's camera_info (sent just before the image) to that of its
  skeleton, both at the recorder; it contains the future that the lifter waits for;
* dropped: images sent without a skeleton in the end;
* MPJPE: joined with the ground truth by stamp; an image without output counts with the last one.

Photographs of real people come last, untouched and truncated, as a picture (photograph_sheet.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from trpose_ros.demo import report as demo_report
from trpose_ros.demo.processes import NodeProcesses, ProcessError, free_domain
from trpose_ros.demo.report import Run
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.occlusion.occluder import FIVE
from trpose_ros.recordings.sources import BagSource, SourceOptions
from trpose_ros.resources import resource

if TYPE_CHECKING:
    from trpose_ros.nodes.playback import Playback

SAMPLE = Path(__file__).parents[1] / 'samples' / 'walk.mcap'
CONDITIONS = ('none', *FIVE)
IDENTITY = 'demo|walk|walk|0'
_START_S = 120.0  # for loading the networks on a slow machine
_QUIET_S = 1.6  # nothing more will come: longer than the lifter waits for a future
_RECORDED_S = 0.3  # what has arrived here has arrived at the recorder, too
_ANSWER_S = 10.0  # for the people of one image, in step
_RECORDED = (
    'camera/camera_info',
    'ground_truth',
    'occlusion_node/image',
    'occlusion_node/report',
    'pose_node/people',
    'lifter_node/people',
    'lifter_node/markers',
    'lifter_node/skeleton',
    '/diagnostics',
)

# Who else subscribes: the recorder, the player that waits for answers, and the demonstration.
_LISTENERS = {
    'camera/camera_info': 1,
    'ground_truth': 1,
    'occlusion_node/image': 1,
    'occlusion_node/report': 1,
    'pose_node/people': 2,
    'lifter_node/people': 2,
    'lifter_node/markers': 1,
}
_REFERENCE = {
    '/player': {'subscribers of /reference': 1},
    '/occlusion_node': {'publishers of /reference': 1},
}


class DemoError(RuntimeError):
    """The demonstration cannot go on; the message says why."""


def run_demo(
    out: Path,
    *,
    recording: Path | None = None,
    parameters: dict[str, Any] | None = None,
    conditions: tuple[str, ...] = CONDITIONS,
    video: bool = True,
    console: Console | None = None,
) -> int:
    """Run everything, write the results into ``out``, print the table; return the exit code.

    Args:
        out: folder; files of an earlier run in it are replaced.
        recording: a bag with camera_info and ground truth; None is the shipped sample.
        parameters: of the pose and the lifter node, by name, over those of the preset that the
            launch file takes.
        conditions: profiles of trpose_ros.occlusion, played in step; the first one also at the
            camera's rate.
        video: also write the video and the pictures.
        console: to print to.

    Raises:
        DemoError: a node ended or does not answer, or the recording is of no use.

    """
    console = console or Console()
    recording = SAMPLE if recording is None else recording
    if not recording.exists():
        raise DemoError(f'{recording} does not exist; make it with: trpose data sample')
    _check_ros()
    begin_s = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    source = BagSource(recording, SourceOptions())
    total = source.total
    source.close()
    if not source.truth:
        raise DemoError(f'{recording} holds no ground truth, there is nothing to compare with')
    bag = out / 'result.mcap'
    parameters = _preset() | (parameters or {})
    try:
        runs = _play(out, recording, parameters, conditions, total, console)
    except ProcessError as error:
        raise DemoError(str(error)) from error
    except KeyboardInterrupt:
        if bag.is_file():
            console.print(f'what was played until now is in {bag}')
        raise
    from trpose_ros.demo.photograph_sheet import write_photographs

    with console.status('reading the recorded bag'):
        demo_report.read_runs(bag, runs, recording)
        rows = demo_report.measure_runs(runs)
    table = demo_report.Table(rows, played=recording.name)
    table.write(out)
    if video:
        demo_report.draw(runs, rows, out, console)
        with console.status('looking at photographs'):
            write_photographs(out / 'photographs.png', parameters, conditions)
    console.print()
    console.print(table.rich())
    for line in table.footnotes():
        console.print(line, highlight=False)
    console.print(
        f'results in {out}: {", ".join(sorted(p.name for p in out.iterdir() if p.is_file()))}; '
        f'{time.perf_counter() - begin_s:.0f} s'
    )
    return 0


def _preset() -> dict[str, Any]:
    """Return the parameters that the launch file takes when nothing else is said."""
    text = resource('config', 'balanced.yaml').read_text(encoding='utf-8')
    return dict(yaml.safe_load(text)['/**']['ros__parameters'])


def _check_ros() -> None:
    """Import what ROS needs, so that a missing part is named before anything starts."""
    import trpose_ros.nodes.playback  # noqa: F401


def _play(
    out: Path,
    recording: Path,
    parameters: dict[str, Any],
    conditions: tuple[str, ...],
    total: int,
    console: Console,
) -> list[Run]:
    """Start the nodes, play all passes, end the nodes; the bag is complete afterwards."""
    from trpose_ros.nodes.playback import Playback, PlaybackError

    domain = free_domain()
    # The playback reads these when it joins the domain.
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    progress = Progress(
        TextColumn('{task.description:<14}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('skeletons'),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    threads = max(1, (os.cpu_count() or 2) // 2)
    runs = []
    with NodeProcesses(out / 'log', domain, threads) as nodes:
        _start_nodes(nodes, out, recording, parameters)
        with Playback(domain) as playback:
            try:
                with console.status(f'starting five nodes in ROS domain {domain}'):
                    playback.watch('/lifter_node/people')
                    playback.wait_for_nodes(
                        _LISTENERS, _START_S, nodes.check, lambda: playback.unconnected(_REFERENCE)
                    )
                plan = [(conditions[0], False), *((condition, True) for condition in conditions)]
                with progress:
                    whole = progress.add_task('all passes', total=total * len(plan))
                    for number, (condition, in_step) in enumerate(plan):
                        run = Run(Condition(condition), in_step=in_step)
                        name = run.name + ('' if in_step else ' live')
                        task = progress.add_task(name, total=total)

                        def tick(task: TaskID = task, before: int = number * total) -> None:
                            nodes.check()
                            progress.update(task, completed=playback.arrived)
                            progress.update(whole, completed=before + playback.arrived)

                        _one_pass(playback, run, tick)
                        runs.append(run)
            except PlaybackError as error:
                raise DemoError(_words(error, nodes, out)) from error
    return runs


def _start_nodes(
    nodes: NodeProcesses, out: Path, recording: Path, parameters: dict[str, Any]
) -> None:
    """Start player, occlusion_node, pose_node, lifter_node and recorder.

    Pose and lifter node get all parameters and take those that they have, as from a file.
    """
    camera = {'image': 'camera/image', 'camera_info': 'camera/camera_info'}
    altered = {'image': 'occlusion_node/image', 'camera_info': 'occlusion_node/camera_info'}
    nodes.start('recorder', {'bag': out / 'result.mcap', 'topics': list(_RECORDED)})
    nodes.start(
        'player',
        {'source': recording.resolve(), 'start': 'service', 'lockstep_s': _ANSWER_S},
        {**camera, 'results': 'pose_node/people'},
    )
    nodes.start(
        'occlusion_node',
        {'autostart': True, 'reference': 'given', 'identity': IDENTITY},
        {**camera, 'people': 'reference'},
    )
    nodes.start(
        'pose_node',
        {'autostart': True, **parameters},
        {**altered, 'occlusion_report': 'occlusion_node/report'},
    )
    nodes.start(
        'lifter_node',
        {'autostart': True, **parameters},
        {'people': 'pose_node/people', 'camera_info': 'occlusion_node/camera_info'},
    )


def _words(error: Exception, nodes: NodeProcesses, out: Path) -> str:
    """Return an error with what the nodes have complained about last."""
    said = [f'{name}: {line}' for name, lines in nodes.complaints().items() for line in lines[-2:]]
    return '\n'.join([f'{error}; logs are in {out / "log"}', *said])


def _one_pass(playback: Playback, run: Run, tick: Callable[[], None]) -> None:
    """Set the condition, play at the camera's rate or in step, wait until nothing more comes."""
    playback.restart_count()
    playback.set_condition(run.condition, tick)
    pace = {'lockstep_s': _ANSWER_S if run.in_step else 0.0}
    playback.set_parameters('player', pace, f'pass {run.name}', tick)
    playback.restart_count()
    run.begin_ns = time.time_ns()
    run.played, _ = playback.play(600.0, tick)
    # In step every image has an answer, the last ones when the lifter has waited for a future.
    expected = run.played if run.in_step else -1
    longest_s = _ANSWER_S if run.in_step else _QUIET_S

    def over() -> bool:
        quiet_s = _RECORDED_S if playback.arrived == expected else longest_s
        return playback.quiet_s > quiet_s

    playback.wait(over, 30.0, tick)
    run.end_ns = time.time_ns()

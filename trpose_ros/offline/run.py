"""``trpose run``: the pipeline on a camera, a video or a bag, with a line in the terminal.

A camera gives what it gives: frames that the model has no time for are not waited for. A file is
processed frame by frame, as fast as the model goes.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from trpose_ros.drawing.overlay import draw_people
from trpose_ros.offline.exporting import ExportRecorder
from trpose_ros.offline.viewing import Viewing, ViewOptions
from trpose_ros.people import People, TrackState
from trpose_ros.pipeline.pipeline import Pipeline, PipelineConfig
from trpose_ros.recordings.sources import Source
from trpose_ros.recordings.video import VideoWriter, video_rate
from trpose_ros.skeletons import get_skeleton

_KEPT = 60  # frames whose times the shown rate and latency are taken from


@dataclass
class Watched:
    """What came of it."""

    frames: int = 0
    seconds: float = 0.0
    ms_per_frame: float = float('nan')  # median of the last frames
    interrupted: bool = False  # by Ctrl-C
    problems: list[str] = field(default_factory=list)
    exported: list[Path] = field(default_factory=list)
    view: Path | None = None  # the recording for the viewer
    lost: list[str] = field(default_factory=list)  # files that were wanted and are not there


def watch(
    source: Source,
    config: PipelineConfig,
    *,
    out: Path | None = None,
    limit_s: float = 0.0,
    export: tuple[str, ...] = (),
    view: ViewOptions | None = None,
    pipeline: Any = None,
    console: Console | None = None,
) -> Watched:
    """Process until the source ends, Ctrl-C or ``limit_s``.

    ``export`` names formats of exports.files, which are written beside ``out`` under its name, or
    as out/run/people. ``view`` shows frames and people meanwhile. Raises ViewError where that
    cannot be.
    """
    console = console or Console()
    times_ms: deque[float] = deque(maxlen=_KEPT)
    result = Watched(problems=source.problems)
    base = Path('out/run/people') if out is None else out.with_suffix('')
    recorder = ExportRecorder(export, base)
    with ExitStack() as stack:
        stack.callback(source.close)
        viewing = stack.enter_context(Viewing(view or ViewOptions(), source.name))
        if pipeline is None:
            with console.status('loading the networks'):
                pipeline = Pipeline(config)
        stack.callback(pipeline.close)
        video = None
        if out is not None:
            video = stack.enter_context(VideoWriter(out, video_rate(source.rate_hz)))
        status = stack.enter_context(console.status(f'{source.name}: waiting for images'))
        begin_s = time.perf_counter()
        try:
            for entry in source.frames():
                start_s = time.perf_counter()
                outcome = pipeline.process(entry.frame, entry.reference_box_px, entry.depth_m)
                times_ms.append(1e3 * (time.perf_counter() - start_s))
                result.frames += 1
                recorder.add(outcome.lifted, outcome.frame.camera)
                viewing.add(outcome, entry.truth)
                viewing.add_lifted(outcome.lifted)
                newest = outcome.lifted[-1] if outcome.lifted else outcome.people
                if video is not None:
                    video.write(draw_people(outcome.frame.image, outcome.people))
                spent_s = time.perf_counter() - begin_s
                head = _head(source.name, result.frames, source.total, spent_s)
                status.update(f'{head}, {_line(times_ms, newest)}')
                if limit_s and time.perf_counter() - begin_s > limit_s:
                    break
        except KeyboardInterrupt:
            result.interrupted = True
        if export or viewing:
            late = pipeline.flush()
            recorder.add(late)
            viewing.add_lifted(late)
        result.view = viewing.finish(result.problems)
        if view is not None and view.save is not None and result.view is None:
            result.lost.append(view.save.name)
        if export:
            result.exported = recorder.finish(source.problems, source.name, pipeline.lift.lifter)
    result.seconds = time.perf_counter() - begin_s
    if times_ms:
        result.ms_per_frame = float(np.median(times_ms))
    for problem in result.problems:
        console.print(f'[yellow]note[/] {problem}', highlight=False)
    stopped = 'stopped by Ctrl-C: ' if result.interrupted else ''
    console.print(
        f'{stopped}{result.frames} frames in {result.seconds:.1f} s, '
        f'{result.ms_per_frame:.1f} ms per frame (median)'
    )
    if out is not None and result.frames:
        console.print(f'video in {out}')
    for path in (*result.exported, *([] if result.view is None else [result.view])):
        console.print(f'wrote {path}', highlight=False)
    return result


def _head(name: str, count: int, total: int, spent_s: float) -> str:
    """Return how far it is, and what is left where the number of frames is known."""
    if total < count:
        return f'{name}: frame {count}'
    left_s = round(spent_s / count * (total - count))
    return f'{name}: frame {count} of {total}, {left_s // 60}:{left_s % 60:02d} left'


def _line(times_ms: deque[float], people: People) -> str:
    """Return what is going on, in one line."""
    words = []
    root = get_skeleton(people.skeleton).root_index
    for i in np.flatnonzero(people.track_states != TrackState.LOST):
        distance_m = float(np.linalg.norm(people.joints_m[i, root]))
        seen = people.visible_fractions[i]
        part = '' if np.isnan(seen) else f', {100 * seen:.0f} % in the image'
        words.append(f'person {people.track_ids[i]} at {distance_m:.1f} m{part}')
    shown = '; '.join(words) or 'nobody'
    return f'{np.median(times_ms):.0f} ms per frame; {shown}'

"""``trpose replay --report``: a recording replayed clean and occluded, measured and reported.

The deterministic twin of launch/replay.launch.py: with the same settings it gives the same
skeletons for every image that the live nodes answer, and the same rows in the same files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.pass_excerpts import save_pass_scenes
from trpose_ros.evaluation.passes import Pass, write_results
from trpose_ros.evaluation.results import Row
from trpose_ros.offline.replay import Progress, ReplayOptions, ReplayResult, replay
from trpose_ros.offline.viewing import ViewOptions
from trpose_ros.pipeline.pipeline import PipelineConfig
from trpose_ros.recordings.sources import SourceOptions, open_source, read_frames
from trpose_ros.report import check_libraries, write_report


def replay_and_report(
    path: str | Path,
    out: Path,
    config: PipelineConfig,
    options: ReplayOptions,
    source: SourceOptions | None = None,
    *,
    progress: Progress | None = None,
    stage: Callable[[str], object] | None = None,
) -> tuple[ReplayResult, list[Row]]:
    """Replay a recording without occlusion, then with that of ``config``; write a report.

    Into ``out`` go the files of the replay (replay.py) and results.parquet, tables.md,
    tables.json, scenes and report.html; into ``out/clean`` the metrics of the unoccluded replay,
    which is the reference where the recording holds no ground truth. Returns the replay and rows;
    after Ctrl-C there are no rows, no report, and the replay is the one that was stopped.

    ``progress`` is called as by replay.py, ``stage`` with what begins.
    Raises ValueError when nothing could be measured, and MissingExtraError without
    what the report needs.
    """
    check_libraries()
    options = dataclasses.replace(options, keep=True)
    none = dataclasses.replace(config.occlusion, profile='none', severity=-1, realisation='main')
    clean = dataclasses.replace(config, occlusion=none)
    runs = [(config, out, options)]
    if config.occlusion.profile != 'none':
        bare = dataclasses.replace(options, bag=False, video=False, view=ViewOptions())
        runs.insert(0, (clean, out / 'clean', bare))
    passes = []
    for settings, folder, how in runs:
        if stage is not None:
            stage(f'replay, {settings.occlusion.profile if settings is config else "none"}')
        result = replay(open_source(path, source), folder, settings, how, progress=progress)
        if result.interrupted:
            result.problems.append('there is no report of a replay that was stopped')
            return result, []
        passes.append(pass_of(result, settings))
    if not str(path).startswith('/dev/'):  # what a camera saw cannot be read again
        save_pass_scenes(out, passes, options.identity, lambda: read_frames(path, source))
    if stage is not None:
        stage('writing the report')
    rows = write_results(out, passes, options.identity, result.problems)
    write_report(out, out / 'report.html')
    return result, rows


def pass_of(result: ReplayResult, config: PipelineConfig) -> Pass:
    """Return a replay (with ``keep``) as a pass of an evaluation."""
    how = config.occlusion
    one = Pass(
        Condition(how.profile, how.severity, how.draw, how.realisation, how.fill, how.anchor)
    )
    one.posed, one.lifted = result.people, result.lifted
    for stamp_ns, rectangles in result.hidden_px.items():
        one.add_hidden(stamp_ns, rectangles)
    for people in result.truth.values():
        one.add_truth(people)
    return one

"""Replay: the same pipeline objects as the nodes', over a recording or a video, without ROS.

Every frame is processed, whatever time it takes, so the result depends on the input alone: the
same recording gives the same bag, byte for byte. What a damaged recording still holds is
processed and the rest is named. Into the folder go

    result.mcap     images as the estimator saw them, people, skeletons, markers (RViz, Foxglove)
    annotated.mp4   the same to look at
    metrics.json    counts, problems, and the errors where the recording holds the truth
    people.*        the skeletons for other programs, in the formats that are asked for
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from trpose_ros.drawing.figures import Figure, Shot
from trpose_ros.interruption import Interruption
from trpose_ros.offline.exporting import ExportRecorder
from trpose_ros.offline.people_topics import PeopleTopics
from trpose_ros.offline.viewing import Viewing, ViewOptions
from trpose_ros.people import Camera, People, Provenance
from trpose_ros.pipeline.pipeline import Outcome, Pipeline, PipelineConfig
from trpose_ros.recordings.bag_messages import LIFTED_TOPIC, POSE_TOPIC, MessageMaker
from trpose_ros.recordings.bags import BagWriter
from trpose_ros.recordings.sources import Source, SourceFrame
from trpose_ros.recordings.video import VideoError, VideoWriter, video_rate
from trpose_ros.writing import write_text

IMAGE_TOPIC = '/camera/image_raw/compressed'
CAMERA_TOPIC = '/camera/camera_info'
TRUTH_TOPIC = '/ground_truth/people'
MARKERS_TOPIC = '/lifter_node/markers'
REPORT_TOPIC = '/occlusion_node/report'
SKELETON_TOPIC = '/lifter_node/skeleton'
_DAY_NS = 86_400 * 1_000_000_000

# What a picture of strange sizes, an encoder or a disk may raise.
_VIDEO_FAILS = (VideoError, OSError, ValueError, MemoryError, cv2.error)
Progress = Callable[[int, int], None]  # frames done, frames in all (0 unknown)


@dataclass(frozen=True)
class ReplayOptions:
    """What to write and how much to process."""

    bag: bool = True
    video: bool = True
    max_frames: int = 0  # 0: all
    identity: str = 'live|none|none|none'  # part of the seed of the occlusions
    keep: bool = False  # also keep results without truth, and what was hidden
    export: tuple[str, ...] = ()  # formats of exports.files: people.csv, people-ID.bvh, ...
    view: ViewOptions = field(default_factory=ViewOptions)


@dataclass
class ReplayResult:
    """What came out of a replay; people by stamp (ns), kept where there is a truth to compare.

    With ``ReplayOptions.keep`` all are kept, and ``hidden_px`` (R, 4) and cameras of each frame.
    """

    frames: int = 0
    skipped: int = 0  # frames that made a stage fail
    frames_with_people: int = 0
    skeletons: int = 0
    provenance: Provenance = field(default_factory=Provenance)  # of the last skeleton
    metric_3d: bool = True  # whether the estimator gives 3D by itself
    people: dict[int, People] = field(default_factory=dict)
    lifted: dict[int, People] = field(default_factory=dict)
    truth: dict[int, People] = field(default_factory=dict)
    hidden_px: dict[int, np.ndarray] = field(default_factory=dict)
    cameras: dict[int, Camera] = field(default_factory=dict)  # as the estimator saw them
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False  # by Ctrl-C, before the end
    lost: list[str] = field(default_factory=list)  # files that were wanted and are not there
    stage_s: dict[str, float] = field(default_factory=dict)  # seconds spent, by stage
    exported: list[Path] = field(default_factory=list)
    view: Path | None = None  # the recording for the viewer

    def metrics(self) -> dict[str, Any]:
        """Return what goes into the metrics file: the same for the same input."""
        provenance = self.provenance
        errors = {}
        if self.truth:
            from trpose_ros.evaluation.metrics.stream_errors import evaluate

            if self.metric_3d:
                errors['estimator'] = evaluate(self.people, self.truth).as_dict()
            errors['lifted'] = evaluate(self.lifted, self.truth).as_dict()
        return {
            'frames': self.frames,
            'frames_skipped': self.skipped,
            'frames_with_people': self.frames_with_people,
            'skeletons': self.skeletons,
            'estimator': provenance.estimator,
            'lifter': provenance.lifter,
            'weights': provenance.weights_id,
            'look_ahead_frames': provenance.lookahead,
            'occlusion': provenance.occlusion,
            'intrinsics_assumed': provenance.intrinsics_assumed,
            'errors': errors,
            'problems': self.problems,
        }


def replay(
    source: Source,
    out: str | Path,
    config: PipelineConfig | None = None,
    options: ReplayOptions | None = None,
    *,
    progress: Progress | None = None,
    pipeline: Pipeline | None = None,
) -> ReplayResult:
    """Process a source from end to end and write the results into the folder ``out``.

    Args:
        source: of ``sources.open_source``; it is closed at the end.
        out: folder; made if needed, files of an earlier replay in it are replaced.
        config: of the stages.
        options: what to write.
        progress: called after each frame.
        pipeline: stages to use instead of those of ``config``.

    Raises:
        ValueError, WeightsError: a stage cannot be made, or nothing be shown; the message says why.

    """
    options = options or ReplayOptions()
    out = Path(out)
    result = ReplayResult(problems=source.problems)
    try:
        with Viewing(options.view, source.name) as viewing:
            if pipeline is None:
                pipeline = Pipeline(
                    config or PipelineConfig(), identity=options.identity, clock=None
                )
            result.metric_3d = getattr(pipeline.pose.estimator, 'metric_3d', True)
            out.mkdir(parents=True, exist_ok=True)
            writing = _Writers(out, options, video_rate(source.rate_hz), result, viewing)
            with writing as writers, Interruption() as interruption:
                _process(source, pipeline, writers, options, result, progress, interruption)
            result.view = viewing.finish(result.problems)
            if options.view.save is not None and result.view is None:
                result.lost.append(options.view.save.name)
            if options.export:
                recorder, lifter = writers.exports, pipeline.lift.lifter
                result.exported = recorder.finish(result.problems, source.name, lifter)
                result.lost += recorder.missing
    finally:
        source.close()
        if pipeline is not None:
            pipeline.close()
    write_text(out / 'metrics.json', json.dumps(result.metrics(), indent=2) + '\n')
    return result


def _process(
    source: Source,
    pipeline: Pipeline,
    writers: _Writers,
    options: ReplayOptions,
    result: ReplayResult,
    progress: Progress | None,
    interruption: Interruption,
) -> None:
    spent = result.stage_s
    for name in ('read', 'pipeline', 'write'):
        spent[name] = 0.0
    frames = source.frames()
    while not options.max_frames or result.frames < options.max_frames:
        begin = perf_counter()
        entry = next(frames, None)
        spent['read'] += perf_counter() - begin
        if entry is None:
            break
        if interruption.requested:
            result.interrupted = True
            result.problems.append(
                f'stopped by Ctrl-C after {result.frames} frames: the results end there'
            )
            break
        result.frames += 1
        if entry.truth is not None:
            result.truth[entry.frame.stamp_ns] = entry.truth
        if options.keep:
            result.hidden_px[entry.frame.stamp_ns] = np.zeros((0, 4))
        begin = perf_counter()
        try:
            outcome = pipeline.process(entry.frame, entry.reference_box_px, entry.depth_m)
        except Exception as error:  # whatever a model may raise: the next frame goes on
            result.skipped += 1
            note = f'frame skipped: {type(error).__name__}: {error}'
            if note not in result.problems:
                result.problems.append(note)
            continue
        finally:
            spent['pipeline'] += perf_counter() - begin
        begin = perf_counter()
        if options.keep and outcome.occlusion is not None:
            result.hidden_px[entry.frame.stamp_ns] = outcome.occlusion.rectangles_px
        if options.keep:
            result.cameras[outcome.people.stamp_ns] = outcome.frame.camera
        result.frames_with_people += len(outcome.people) > 0
        if entry.truth is not None or options.keep:
            result.people[outcome.people.stamp_ns] = outcome.people
        writers.add(entry, outcome)
        _keep(result, writers, outcome.lifted, options.keep)
        spent['write'] += perf_counter() - begin
        if progress is not None:
            progress(result.frames, source.total)
    begin = perf_counter()
    _keep(result, writers, tuple(pipeline.flush()), options.keep)
    spent['write'] += perf_counter() - begin
    if result.frames == 0 and not result.interrupted:
        result.problems.append('no image could be read')


def _keep(
    result: ReplayResult, writers: _Writers, lifted: tuple[People, ...], everything: bool
) -> None:
    for people in lifted:
        result.skeletons += len(people)
        result.provenance = people.provenance
        if everything or people.stamp_ns in result.truth:
            result.lifted[people.stamp_ns] = people
        writers.add_lifted(people)


class _Writers:
    """Bag and video of a replay; a context manager. After an exception nothing is left."""

    def __init__(
        self,
        out: Path,
        options: ReplayOptions,
        rate_hz: float,
        result: ReplayResult,
        viewing: Viewing,
    ) -> None:
        self._result = result
        self._viewing = viewing
        self.exports = ExportRecorder(options.export, out / 'people')
        self._video = VideoWriter(out / 'annotated.mp4', rate_hz) if options.video else None
        self._bag = BagWriter(out / 'result.mcap') if options.bag else None
        self._maker = None if self._bag is None else MessageMaker(self._bag.typestore)
        self._topics = None
        if self._bag is not None and self._maker is not None:
            names = (LIFTED_TOPIC, MARKERS_TOPIC, SKELETON_TOPIC)
            self._topics = PeopleTopics(self._bag, self._maker, *names)
        self._figure: Figure | None = None
        self._log = LogTime()
        self._waiting: deque[tuple[Shot, str]] = deque()

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._draw_until(None)
        try:
            if self._bag is not None:
                self._bag.__exit__(kind, error, trace)
        except BaseException:
            if self._video is not None:
                self._video.discard()
            raise
        try:
            if self._video is not None:
                self._video.__exit__(kind, error, trace)
        except _VIDEO_FAILS as failure:
            self._give_up_video(failure)

    def add(self, entry: SourceFrame, outcome: Outcome) -> None:
        """Write a frame and its people; the drawing waits for the skeleton."""
        self.exports.add((), outcome.frame.camera)
        self._viewing.add(outcome, entry.truth)
        seen, stamp_ns = outcome.frame, entry.frame.stamp_ns
        occlusion = outcome.occlusion
        log_ns = self._log.of_frame(stamp_ns)
        if self._bag is not None and self._maker is not None:
            make = self._maker
            frame_id = seen.frame_id
            image = make.compressed_image(seen.image, stamp_ns, frame_id)
            self._bag.write(IMAGE_TOPIC, image, log_ns)
            info = make.camera_info(seen.camera, stamp_ns, frame_id)
            self._bag.write(CAMERA_TOPIC, info, log_ns)
            if entry.truth is not None:
                self._bag.write(TRUTH_TOPIC, make.people(entry.truth), log_ns)
            if occlusion is not None:
                report = make.occlusion_report(occlusion, *occlusion.original_size)
                self._bag.write(REPORT_TOPIC, report, log_ns)
            self._bag.write(POSE_TOPIC, make.people(outcome.people), log_ns)
        if self._video is not None:
            offset = occlusion.offset_px if occlusion is not None else (0, 0)
            title = '' if occlusion is None or occlusion.profile == 'none' else occlusion.profile
            shot = Shot(seen.image, entry.frame.camera, outcome.people, None, entry.truth, offset)
            self._waiting.append((shot, title))

    def add_lifted(self, people: People) -> None:
        """Write a skeleton with its markers, draw the frames up to it."""
        self.exports.add([people])
        self._viewing.add_lifted([people])
        if self._topics is not None:
            self._topics.write(people, self._log.of_result(people.stamp_ns))
        self._draw_until(people)

    def _give_up_video(self, error: Exception) -> None:
        """Go on without the video: it never costs the bag."""
        assert self._video is not None
        self._result.problems.append(f'there is no {self._video.path.name}: {error!s:.300}')
        self._result.lost.append(self._video.path.name)
        self._video.discard()
        self._video = None
        self._waiting.clear()

    def _draw_until(self, people: People | None) -> None:
        """Draw the waiting frames up to that of ``people``, or all of them."""
        try:
            self._draw(people)
        except _VIDEO_FAILS as error:
            self._give_up_video(error)

    def _draw(self, people: People | None) -> None:
        if self._video is None:
            return
        while self._waiting:
            shot, title = self._waiting.popleft()
            assert shot.people is not None
            found = people is not None and shot.people.stamp_ns == people.stamp_ns
            if self._figure is None:
                self._figure = Figure(shot.camera, 600)
            shot = Shot(
                shot.image,
                shot.camera,
                shot.people,
                people if found else None,
                shot.truth,
                shot.offset_px,
            )
            self._video.write(self._figure.draw(shot, title))
            if found:
                return


class LogTime:
    """Times of recording that go forward, and without a gap of days, whatever the stamps do."""

    def __init__(self) -> None:
        self._shift_ns = 0
        self._last_ns: int | None = None
        self._by_stamp: dict[int, int] = {}

    def of_frame(self, stamp_ns: int) -> int:
        """Return the time for a frame: its stamp, moved on where needed."""
        if self._last_ns is not None:
            step_ns = stamp_ns + self._shift_ns - self._last_ns
            if not 0 <= step_ns < _DAY_NS:
                self._shift_ns = self._last_ns + 1 - stamp_ns
        self._last_ns = stamp_ns + self._shift_ns
        self._by_stamp[stamp_ns] = self._last_ns
        return self._last_ns

    def of_result(self, stamp_ns: int) -> int:
        """Return the time of the latest frame with this stamp."""
        return self._by_stamp.get(stamp_ns, stamp_ns + self._shift_ns)

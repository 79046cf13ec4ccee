"""Replay of several cameras: each through the pipeline, then all people joined in the world.

Into the folder go

    result.mcap     joined people, their skeleton and markers, in the world frame
    metrics.json    counts, how each camera is, errors where the recordings hold the truth
    people.*        the joined skeletons for other programs, in the formats that are asked for
    NAME/           what a replay of that camera alone writes (replay.py)
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from trpose_ros.multiview.multiview import Multiview, MultiviewConfig
from trpose_ros.multiview.rig import Rig
from trpose_ros.offline.exporting import ExportRecorder
from trpose_ros.offline.people_topics import PeopleTopics
from trpose_ros.offline.replay import Progress, ReplayOptions, ReplayResult, replay
from trpose_ros.people import Camera, People
from trpose_ros.pipeline.pipeline import Pipeline, PipelineConfig
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter
from trpose_ros.recordings.sources import BagSource, Source
from trpose_ros.writing import write_text

FUSED_TOPIC = '/fusion_node/people'
MARKERS_TOPIC = '/fusion_node/markers'
SKELETON_TOPIC = '/fusion_node/skeleton'
_OTHER_LENS = 0.05  # share by which focal lengths of recording and calibration may differ


@dataclass
class SeveralResult:
    """What came out; people by stamp (ns) in the world frame."""

    cameras: dict[str, ReplayResult] = field(default_factory=dict)
    fused: dict[int, People] = field(default_factory=dict)
    truth: dict[int, People] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)  # of each camera, in words
    used: dict[str, float] = field(default_factory=dict)  # mean weight of each camera, 0 .. 1
    problems: list[str] = field(default_factory=list)
    interrupted: bool = False
    lost: list[str] = field(default_factory=list)  # files that were wanted and are not there
    fusing_s: float = 0.0
    exported: list[Path] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Return the frames of all cameras."""
        return sum(one.frames for one in self.cameras.values())

    @property
    def skeletons(self) -> int:
        """Return the joined skeletons."""
        return sum(len(people) for people in self.fused.values())

    @property
    def stage_s(self) -> dict[str, float]:
        """Return seconds spent, by stage."""
        spent: dict[str, float] = {}
        for one in self.cameras.values():
            for name, seconds in one.stage_s.items():
                spent[name] = spent.get(name, 0.0) + seconds
        return {**spent, 'fusion': self.fusing_s}

    def metrics(self) -> dict[str, Any]:
        """Return what goes into the metrics file: the same for the same input."""
        errors = {}
        if self.truth:
            from trpose_ros.evaluation.metrics.stream_errors import evaluate

            errors['fused'] = evaluate(self.fused, self.truth).as_dict()
        last = next(reversed(self.fused.values()), None)
        return {
            'frames': self.frames,
            'fused_frames': len(self.fused),
            'skeletons': self.skeletons,
            'people': len({int(i) for p in self.fused.values() for i in p.track_ids}),
            'world': '' if last is None else last.frame_id,
            'errors': errors,
            'problems': self.problems,
            'cameras': {
                name: {
                    'health': self.health.get(name, ''),
                    'weight': round(self.used.get(name, 0.0), 3),
                    **one.metrics(),
                }
                for name, one in self.cameras.items()
            },
        }


def replay_several(
    sources: Mapping[str, Source],
    rig: Rig,
    out: str | Path,
    config: PipelineConfig | None = None,
    options: ReplayOptions | None = None,
    fusion: MultiviewConfig | None = None,
    *,
    progress: Progress | None = None,
    pipeline: Callable[[], Pipeline] | None = None,
) -> SeveralResult:
    """Process the recordings of cameras of a rig and join their people.

    Args:
        sources: by the names of cameras; they are closed at the end.
        rig: with all of these cameras.
        out: folder; made if needed.
        config: of the stages of each camera.
        options: what to write; exports are of the joined people.
        fusion: how people are joined.
        progress: called after each frame, with the frames of all cameras.
        pipeline: makes the stages of a camera instead of ``config``.

    Raises:
        ValueError, WeightsError: a stage cannot be made; the message says why.

    """
    options, out = options or ReplayOptions(), Path(out)
    result = SeveralResult(problems=list(rig.notes))
    each = dataclasses.replace(options, keep=True, export=())
    total = sum(source.total for source in sources.values())
    done = 0

    def count(frames: int, _: int) -> None:
        if progress is not None:
            progress(done + frames, total)

    try:
        for name, source in sources.items():
            one = replay(
                source,
                out / name,
                config,
                each,
                progress=count,
                pipeline=None if pipeline is None else pipeline(),
            )
            result.cameras[name] = one
            result.problems += [f'{name}: {problem}' for problem in one.problems]
            result.lost += [f'{name}/{file}' for file in one.lost]
            done += one.frames
            if one.interrupted:
                result.interrupted = True
                break
    finally:
        for source in sources.values():
            source.close()
    _fuse(result, sources, rig.only(tuple(result.cameras)), out, options, fusion)
    write_text(out / 'metrics.json', json.dumps(result.metrics(), indent=2) + '\n')
    return result


def _fuse(
    result: SeveralResult,
    sources: Mapping[str, Source],
    rig: Rig,
    out: Path,
    options: ReplayOptions,
    fusion: MultiviewConfig | None,
) -> None:
    begin = perf_counter()
    together = Multiview(rig, fusion)
    weights = np.zeros(len(rig.cameras))
    recorder = ExportRecorder(options.export, out / 'people')
    refused: dict[str, int] = {}
    with _Writer(out / 'result.mcap' if options.bag else None) as writer:
        for name, people, camera in _in_order(result, sources, rig):
            try:
                found = together.push(name, people, camera)
            except ValueError as error:
                refused[str(error)] = refused.get(str(error), 0) + 1
                continue
            for fused in found:
                weights += _keep(result, fused.people, fused.weights, writer, recorder)
        for fused in together.flush():
            weights += _keep(result, fused.people, fused.weights, writer, recorder)
    result.problems += [f'{count} frames left out: {words}' for words, count in refused.items()]
    for health, weight in zip(together.health, weights, strict=True):
        result.health[health.name] = health.facts()
        result.used[health.name] = float(weight) / max(result.skeletons, 1)
        if health.problem and health.problem not in refused:
            result.problems.append(f'{health.name}: {health.problem}')
    if not result.fused:
        result.problems.append('no people were joined: look at what is said of each camera')
    _take_truth(result, rig)
    if options.export:
        names = ', '.join(source.name for source in sources.values())
        result.exported = recorder.finish(result.problems, names, None)
        result.lost += recorder.missing
    result.fusing_s = perf_counter() - begin


def _keep(
    result: SeveralResult,
    people: People,
    weights: np.ndarray,
    writer: _Writer,
    recorder: ExportRecorder,
) -> np.ndarray:
    """Take joined people; return the weight of each camera, summed over people."""
    result.fused[people.stamp_ns] = people
    writer.add(people)
    recorder.add([people])
    return weights.mean(axis=2).sum(axis=0) if len(people) else np.zeros(weights.shape[1])


def _in_order(
    result: SeveralResult, sources: Mapping[str, Source], rig: Rig
) -> list[tuple[str, People, Camera | None]]:
    """Return the people of all cameras by their times; says what is odd about a camera."""
    found = []
    for place, name in enumerate(rig.names):
        one, known = result.cameras[name], rig[name].intrinsics
        camera = next(iter(one.cameras.values()), None)
        if camera is not None and known is not None:
            _compare_lenses(name, camera, known, result.problems)
        for stamp_ns, people in (one.lifted or one.people).items():
            if not isinstance(sources[name], BagSource):  # a video knows no frame_id
                people = people.replace(frame_id=rig[name].frame_id)
            time_ns = stamp_ns + round(rig[name].time_offset_s * 1e9)
            found.append((time_ns, place, name, people, one.cameras.get(stamp_ns, camera)))
    found.sort(key=lambda entry: entry[:2])
    return [(name, people, camera) for _, _, name, people, camera in found]


def _compare_lenses(name: str, camera: Camera, known: Camera, problems: list[str]) -> None:
    """Say when a recording has other intrinsics than the calibration."""
    focal = camera.matrix[0, 0] / camera.width, known.matrix[0, 0] / known.width
    if not camera.assumed and abs(focal[0] / focal[1] - 1.0) > _OTHER_LENS:
        problems.append(
            f'{name}: the recording has a focal length of {focal[0]:.3f} image widths, the '
            f"calibration {focal[1]:.3f}: the recording's camera_info is taken; is it that camera?"
        )


def _take_truth(result: SeveralResult, rig: Rig) -> None:
    """Put the truth of each camera into the world, at the stamps of the results."""
    for name, one in result.cameras.items():
        rotation, position = rig[name].placement
        shift_ns = round(rig[name].time_offset_s * 1e9)
        for stamp_ns, people in one.truth.items():
            time_ns = stamp_ns + shift_ns
            if time_ns in result.fused and time_ns not in result.truth:
                joints = people.joints_m @ rotation.T + position
                result.truth[time_ns] = people.replace(
                    joints_m=joints.astype(np.float32), stamp_ns=time_ns, frame_id=rig.world
                )


class _Writer:
    """The recording of joined people; a context manager. Without a path nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._bag = None if path is None else BagWriter(path)
        self._topics = None
        if self._bag is not None:
            maker, names = MessageMaker(self._bag.typestore), (FUSED_TOPIC, MARKERS_TOPIC)
            self._topics = PeopleTopics(self._bag, maker, *names, SKELETON_TOPIC)

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bag is not None:
            self._bag.__exit__(*error)

    def add(self, people: People) -> None:
        """Write people and their markers."""
        if self._topics is not None:
            self._topics.write(people, people.stamp_ns)

"""``trpose compare``: any two runs beside each other as a video.

A run is a recording with results (of a replay, a demonstration or a robot: .mcap, .db3, a bag
folder, or the folder of a replay) or the folder of an evaluation, of which a condition and a method
can be chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from trpose_ros.drawing.figures import Shot
from trpose_ros.evaluation.excerpts import FOLDER, Scene, load_scenes
from trpose_ros.evaluation.metrics.stream_errors import evaluate
from trpose_ros.people import People
from trpose_ros.recordings import messages
from trpose_ros.recordings.bag_messages import LIFTED_TOPIC, POSE_TOPIC
from trpose_ros.recordings.bags import BagReader
from trpose_ros.recordings.sources import BagSource, SourceError, SourceOptions
from trpose_ros.recordings.video import VideoError
from trpose_ros.report.films import Entry, Take, film, take_of_scene
from trpose_ros.report.names import labels_of

_RESULT = 'result.mcap'  # of a replay, in its folder


def compare(
    first: Path,
    second: Path,
    out: Path,
    *,
    condition: str = '',
    methods: tuple[str, str] = ('', ''),
    topics: tuple[str, str] = ('', ''),
    progress: Callable[[int, int], object] | None = None,
) -> int:
    """Write the video of two runs; return the number of pictures.

    Args:
        first: the run on the left; its images set the time.
        second: the run on the right, possibly the same.
        out: a name ending in .mp4 (players) or .webm (browsers).
        condition: of evaluations; '': the first one that hides something.
        methods: of evaluations, left and right: 'LIFTER' or 'ESTIMATOR/LIFTER'; '': the first of
            the left run, the last of the right one.
        topics: of recordings: the PersonArray topics to show; '': the lifted people.
        progress: called with the number of pictures so far and in all (0: not known).

    Raises:
        ValueError, SourceError, BagError, VideoError, OSError: with the reason.

    """
    if out.suffix.lower() not in ('.mp4', '.webm'):
        raise VideoError(f'{out}: give a name ending in .mp4 or .webm')
    takes = []
    for side, run in enumerate((first, second)):
        if (run / FOLDER).is_dir():
            takes.append(_take_of_evaluation(run, condition, methods[side], first_of_all=not side))
        else:
            takes.append(_take_of_recording(run, topics[side]))
    tick = None if progress is None else lambda done: progress(done, takes[0].frames)
    count = film(out, [(takes, '')], tick)
    if not count:
        raise ValueError(f'{first} and {second}: no image to show')
    return count


def _take_of_evaluation(run: Path, condition: str, method: str, first_of_all: bool) -> Take:
    scenes = [scene for scene in load_scenes(run) if scene.images]
    names = list(dict.fromkeys(scene.condition for scene in scenes))
    if not condition:
        condition = next((name for name in names if name != 'clean'), 'clean')
    scenes = [scene for scene in scenes if scene.condition == condition]
    if not scenes:
        raise ValueError(f'{run} shows no {condition!r}; it shows {", ".join(names) or "nothing"}')
    found: dict[tuple[str, str], Scene] = {
        (scene.estimator, lifter): scene for scene in scenes for lifter in scene.outputs_m
    }
    keys = [key for key in found if not method or method in (key[1], '/'.join(key))]
    if not keys:
        known = ', '.join('/'.join(key) for key in found)
        raise ValueError(f'{run}, {condition}: no method {method!r}; there are {known}')
    key = keys[0] if first_of_all or method else keys[-1]
    title = f'{labels_of(found)[key]}, {condition.replace("_", " ")}'
    return take_of_scene(found[key], key[1], title)


def _take_of_recording(run: Path, topic: str) -> Take:
    path = run / _RESULT if (run / _RESULT).is_file() else run
    source = BagSource(path, SourceOptions())
    try:
        camera = next((entry.frame.camera for entry in source.frames()), None)
        truth, rate, truth_topic = source.truth, source.rate_hz, source.truth_topic
        total = source.total
    finally:
        source.close()
    if camera is None:
        raise SourceError(f'{path} holds no image that can be read')
    people, topic = _read_people(path, topic, truth_topic)
    mpjpe = evaluate(people, truth).mpjpe_held_mm if truth else float('nan')
    line = f'MPJPE of all frames {mpjpe:.0f} mm' if truth else ''
    name = run.name if run.name != _RESULT else run.parent.name

    def shots() -> Iterator[Entry]:
        again = BagSource(path, SourceOptions())
        try:
            for entry in again.frames():
                frame = entry.frame
                found = people.get(frame.stamp_ns)
                shot = Shot(frame.image, frame.camera, found, found, truth.get(frame.stamp_ns))
                yield frame.stamp_ns, shot, line
        finally:
            again.close()

    return Take(f'{name} {topic}', camera, rate if rate > 0 else 30.0, shots, total)


def _read_people(path: Path, topic: str, truth_topic: str | None) -> tuple[dict[int, People], str]:
    """Return the people of a recording by stamp, and the topic they were on."""
    with BagReader(path) as bag:
        known = [
            name
            for name, kind in bag.topics.items()
            if kind == messages.PERSON_ARRAY and name != truth_topic
        ]
        if not topic:
            ours = (LIFTED_TOPIC, POSE_TOPIC)
            topic = next((name for name in (*ours, *known) if name in known), '')
        if topic not in known:
            there = f'there are {", ".join(known)}' if known else 'there are none'
            raise SourceError(f'{path} has no results on {topic or "any topic"}: {there}')
        found = {}
        for entry in bag.messages([topic]):
            one = messages.read_people(entry.message)
            found[one.stamp_ns] = one
    return found, topic

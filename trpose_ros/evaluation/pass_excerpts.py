"""What passes of a recording looked like, kept for the report (excerpts.py).

The recording is read once more for its images; what a pass hid is painted into them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from trpose_ros.evaluation.excerpts import Scene, encode_images, save_scene
from trpose_ros.evaluation.metrics.join import Joined, join
from trpose_ros.evaluation.passes import Pass, names_of, truth_of
from trpose_ros.evaluation.rows import hidden_joints_of
from trpose_ros.evaluation.sequences import SKELETON
from trpose_ros.evaluation.showcase import SECONDS
from trpose_ros.people import Frame

OpenFrames = Callable[[], Iterable[Frame]]  # reads the recording from its beginning


def save_pass_scenes(
    folder: Path, passes: Iterable[Pass], identity: str, open_frames: OpenFrames
) -> list[Path]:
    """Write the first seconds of the first person of every pass; return the files."""
    passes = list(passes)
    clean = next((one for one in passes if one.condition.profile == 'none'), None)
    written = []
    for number, one in enumerate(passes):
        scene = scene_of_pass(one, clean, identity, open_frames)
        if scene is not None:
            written.append(save_scene(folder, f'{number:02d}-{one.condition.name}', scene))
    return written


def scene_of_pass(
    one: Pass, clean: Pass | None, identity: str, open_frames: OpenFrames
) -> Scene | None:
    """Return what a pass looked like; None where nothing was joined or no image can be read."""
    length = max(1, round(SECONDS * one.fps))
    estimator, persons = _persons(one, clean)
    if not persons:
        return None
    first = next(iter(persons.values()))
    stamps = first.stamps_ns[:length]
    frames = {f.stamp_ns: f for f in _until(open_frames(), int(stamps[-1])) if f.stamp_ns in stamps}
    if not frames:
        return None
    camera = next(iter(frames.values())).camera
    sizes = dict.fromkeys(first.stamps_ns.tolist(), (camera.width, camera.height))
    images, image_stamps, offsets = encode_images(_painted(frames, one), one.fps)
    return Scene(
        identity=identity,
        condition=one.condition.name,
        severity=one.condition.label,
        estimator=estimator,
        fps=one.fps,
        skeleton=SKELETON,
        camera=camera,
        stamps_ns=stamps,
        true_m=first.true_m[:length].astype(np.float32),
        hidden=hidden_joints_of(first, one.hidden_px, sizes)[:length],
        outputs_m={
            lifter: person.output_m[:length].astype(np.float32)
            for lifter, person in persons.items()
            if np.array_equal(person.stamps_ns[:length], stamps)
        },
        images=images,
        image_stamps_ns=image_stamps,
        offsets_px=offsets,
        reference='truth' if one.truth else 'unoccluded run',
    )


def _persons(one: Pass, clean: Pass | None) -> tuple[str, dict[str, Joined]]:
    """Return the estimator's name, and the first person by lifter."""
    estimator, persons = '', {}
    for kind in ('posed', 'lifted'):
        names, truth = names_of(one, kind), truth_of(one, clean, kind)
        if names is None or not truth:
            continue
        found = join(getattr(one, kind), truth).persons
        if found:
            estimator, persons[names[1]] = names[0], found[0]
    return estimator, persons


def _until(frames: Iterable[Frame], last_ns: int) -> Iterator[Frame]:
    for frame in frames:
        if frame.stamp_ns > last_ns:
            return
        yield frame


def _painted(
    frames: dict[int, Frame], one: Pass
) -> Iterator[tuple[int, np.ndarray, tuple[int, int]]]:
    for stamp, frame in sorted(frames.items()):
        image = frame.image.copy()
        hidden = one.hidden_px.get(stamp, np.zeros((0, 4)))  # x y w h, inside the image
        for x, y, width, height in np.rint(hidden).astype(int).tolist():
            image[y : y + height, x : x + width] = 0
        yield stamp, image, (0, 0)

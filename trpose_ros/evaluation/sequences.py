"""What is evaluated: clips of images with ground truth, from recordings or data sets.

An EvaluationClip gives frames one by one, as often as asked, and knows the truth and the
protocol's reference box for every stamp. Recordings without a ground-truth topic can be opened
too; they are then measured against an unoccluded run (runner.py).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trpose_ros.data.samples import DataError
from trpose_ros.occlusion.occluder import reference_boxes
from trpose_ros.people import Camera, Frame, People, with_visibility
from trpose_ros.pipeline.lift_stage import to_skeleton
from trpose_ros.pipeline.standing import StandingConfig
from trpose_ros.pipeline.turning import TURNS, Turned, turn_boxes
from trpose_ros.recordings.sources import BagSource, SourceOptions, read_frames

if TYPE_CHECKING:
    from trpose_ros.data.samples import Sample

SKELETON = 'h36m_17'  # of the truth: the protocol's 17 joints


@dataclass(frozen=True)
class EvaluationClip:
    """Frames with truth; ``identity`` is 'dataset|subject|action|camera', the seed of masks."""

    identity: str
    fps: float
    truth: dict[int, People]  # by stamp, ns; empty: no ground truth
    boxes_px: dict[int, np.ndarray]  # (4,) reference box of the first person, by stamp
    open_frames: Callable[[], Iterator[Frame]]
    describe: Callable[[], bytes]  # bytes that change when images or truth change
    camera: Camera | None = None  # where it is one and the same
    # The stamp at which the time of the conditions is zero. Of recordings it is 0, as in the nodes
    # and in `trpose replay`, which do not know where a recording begins: all hide the same.
    start_ns: int = 0
    scene: StandingConfig = field(default_factory=StandingConfig)  # what is known about it
    problems: tuple[str, ...] = ()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order, from the first one, every time."""
        return self.open_frames()

    @cached_property
    def fingerprint(self) -> str:
        """Return the hash of the content, hexadecimal."""
        return hashlib.sha256(self.describe()).hexdigest()

    @property
    def dataset(self) -> str:
        """Return the name of the data set."""
        return self.identity.partition('|')[0]


def clip_of_sample(sample: Sample) -> EvaluationClip:
    """Return a clip of a data set's sample: one person.

    A sample without images serves the 2D of the truth alone: frames() raises DataError. Raises
    DataError for a sample without camera or without joints in the camera frame.
    """
    lacking = [
        word
        for word, there in (
            ('camera intrinsics', sample.camera is not None),
            ('3D joints', sample.joints_m is not None and not sample.root_relative),
            ('2D joints', sample.joints_px is not None),
        )
        if not there
    ]
    if lacking:
        raise DataError(
            f'{sample.identity} has no {", no ".join(lacking)}; it cannot be evaluated: prepare '
            f'the data set with its cameras (`trpose data list`)'
        )
    sample = sample.to_skeleton(SKELETON)  # the same 17 joints for every estimator and lifter
    stamps = [round(t * 1e9 / sample.fps) for t in range(len(sample))]
    truth = {stamp: _true_people(sample, t, stamp) for t, stamp in enumerate(stamps)}
    truth = {s: p for s, p in truth.items() if np.isfinite(p.joints_m).any()}
    assert sample.joints_px is not None
    boxes = dict(zip(stamps, reference_boxes(sample.joints_px), strict=True))

    def frames() -> Iterator[Frame]:
        if sample.images is None:
            raise DataError(
                f'{sample.identity} has no images, which an estimator needs; prepare the data set '
                f"with its videos, or evaluate lifters with the estimator 'truth2d'"
            )
        assert sample.camera is not None
        for t, stamp in enumerate(stamps):
            yield Frame(sample.images[t], stamp, sample.camera, 'camera')

    def describe() -> bytes:
        digest = hashlib.sha256(f'{sample.identity}|{sample.fps}|{len(sample)}'.encode())
        for array in (sample.joints_px, sample.joints_m, sample.valid):
            digest.update(np.ascontiguousarray(array).tobytes())
        _describe_camera(digest, sample.camera)
        for t in {0, len(sample) // 2, len(sample) - 1} if len(sample) else ():
            if sample.images is not None:
                digest.update(np.ascontiguousarray(sample.images[t]).tobytes())
        return digest.digest()

    return EvaluationClip(
        sample.identity, sample.fps, truth, boxes, frames, describe, sample.camera
    )


def _true_people(sample: Sample, t: int, stamp: int) -> People:
    assert sample.joints_px is not None
    assert sample.joints_m is not None
    joints_m = np.where(sample.valid[t][:, None], sample.joints_m[t], np.nan)
    people = People.build(
        stamp_ns=stamp,
        frame_id='camera',
        skeleton=sample.skeleton,
        width=sample.width,
        height=sample.height,
        joints_px=sample.joints_px[t][None],
        joints_m=joints_m[None],
        track_ids=np.zeros(1, np.int32),
    )
    return with_visibility(people)


def _describe_camera(digest: hashlib._Hash, camera: Camera | None) -> None:
    if camera is not None:
        digest.update(f'{camera.width}x{camera.height} {camera.model}'.encode())
        digest.update(camera.matrix.tobytes() + camera.distortion.tobytes())


def clip_of_bag(path: str | Path, options: SourceOptions | None = None) -> EvaluationClip:
    """Return a clip of a recording; without a ground-truth topic ``truth`` is empty.

    What is damaged is named in ``problems``. Raises BagError or SourceError when there is nothing
    to read.
    """
    path, options = Path(path), options or SourceOptions()
    source = BagSource(path, options)
    try:
        given = [(entry.frame.stamp_ns, entry.reference_box_px) for entry in source.frames()]
        problems = list(dict.fromkeys(source.problems))
        truth, topic = source.truth, source.image_topic
    finally:
        source.close()
    stamps = [stamp for stamp, _ in given]
    if not stamps:
        raise DataError(f'{path}: no image of {topic} can be read; {"; ".join(problems)}')
    periods = np.diff(stamps)
    periods = periods[periods > 0]
    fps = float(1e9 / np.median(periods)) if periods.size else 30.0
    seen = set(stamps)
    truth = {s: to_skeleton(p, SKELETON) for s, p in truth.items() if s in seen and len(p)}
    truth = {s: p for s, p in truth.items() if np.isfinite(p.joints_m).all(-1).any()}
    if source.truth_topic and len(truth) < len(seen):
        problems.append(truth_note(source.truth_topic, len(truth), len(seen)))

    return EvaluationClip(
        identity=source.identity,
        fps=fps,
        truth=truth,
        boxes_px={stamp: box for stamp, box in given if box is not None},
        open_frames=lambda: read_frames(path, options),
        describe=lambda: _file_digest(path),
        problems=tuple(problems),
    )


def turned_clip(clip: EvaluationClip, rotate_deg: int) -> EvaluationClip:
    """Return a clip as the turned camera saw it, clockwise by 0, 90, 180 or 270 degrees.

    Images, cameras, truth and boxes are turned; so conditions hide parts of the upright image.
    Raises ValueError for another angle.
    """
    if rotate_deg not in TURNS:
        raise ValueError(f'rotate_deg must be one of {list(TURNS)}, got {rotate_deg}')
    if rotate_deg == 0:
        return clip
    turned = Turned(rotate_deg)
    some = next(iter(clip.truth.values()), None)

    def box(stamp: int, box_px: np.ndarray) -> np.ndarray:
        people = clip.truth.get(stamp, some)
        assert people is not None  # whose boxes else
        return turn_boxes(box_px[None], rotate_deg, people.width, people.height)[0]

    return dataclasses.replace(
        clip,
        truth={stamp: turned.people(people) for stamp, people in clip.truth.items()},
        boxes_px={stamp: box(stamp, box_px) for stamp, box_px in clip.boxes_px.items()},
        open_frames=lambda: map(turned.frame, clip.open_frames()),
        describe=lambda: clip.describe() + f' turned {rotate_deg}'.encode(),
        camera=None if clip.camera is None else turned.camera(clip.camera),
    )


def truth_note(topic: str, measured: int, images: int) -> str:
    """Return in words that only some images of a recording have ground truth."""
    if measured:
        return f'{topic}: ground truth for {measured} of {images} images; only these are measured'
    return f'{topic}: no ground truth with joints that can be measured, for none of {images} images'


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob('*') if p.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open('rb') as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.digest()

"""One pass of an estimator over a clip under a condition, cached by the hash of its content.

A pass is what lifters need: the tracked people of every frame, with the cameras and the hidden
rectangles. Four lifters cost one pass. The key of the cache is a hash over the clip's content,
the condition, the estimator's weights and settings, and the source code that takes part, so a
stale pass is never used.

Tracks (protocol v1, section 3): GT takes the boxes of the unoccluded full bodies; DET (headline)
finds and tracks people in the occluded images.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trpose_ros.archives import pack_arrays
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.occlusion.occluder import union_box
from trpose_ros.people import (
    PER_PERSON,
    Camera,
    Frame,
    People,
    Provenance,
    TrackState,
    concatenate,
    with_visibility,
)
from trpose_ros.pipeline.pipeline import PoseStage, body_box, box_settings
from trpose_ros.writing import whole_stream

if TYPE_CHECKING:
    from trpose_ros.estimators import Estimator
    from trpose_ros.pipeline.pipeline import PipelineConfig

TRACKS = ('DET', 'GT')
_FORMAT = 1
_CODE = (
    'people.py',
    'skeletons.py',
    'cameras.py',
    'pipeline/*.py',
    'occlusion/*.py',
    'estimators/*.py',
    'metrabs/**/*.py',
    'evaluation/estimation.py',
)


@dataclass(frozen=True)
class EstimatorPass:
    """The people of each frame, and what the estimator was shown."""

    people: list[People]
    cameras: list[Camera]  # of the image shown (cropped, when the condition crops)
    rectangles_px: list[np.ndarray]  # (R, 4) hidden, px of the original image
    sizes: np.ndarray  # (T, 2) width and height of the original images
    frame_ms: np.ndarray  # (T,) time of estimator and tracker
    # true joints that are hidden, by stamp, (J,) bool; where it does not follow from the above
    hidden: dict[int, np.ndarray] | None = None


def run_pass(
    clip: EvaluationClip,
    condition: Condition,
    config: PipelineConfig,
    estimator: Estimator,
    track: str = 'DET',
) -> EstimatorPass:
    """Show every frame, altered by the condition, to the estimator.

    Raises ValueError for track GT on a clip without ground truth.
    """
    if track == 'GT' and not clip.truth:
        raise ValueError(f'{clip.identity} has no ground truth: track GT is not possible')
    static = union_box(np.array(list(clip.boxes_px.values()))) if clip.boxes_px else None
    occluder = condition.occluder(clip.identity, clip.start_ns, static)
    stage = _stage(config, estimator) if track == 'DET' else None
    people, cameras, rectangles, sizes, times = [], [], [], [], []
    reference = None
    for frame in clip.frames():
        reference = clip.boxes_px.get(frame.stamp_ns, reference)
        shown = occluder.apply(frame, reference)
        begin = time.perf_counter()
        if stage is not None:
            result = stage.process(shown.frame)
        else:
            result = _with_true_boxes(estimator, shown.frame, shown.offset_px, clip)
        times.append((time.perf_counter() - begin) * 1e3)
        people.append(result)
        cameras.append(shown.frame.camera)
        rectangles.append(shown.rectangles_px)
        sizes.append((frame.camera.width, frame.camera.height))
    return EstimatorPass(
        people, cameras, rectangles, np.array(sizes, int).reshape(-1, 2), np.array(times)
    )


def _stage(config: PipelineConfig, estimator: Estimator) -> PoseStage:
    from trpose_ros.estimators.boxes import BOX_SOURCES
    from trpose_ros.pipeline.tracking import Tracker

    return PoseStage(
        estimator=estimator,
        box_source=BOX_SOURCES[config.pose.boxes](**box_settings(config)),
        tracker=Tracker(config.tracker),
        config=config.pose,
    )


def _with_true_boxes(
    estimator: Estimator, frame: Frame, offset_px: tuple[int, int], clip: EvaluationClip
) -> People:
    """Estimate in the boxes of the true, unoccluded bodies; ids are those of the truth."""
    truth = clip.truth.get(frame.stamp_ns)
    rows, ids = [], []
    nowhere = np.full(4, np.nan)
    for i in range(0 if truth is None else len(truth)):
        assert truth is not None
        box = body_box(truth.joints_px[i], nowhere)
        if np.isfinite(box).all():
            rows.append(box - np.array([*offset_px, 0, 0]))
            ids.append(int(truth.track_ids[i]) if truth.track_ids[i] >= 0 else i)
    # One at a time: an estimator leaves out boxes without an answer, and ids must not slip.
    parts = [estimator.estimate(frame, row[None]) for row in np.array(rows).reshape(-1, 4)]
    parts = parts or [estimator.estimate(frame, np.zeros((0, 4)))]
    kept = [(part, i) for part, i in zip(parts, ids, strict=False) if len(part)]
    if not kept:
        return with_visibility(parts[0].select([]))
    merged = reduce(concatenate, [part.select([0]) for part, _ in kept])
    return with_visibility(merged).replace(
        track_ids=np.array([i for _, i in kept], np.int32),
        track_states=np.full(len(kept), int(TrackState.TRACKED), np.uint8),
    )


def cached_pass(
    clip: EvaluationClip,
    condition: Condition,
    config: PipelineConfig,
    estimator: Estimator,
    track: str,
    folder: Path | None,
) -> tuple[EstimatorPass, bool]:
    """Return the pass and whether it came from the cache; ``folder`` None caches nothing."""
    if folder is None:
        return run_pass(clip, condition, config, estimator, track), False
    file = folder / f'{pass_key(clip, condition, config, estimator, track)}.npz'
    if file.is_file():
        try:
            return load_pass(file), True
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            file.unlink(missing_ok=True)  # damaged: made again
    result = run_pass(clip, condition, config, estimator, track)
    save_pass(file, result)
    return result, False


def pass_key(
    clip: EvaluationClip,
    condition: Condition,
    config: PipelineConfig,
    estimator: Estimator,
    track: str,
) -> str:
    """Return the hash that names a pass."""
    facts = {
        'format': _FORMAT,
        'clip': clip.fingerprint,
        'identity': clip.identity,
        'condition': dataclasses.asdict(condition) | {'severity': condition.label},
        'estimator': [estimator.name, estimator.weights_id, config.estimator_name],
        'settings': dataclasses.asdict(config.estimator),
        'pose': dataclasses.asdict(config.pose) if track == 'DET' else None,
        'tracker': dataclasses.asdict(config.tracker) if track == 'DET' else None,
        'track': track,
        'code': _code_hash(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:40]


@cache
def _code_hash() -> str:
    package, digest = Path(__file__).resolve().parent.parent, hashlib.sha256()
    for pattern in _CODE:
        for file in sorted(package.glob(pattern)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Return where passes are kept: below $XDG_CACHE_HOME or ~/.cache."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'trpose_ros' / 'evaluation'


def save_pass(file: Path, result: EstimatorPass) -> None:
    """Write a pass: complete or not at all."""
    people = result.people
    header = {
        'skeletons': [p.skeleton for p in people],
        'frame_ids': [p.frame_id for p in people],
        'provenance': [dataclasses.asdict(p.provenance) for p in people],
        'models': [camera.model for camera in result.cameras],
        'assumed': [camera.assumed for camera in result.cameras],
    }
    arrays: dict[str, np.ndarray] = {
        'header': np.frombuffer(json.dumps(header).encode(), np.uint8),
        'stamps_ns': np.array([p.stamp_ns for p in people], np.int64),
        'people_sizes': np.array([(p.width, p.height) for p in people], int).reshape(-1, 2),
        'counts': np.array([len(p) for p in people], int),
        'matrices': np.array([camera.matrix for camera in result.cameras]).reshape(-1, 3, 3),
        'camera_sizes': np.array([(c.width, c.height) for c in result.cameras], int),
        'distortions': _joined([c.distortion for c in result.cameras]),
        'distortion_counts': np.array([c.distortion.size for c in result.cameras], int),
        'rectangles': np.concatenate([np.zeros((0, 4)), *result.rectangles_px]),
        'rectangle_counts': np.array([len(r) for r in result.rectangles_px], int),
        'sizes': result.sizes,
        'frame_ms': result.frame_ms,
    }
    for name in PER_PERSON:
        if people:
            arrays[f'people_{name}'] = np.concatenate([getattr(p, name) for p in people])
    with whole_stream(file) as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])


def load_pass(file: Path) -> EstimatorPass:
    """Read what ``save_pass`` wrote; raises OSError, ValueError, LookupError, TypeError."""
    values = pack_arrays(file)
    header = json.loads(values['header'].tobytes())
    people, cameras = [], []
    columns = {
        name: np.split(values[f'people_{name}'], np.cumsum(values['counts'])[:-1])
        for name in PER_PERSON
        if len(values['counts'])
    }
    distortions = np.split(values['distortions'], np.cumsum(values['distortion_counts'])[:-1])
    for t, stamp in enumerate(values['stamps_ns'].tolist()):
        width, height = values['people_sizes'][t].tolist()
        people.append(
            People(
                stamp_ns=stamp,
                frame_id=header['frame_ids'][t],
                skeleton=header['skeletons'][t],
                width=width,
                height=height,
                provenance=Provenance(**header['provenance'][t]),
                **{name: columns[name][t] for name in PER_PERSON},
            )
        )
        width, height = values['camera_sizes'][t].tolist()
        cameras.append(
            Camera(
                width,
                height,
                values['matrices'][t],
                distortions[t],
                header['models'][t],
                header['assumed'][t],
            )
        )
    rectangles = np.split(values['rectangles'], np.cumsum(values['rectangle_counts'])[:-1])
    return EstimatorPass(people, cameras, rectangles, values['sizes'], values['frame_ms'])

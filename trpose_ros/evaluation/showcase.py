"""Which cases are shown in the report, and the scene of one of them (excerpts.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from trpose_ros.evaluation.conditions import AnyCondition, Condition
from trpose_ros.evaluation.estimation import EstimatorPass
from trpose_ros.evaluation.excerpts import Scene, encode_images
from trpose_ros.evaluation.metrics.join import Joined
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.occlusion.occluder import union_box

SECONDS = 4.0  # of a clip that a scene keeps


def is_shown(condition: AnyCondition) -> bool:
    """Say whether a condition belongs into the report: on images, main severity, first draw."""
    if not isinstance(condition, Condition):
        return False
    return condition.profile == 'none' or (condition.is_main and condition.draw == 0)


def scene_of(
    clip: EvaluationClip,
    condition: Condition,
    estimator: str,
    seen: EstimatorPass,
    joined: Mapping[str, tuple[Joined, np.ndarray]],
    images: bool = True,
) -> Scene | None:
    """Return the first seconds of a case, None where nothing was joined.

    ``joined`` holds, by lifter, one person and the (T, J) joints that were hidden from it;
    ``images`` False leaves the images out, for estimators that need none.
    """
    camera = clip.camera or next((frame.camera for frame in clip.frames()), None)
    if not joined or camera is None:
        return None
    length = max(1, round(SECONDS * clip.fps))
    person, hidden = next(iter(joined.values()))
    stamps = person.stamps_ns[:length]
    kept = encode_images(_shown(clip, condition, length) if images else (), clip.fps)
    return Scene(
        identity=clip.identity,
        condition=condition.name,
        severity=condition.label,
        estimator=estimator,
        fps=clip.fps,
        skeleton=person.skeleton,
        camera=camera,
        stamps_ns=stamps,
        true_m=person.true_m[:length].astype(np.float32),
        hidden=hidden[:length],
        outputs_m={
            lifter: one.output_m[:length].astype(np.float32)
            for lifter, (one, _) in joined.items()
            if np.array_equal(one.stamps_ns[:length], stamps)
        },
        images=kept[0],
        image_stamps_ns=kept[1],
        offsets_px=kept[2],
        reference='truth' if clip.truth else 'unoccluded run',
    )


def _shown(
    clip: EvaluationClip, condition: Condition, length: int
) -> Iterator[tuple[int, np.ndarray, tuple[int, int]]]:
    """Yield stamp, image and offset of the frames as the estimator saw them."""
    static = union_box(np.array(list(clip.boxes_px.values()))) if clip.boxes_px else None
    occluder = condition.occluder(clip.identity, clip.start_ns, static)
    reference = None
    for frame in islice(clip.frames(), length):
        reference = clip.boxes_px.get(frame.stamp_ns, reference)
        result = occluder.apply(frame, reference)
        yield frame.stamp_ns, result.frame.image, result.offset_px

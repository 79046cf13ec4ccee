"""True 2D joints in place of an estimator: lifters measured without images and without 2D errors.

The masks of a condition hide keypoints instead of pixels (protocol v1, section 2): a joint inside
a mask, or outside the image, is missing. It is presented as ``noisy`` (kept, with the bias, jitter
and jumps of a detector that guesses) or as ``drop`` (no value at all). Nothing is drawn, so data
sets without images can be used, and thousands of frames take a second.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.evaluation.conditions import AnyCondition, SkeletonCondition
from trpose_ros.evaluation.estimation import EstimatorPass
from trpose_ros.evaluation.sequences import EvaluationClip
from trpose_ros.occlusion.keypoints import (
    PRESENTATIONS,
    SkeletonOcclusionConfig,
    missing_joints,
    present,
)
from trpose_ros.occlusion.occluder import joints_in, union_box
from trpose_ros.people import Camera, People, TrackState

TRUTH_2D = 'truth2d'


def presentation_of(estimator: str) -> str:
    """Return 'noisy' or 'drop' for 'truth2d', 'truth2d:noisy', 'truth2d:drop'."""
    presentation = estimator.partition(':')[2] or 'noisy'
    if presentation not in PRESENTATIONS:
        raise ValueError(
            f'{estimator!r}: missing joints are presented as {" or ".join(PRESENTATIONS)}'
        )
    return presentation


def truth_pass(clip: EvaluationClip, condition: AnyCondition, presentation: str) -> EstimatorPass:
    """Return the first true person's 2D joints, altered by the condition.

    Raises ValueError for a clip without ground truth.
    """
    stamps = sorted(clip.truth)
    if not stamps:
        raise ValueError(f'{clip.identity} has no ground truth: no true 2D joints')
    camera = clip.camera or next(iter(clip.frames())).camera
    skeleton = clip.truth[stamps[0]].skeleton
    joints_px = np.stack([clip.truth[s].joints_px[0] for s in stamps]).astype(np.float64)
    rectangles = [np.zeros((0, 4))] * len(stamps)
    if isinstance(condition, SkeletonCondition):
        how = SkeletonOcclusionConfig(
            condition.profile, condition.severity, presentation, condition.draw
        )
        missing = missing_joints(
            how, joints_px, identity=clip.identity, skeleton=skeleton, rate_hz=clip.fps
        )
    else:
        # one stream of noise for the masks: that of sk_box with the same k
        how = SkeletonOcclusionConfig('sk_box', 0, presentation, condition.draw)
        rectangles = _rectangles(clip, condition, stamps, camera)
        missing = np.stack(
            [
                joints_in(joints, hidden, camera.width, camera.height)
                for joints, hidden in zip(joints_px, rectangles, strict=True)
            ]
        )
        if condition.profile == 'none':
            missing[:] = False  # clean: what an ideal detector gives, outside the image too
    shown, confidence = present(
        how, joints_px, missing, identity=clip.identity, skeleton=skeleton, rate_hz=clip.fps
    )
    if presentation == 'drop':
        shown[missing] = np.nan  # "no value" in this package; streams give lifters a stand-in
    people = [
        _person(clip.truth[stamp], shown[t], confidence[t], camera)
        for t, stamp in enumerate(stamps)
    ]
    return EstimatorPass(
        people=people,
        cameras=[camera] * len(stamps),
        rectangles_px=rectangles,
        sizes=np.tile((camera.width, camera.height), (len(stamps), 1)),
        frame_ms=np.zeros(len(stamps)),
        hidden=dict(zip(stamps, missing, strict=True)),
    )


def _rectangles(
    clip: EvaluationClip, condition: AnyCondition, stamps: list[int], camera: Camera
) -> list[np.ndarray]:
    assert not isinstance(condition, SkeletonCondition)
    static = union_box(np.array(list(clip.boxes_px.values())))
    occluder = condition.occluder(clip.identity, clip.start_ns, static)
    return [
        occluder.rectangles(camera.width, camera.height, clip.boxes_px.get(stamp), stamp)
        for stamp in stamps
    ]


def _person(truth: People, joints_px: np.ndarray, scores: np.ndarray, camera: Camera) -> People:
    return People.build(
        stamp_ns=truth.stamp_ns,
        frame_id=truth.frame_id,
        skeleton=truth.skeleton,
        width=camera.width,
        height=camera.height,
        joints_px=joints_px[None],
        joint_scores=scores[None],
        track_ids=np.zeros(1, np.int32),
        track_states=np.array([int(TrackState.TRACKED)]),
    )

"""The rendered test clips: held-out motions on held-out bodies before held-out photographs.

One clip for each motion of the test split, one person, 640x480 at 30 Hz, at most 8 s. Clips are
drawn from their configuration alone, so everybody has the same ones. The subject is the performer
of the motion, the action its name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zlib
from collections.abc import Iterator
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np

from trpose_ros.cameras import project
from trpose_ros.evaluation.sequences import SKELETON, EvaluationClip
from trpose_ros.occlusion.occluder import reference_boxes
from trpose_ros.people import Frame, People, with_visibility
from trpose_ros.pipeline.standing import StandingConfig

if TYPE_CHECKING:
    from trpose_ros.data.rendering.clips import Clip

SECONDS = 8.0
QUICK_SECONDS = 4.0
QUICK_MOTIONS = ('accad_Model01_Female-Walk_turn_change', 'cmu_14_07')
_drawn: tuple[str, list[Frame]] = ('', [])  # the frames of the clip in work


def rendered_clips(
    limit: int = 0, seconds: float = SECONDS, motions: tuple[str, ...] = ()
) -> list[EvaluationClip]:
    """Return the test clips, performers in turn.

    ``limit`` > 0 keeps so many, of each performer evenly over the names of its motions: neighbours
    in that order are much alike. ``motions`` chooses clips by name instead. Raises
    bodies.PackError where the data packs for rendering are missing.
    """
    from trpose_ros.data.rendering.bodies import BodyLibrary
    from trpose_ros.data.rendering.clips import Clip, ClipConfig
    from trpose_ros.data.rendering.sprites import load_motion

    motion, library = load_motion('test'), BodyLibrary()
    by_subject: dict[str, list[int]] = {}
    for index, subject in enumerate(motion.subjects):
        by_subject.setdefault(subject, []).append(index)
    order = chosen(list(by_subject.values()), limit)
    if motions:
        order = [motion.names.index(name) for name in motions]
    clips = []
    for index in order[: limit or None]:
        name = motion.names[index]
        length = len(motion.clip(index)) / motion.rate_hz
        config = ClipConfig(
            motions=(name,), seconds=min(seconds, length), seed=zlib.crc32(name.encode())
        )
        clips.append(evaluated(Clip(config, library), motion.subjects[index], motion.rate_hz))
    return clips


def chosen(performers: list[list[int]], limit: int) -> list[int]:
    """Return the clips of all performers in turn; ``limit`` > 0: so many, evenly from each."""
    shares = [0 if limit else len(clips) for clips in performers]
    while sum(shares) < min(limit, sum(map(len, performers))):
        open_ = [i for i, clips in enumerate(performers) if shares[i] < len(clips)]
        shares[min(open_, key=lambda i: shares[i])] += 1
    taken = [
        [clips[k * len(clips) // share] for k in range(share)]
        for clips, share in zip(performers, shares, strict=True)
    ]
    return [index for index in chain.from_iterable(zip_longest(*taken)) if index is not None]


def scene_of(clip: Clip) -> StandingConfig:
    """Return where the floor of a rendered clip is, and how tall its first person."""
    right, down, forward = (clip.rotation @ [0.0, 0.0, -1.0]).tolist()
    return StandingConfig(
        camera_height_m=float(clip.position_m[2]),
        camera_pitch_deg=math.degrees(math.asin(forward)),
        camera_roll_deg=math.degrees(math.atan2(right, down)),
        person_height_m=clip.stature_m,
    )


def evaluated(clip: Clip, subject: str, fps: float) -> EvaluationClip:
    """Return a rendered clip with its truth; the reference box is that of the first person."""
    joints_m = np.stack([clip.joints_m(t) for t in range(len(clip))])  # (T, 1, 17, 3)
    joints_px = project(joints_m, clip.camera)
    stamps = [clip.stamp_ns(t) for t in range(len(clip))]
    truth = {}
    for t, stamp in enumerate(stamps):
        people = People.build(
            stamp_ns=stamp,
            frame_id='camera',
            skeleton=SKELETON,
            width=clip.camera.width,
            height=clip.camera.height,
            joints_px=joints_px[t],
            joints_m=joints_m[t],
            track_ids=np.arange(joints_m.shape[1]),
        )
        truth[stamp] = with_visibility(people)
    identity = f'rendered|{subject}|{clip.config.motions[0]}|0'
    key = hashlib.sha256(repr(dataclasses.astuple(clip.config)).encode()).hexdigest()

    def frames() -> Iterator[Frame]:
        global _drawn
        if _drawn[0] != key:
            _drawn = key, []
        kept = _drawn[1]
        for t in range(len(clip)):
            if t == len(kept):
                kept.append(clip.draw(t)[0])
            yield kept[t]

    def describe() -> bytes:
        first = clip.draw(0)[0].image
        return f'{key}{joints_m.shape}'.encode() + joints_m.tobytes() + first.tobytes()

    return EvaluationClip(
        identity=identity,
        fps=fps,
        truth=truth,
        boxes_px=dict(zip(stamps, reference_boxes(joints_px[:, 0]), strict=True)),
        open_frames=frames,
        describe=describe,
        camera=clip.camera,
        start_ns=stamps[0],
        scene=scene_of(clip),
    )

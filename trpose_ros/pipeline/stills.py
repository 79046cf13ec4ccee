"""People in pictures that have nothing to do with each other.

The parts are those of the pipeline: box source, estimator, the tracker's removal of repeated
people. What needs time is left out: nobody is remembered from one picture to the next, and there
is no temporal lifter, so that 3D joints are the estimator's own. People are numbered from 0 in
every picture.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from trpose_ros.occlusion.occluder import Occlusion, OcclusionConfig, make_occluder
from trpose_ros.people import Frame, People, TrackState
from trpose_ros.pipeline.pipeline import PipelineConfig, PoseStage, build_pose_stage

_MOST_PEOPLE = 64  # a picture has time for all that the box source finds


@dataclass(frozen=True)
class Still:
    """What one picture gave."""

    frame: Frame  # as the estimator saw it: after the occlusion
    people: People  # in px of that frame
    occlusion: Occlusion | None = None


class StillPipeline:
    """Box source, estimator and occlusion for single pictures."""

    def __init__(self, config: PipelineConfig | None = None, pose: PoseStage | None = None) -> None:
        """Load the networks; ``pose`` takes the place of what the configuration names.

        Raises ValueError and WeightsError as ``build_pose_stage`` does.
        """
        config = config or PipelineConfig()
        if pose is None:
            many = dataclasses.replace(config.pose, max_people=_MOST_PEOPLE)
            pose = build_pose_stage(dataclasses.replace(config, pose=many))
        self.pose = pose
        self.occlusion: OcclusionConfig = config.occlusion

    @property
    def skeleton(self) -> str:
        """Name of the skeleton that people come in."""
        return self.pose.estimator.skeleton

    @property
    def metric_3d(self) -> bool:
        """Whether the estimator gives 3D joints by itself."""
        return bool(getattr(self.pose.estimator, 'metric_3d', True))

    def process(self, frame: Frame, identity: str = 'still|none|none|0') -> Still:
        """Find everybody in a picture, after the occlusion of the configuration.

        The occlusion is measured against the largest person found in the untouched picture, or
        against the whole picture where nobody is found. ``identity`` is part of its seed.
        """
        if self.occlusion.profile == 'none':
            return Still(frame, self.find(frame))
        return self.occluded(frame, self.occlusion, reference_box(self.find(frame)), identity)

    def occluded(
        self,
        frame: Frame,
        config: OcclusionConfig,
        box_px: np.ndarray | None,
        identity: str,
        known: bool = False,
    ) -> Still:
        """Hide a part of a picture, measured against ``box_px`` (4,), and find who is left.

        With ``known`` people are looked for where they were in the picture before, as in a video.
        """
        occlusion = make_occluder(config, identity).apply(frame, box_px)
        people = self.find_again(occlusion.frame) if known else self.find(occlusion.frame)
        provenance = dataclasses.replace(people.provenance, occlusion=occlusion.profile)
        return Still(occlusion.frame, people.replace(provenance=provenance), occlusion)

    def find(self, frame: Frame) -> People:
        """Return everybody in a picture, numbered from 0, as nobody has been seen before.

        Everybody is estimated twice: the second crop is the one around the whole body that the
        first look gave, as the next image of a video would have it.
        """
        self.pose.reset()
        people = self.pose.process(frame)
        return self.find_again(frame) if len(people) else _numbered(people)

    def find_again(self, frame: Frame) -> People:
        """Return who was in the picture before, looked for where they were, as in a video."""
        return _numbered(self.pose.process(frame))

    def close(self) -> None:
        """Free the networks."""
        self.pose.close()


def _numbered(people: People) -> People:
    """Return the people that were seen, and none that the tracker only predicts, from 0 on."""
    seen = ~np.isin(people.track_states, (TrackState.SEARCHING, TrackState.LOST))
    people = people.select(np.flatnonzero(seen & (people.track_ids >= 0)))
    return people.replace(
        track_ids=np.arange(len(people), dtype=np.int32),
        track_states=np.full(len(people), int(TrackState.UNTRACKED), np.uint8),
    )


def reference_box(people: People) -> np.ndarray | None:
    """Return the box (4,), px, that occlusions are measured against; None without anybody.

    It is that in which the largest person was found, as far as it lies in the picture: what the
    picture has cut off already cannot be hidden again.
    """
    index = largest(people)
    if index is None:
        return None
    x, y, width, height = people.boxes_px[index].astype(np.float64)
    low = np.clip([x, y], -0.5, [people.width - 0.5, people.height - 0.5])
    high = np.clip([x + width, y + height], -0.5, [people.width - 0.5, people.height - 0.5])
    return np.asarray(np.concatenate([low, high - low]))


def largest(people: People) -> int | None:
    """Return the index of the person with the largest body, px, None without anybody."""
    if len(people) == 0:
        return None
    sizes = np.full(len(people), -1.0)
    for i, joints in enumerate(people.joints_px):
        finite = joints[np.isfinite(joints).all(axis=1)]
        if len(finite):
            sizes[i] = np.ptp(finite, axis=0).max()
    return int(sizes.argmax())


def in_whole_picture(
    people: People, size: tuple[int, int], scale: tuple[float, float], offset_px: tuple[int, int]
) -> People:
    """Return people of a seen frame in px of the whole picture.

    Args:
        people: in px of the frame that the estimator saw.
        size: width and height of the whole picture, px.
        scale: px of the whole picture per px of the frame, in x and y.
        offset_px: first pixel of the seen frame in the one before the occlusion.

    """
    factor, shift = np.array(scale), np.array(offset_px) + 0.5
    joints = (people.joints_px + shift) * factor - 0.5
    corners = (people.boxes_px[:, :2] + shift) * factor - 0.5
    boxes = np.concatenate([corners, people.boxes_px[:, 2:] * factor], axis=1)
    return people.replace(
        width=size[0],
        height=size[1],
        joints_px=joints.astype(np.float32),
        boxes_px=boxes.astype(np.float32),
        reprojection_errors_px=(people.reprojection_errors_px * factor.mean()).astype(np.float32),
    )

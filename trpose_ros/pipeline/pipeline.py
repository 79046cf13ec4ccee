"""The stages in order: the only place that knows the order.

::

    Frame -> [Occluder] -> PoseStage -> People (2D px, metric 3D, ids) -> LiftStage -> People (3D)

Nodes, replay and demo hold the same objects: a ROS node only translates messages. Time is the
stamp of the image; when it jumps back (a recording starts again) every stage starts afresh. A
stage lets exceptions through to its caller and stays usable for the next frame.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.estimators.boxes import BOX_SOURCES, BoxSource
from trpose_ros.lifters import LifterConfig, create_lifter
from trpose_ros.occlusion.occluder import Occluder, Occlusion, OcclusionConfig, make_occluder
from trpose_ros.people import Frame, People
from trpose_ros.pipeline.fusion import Fusion, FusionConfig
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.pose_stage import PoseStage, PoseStageConfig, body_box
from trpose_ros.pipeline.reference_box import box_for, tracked_box
from trpose_ros.pipeline.standing import Standing, StandingConfig
from trpose_ros.pipeline.tracking import Tracker, TrackerConfig

__all__ = [
    'FusionConfig',
    'LiftStage',
    'LiftStageConfig',
    'Outcome',
    'Pipeline',
    'PipelineConfig',
    'PoseStage',
    'PoseStageConfig',
    'body_box',
    'build_fusion',
    'build_lift_stage',
    'build_pose_stage',
]


@dataclass(frozen=True)
class Outcome:
    """What one frame gave."""

    frame: Frame  # as the estimator saw it: after the occlusion
    occlusion: Occlusion | None
    people: People  # the estimator's, tracked
    lifted: tuple[People, ...]  # skeletons that became sure with this frame; older stamps


class Pipeline:
    """All stages in one process: occlusion, pose, lift."""

    def __init__(
        self,
        config: PipelineConfig | None = None,
        *,
        identity: str = 'live|live|live|0',
        clock: Callable[[], float] | None = perf_counter,
        pose: PoseStage | None = None,
        lift: LiftStage | None = None,
        occluder: Occluder | None = None,
    ) -> None:
        """Load what the configuration names; a stage that is given takes the place of its own.

        Args:
            config: of all stages; None is the default one.
            identity: ``'dataset|subject|action|camera'``: part of the seed of the occlusions, so
                that every method sees the same ones.
            clock: measures the stages, s; None measures nothing.
            pose: instead of the configuration's.
            lift: instead of the configuration's.
            occluder: instead of the configuration's.

        Raises:
            WeightsError: weights are missing, damaged or for another network.
            ValueError: boxes that nobody can give here, or a setting that fits no network.

        """
        config = config or PipelineConfig()
        if occluder is None and config.occlusion.profile != 'none':
            occluder = make_occluder(config.occlusion, identity)
        self.occluder = occluder
        self.pose = pose or build_pose_stage(config, clock=clock)
        self.lift = lift or build_lift_stage(config)
        self._last_ns: int | None = None
        self._last_box: tuple[int, np.ndarray] | None = None  # stamp and px of the image before

    def process(
        self,
        frame: Frame,
        reference_box_px: np.ndarray | None = None,
        depth_m: np.ndarray | None = None,
    ) -> Outcome:
        """Run one frame through all stages.

        Args:
            frame: the image as the camera gave it.
            reference_box_px: (4,) box of the person for an occlusion anchored at the person;
                None takes the tracked person's box of the frame before, or the whole image.
            depth_m: (H, W) depth image of the same camera, NaN where nothing was measured; it is
                not used together with an occlusion, which does not alter it.

        """
        if self._last_ns is not None and frame.stamp_ns < self._last_ns:
            self._restart()  # the lift stage notices itself, and gives out what waits in it
        self._last_ns = frame.stamp_ns
        occlusion = None
        if self.occluder is not None:
            if reference_box_px is None:
                reference_box_px = box_for(frame.stamp_ns, self._last_box)
            occlusion = self.occluder.apply(frame, reference_box_px)
            frame = occlusion.frame
        people = self.pose.process(frame)
        offset_px = (0, 0) if occlusion is None else occlusion.offset_px
        self._last_box = frame.stamp_ns, tracked_box(people, offset_px)
        if occlusion is not None:
            people = people.replace(
                provenance=dataclasses.replace(people.provenance, occlusion=occlusion.profile)
            )
            depth_m = None
        lifted = self.lift.push(people, frame.camera, depth_m)
        return Outcome(frame, occlusion, people, tuple(lifted))

    def flush(self) -> list[People]:
        """Return the skeletons still waiting for their future, at the end of a recording."""
        return self.lift.flush()

    def reset(self) -> None:
        """Forget everything, as at the start of a recording."""
        self.lift.reset()
        self._restart()

    def _restart(self) -> None:
        self.pose.reset()
        self._last_box = None
        if self.occluder is not None:
            self.occluder.reset()

    def close(self) -> None:
        """Free what the estimator holds."""
        self.pose.close()


@dataclass(frozen=True)
class PipelineConfig:
    """The configurations of all stages; the nodes hold the same ones."""

    estimator_name: str = 'metrabs_torch'
    estimator: EstimatorConfig = field(default_factory=EstimatorConfig)
    pose: PoseStageConfig = field(default_factory=PoseStageConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    lifter: LifterConfig = field(default_factory=LifterConfig)
    lift: LiftStageConfig = field(default_factory=LiftStageConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    standing: StandingConfig = field(default_factory=StandingConfig)
    occlusion: OcclusionConfig = field(default_factory=OcclusionConfig)


def build_pose_stage(
    config: PipelineConfig,
    *,
    box_source: BoxSource | None = None,
    clock: Callable[[], float] | None = perf_counter,
    load: Callable[[str, EstimatorConfig], Any] | None = None,
) -> PoseStage:
    """Load the estimator and make the pose stage; ``box_source`` replaces that of the config.

    ``load`` gives the estimator of a name and settings; None loads one of its own. Raises
    ValueError for boxes that nobody can give here.
    """
    if config.pose.boxes == 'topic' and box_source is None:
        raise ValueError("boxes 'topic' come over ROS, to pose_node alone: use 'detector' here")
    estimator = (load or create_estimator)(config.estimator_name, config.estimator)
    source: Any = box_source or estimator
    if box_source is None and config.pose.boxes != 'model':
        source = BOX_SOURCES[config.pose.boxes](**box_settings(config))
    elif box_source is None and not hasattr(estimator, 'boxes'):
        raise ValueError(
            f"boxes 'model' asks estimator {config.estimator_name!r} to find people, which it "
            "cannot: use 'detector', or 'metrabs_tensorflow'"
        )
    return PoseStage(
        estimator=estimator,
        box_source=source,
        tracker=Tracker(config.tracker),
        config=config.pose,
        clock=clock,
    )


def box_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return what the box source of a configuration is made with."""
    if config.pose.boxes != 'detector':
        return {}
    return {
        'tiles': config.pose.tiles,
        'device': config.estimator.device,
        'runtime': config.estimator.runtime,
    }


def build_lift_stage(config: PipelineConfig) -> LiftStage:
    """Load the lifter and make the lift stage; lifter 'none' passes people through."""
    lifter = None
    if config.lifter.name != 'none':
        lifter = create_lifter(config.lifter)
    fusion = None if lifter is None else build_fusion(config)
    standing = Standing(config.standing)
    return LiftStage(lifter=lifter, fusion=fusion, config=config.lift, standing=standing)


def build_fusion(config: PipelineConfig) -> Fusion:
    """Make the fusion, by constants or by a network; raises WeightsError for its weights."""
    if config.lift.fusion == 'constants':
        return Fusion(config.fusion)
    from trpose_ros.pipeline.refinement import Refinement
    from trpose_ros.refinement.model import load_model

    return Refinement(load_model(config.lift.refinement_model), config.fusion)

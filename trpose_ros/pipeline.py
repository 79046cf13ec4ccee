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
from dataclasses import dataclass
from dataclasses import field
from time import perf_counter
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol

import numpy as np

from trpose_ros.configuration import check_fields
from trpose_ros.fusion import Fusion
from trpose_ros.fusion import FusionConfig
from trpose_ros.lift_stage import LiftStage
from trpose_ros.lift_stage import LiftStageConfig
from trpose_ros.people import Frame
from trpose_ros.people import People
from trpose_ros.people import TrackState
from trpose_ros.people import with_visibility

if TYPE_CHECKING:
    from trpose_ros.estimators import Estimator
    from trpose_ros.occlusion import Occluder
    from trpose_ros.occlusion import Occlusion
    from trpose_ros.tracking import Tracker

__all__ = [
    'BoxSource',
    'FusionConfig',
    'LiftStage',
    'LiftStageConfig',
    'Outcome',
    'Pipeline',
    'PipelineConfig',
    'PoseStage',
    'PoseStageConfig',
    'build_lift_stage',
    'build_pipeline',
    'build_pose_stage',
]


class BoxSource(Protocol):
    """Finds people where none are tracked yet."""

    def boxes(self, frame: Frame) -> np.ndarray:
        """Return (N, 5) boxes: x, y (upper left), width, height in px, score."""
        ...


@dataclass(frozen=True)
class PoseStageConfig:
    """Where the boxes of people come from."""

    boxes: str = field(
        default='detector',
        metadata={
            'help': "source of boxes for people not tracked yet: 'detector', 'image', or 'model': "
            "a SavedModel's own detector"
        },
    )
    detect_every_s: float = field(
        default=0.5,
        metadata={
            'help': 'look for new people this often while others are tracked, s; '
            'while nobody is tracked every frame is searched',
            'range': (0.0, 3600.0),
        },
    )
    max_people: int = field(
        default=4,
        metadata={'help': 'at most this many people are estimated per frame', 'range': (1, 64)},
    )
    overlap: float = field(
        default=0.5,
        metadata={
            'help': 'a found box is a tracked person when their intersection covers this share of '
            'the smaller box',
            'range': (0.0, 1.0),
        },
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class PoseStage:
    """Frame to tracked people: boxes, estimator, tracker.

    Boxes of tracked people come from the tracker, which re-projects their last 3D skeleton: a box
    does not shrink to the visible part of a body. New people come from ``box_source``, asked when
    nobody is tracked and every ``detect_every_s`` of stamps. A box that is the whole image says
    nothing about where a person is, so the estimator runs twice: the box of the second run is
    that of the joints of the first.
    """

    def __init__(
        self,
        *,
        estimator: Estimator,
        box_source: BoxSource,
        tracker: Tracker,
        config: PoseStageConfig | None = None,
        clock: Callable[[], float] | None = perf_counter,
    ) -> None:
        """Take the parts; ``clock`` (s) measures inference, None leaves the times unknown."""
        self.estimator = estimator
        self.config = config or PoseStageConfig()
        self._box_source = box_source
        self._tracker = tracker
        self._clock = clock
        self._last_ns: int | None = None
        self._searched_ns: int | None = None

    def reset(self) -> None:
        """Forget everybody."""
        self._tracker.reset()
        self._last_ns = None
        self._searched_ns = None

    def close(self) -> None:
        """Free what the estimator holds."""
        self.estimator.close()

    def process(self, frame: Frame) -> People:
        """Return everybody in the frame, with track ids.

        Stamps may repeat; a stamp before the last one resets the stage first. Exceptions of the
        estimator reach the caller, and the next frame goes on with the tracks as they were.
        """
        if self._last_ns is not None and frame.stamp_ns < self._last_ns:
            self.reset()
        self._last_ns = frame.stamp_ns
        begin = self._now()
        boxes = self._boxes(frame)
        middle = self._now()
        people = self.estimator.estimate(frame, boxes)
        end = self._now()
        people = self._tracker.update(with_visibility(people), frame.camera)
        return people.replace(
            provenance=dataclasses.replace(
                people.provenance,
                estimator=self.estimator.name,
                weights_id=self.estimator.weights_id,
                intrinsics_assumed=frame.camera.assumed,
                preprocess_ms=(middle - begin) * 1e3,
                inference_ms=(end - middle) * 1e3,
            )
        )

    def _now(self) -> float:
        return float('nan') if self._clock is None else self._clock()

    def _boxes(self, frame: Frame) -> np.ndarray:
        """Boxes of tracked people, then of new ones, (N, 4) float32."""
        _, tracked = self._tracker.predict_boxes(frame.camera, frame.stamp_ns)
        tracked = np.asarray(tracked, np.float32).reshape(-1, 4)[: self.config.max_people]
        if not self._search_due(frame.stamp_ns, len(tracked)):
            return tracked
        self._searched_ns = frame.stamp_ns
        found = np.asarray(self._box_source.boxes(frame), np.float32).reshape(-1, 5)
        found = found[np.argsort(-found[:, 4], kind='stable')]
        new = [box for box in found[:, :4] if not self._is_tracked(box, tracked)]
        new = new[: self.config.max_people - len(tracked)]
        boxes = [self._refined(frame, box) for box in new]
        return np.concatenate([tracked, np.array(boxes, np.float32).reshape(-1, 4)])

    def _search_due(self, stamp_ns: int, tracked: int) -> bool:
        if tracked == 0 or self._searched_ns is None:
            return True
        waited_s = (stamp_ns - self._searched_ns) * 1e-9
        return tracked < self.config.max_people and waited_s >= self.config.detect_every_s

    def _is_tracked(self, box: np.ndarray, tracked: np.ndarray) -> bool:
        """Whether the box covers a tracked person: intersection over the smaller area."""
        if len(tracked) == 0:
            return False
        low = np.maximum(box[:2], tracked[:, :2])
        high = np.minimum(box[:2] + box[2:], tracked[:, :2] + tracked[:, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        smaller = np.minimum(box[2:].prod(), tracked[:, 2:].prod(axis=1))
        return bool((shared > self.config.overlap * np.maximum(smaller, 1e-6)).any())

    def _refined(self, frame: Frame, box: np.ndarray) -> np.ndarray:
        """Return the box around the joints found in a box that is the whole image."""
        if box[2] < 0.98 * frame.camera.width or box[3] < 0.98 * frame.camera.height:
            return box
        people = self.estimator.estimate(frame, box[None])
        if len(people) == 0:
            return box
        return body_box(people.joints_px[0], box)


def body_box(joints_px: np.ndarray, fallback: np.ndarray) -> np.ndarray:
    """Box (4,) around (J, 2) joints with 10 % air on each side; ``fallback`` without joints."""
    joints = joints_px[np.isfinite(joints_px).all(axis=1)]
    if len(joints) < 2:
        return fallback
    low, high = joints.min(axis=0), joints.max(axis=0)
    air = 0.1 * np.maximum((high - low).max(), 1.0)
    return np.concatenate([low - air, high - low + 2 * air]).astype(np.float32)


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
        self, *, pose: PoseStage, lift: LiftStage, occluder: Occluder | None = None
    ) -> None:
        self.pose = pose
        self.lift = lift
        self.occluder = occluder
        self._last_ns: int | None = None
        self._last_box: np.ndarray | None = None

    def process(self, frame: Frame, reference_box_px: np.ndarray | None = None) -> Outcome:
        """Run one frame through all stages.

        Args:
            frame: the image as the camera gave it.
            reference_box_px: (4,) box of the person for an occlusion anchored at the person;
                None takes the tracked person's box of the frame before, or the whole image.

        """
        if self._last_ns is not None and frame.stamp_ns < self._last_ns:
            self._restart()  # the lift stage notices itself, and gives out what waits in it
        self._last_ns = frame.stamp_ns
        occlusion = None
        if self.occluder is not None:
            if reference_box_px is None:
                reference_box_px = self._last_box
            occlusion = self.occluder.apply(frame, reference_box_px)
            frame = occlusion.frame
        people = self.pose.process(frame)
        self._last_box = _whole_box(people, occlusion)
        if occlusion is not None:
            people = people.replace(
                provenance=dataclasses.replace(people.provenance, occlusion=occlusion.profile)
            )
        return Outcome(frame, occlusion, people, tuple(self.lift.push(people, frame.camera)))

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


def _whole_box(people: People, occlusion: Occlusion | None) -> np.ndarray | None:
    """Return the box (4,) of the first tracked person, in px of the image before the occlusion."""
    tracked = people.track_ids >= 0
    tracked &= people.track_states != TrackState.LOST
    if not tracked.any():
        return None
    box = body_box(people.joints_px[tracked][0], people.boxes_px[tracked][0]).astype(np.float64)
    if occlusion is not None:
        box[:2] += occlusion.offset_px
    return box


def _estimator_config() -> Any:
    from trpose_ros.estimators import EstimatorConfig

    return EstimatorConfig()


def _tracker_config() -> Any:
    from trpose_ros.tracking import TrackerConfig

    return TrackerConfig()


def _lifter_config() -> Any:
    from trpose_ros.lifters import LifterConfig

    return LifterConfig()


def _occlusion_config() -> Any:
    from trpose_ros.occlusion import OcclusionConfig

    return OcclusionConfig()


@dataclass(frozen=True)
class PipelineConfig:
    """The configurations of all stages; the nodes hold the same ones."""

    estimator_name: str = 'metrabs_torch'
    estimator: Any = field(default_factory=_estimator_config)
    pose: PoseStageConfig = field(default_factory=PoseStageConfig)
    tracker: Any = field(default_factory=_tracker_config)
    lifter: Any = field(default_factory=_lifter_config)
    lift: LiftStageConfig = field(default_factory=LiftStageConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    occlusion: Any = field(default_factory=_occlusion_config)


def build_pose_stage(
    config: PipelineConfig, *, clock: Callable[[], float] | None = perf_counter
) -> PoseStage:
    """Load the estimator and make the pose stage."""
    from trpose_ros.estimators import create_estimator
    from trpose_ros.estimators.boxes import create_box_source
    from trpose_ros.tracking import Tracker

    estimator = create_estimator(config.estimator_name, config.estimator)
    source: Any = estimator
    if config.pose.boxes != 'model':
        source = create_box_source(config.pose.boxes)
    elif not hasattr(estimator, 'boxes'):
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


def build_lift_stage(config: PipelineConfig) -> LiftStage:
    """Load the lifter and make the lift stage; lifter 'none' passes people through."""
    lifter = None
    if config.lifter.name != 'none':
        from trpose_ros.lifters import create_lifter

        lifter = create_lifter(config.lifter)
    return LiftStage(lifter=lifter, fusion=Fusion(config.fusion), config=config.lift)


def build_pipeline(
    config: PipelineConfig,
    *,
    identity: str = 'live|live|live|0',
    clock: Callable[[], float] | None = perf_counter,
) -> Pipeline:
    """Build all stages of one process.

    ``identity`` is ``'dataset|subject|action|camera'``: part of the seed of the occlusions, so
    that every method sees the same ones.
    """
    occluder = None
    if config.occlusion.profile != 'none':
        from trpose_ros.occlusion import make_occluder

        occluder = make_occluder(config.occlusion, identity)
    return Pipeline(
        pose=build_pose_stage(config, clock=clock),
        lift=build_lift_stage(config),
        occluder=occluder,
    )

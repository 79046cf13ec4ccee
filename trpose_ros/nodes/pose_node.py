"""pose_node: camera images in, tracked people with 2D and metric 3D joints out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import Image

from trpose_ros.configuration import setting
from trpose_ros.drawing.overlay import draw_people
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.estimators.shared import SharedEstimators
from trpose_ros.msg import OcclusionReport, PersonArray, SkeletonInfo
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.image_node import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    ImageConfig,
    ImageNode,
    system_ns,
)
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import Topic
from trpose_ros.nodes.base.stamp_book import StampBook
from trpose_ros.nodes.box_topic import BOXES, BoxListener, BoxTopicConfig
from trpose_ros.people import Frame, People
from trpose_ros.pipeline.pipeline import (
    PipelineConfig,
    PoseStage,
    PoseStageConfig,
    build_pose_stage,
)
from trpose_ros.pipeline.tracking import TrackerConfig
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraConfig

PEOPLE = Topic('~/people', PersonArray, 'out', 'everybody, with 2D and metric 3D joints', depth=10)
ANNOTATED = Topic(
    '~/image_annotated', Image, 'out', 'the image with skeletons', when='somebody subscribes'
)
SKELETON = Topic('~/skeleton', SkeletonInfo, 'out', 'names and parents of the joints', 'latched')
REPORT = Topic(
    'occlusion_report',
    OcclusionReport,
    'in',
    'of the occlusion node: the condition that the results then name',
    depth=10,
)


@dataclass(frozen=True)
class PoseNodeConfig:
    """What is the pose node's own."""

    estimator: str = setting(
        'metrabs_torch',
        "'metrabs_torch', 'metrabs_tensorflow' for a SavedModel, or 'movenet' "
        '(plain 2D; 3D by the lifter)',
    )


class PoseNode(ImageNode):
    """Runs the PoseStage on the newest image."""

    GROUPS = (
        Group(PoseNodeConfig),
        Group(EstimatorConfig),
        Group(ImageConfig),
        Group(CameraConfig),
        Group(PoseStageConfig, omit=('detect_every_s', 'max_people', 'overlap')),
        Group(BoxTopicConfig),
        Group(PoseStageConfig, omit=('boxes', 'tiles', 'rotate_deg'), live=True),
        Group(TrackerConfig, prefix='tracker.'),
    )
    TOPICS = (IMAGE, COMPRESSED, CAMERA_INFO, BOXES, REPORT, PEOPLE, ANNOTATED, SKELETON)

    def __init__(
        self,
        name: str = 'pose_node',
        *,
        estimators: SharedEstimators | None = None,
        **options: Any,
    ) -> None:
        """Make the node; ``estimators`` are shared with other nodes of the process."""
        super().__init__(name, **options)
        self._shared: dict[str, Any] = {} if estimators is None else {'load': estimators}
        self._stage: PoseStage | None = None
        self._boxes: BoxListener | None = None
        self._occlusions: StampBook[str] = StampBook()

    def load(self) -> None:
        """Load the estimator and the detector, warm them up."""
        config = PipelineConfig(
            estimator_name=self.parameters[PoseNodeConfig].estimator,
            estimator=self.parameters[EstimatorConfig],
            pose=self.parameters[PoseStageConfig],
            tracker=self.parameters[TrackerConfig],
        )
        if config.pose.boxes == 'topic':
            self._boxes = BoxListener(self, self.parameters[BoxTopicConfig])
            self._stage = build_pose_stage(config, box_source=self._boxes.source, **self._shared)
        else:
            self._stage = build_pose_stage(config, **self._shared)
        estimator = self._stage.estimator
        self.get_logger().info(
            f'{estimator.name} {estimator.weights_id}, skeleton {estimator.skeleton}, licence of '
            f'the weights: {estimator.licence}'
        )
        topology = conversions.make.skeleton_info(estimator.skeleton, system_ns(self), '')
        self.publisher(SKELETON.name).publish(topology)

    def unload(self) -> None:
        """Free the models."""
        if self._stage is not None:
            self._stage.close()
        self._stage = self._boxes = None

    def start(self) -> None:
        """Begin without tracks."""
        assert self._stage is not None
        self._stage.reset()
        self._occlusions = StampBook()
        self.subscribe(REPORT, self._on_report)
        if self._boxes is not None:
            self._boxes.start()
        super().start()

    def apply(self, config: type, value: Any) -> None:
        """Take new limits while running."""
        if self._stage is not None:
            self._stage.config = value

    def facts(self) -> dict[str, str]:
        """Return whom the estimator left out, by reason."""
        facts = super().facts()
        if self._stage is not None:
            facts['weights'] = self._stage.estimator.weights_id
            skipped = getattr(self._stage.estimator, 'skipped', {})
            facts.update({f'skipped {name}': str(n) for name, n in sorted(skipped.items())})
        if self._boxes is not None:
            facts.update(self._boxes.facts())
        return facts

    def _on_report(self, message: OcclusionReport) -> None:
        stamp_ns, _ = messages.origin_of(message)
        self._occlusions.add(stamp_ns, messages.read_occlusion(message)[0])

    def work_on(self, frame: Frame, message: Any, received_ns: int) -> None:
        """Estimate and publish."""
        assert self._stage is not None
        people = self._stage.process(frame)
        people = people.replace(
            provenance=dataclasses.replace(
                people.provenance,
                occlusion=self._occlusions.find(frame.stamp_ns) or '',
                received_ns=received_ns,
                dropped_frames=self.dropped,
            )
        )
        answer = conversions.make.people(people)
        messages.mark_published(answer, time.time_ns())
        self.publisher(PEOPLE.name).publish(answer)
        self.statistics.add_result((time.time_ns() - received_ns) * 1e-6)
        self._annotate(frame, people)

    def _annotate(self, frame: Frame, people: People) -> None:
        """Draw, but only for somebody who looks."""
        publisher = self.publisher(ANNOTATED.name)
        if publisher.get_subscription_count():
            drawn = draw_people(frame.image, people)
            publisher.publish(conversions.make.image(drawn, frame.stamp_ns, frame.frame_id))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end; return the exit code."""
    return run([PoseNode], args)

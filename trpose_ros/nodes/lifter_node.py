"""lifter_node: tracked people in, stable 3D skeletons and their markers out.

The people may come from the pose node or from a recording. A lifter with look-ahead publishes
the skeleton of a frame later, under the stamp of that frame; when no more people come it does not
wait for them: what is left goes out.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visualization_msgs.msg import MarkerArray

from trpose_ros.configuration import check_fields, setting
from trpose_ros.drawing.markers import MarkersConfig, MarkerStream
from trpose_ros.lifters import LifterConfig
from trpose_ros.msg import PersonArray, SkeletonInfo
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.image_node import CAMERA_INFO, CameraListener, StampListener, system_ns
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.people_limit import MOST_PEOPLE, bounded
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.base.transforms import TF, TF_STATIC
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.nodes.body_outputs import JOINTS, POSES, TF_OUT, TORSOS, BodyOutputs
from trpose_ros.nodes.depth_topic import DEPTH, DepthTopic, DepthTopicConfig
from trpose_ros.nodes.robot_frames import FramesConfig, RobotFrames, check_frames
from trpose_ros.people import People
from trpose_ros.pipeline.fusion import FusionConfig
from trpose_ros.pipeline.lift_stage import LiftStage, LiftStageConfig
from trpose_ros.pipeline.pipeline import PipelineConfig, build_lift_stage
from trpose_ros.pipeline.standing import StandingConfig
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.recordings.stamps import SKIPPED

PEOPLE_IN = Topic(
    'people', PersonArray, 'in', 'tracked people of the pose node', depth=10, steady=True
)
PEOPLE = Topic('~/people', PersonArray, 'out', 'stable 3D skeletons with covariances', depth=10)
MARKERS = Topic('~/markers', MarkerArray, 'out', 'the same for RViz', when='somebody subscribes')
SKELETON = Topic('~/skeleton', SkeletonInfo, 'out', 'names and parents of the joints', 'latched')
_LEAST_IDLE_S = 1.0


@dataclass(frozen=True)
class LifterNodeConfig:
    """What is the lifter node's own."""

    queue: int = setting(
        30, 'frames that may wait for the lifter; the oldest is dropped beyond', range=(1, 1000)
    )
    most_people: int = setting(
        MOST_PEOPLE, 'people of a message beyond this number are left out', range=(1, 1000)
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class LifterNode(StageNode):
    """Runs the LiftStage on every message of people, in order."""

    GROUPS = (
        Group(LifterConfig, rename={'name': 'lifter', 'model': 'lifter_model'}),
        Group(LifterNodeConfig),
        Group(CameraConfig),
        Group(FramesConfig),
        Group(DepthTopicConfig),
        Group(LiftStageConfig, omit=('max_wait_s',)),
        Group(LiftStageConfig, omit=('rotate_deg', 'fusion', 'refinement_model'), live=True),
        Group(FusionConfig, prefix='fusion.', live=True),
        Group(StandingConfig, prefix='standing.', live=True),
        Group(MarkersConfig, prefix='markers.', live=True),
    )
    TOPICS = (
        PEOPLE_IN,
        CAMERA_INFO,
        DEPTH,
        TF,
        TF_STATIC,
        PEOPLE,
        MARKERS,
        SKELETON,
        POSES,
        TORSOS,
        JOINTS,
        TF_OUT,
    )

    def __init__(self, name: str = 'lifter_node', **options: Any) -> None:
        super().__init__(name, **options)
        self._stage: LiftStage | None = None
        self._markers = MarkerStream()
        self._markers_lock = threading.Lock()  # results and a jump in time come in two threads
        self._frames: RobotFrames | None = None
        self._outputs: BodyOutputs | None = None
        self._worker: Worker | None = None
        self._cameras: CameraListener | None = None
        self._depth: DepthTopic | None = None
        self._stamps = StampListener(self, 'people')
        self._skeleton = ''  # the one that was announced
        self._shown_frame = ''  # of the markers on display
        self._idle_s = _LEAST_IDLE_S
        self._most_people = MOST_PEOPLE
        self._came_ns = 0  # when people came last, by the node's clock

    def load(self) -> None:
        """Load the lifter."""
        check_frames(self.parameters[FramesConfig])
        config = PipelineConfig(
            lifter=self.parameters[LifterConfig],
            lift=self.parameters[LiftStageConfig],
            fusion=self.parameters[FusionConfig],
            standing=self.parameters[StandingConfig],
        )
        self._stage = build_lift_stage(config)
        self._markers = MarkerStream(self.parameters[MarkersConfig])
        self._skeleton = ''
        lifter = self._stage.lifter
        if lifter is None:
            self.get_logger().info("lifter 'none': people pass through")
            return
        self._announce(lifter.skeleton_in)
        self.get_logger().info(
            f'{lifter.name} {lifter.weights_id}: window {lifter.window}, look-ahead '
            f'{lifter.look_ahead} at {lifter.rate_hz:g} Hz, results {lifter.delay_s * 1e3:.0f} ms '
            f'after their image; licence of the weights: {lifter.licence}'
        )

    def unload(self) -> None:
        """Free the model."""
        self._stage = None

    def start(self) -> None:
        """Begin with empty windows."""
        assert self._stage is not None
        self._stage.reset()
        config = self.parameters[LifterNodeConfig]
        self._most_people = config.most_people
        self._stamps = StampListener(self, 'people')
        self._idle_s = max(_LEAST_IDLE_S, 2.0 * self.parameters[LifterConfig].max_gap_s)
        frames = self.parameters[FramesConfig]
        self._outputs = BodyOutputs(self, frames)
        self._frames = RobotFrames(self, frames, self._send)
        self._stage.floor_at = self._frames.floor_at if frames.floor_frame else None
        self._worker = Worker(
            self._work,
            name=self.get_name(),
            on_error=self._on_error,
            on_idle=self._on_idle,
            idle_s=self._idle_s,
            length=config.queue,
        )
        cameras, depth = self.parameters[CameraConfig], self.parameters[DepthTopicConfig]
        self._cameras = CameraListener(self, cameras)
        self._depth = DepthTopic(self, depth, cameras.any_frame) if depth.depth else None
        self.subscribe(PEOPLE_IN, self._on_people)

    def halt(self, timeout_s: float | None = None) -> bool:
        """Let the frame that is being worked on end; markers on display are deleted."""
        if self._cameras is not None:
            self._cameras.book.close()
        ended = self._frames is None or self._frames.close(timeout_s)
        if self._worker is None:
            return ended
        ended = self._worker.stop(timeout_s) and ended
        if ended:
            self._worker = self._cameras = self._frames = None
            self._clear_markers(system_ns(self))
        return ended

    def publishes(self, topic: Topic) -> bool:
        """Return whether a topic is asked for: frames of tf only with publish_tf."""
        return topic is not TF_OUT or bool(self.parameters[FramesConfig].publish_tf)

    def apply(self, config: type, value: Any) -> None:
        """Take new settings while running."""
        if config is MarkersConfig:
            self._markers.config = value
        elif self._stage is not None and config is FusionConfig:
            self._stage.fusion.config = value
        elif self._stage is not None and config is StandingConfig:
            self._stage.standing.config = value
        elif self._stage is not None:
            self._stage.config = value

    def facts(self) -> dict[str, str]:
        """Return the drops and the model."""
        facts = {'dropped_frames': str(0 if self._worker is None else self._worker.dropped)}
        if self._frames is not None:
            facts |= self._frames.facts()
        if self._stage is not None and self._stage.lifter is not None:
            facts['weights'] = self._stage.lifter.weights_id
            facts['delay_ms'] = f'{self._stage.delay_s * 1e3:.0f}'
        return facts

    def _on_people(self, message: PersonArray) -> None:
        worker = self._worker
        if worker is not None:
            self._came_ns = system_ns(self)
            worker.put(message)

    def _work(self, message: PersonArray) -> None:
        assert self._stage is not None
        assert self._cameras is not None
        try:
            people = messages.read_people(bounded(self, message, self._most_people))
        except ValueError as error:
            self.report(f'people skipped: {error}', error)
            return
        problem = self._stamps.check(people.stamp_ns)
        if problem == SKIPPED:
            return
        if problem == 'time_jumps':
            assert self._frames is not None
            self._frames.time_jumped()
            self._clear_markers(people.stamp_ns)
        camera = None
        if people.width > 0 and people.height > 0:
            camera = self._cameras.find(
                people.stamp_ns, people.width, people.height, people.frame_id
            )
        depth_m = None if self._depth is None or not len(people) else self._depth.find(people)
        for lifted in self._stage.push(people, camera, depth_m):
            self._publish(lifted)

    def _on_idle(self) -> bool:
        """Nothing comes any more: let go what waits for a future.

        A simulated time that stood still meanwhile says that the next image is yet to come.
        """
        assert self._stage is not None
        simulated = self.get_parameter('use_sim_time').value
        if simulated and (system_ns(self) - self._came_ns) * 1e-9 < self._idle_s:
            return False
        for lifted in self._stage.flush():
            self._publish(lifted)
        return True

    def _publish(self, people: People) -> None:
        self._announce(people.skeleton)
        provenance = people.provenance
        dropped = 0 if self._worker is None else self._worker.dropped
        people = people.replace(
            provenance=dataclasses.replace(
                provenance, dropped_frames=provenance.dropped_frames + dropped
            )
        )
        if self._depth is not None:
            self._depth.count(people)
        assert self._frames is not None
        self._frames.put(people)

    def _send(self, people: People) -> None:
        """Publish people of the frame in which results are wanted."""
        message, now_ns = conversions.make.people(people), time.time_ns()
        messages.mark_published(message, now_ns)
        self.publisher(PEOPLE.name).publish(message)
        received_ns = people.provenance.received_ns
        if received_ns:  # zero: computed offline, from a recording
            self.statistics.add_result((now_ns - received_ns) * 1e-6)
        else:
            self.statistics.add_result(float('nan'))
        self._show(people)
        assert self._outputs is not None
        self._outputs.publish(people)

    def _show(self, people: People) -> None:
        publisher = self.publisher(MARKERS.name)
        if not publisher.get_subscription_count():
            return
        with self._markers_lock:
            shapes, gone, lifetime_s = self._markers.update(people)
            self._shown_frame = people.frame_id
        publisher.publish(
            conversions.make.markers(shapes, gone, people.stamp_ns, people.frame_id, lifetime_s)
        )

    def _clear_markers(self, stamp_ns: int) -> None:
        with self._markers_lock:
            gone = self._markers.clear()
        if not gone or MARKERS.name not in self._publishers_by_topic:
            return
        message = conversions.make.markers([], gone, stamp_ns, self._shown_frame, 0.0)
        try:
            self.publisher(MARKERS.name).publish(message)
        except RuntimeError:  # RCLError
            if self.context.ok():
                raise
            # Ctrl-C has ended the context already: the markers' lifetime deletes them.

    def _announce(self, skeleton: str) -> None:
        if skeleton != self._skeleton:
            self._skeleton = skeleton
            self.publisher(SKELETON.name).publish(
                conversions.make.skeleton_info(skeleton, system_ns(self), '')
            )

    def _on_error(self, error: Exception) -> None:
        self.report(f'frame skipped: {type(error).__name__}: {error}', error)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end; return the exit code."""
    return run([LifterNode], args)

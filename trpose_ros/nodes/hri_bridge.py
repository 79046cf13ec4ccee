"""hri_bridge: people in, the topics of ROS4HRI (REP-155) out, for whatever understands these.

Needs hri_msgs; body frames go out where tf2_msgs is installed, too. What ROS4HRI has no place for
is in docs/ros4hri.md.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.publisher import Publisher

from trpose_ros.configuration import check_fields, setting
from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.people_limit import bounded
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.hri_bodies import BodyIds, bodies, body_frame, regions, skeletons_2d
from trpose_ros.people import People
from trpose_ros.recordings import messages

_IDS, _REGION = 'hri_msgs/msg/IdsList', 'hri_msgs/msg/NormalizedRegionOfInterest2D'
_SKELETON, _POINT = 'hri_msgs/msg/Skeleton2D', 'hri_msgs/msg/NormalizedPointOfInterest2D'
_TF = 'tf2_msgs/msg/TFMessage'

PEOPLE_IN = Topic('people', PersonArray, 'in', 'people of the lifter node', depth=10, steady=True)
TRACKED = Topic('/humans/bodies/tracked', _IDS, 'out', 'ids of all bodies', depth=10)
REGION = Topic('/humans/bodies/ID/roi', _REGION, 'out', 'box, shares of the image', depth=10)
SKELETON = Topic('/humans/bodies/ID/skeleton2d', _SKELETON, 'out', 'joints in the image', depth=10)
FRAMES = Topic('/tf', _TF, 'out', '`body_ID`', depth=100, when='tf2_msgs is installed')


@dataclass(frozen=True)
class HriConfig:
    """What is the bridge's own."""

    frames: bool = setting(True, 'publish body_ID on /tf, where tf2_msgs is installed')
    forget_s: float = setting(
        2.0, 'topics of a body that is gone stay for so long, s', range=(0.0, 60.0)
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class HriBridge(StageNode):
    """Says in the words of ROS4HRI what the lifter node says."""

    GROUPS = (Group(HriConfig),)
    TOPICS = (PEOPLE_IN,)
    MORE_TOPICS = (TRACKED, REGION, SKELETON, FRAMES)  # of types that may not be installed

    def __init__(self, name: str = 'hri_bridge', **options: Any) -> None:
        super().__init__(name, **options)
        self._ids = BodyIds('')
        self._tracked: Publisher | None = None
        self._frames: Publisher | None = None
        self._bodies: dict[str, tuple[Publisher, Publisher]] = {}  # id -> roi, skeleton2d
        self._seen_s: dict[str, float] = {}

    def load(self) -> None:
        """Look for the messages, begin with new ids."""
        try:
            kinds = [conversions.make.class_of(kind) for kind in (_IDS, _REGION, _SKELETON)]
        except (ImportError, AttributeError) as error:
            distro = os.environ.get('ROS_DISTRO') or '$ROS_DISTRO'
            raise ValueError(
                f'hri_msgs is missing ({error!s:.100}): apt install ros-{distro}-hri-msgs'
            ) from error
        self._ids = BodyIds(uuid.uuid4().hex)
        self._tracked = self._open(TRACKED, TRACKED.name, kinds[0])
        if not self.parameters[HriConfig].frames:
            return
        try:
            kind = conversions.make.class_of(_TF)
        except (ImportError, AttributeError):
            self.get_logger().info('tf2_msgs is not installed: no frames of bodies')
            return
        self._frames = self._open(FRAMES, FRAMES.name, kind)

    def unload(self) -> None:
        """Take the topics back."""
        gone = [self._tracked, self._frames, *(p for pair in self._bodies.values() for p in pair)]
        self._tracked = self._frames = None
        self._bodies.clear()
        self._seen_s.clear()
        for publisher in gone:
            if publisher is not None:
                self.destroy_publisher(publisher)

    def start(self) -> None:
        """Subscribe."""
        self.subscribe(PEOPLE_IN, self._on_people)

    def facts(self) -> dict[str, str]:
        """Return who is tracked."""
        return {'bodies': ', '.join(sorted(self._bodies)), 'frames': str(self._frames is not None)}

    def _open(self, topic: Topic, name: str, kind: type) -> Publisher:
        # Without events: topics come and go while the executor waits.
        return self.create_publisher(
            kind,
            name,
            topic.profile(),
            event_callbacks=PublisherEventCallbacks(use_default_callbacks=False),
        )

    def _on_people(self, message: PersonArray) -> None:
        try:
            people = messages.read_people(bounded(self, message))
            self._publish(people, message.header)
        except ValueError as error:
            self.report(f'people skipped: {error}', error)

    def _publish(self, people: People, header: Any) -> None:
        make, rows = conversions.make, bodies(people)
        untracked = int((people.track_ids < 0).sum())
        if untracked and self.statistics.note('untracked_left_out', untracked) == untracked:
            self.get_logger().warning('people without a track have no id and are left out')
        names = [self._ids.of(int(people.track_ids[i])) for i in rows]
        assert self._tracked is not None
        for name in names:
            if name not in self._bodies:
                begin = f'/humans/bodies/{name}'
                self._bodies[name] = (
                    self._open(REGION, f'{begin}/roi', make.class_of(_REGION)),
                    self._open(SKELETON, f'{begin}/skeleton2d', make.class_of(_SKELETON)),
                )
        self._tracked.publish(make.new(_IDS, header=header, ids=names))
        boxes, joints = regions(people), skeletons_2d(people)
        for name, i in zip(names, rows, strict=True):
            region, skeleton = self._bodies[name]
            if np.isfinite(boxes[i]).all():
                region.publish(_region(header, boxes[i], float(people.scores[i])))
            points = [make.new(_POINT, x=x, y=y, c=c) for x, y, c in joints[i].tolist()]
            skeleton.publish(make.new(_SKELETON, header=header, skeleton=points))
        if self._frames is not None:
            self._publish_frames(people, names, rows, header)
        self._forget(names)
        received_ns = people.provenance.received_ns
        self.statistics.add_result(
            (time.time_ns() - received_ns) * 1e-6 if received_ns else float('nan')
        )

    def _publish_frames(
        self, people: People, names: Sequence[str], rows: np.ndarray, header: Any
    ) -> None:
        assert self._frames is not None
        transforms = []
        for name, i in zip(names, rows, strict=True):
            frame = body_frame(people, int(i))
            if frame is not None and people.frame_id:
                transforms.append(_transform(header, f'body_{name}', *frame))
        if transforms:
            self._frames.publish(conversions.make.new(_TF, transforms=transforms))

    def _forget(self, names: Sequence[str]) -> None:
        """Take back the topics of those who are gone for a while; they may come back."""
        now_s = time.monotonic()
        self._seen_s.update(dict.fromkeys(names, now_s))
        for name, seen_s in list(self._seen_s.items()):
            if now_s - seen_s > self.parameters[HriConfig].forget_s:
                del self._seen_s[name]
                for publisher in self._bodies.pop(name):
                    self.destroy_publisher(publisher)


def _region(header: Any, box: np.ndarray, score: float) -> Any:
    xmin, ymin, xmax, ymax = box.tolist()
    return conversions.make.new(
        _REGION, header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=score
    )


def _transform(header: Any, child: str, origin: np.ndarray, quaternion: np.ndarray) -> Any:
    make = conversions.make
    x, y, z = origin.tolist()
    qx, qy, qz, qw = quaternion.tolist()
    return make.new(
        'geometry_msgs/msg/TransformStamped',
        header=header,
        child_frame_id=child,
        transform=make.new(
            'geometry_msgs/msg/Transform',
            translation=make.new('geometry_msgs/msg/Vector3', x=x, y=y, z=z),
            rotation=make.new('geometry_msgs/msg/Quaternion', x=qx, y=qy, z=qz, w=qw),
        ),
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end; return the exit code."""
    return run([HriBridge], args)

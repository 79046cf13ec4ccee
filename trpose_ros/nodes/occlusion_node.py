"""occlusion_node: hides parts of a camera stream, so that a robot can be tested for it.

The image goes out with the same stamp; a report says what was hidden, and camera_info fits an
image that was really cropped. Protocol v1 measures against the box of a person. That box comes
from the pose node that looks at the altered images, or from a recording that knows it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from trpose_ros.configuration import check_fields, setting
from trpose_ros.msg import OcclusionReport, PersonArray
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.image_node import CAMERA_INFO, COMPRESSED, IMAGE, ImageConfig, ImageNode
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.people_limit import bounded
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import Topic
from trpose_ros.nodes.base.stamp_book import StampBook
from trpose_ros.occlusion.occluder import Occluder, OcclusionConfig, make_occluder, seed_of
from trpose_ros.people import Frame
from trpose_ros.pipeline.reference_box import box_for, tracked_box
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraConfig

PEOPLE_IN = Topic('people', PersonArray, 'in', 'whose box the condition is measured by', depth=10)
IMAGE_OUT = Topic('~/image', Image, 'out', 'the altered image, with its stamp', depth=1)
INFO_OUT = Topic(
    '~/camera_info', CameraInfo, 'out', 'fits the altered image', depth=10, when='one came in'
)
REPORT = Topic('~/report', OcclusionReport, 'out', 'what was hidden', depth=10)
_BOX_WAIT_S = 1.0  # the box of a recording may arrive a little after its image


@dataclass(frozen=True)
class OcclusionNodeConfig:
    """What is the occlusion node's own."""

    identity: str = setting(
        'live|none|none|none', 'dataset|subject|action|camera: part of the seed'
    )
    reference: str = setting(
        'tracked',
        'tracked: `people` were found in the altered images, the box of the last ones '
        'counts; given: `people` carry the box for the image of the same stamp in bbox; '
        'image: the whole image',
        choices=('tracked', 'given', 'image'),
    )

    def __post_init__(self) -> None:
        """Validate the choices and the identity."""
        check_fields(self)
        seed_of(OcclusionConfig(), self.identity)


class OcclusionNode(ImageNode):
    """Applies an Occluder to every image."""

    GROUPS = (
        Group(OcclusionConfig, live=True),
        Group(OcclusionNodeConfig),
        Group(ImageConfig),
        Group(CameraConfig),
    )
    TOPICS = (IMAGE, COMPRESSED, CAMERA_INFO, PEOPLE_IN, IMAGE_OUT, INFO_OUT, REPORT)

    def __init__(self, name: str = 'occlusion_node', **options: Any) -> None:
        super().__init__(name, **options)
        self._occluder: Occluder | None = None
        self._people: StampBook[np.ndarray] = StampBook()  # boxes (4,) px
        self._offsets: StampBook[tuple[int, int]] = StampBook()  # of the altered images, px

    def load(self) -> None:
        """Make the occluder."""
        self.apply(OcclusionConfig, self.parameters[OcclusionConfig])

    def apply(self, config: type, value: Any) -> None:
        """Take another condition, from the next image on."""
        self._occluder = make_occluder(value, self.parameters[OcclusionNodeConfig].identity)

    def start(self) -> None:
        """Subscribe."""
        self._people, self._offsets = StampBook(), StampBook()
        self._reference = self.parameters[OcclusionNodeConfig].reference
        if self._reference != 'image':
            self.subscribe(PEOPLE_IN, self._on_people)
        super().start()

    def halt(self, timeout_s: float | None = None) -> bool:
        """Stop waiting for boxes and let the present image end."""
        self._people.close()
        return super().halt(timeout_s)

    def facts(self) -> dict[str, str]:
        """Return the condition."""
        facts = super().facts()
        if self._occluder is not None:
            config = self._occluder.config
            facts['profile'] = f'{config.profile} {config.severity_index}'
            facts['seed'] = str(self._occluder.seed)
        return facts

    def _on_people(self, message: PersonArray) -> None:
        try:
            people = messages.read_people(bounded(self, message))
        except ValueError as error:
            self.report(f'people skipped: {error}', error)
            return
        if self._reference == 'given':
            box = people.boxes_px[0] if len(people) else np.full(4, np.nan)
        else:
            box = tracked_box(people, self._offsets.find(people.stamp_ns) or (0, 0))
        self._people.add(people.stamp_ns, box)

    def _reference_box(self, stamp_ns: int) -> np.ndarray | None:
        if self._reference == 'given':
            box = self._people.find(stamp_ns, _BOX_WAIT_S)
            if box is None and self.statistics.note('images_without_box') == 1:
                self.get_logger().warning(
                    'no people with the stamp of the image: the whole image is the reference'
                )
            return box
        return box_for(stamp_ns, self._people.newest())

    def work_on(self, frame: Frame, message: Any, received_ns: int) -> None:
        """Hide, publish the report first: who gets the image can look up what was done to it."""
        occluder = self._occluder
        assert occluder is not None
        width, height = frame.camera.width, frame.camera.height
        box = None
        if occluder.config.profile != 'none' and self._reference != 'image':
            box = self._reference_box(frame.stamp_ns)
        occlusion = occluder.apply(frame, box)
        altered = occlusion.frame
        self._offsets.add(frame.stamp_ns, occlusion.offset_px)
        self.publisher(REPORT.name).publish(
            conversions.make.occlusion_report(occlusion, width, height)
        )
        if not altered.camera.assumed:
            self.publisher(INFO_OUT.name).publish(
                conversions.make.camera_info(altered.camera, frame.stamp_ns, frame.frame_id)
            )
        if altered is not frame or not isinstance(message, Image):
            message = conversions.make.image(altered.image, frame.stamp_ns, frame.frame_id)
        self.publisher(IMAGE_OUT.name).publish(message)
        self.statistics.add_result((time.time_ns() - received_ns) * 1e-6)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end; return the exit code."""
    return run([OcclusionNode], args)

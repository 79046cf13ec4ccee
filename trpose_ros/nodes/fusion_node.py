"""fusion_node: people of several calibrated cameras in, one skeleton each out, in the world frame.

Each camera has its own pose and lifter node; their people come on one topic a camera. Where the
cameras are says a calibration file or, with ``world_frame``, tf at the time of each image: so a
robot's cameras may move.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import MarkerArray

from trpose_ros.configuration import check_fields, setting
from trpose_ros.drawing.markers import MarkersConfig, MarkerStream
from trpose_ros.msg import PersonArray, SkeletonInfo
from trpose_ros.multiview.health import CameraHealth
from trpose_ros.multiview.multiview import Multiview, MultiviewConfig
from trpose_ros.multiview.results import Fused
from trpose_ros.multiview.rig import Placement, Rig, RigCamera
from trpose_ros.multiview.rig_file import read_rig
from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.image_node import StampListener, system_ns
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.people_limit import MOST_PEOPLE, bounded
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.base.transforms import (
    TF,
    TF_STATIC,
    Transforms,
    check_messages,
    listen_to_tf,
)
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.nodes.launch_arguments import camera_names
from trpose_ros.people import Camera, People
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraBook, CameraConfig
from trpose_ros.recordings.stamps import SKIPPED

PEOPLE_IN = Topic(
    'CAMERA/lifter_node/people',
    PersonArray,
    'in',
    'people of each camera; another topic by `topic` in the calibration',
    depth=10,
    steady=True,
)
INFO_IN = Topic(
    'CAMERA/camera_info',
    CameraInfo,
    'in',
    'intrinsics of each camera, instead of those in the calibration',
    'best effort',
    depth=10,
)
PEOPLE = Topic('~/people', PersonArray, 'out', 'everybody once, in the world frame', depth=10)
MARKERS = Topic('~/markers', MarkerArray, 'out', 'the same for RViz', when='somebody subscribes')
SKELETON = Topic('~/skeleton', SkeletonInfo, 'out', 'names and parents of the joints', 'latched')
_IDLE_S = 1.0


@dataclass(frozen=True)
class FusionNodeConfig:
    """What is the fusion node's own."""

    calibration: str = setting('', 'file that says where the cameras are: docs/several_cameras.md')
    cameras: str = setting('', "names of the cameras: [front, rear]; '': all of the calibration")
    world_frame: str = setting(
        '',
        'frame of the results in tf, such as map: tf says where the cameras are at the time of '
        "each image, instead of the calibration; '': not from tf",
    )
    tf_timeout_s: float = setting(
        0.2,
        'wait so long for the transform of an image; a frame without one is left out, s',
        range=(0.0, 10.0),
    )
    queue: int = setting(
        200, 'frames that may wait to be joined; the oldest is dropped beyond', range=(1, 10_000)
    )
    most_people: int = setting(
        MOST_PEOPLE, 'people of a message beyond this number are left out', range=(1, 1000)
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)
        if self.world_frame.startswith('/') or self.world_frame != self.world_frame.strip():
            raise ValueError(
                f'world_frame is {self.world_frame!r:.80}: names of tf begin with no / and have no '
                'spaces around them'
            )


class TransformedRig:
    """Extrinsics out of tf."""

    def __init__(self, transforms: Transforms, world: str, timeout_s: float) -> None:
        """Take cameras to the frame ``world``; what is late is waited for."""
        self._transforms, self._world, self._timeout_s = transforms, world, timeout_s
        self.stopping = False

    def extrinsics(self, frame_id: str, stamp_ns: int) -> Placement:
        """Return the place of an optical frame at a time; raises TransformError, a ValueError."""
        until_s = time.monotonic() + self._timeout_s
        found = self._transforms.wait(
            self._world, frame_id, stamp_ns, until_s, lambda: self.stopping
        )
        return Placement(found.rotation, found.translation_m)


def topics_of(camera: RigCamera) -> tuple[str, str]:
    """Return the topics of a camera's people and of its intrinsics."""
    people = camera.topic or f'{camera.name}/lifter_node/people'
    beside = people.rsplit('/', 2)[0] if people.count('/') > 1 else camera.name
    return people, camera.info_topic or f'{beside}/camera_info'


class FusionNode(StageNode):
    """Runs a Multiview on the people of all cameras, in the order in which they come."""

    GROUPS = (
        Group(FusionNodeConfig, lists=('cameras',)),
        Group(MultiviewConfig, omit=('any_frame',)),
        Group(CameraConfig, omit=('fov_deg', 'camera_info_wait_s')),
        Group(MarkersConfig, prefix='markers.', live=True),
    )
    TOPICS = (PEOPLE_IN, INFO_IN, TF, TF_STATIC, PEOPLE, MARKERS, SKELETON)

    def __init__(self, name: str = 'fusion_node', **options: Any) -> None:
        super().__init__(name, **options)
        self._rig: Rig | None = None
        self._together: Multiview | None = None
        self._transforms: Transforms | None = None
        self._moving: TransformedRig | None = None
        self._markers = MarkerStream()
        self._worker: Worker | None = None
        self._books: dict[str, CameraBook] = {}
        self._stamps: dict[str, StampListener] = {}
        self._health: list[CameraHealth] = []
        self._skeleton = ''  # the one that was announced
        self._shown = 0  # people in the last result
        self._restarts = 0
        self._came_ns = 0  # when people came last, by the node's clock

    def load(self) -> None:
        """Read the calibration."""
        config = self.parameters[FusionNodeConfig]
        if config.world_frame:
            check_messages()
        self._rig = rig = self._read(config)
        if len(rig.cameras) < 2:
            self.get_logger().warning(f'{len(rig.cameras)} camera is used: distances stay its own')
        for note in rig.notes:
            self.get_logger().warning(note)
        self._markers = MarkerStream(self.parameters[MarkersConfig])
        self._skeleton = ''
        where = 'tf' if config.world_frame else config.calibration
        self.get_logger().info(
            f'cameras {", ".join(rig.names)}, placed by {where}, results in frame {rig.world}'
        )

    def _read(self, config: FusionNodeConfig) -> Rig:
        """Return the cameras; raises ValueError where nothing says which or where they are."""
        world = config.world_frame
        if not config.calibration and not world:
            raise ValueError(
                'calibration names no file: set it to one that says where the cameras are '
                '(docs/several_cameras.md), or world_frame to a frame of tf'
            )
        try:
            names = camera_names(config.cameras) if config.cameras else ()
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if not config.calibration:
            if not names:
                raise ValueError('cameras names none: with world_frame alone, say which there are')
            nowhere = Placement(np.eye(3), np.zeros(3))  # tf knows better
            return Rig(tuple(RigCamera(name, nowhere) for name in names), world)
        rig = read_rig(Path(config.calibration).expanduser())
        rig = rig.only(names) if names else rig
        return dataclasses.replace(rig, world=world or rig.world)

    def unload(self) -> None:
        """Forget the cameras."""
        self._rig = self._together = None

    def start(self) -> None:
        """Begin with nobody."""
        rig = self._rig
        assert rig is not None
        config = self.parameters[FusionNodeConfig]
        any_frame = self.parameters[CameraConfig].any_frame
        settings = dataclasses.replace(self.parameters[MultiviewConfig], any_frame=any_frame)
        if config.world_frame:
            self._transforms = listen_to_tf(self)
            self._moving = TransformedRig(self._transforms, rig.world, config.tf_timeout_s)
        self._together = Multiview(rig, settings, self._moving)
        self._health, self._shown, self._restarts = [], 0, 0
        book = dataclasses.replace(self.parameters[CameraConfig], camera_info_wait_s=0.0)
        self._worker = Worker(
            self._work,
            name=self.get_name(),
            on_error=self._on_error,
            on_idle=self._on_idle,
            idle_s=_IDLE_S,
            length=config.queue,
        )
        for camera in self._together.rig.cameras:
            people, info = topics_of(camera)
            self._books[camera.name] = CameraBook(book, wait=False)
            self._stamps[camera.name] = StampListener(self, f'people of {camera.name}:')
            self.subscribe(dataclasses.replace(PEOPLE_IN, name=people), self._listener(camera.name))
            topic = dataclasses.replace(INFO_IN, name=info)
            self.subscribe(topic, self._info_listener(camera.name))
            self.subscribe(topic, self._info_listener(camera.name), latched=True)

    def halt(self, timeout_s: float | None = None) -> bool:
        """Let the frame that is being worked on end; markers on display are deleted."""
        if self._worker is None:
            return True
        if self._moving is not None:
            self._moving.stopping = True
        ended = self._worker.stop(timeout_s)
        if ended:
            if self._transforms is not None:
                self._transforms.close()
            self._worker = self._moving = self._transforms = None
            self._clear_markers(system_ns(self))
        return ended

    def apply(self, config: type, value: Any) -> None:
        """Take new settings while running."""
        self._markers.config = value

    def facts(self) -> dict[str, str]:
        """Return the drops, who is there, and how each camera is."""
        return {
            'dropped_frames': str(0 if self._worker is None else self._worker.dropped),
            'people': str(self._shown),
            **{f'camera {camera.name}': camera.facts() for camera in self._health},
        }

    def _listener(self, name: str) -> Callable[[PersonArray], None]:
        def listen(message: PersonArray) -> None:
            worker = self._worker
            if worker is not None:
                self._came_ns = system_ns(self)
                worker.put((name, message))

        return listen

    def _info_listener(self, name: str) -> Callable[[CameraInfo], None]:
        def listen(message: CameraInfo) -> None:
            try:
                self._books[name].add(message, messages.origin_of(message)[0])
            except ValueError as error:
                self.warn(f'camera_info {name}', f'camera_info of {name} is unusable: {error}')
                return
            self.statistics.clear_warning(f'camera_info {name}')

        return listen

    def _work(self, item: tuple[str, PersonArray]) -> None:
        name, message = item
        assert self._together is not None
        most = self.parameters[FusionNodeConfig].most_people
        try:
            people = messages.read_people(bounded(self, message, most))
        except ValueError as error:
            self.report(f'people of {name} skipped: {error}', error)
            return
        if self._stamps[name].check(people.stamp_ns) == SKIPPED:
            return
        try:
            found = self._together.push(name, people, self._camera(name, people))
        except ValueError:
            self.statistics.note(f'frames_refused {name}')
            found = []  # why stands in the health of the camera
        if self._together.restarts != self._restarts:
            self._restarts = self._together.restarts
            self._clear_markers(people.stamp_ns)
            if self._transforms is not None:
                self._transforms.time_jumped()
        self._take(found)

    def _camera(self, name: str, people: People) -> Camera | None:
        """Return the intrinsics that came with a frame; None where none that fit did."""
        camera, reason = self._books[name].find(
            people.stamp_ns, people.width, people.height, people.frame_id
        )
        return None if reason else camera

    def _on_idle(self) -> bool:
        """Nothing comes any more: let go what waits for other cameras.

        A simulated time that stood still meanwhile says that the next images are yet to come.
        """
        assert self._together is not None
        simulated = self.get_parameter('use_sim_time').value
        if simulated and (system_ns(self) - self._came_ns) * 1e-9 < _IDLE_S:
            return False
        self._take(self._together.flush())
        return True

    def _take(self, found: Sequence[Fused]) -> None:
        """Publish, and say how the cameras are."""
        assert self._together is not None
        for fused in found:
            self._publish(fused.people)
        self._health = self._together.health
        for camera in self._health:
            if camera.problem:
                self.warn(f'camera {camera.name}', f'{camera.name}: {camera.problem}')
            else:
                self.statistics.clear_warning(f'camera {camera.name}')

    def _publish(self, people: People) -> None:
        if people.skeleton != self._skeleton:
            self._skeleton = people.skeleton
            topology = conversions.make.skeleton_info(people.skeleton, system_ns(self), '')
            self.publisher(SKELETON.name).publish(topology)
        self._shown = len(people)
        received_ns = people.provenance.received_ns
        message, now_ns = conversions.make.people(people), time.time_ns()
        messages.mark_published(message, now_ns)
        self.publisher(PEOPLE.name).publish(message)
        late_ms = (now_ns - received_ns) * 1e-6 if received_ns else float('nan')
        self.statistics.add_result(late_ms)
        publisher = self.publisher(MARKERS.name)
        if publisher.get_subscription_count():
            shapes, gone, lifetime_s = self._markers.update(people)
            publisher.publish(
                conversions.make.markers(shapes, gone, people.stamp_ns, people.frame_id, lifetime_s)
            )

    def _clear_markers(self, stamp_ns: int) -> None:
        gone = self._markers.clear()
        if not gone or MARKERS.name not in self._publishers_by_topic or self._together is None:
            return
        message = conversions.make.markers([], gone, stamp_ns, self._together.rig.world, 0.0)
        try:
            self.publisher(MARKERS.name).publish(message)
        except RuntimeError:  # RCLError
            if self.context.ok():
                raise
            # Ctrl-C has ended the context already: the markers' lifetime deletes them.

    def _on_error(self, error: Exception) -> None:
        self.report(f'frame skipped: {type(error).__name__}: {error}', error)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end; return the exit code."""
    return run([FusionNode], args)

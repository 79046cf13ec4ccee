"""viewer_node: images and people in, a rerun viewer or its recording out.

An image waits for the people that were found in it, so that both are shown together: the pose node
answers later, and not every image. Where nobody answers, images are shown alone.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trpose_ros.configuration import check_fields, setting
from trpose_ros.msg import PersonArray
from trpose_ros.nodes.base.image_node import CAMERA_INFO, COMPRESSED, IMAGE, ImageConfig, ImageNode
from trpose_ros.nodes.base.parameters import Group
from trpose_ros.nodes.base.people_limit import bounded
from trpose_ros.nodes.base.running import run
from trpose_ros.nodes.base.stage_node import Topic
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.people import Frame, People
from trpose_ros.recordings import messages
from trpose_ros.recordings.camera_book import CameraConfig
from trpose_ros.viewer.rerun_log import ImageLogConfig, RerunLog
from trpose_ros.viewer.sinks import PORT, View

PEOPLE_IN = Topic('people', PersonArray, 'in', 'stable 3D skeletons of the lifter node', depth=10)
ESTIMATED = Topic(
    'estimated', PersonArray, 'in', 'people of the pose node: 2D joints and boxes', depth=10
)
_QUEUE = 30  # messages of people
_STAMPS_KEPT = 64
_END_S = 2.0  # for what waits: a node is killed five seconds after it was asked to end


@dataclass(frozen=True)
class ViewerNodeConfig:
    """Where it is shown."""

    save: str = setting('', 'write a recording to this file (.rrd) instead of opening a viewer')
    port: int = setting(PORT, 'port of this machine on which the viewer listens', range=(1, 65535))
    most_waiting: int = setting(
        15, 'images that wait for the people found in them; each costs its size', range=(1, 300)
    )

    def __post_init__(self) -> None:
        """Validate the ranges."""
        check_fields(self)


class Waiting:
    """Brings images and the people found in them together, by stamp. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._answers: deque[int] = deque(maxlen=_STAMPS_KEPT)
        self._lock = threading.Lock()

    def add(self, frame: Frame) -> list[Frame]:
        """Return the images that nobody answers, or this one where the answer was there before."""
        with self._lock:
            if frame.stamp_ns in self._answers:
                return [frame]
            self._frames[frame.stamp_ns] = frame
            late = []
            while len(self._frames) > self._most:
                stamp_ns, old = self._frames.popitem(last=False)
                if not any(stamp_ns <= answer for answer in self._answers):
                    late.append(old)
            return late

    def answer(self, stamp_ns: int) -> Frame | None:
        """Return the image of a stamp, once; those before it have been passed over."""
        with self._lock:
            self._answers.append(stamp_ns)
            return self._frames.pop(stamp_ns, None)


class ViewerNode(ImageNode):
    """Logs what the other nodes take and give."""

    GROUPS = (
        Group(ViewerNodeConfig),
        Group(ImageLogConfig),
        Group(ImageConfig),
        Group(CameraConfig),
    )
    TOPICS = (IMAGE, COMPRESSED, CAMERA_INFO, ESTIMATED, PEOPLE_IN)

    def __init__(self, name: str = 'viewer_node', **options: Any) -> None:
        super().__init__(name, **options)
        self._view: View | None = None
        self._waiting = Waiting(1)
        self._people: Worker[tuple[Callable[[People], None], PersonArray]] | None = None

    def load(self) -> None:
        """Open the viewer or the file."""
        config = self.parameters[ViewerNodeConfig]
        self._view = View(
            self.get_fully_qualified_name(),
            show=not config.save,
            save=config.save or None,
            port=config.port,
            images=self.parameters[ImageLogConfig],
            end_s=_END_S,
        )

    def unload(self) -> None:
        """Finish the file; a viewer stays open."""
        view, self._view = self._view, None
        if view is not None:
            try:
                view.finish()
            except OSError as error:
                self.report(str(error), error)

    def start(self) -> None:
        """Subscribe."""
        self._waiting = Waiting(self.parameters[ViewerNodeConfig].most_waiting)
        self._people = Worker(
            self._log_people,
            name=f'{self.get_name()} people',
            on_error=self._on_error,
            length=_QUEUE,
        )
        self.subscribe(ESTIMATED, self._taker(self._log_estimated))
        self.subscribe(PEOPLE_IN, self._taker(self._log_lifted))
        super().start()

    def halt(self, timeout_s: float | None = None) -> bool:
        """Let what is being logged end."""
        begin = time.monotonic()
        ended = self._people is None or self._people.stop(timeout_s)
        if timeout_s is not None:
            timeout_s = max(timeout_s - (time.monotonic() - begin), 0.0)
        if ended:
            self._people = None
        return super().halt(timeout_s) and ended

    def facts(self) -> dict[str, str]:
        """Return where it is shown, and the drops."""
        config = self.parameters[ViewerNodeConfig]
        dropped = 0 if self._people is None else self._people.dropped
        where = config.save or f'viewer on port {config.port}'
        return {**super().facts(), 'dropped_people': str(dropped), 'shown_in': where}

    @property
    def _log(self) -> RerunLog:
        assert self._view is not None
        return self._view.log

    def work_on(self, frame: Frame, message: Any, received_ns: int) -> None:
        """Let an image wait for its people; show those for which none will come."""
        for late in self._waiting.add(frame):
            self._log.add_frame(late)

    def _taker(self, log: Callable[[People], None]) -> Callable[[PersonArray], None]:
        def take(message: PersonArray) -> None:
            if self._people is not None:
                self._people.put((log, message))

        return take

    def _log_people(self, item: tuple[Callable[[People], None], PersonArray]) -> None:
        log, message = item
        try:
            people = messages.read_people(bounded(self, message))
        except ValueError as error:
            self.report(f'people skipped: {error}', error)
            return
        log(people)

    def _log_estimated(self, people: People) -> None:
        frame = self._waiting.answer(people.stamp_ns)
        if frame is not None:
            self._log.add_frame(frame)
        self._log.add_people(people)

    def _log_lifted(self, people: People) -> None:
        self._log.add_lifted(people)
        received_ns = people.provenance.received_ns
        self.statistics.add_result(
            (time.time_ns() - received_ns) * 1e-6 if received_ns else float('nan')
        )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is told to end; return the exit code."""
    return run([ViewerNode], args)

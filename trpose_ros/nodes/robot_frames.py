"""Results in the robot's frames: tf at the time of the image, waited for, never guessed.

A result whose transform has not come is held, in order, for at most ``tf_timeout_s``. Without one
it is left out, counted and named: whoever listens to a topic never gets numbers of another frame
than the rest of it has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trpose_ros.configuration import check_fields, setting
from trpose_ros.nodes.base.stage_node import StageNode
from trpose_ros.nodes.base.transform_buffer import TransformError
from trpose_ros.nodes.base.transforms import Transforms, check_messages, listen_to_tf
from trpose_ros.nodes.base.worker import Worker
from trpose_ros.people import People
from trpose_ros.pipeline.standing import Floor
from trpose_ros.transforms import people_seen_from

_HELD = 300  # results that may wait


@dataclass(frozen=True)
class FramesConfig:
    """In which frames results are, and what goes out for other programs."""

    target_frame: str = setting(
        '',
        'frame of the 3D results, such as base_link or map, by tf at the time of the image; '
        'empty: that of the image',
    )
    floor_frame: str = setting(
        '',
        'frame whose plane z = 0 is the floor on which people stand: camera height and tilt come '
        'from tf in place of standing.camera_*; empty: not from tf',
    )
    tf_timeout_s: float = setting(
        0.2,
        'wait so long for the transform of an image; a result without one is left out, s',
        range=(0.0, 10.0),
    )
    publish_tf: bool = setting(False, 'publish torso and joints of each track as frames of tf')
    tf_prefix: str = setting('person_', 'frames of publish_tf are called PREFIX + ID [+ /JOINT]')
    velocity_window_s: float = setting(
        0.3,
        'velocities are slopes over so much past: longer is steadier and later, s',
        range=(0.05, 5.0),
    )

    def __post_init__(self) -> None:
        """Validate ranges and names."""
        check_fields(self)
        for name in ('target_frame', 'floor_frame', 'tf_prefix'):
            value = getattr(self, name)
            if value.startswith('/') or value != value.strip():
                raise ValueError(
                    f'{name} is {value!r:.80}: names of tf begin with no / and have no spaces '
                    'around them'
                )
        if self.publish_tf and not self.tf_prefix:
            raise ValueError('tf_prefix is empty: frames of publish_tf would have bare numbers')

    @property
    def listens(self) -> bool:
        """Whether transforms are needed."""
        return bool(self.target_frame or self.floor_frame)


class RobotFrames:
    """Brings people into the target frame and tells the floor, while a node is active."""

    def __init__(
        self, node: StageNode, config: FramesConfig, publish: Callable[[People], None]
    ) -> None:
        """Begin; ``publish`` gets the people in order, in one thread."""
        self._node = node
        self._config = config
        self._publish = publish
        self._transforms: Transforms | None = None
        self._worker: Worker[tuple[People, float]] | None = None
        self._floor_failed = False
        if config.listens:
            ignored = config.tf_prefix if config.publish_tf else ''
            self._transforms = listen_to_tf(node, ignored)
        if config.target_frame:
            self._worker = Worker(self._place, name='frames', on_error=self._on_error, length=_HELD)

    def put(self, people: People) -> None:
        """Publish people now, or when the transform of their image has come."""
        if self._worker is None:
            self._publish(people)
        else:
            self._worker.put((people, time.monotonic() + self._config.tf_timeout_s))

    def floor_at(self, stamp_ns: int, frame_id: str) -> Floor | None:
        """Return the floor as the camera of an image sees it; None, said and counted, if unknown.

        It is waited for, except when it did not come the last time.
        """
        transforms = self._transforms
        if transforms is None:  # the node is about to end
            return None
        wait_s = 0.0 if self._floor_failed else self._config.tf_timeout_s
        until_s = time.monotonic() + wait_s
        try:
            camera = transforms.wait(
                self._config.floor_frame, frame_id, stamp_ns, until_s, lambda: not self.alive
            )
            floor = _floor(camera.translation_m, camera.rotation)
        except TransformError as error:
            self._floor_failed = True
            self._node.statistics.note(f'floor_{error.reason}')
            self._node.warn(
                'floor_frame',
                f'floor_frame {self._config.floor_frame!r}: distances are not corrected by the '
                f'floor: {error}',
            )
            return None
        self._floor_failed = False
        self._node.statistics.clear_warning('floor_frame')
        return floor

    @property
    def alive(self) -> bool:
        """Whether ``close`` has not been called."""
        return self._transforms is not None

    def time_jumped(self) -> None:
        """Tell tf that a recording started again."""
        if self._transforms is not None:
            self._transforms.time_jumped()

    def facts(self) -> dict[str, str]:
        """Return what was left out because too much waited."""
        return {} if self._worker is None else {'dropped_waiting': str(self._worker.dropped)}

    def close(self, timeout_s: float | None = None) -> bool:
        """Publish no more; return whether the thread has ended."""
        transforms, self._transforms = self._transforms, None
        if transforms is not None:
            transforms.close()
        return self._worker is None or self._worker.stop(timeout_s)

    def _place(self, item: tuple[People, float]) -> None:
        people, until_s = item
        transforms, worker, target = self._transforms, self._worker, self._config.target_frame
        if transforms is None or worker is None:
            return
        try:
            transform = transforms.wait(
                target, people.frame_id, people.stamp_ns, until_s, lambda: worker.stopping
            )
        except TransformError as error:
            if not worker.stopping:
                self._node.statistics.note(f'target_{error.reason}')
                self._node.report(f'result left out, not in target_frame {target!r}: {error}')
            return
        self._publish(people_seen_from(people, target, transform))

    def _on_error(self, error: Exception) -> None:
        self._node.report(f'result left out: {type(error).__name__}: {error}', error)


def check_frames(config: FramesConfig) -> None:
    """Raise ValueError with the remedy where what a configuration needs is not installed."""
    if config.publish_tf:
        check_messages()
    if config.listens:
        try:
            import tf2_ros  # noqa: F401
        except ImportError:
            check_messages()


def _floor(camera_m: np.ndarray, rotation: np.ndarray) -> Floor:
    """Return the floor z = 0 of a frame as a camera there sees it; raises TransformError."""
    height_m = float(camera_m[2])
    if height_m <= 0:
        raise TransformError(
            'under_floor',
            f'the camera lies {-height_m:.3f} m below its plane z = 0: name a frame on the floor',
        )
    return Floor(height_m, -rotation[2])  # the third row: where z of the floor lies in the camera

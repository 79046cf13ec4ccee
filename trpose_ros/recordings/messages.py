"""Messages to values and back: the only file that knows message fields.

Reading works on anything with the attributes of the messages: those of a recording and rclpy's.
``MessageFields`` makes messages out of values; a subclass knows the classes: bag_messages.py those
of a recording, nodes/base/conversions.py rclpy's. People go out and come back without loss, stamps
are integer nanoseconds and travel untouched. NaN means "no value" on both sides, except for a
covariance: its first value is -1 there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from trpose_ros.cameras import camera_to_info_fields
from trpose_ros.people import Camera, People, Provenance
from trpose_ros.recordings.camera_book import camera_of_info
from trpose_ros.recordings.image_codec import (
    Stream,
    decode_compressed,
    decode_image,
    encode_compressed,
)
from trpose_ros.recordings.picture_headers import MAX_MEGAPIXELS
from trpose_ros.skeletons import get_skeleton

if TYPE_CHECKING:
    from trpose_ros.drawing.markers import Shape
    from trpose_ros.occlusion.occluder import Occlusion

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
PERSON_ARRAY = 'trpose_ros/msg/PersonArray'
_MARKER = 'visualization_msgs/msg/Marker'
_STATUS = 'diagnostic_msgs/msg/DiagnosticStatus'
_NANO = 1_000_000_000
# Fields of a Provenance that are the same on both sides.
_SAME = [entry.name for entry in fields(Provenance) if not entry.name.endswith('_ns')]


class MessageError(ValueError):
    """A message whose fields contradict each other."""


def time_ns(time: Any) -> int:
    """Return a Time as integer nanoseconds."""
    return int(time.sec) * _NANO + int(time.nanosec)


def stamp_ns(message: Any) -> int:
    """Return the header stamp of a message in integer nanoseconds."""
    return time_ns(message.header.stamp)


def origin_of(message: Any) -> tuple[int, str]:
    """Return the stamp in nanoseconds and the frame_id of a message with a header."""
    return stamp_ns(message), message.header.frame_id


def read_image(
    message: Any, stream: Stream | None = None, max_megapixels: float = MAX_MEGAPIXELS
) -> np.ndarray:
    """Return an Image or CompressedImage as (H, W, 3) uint8 RGB; a view of the message for rgb8.

    Raises ImageError, which names the offending value, for everything that cannot be decoded.
    """
    if not hasattr(message, 'encoding'):
        return decode_compressed(message.data, message.format, max_megapixels)
    return decode_image(
        message.data,
        encoding=message.encoding,
        width=message.width,
        height=message.height,
        step=message.step,
        big_endian=bool(message.is_bigendian),
        stream=stream,
    )


def read_camera(message: Any, *, rectified: bool = False) -> Camera:
    """Return the camera of a CameraInfo; raises as ``camera_of_info``."""
    return camera_of_info(message, rectified)


def read_people(message: Any) -> People:
    """Return the people of a PersonArray.

    Raises MessageError for an unknown skeleton and for persons whose number of joints is not the
    skeleton's.
    """
    try:
        count = get_skeleton(message.skeleton).num_joints
    except ValueError as error:
        raise MessageError(f'PersonArray: {error}') from error
    persons, n = message.persons, len(message.persons)
    for person in persons:
        got = len(person.joints_2d), len(person.joints_3d)
        if got != (count, count):
            raise MessageError(
                f'PersonArray: person {person.track_id} has {got[0]} 2D and {got[1]} 3D joints, '
                f'skeleton {message.skeleton!r} has {count}'
            )
    p = message.provenance
    flat = [joint for person in persons for joint in person.joints_2d]
    solid = [joint for person in persons for joint in person.joints_3d]
    covariances = np.array([joint.covariance for joint in solid], np.float32)
    covariances = covariances.reshape(n, count, 3, 3)
    covariances[covariances[:, :, 0, 0] == -1.0] = np.nan
    positions = [(joint.position.x, joint.position.y, joint.position.z) for joint in solid]
    return People.build(
        stamp_ns=stamp_ns(message),
        frame_id=message.header.frame_id,
        skeleton=message.skeleton,
        width=message.image_width,
        height=message.image_height,
        joints_px=np.array([(j.x, j.y) for j in flat], np.float32).reshape(n, count, 2),
        joints_m=np.array(positions, np.float32).reshape(n, count, 3),
        provenance=Provenance(
            received_ns=time_ns(p.received),
            published_ns=time_ns(p.published),
            **{name: getattr(p, name) for name in _SAME},
        ),
        boxes_px=_column(person.bbox for person in persons).reshape(n, 4),
        scores=_column(person.score for person in persons),
        covariances_m2=covariances,
        joint_scores=_column(joint.score for joint in flat).reshape(n, count),
        joint_states=_column(joint.state for joint in flat).reshape(n, count),
        track_ids=_column(person.track_id for person in persons),
        track_states=_column(person.track_state for person in persons),
        visible_fractions=_column(person.visible_fraction for person in persons),
        cut_edges=_column(person.cut_edges for person in persons),
        root_sources=_column(person.root_source for person in persons),
        reprojection_errors_px=_column(person.reprojection_error_px for person in persons),
    )


def _column(values: Iterable[Any]) -> np.ndarray:
    return np.array(list(values))


def read_person_boxes(message: Any) -> tuple[list[tuple[int, list[float]]], tuple[int, int]]:
    """Return (track state, [x, y, w, h, score]) of each person in px, and the size of the image."""
    rows = [(person.track_state, [*person.bbox, person.score]) for person in message.persons]
    return rows, (message.image_width, message.image_height)


def read_detections(message: Any) -> Iterator[tuple[tuple[float, ...], list[tuple[float, str]]]]:
    """Yield the boxes of a vision_msgs/Detection2DArray and what each is taken for.

    A box is (x and y of its centre, width, height, rad by which it is turned), in px; behind it
    come the (score, class_id) of all hypotheses.
    """
    for detection in message.detections:
        box, centre = detection.bbox, detection.bbox.center
        place = centre.position
        named = [(r.hypothesis.score, r.hypothesis.class_id) for r in detection.results]
        yield (place.x, place.y, box.size_x, box.size_y, centre.theta), named


def read_occlusion(message: Any) -> tuple[str, np.ndarray, float]:
    """Return the condition, the hidden rectangles (R, 4) as the occluder made them, the share."""
    rows = [(r.x_offset - 0.5, r.y_offset - 0.5, r.width, r.height) for r in message.hidden_regions]
    rectangles = np.array(rows, np.float64).reshape(-1, 4)
    return message.profile, rectangles, message.hidden_fraction


def read_diagnostics(message: Any) -> dict[str, dict[str, str]]:
    """Return the values of a DiagnosticArray, by the name of the status and by key."""
    return {s.name: {entry.key: entry.value for entry in s.values} for s in message.status}


def mark_published(message: Any, now_ns: int) -> None:
    """Write the wall clock into a PersonArray that goes out next."""
    published = message.provenance.published
    published.sec, published.nanosec = divmod(now_ns, _NANO)


class MessageFields(ABC):
    """Makes messages; a subclass knows their classes."""

    @abstractmethod
    def new(self, msgtype: str, /, **values: Any) -> Any:
        """Return a message of a type such as 'std_msgs/msg/Header'; what is not given is zero."""

    @abstractmethod
    def class_of(self, msgtype: str) -> Any:
        """Return the class of a message, which has its constants."""

    @abstractmethod
    def fill(self, message: Any, name: str, values: np.ndarray) -> Any:
        """Put an array into a field of a new message that takes any count; return the message."""

    def time(self, time_ns: int, msgtype: str = 'builtin_interfaces/msg/Time') -> Any:
        """Return a Time, or a Duration."""
        sec, nanosec = divmod(time_ns, _NANO)
        return self.new(msgtype, sec=sec, nanosec=nanosec)

    def clock(self, time_ns: int) -> Any:
        """Return a simulated time."""
        return self.new('rosgraph_msgs/msg/Clock', clock=self.time(time_ns))

    def header(self, time_ns: int, frame_id: str) -> Any:
        """Return a header with the stamp of the image, never of now."""
        return self.new('std_msgs/msg/Header', stamp=self.time(time_ns), frame_id=frame_id)

    def image(self, image: np.ndarray, time_ns: int, frame_id: str) -> Any:
        """Return an (H, W, 3) uint8 RGB array as an rgb8 Image."""
        height, width = image.shape[:2]
        message = self.new(IMAGE, header=self.header(time_ns, frame_id), encoding='rgb8')
        message.height, message.width, message.step = height, width, 3 * width
        return self.fill(message, 'data', image)

    def compressed_image(
        self, image: np.ndarray, time_ns: int, frame_id: str, quality: int = 90
    ) -> Any:
        """Return an (H, W, 3) uint8 RGB image as a JPEG CompressedImage."""
        data = np.frombuffer(encode_compressed(image, 'jpeg', quality), np.uint8)
        message = self.new(COMPRESSED_IMAGE, header=self.header(time_ns, frame_id), format='jpeg')
        return self.fill(message, 'data', data)

    def camera_info(self, camera: Camera, time_ns: int, frame_id: str) -> Any:
        """Return a CameraInfo with P = [K | 0] and R = identity."""
        given = camera_to_info_fields(camera)
        message = self.new(
            CAMERA_INFO,
            header=self.header(time_ns, frame_id),
            height=given['height'],
            width=given['width'],
            distortion_model=given['distortion_model'],
            k=np.asarray(given['k'], np.float64),
            r=np.eye(3).ravel(),
            p=np.concatenate([camera.matrix, np.zeros((3, 1))], axis=1).ravel(),
        )
        return self.fill(message, 'd', np.asarray(given['d'], np.float64))

    def people(self, people: People) -> Any:
        """Return people as a PersonArray; ``read_people`` gives the same people back."""
        p = people.provenance
        return self.new(
            PERSON_ARRAY,
            header=self.header(people.stamp_ns, people.frame_id),
            skeleton=people.skeleton,
            image_width=people.width,
            image_height=people.height,
            provenance=self.new(
                'trpose_ros/msg/Provenance',
                received=self.time(p.received_ns),
                published=self.time(p.published_ns),
                **{name: getattr(p, name) for name in _SAME},
            ),
            persons=[self._person(people, i) for i in range(len(people))],
        )

    def _person(self, people: People, i: int) -> Any:
        scores = people.joint_scores[i].tolist()
        states = people.joint_states[i].tolist()
        covariances = people.covariances_m2[i].reshape(-1, 9).astype(np.float64, order='C')
        covariances[np.isnan(covariances).any(axis=1), 0] = -1.0
        flat = zip(people.joints_px[i].tolist(), scores, states, strict=True)
        solid = zip(self._points(people.joints_m[i]), covariances, scores, states, strict=True)
        return self.new(
            'trpose_ros/msg/Person',
            track_id=int(people.track_ids[i]),
            track_state=int(people.track_states[i]),
            score=float(people.scores[i]),
            bbox=people.boxes_px[i].astype(np.float32, order='C'),
            visible_fraction=float(people.visible_fractions[i]),
            cut_edges=int(people.cut_edges[i]),
            joints_2d=[
                self.new('trpose_ros/msg/Joint2D', x=x, y=y, score=score, state=state)
                for (x, y), score, state in flat
            ],
            joints_3d=[
                self.new(
                    'trpose_ros/msg/Joint3D',
                    position=position,
                    covariance=covariance,
                    score=score,
                    state=state,
                )
                for position, covariance, score, state in solid
            ],
            root_source=int(people.root_sources[i]),
            reprojection_error_px=float(people.reprojection_errors_px[i]),
        )

    def _points(self, points: np.ndarray) -> list[Any]:
        point = self.class_of('geometry_msgs/msg/Point')
        return [point(x=x, y=y, z=z) for x, y, z in points.tolist()]

    def skeleton_info(self, name: str, time_ns: int, frame_id: str) -> Any:
        """Return the topology of a skeleton."""
        skeleton = get_skeleton(name)
        message = self.new(
            'trpose_ros/msg/SkeletonInfo',
            header=self.header(time_ns, frame_id),
            name=name,
            joint_names=list(skeleton.joint_names),
            sides=list(skeleton.sides),
            root_index=skeleton.root_index,
        )
        return self.fill(message, 'parents', np.array(skeleton.parents, np.int32))

    def occlusion_report(self, occlusion: Occlusion, width: int, height: int) -> Any:
        """Return what was hidden: the pixels whose centres lie in the width x height image."""
        corners = np.array(occlusion.rectangles_px, np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        corners = np.clip(np.ceil(corners), 0, (width, height) * 2).astype(int)
        region = 'sensor_msgs/msg/RegionOfInterest'
        return self.new(
            'trpose_ros/msg/OcclusionReport',
            header=self.header(occlusion.frame.stamp_ns, occlusion.frame.frame_id),
            profile=occlusion.profile,
            seed=occlusion.seed,
            hidden_regions=[
                self.new(region, x_offset=x, y_offset=y, width=right - x, height=bottom - y)
                for x, y, right, bottom in corners.tolist()
                if right > x and bottom > y
            ],
            hidden_fraction=float(occlusion.hidden_fraction),
        )

    def diagnostics(
        self, time_ns: int, name: str, level: str, message: str, values: dict[str, str]
    ) -> Any:
        """Return the state of one node; ``level`` is OK, WARN, ERROR or STALE."""
        pair = 'diagnostic_msgs/msg/KeyValue'
        status = self.new(
            _STATUS,
            level=getattr(self.class_of(_STATUS), level),
            name=name,
            message=message,
            hardware_id='none',
            values=[self.new(pair, key=key, value=value) for key, value in values.items()],
        )
        array = 'diagnostic_msgs/msg/DiagnosticArray'
        return self.new(array, header=self.header(time_ns, ''), status=[status])

    def markers(
        self,
        shapes: list[Shape],
        gone: list[tuple[str, int]],
        time_ns: int,
        frame_id: str,
        lifetime_s: float,
    ) -> Any:
        """Return shapes as a MarkerArray, with a DELETE for each (namespace, id) in ``gone``."""
        header, delete = self.header(time_ns, frame_id), self.class_of(_MARKER).DELETE
        markers = [
            self.new(_MARKER, header=header, ns=name, id=identity, action=delete)
            for name, identity in gone
        ]
        lifetime = self.time(round(lifetime_s * _NANO), 'builtin_interfaces/msg/Duration')
        markers += [self._marker(shape, header, lifetime) for shape in shapes]
        return self.new('visualization_msgs/msg/MarkerArray', markers=markers)

    def _marker(self, shape: Shape, header: Any, lifetime: Any) -> Any:
        kinds = self.class_of(_MARKER)
        x, y, z, w = shape.orientation
        points = self._points(shape.points_m)
        colour = self.class_of('std_msgs/msg/ColorRGBA')
        colours = [colour(r=r, g=g, b=b, a=a) for r, g, b, a in shape.colours.tolist()]
        given = {'points': points, 'colors': colours}
        if shape.kind == 'SPHERE':  # one solid: its place is the pose, its colour a single one
            turned = self.new('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)
            pose = self.new('geometry_msgs/msg/Pose', position=points[0], orientation=turned)
            given = {'pose': pose, 'color': colours[0]}
        x, y, z = map(float, shape.scale_m)
        return self.new(
            _MARKER,
            header=header,
            ns=shape.namespace,
            id=shape.identity,
            type=getattr(kinds, shape.kind),
            action=kinds.ADD,
            scale=self.new('geometry_msgs/msg/Vector3', x=x, y=y, z=z),
            lifetime=lifetime,
            **given,
        )

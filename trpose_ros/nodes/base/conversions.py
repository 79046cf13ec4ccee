"""Between ROS messages and the values of trpose_ros: the only file that knows message fields.

Image, CompressedImage and CameraInfo become arrays and cameras; People become PersonArray and
back without loss; markers and occlusion reports go out. Stamps are integer nanoseconds inside and
travel untouched. NaN means "no value" on both sides.

``array.array`` is what rclpy's generated setters take without a copy or a check per element, so
image data always goes out as one.
"""

from __future__ import annotations

import array
import functools
from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import Point
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from trpose_ros import msg as wire
from trpose_ros.cameras import camera_from_info_fields, camera_to_info_fields, crop_camera
from trpose_ros.people import Camera, People, Provenance
from trpose_ros.recordings.image_codec import (
    ImageError,
    UnknownEncodingError,
    decode_compressed,
    decode_image,
)
from trpose_ros.recordings.picture_headers import MAX_MEGAPIXELS
from trpose_ros.skeletons import Skeleton, get_skeleton

if TYPE_CHECKING:
    from trpose_ros.drawing.markers import Shape
    from trpose_ros.occlusion.occluder import Occlusion

_NANO = 1_000_000_000


class MessageError(ValueError):
    """A message whose fields contradict each other."""


def stamp_to_ns(stamp: Time) -> int:
    """Return a message stamp as integer nanoseconds."""
    return stamp.sec * _NANO + stamp.nanosec


def ns_to_stamp(stamp_ns: int) -> Time:
    """Return integer nanoseconds as a message stamp."""
    return Time(sec=stamp_ns // _NANO, nanosec=stamp_ns % _NANO)


def origin_of(message: Any) -> tuple[int, str]:
    """Return the stamp in nanoseconds and the frame_id of a message with a header."""
    return stamp_to_ns(message.header.stamp), message.header.frame_id


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header with the stamp of the image, never of now."""
    return Header(stamp=ns_to_stamp(stamp_ns), frame_id=frame_id)


# -- images -----------------------------------------------------------------------------------


def image_from_message(
    message: Image | CompressedImage, max_megapixels: float = MAX_MEGAPIXELS
) -> np.ndarray:
    """Return an Image or CompressedImage as (H, W, 3) uint8 RGB; a view of the message for rgb8.

    Encodings that image_codec does not know go through cv_bridge when it is installed. Raises
    ImageError, which names the offending value, for everything that cannot be decoded.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data, message.format, max_megapixels)
    try:
        return decode_image(
            message.data,
            encoding=message.encoding,
            width=message.width,
            height=message.height,
            step=message.step,
            big_endian=bool(message.is_bigendian),
        )
    except UnknownEncodingError as error:
        return _through_cv_bridge(message, error)


@functools.cache
def _cv_bridge() -> Any:
    """Return a CvBridge, or None where it is not installed or does not fit this numpy."""
    try:
        from cv_bridge import CvBridge
    except (ImportError, AttributeError):
        return None
    return CvBridge()


def _through_cv_bridge(message: Image, unknown: UnknownEncodingError) -> np.ndarray:
    if (bridge := _cv_bridge()) is None:
        raise ImageError(f'{unknown}; for others install cv_bridge') from unknown
    try:
        return np.asarray(bridge.imgmsg_to_cv2(message, desired_encoding='rgb8'))
    except Exception as error:  # cv_bridge raises CvBridgeError, cv2.error, TypeError, ...
        raise ImageError(
            f'image encoding {message.encoding!r} cannot be converted by cv_bridge: {error}'
        ) from error


def image_to_message(image: np.ndarray, stamp_ns: int, frame_id: str) -> Image:
    """Return an (H, W, 3) uint8 RGB array as an rgb8 Image."""
    height, width = image.shape[:2]
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(image).data.cast('B'))
    return Image(
        header=make_header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding='rgb8',
        step=3 * width,
        data=data,
    )


# -- cameras ----------------------------------------------------------------------------------


def camera_from_message(message: CameraInfo, *, rectified: bool = False) -> Camera:
    """Return the camera of a CameraInfo, binning and region of interest applied.

    With ``rectified`` the image is taken for undistorted: intrinsics from P, no distortion.
    Raises ValueError with the remedy for an uncalibrated or impossible calibration.
    """
    camera = camera_from_info_fields(
        message.width,
        message.height,
        np.asarray(message.p).reshape(3, 4)[:, :3].ravel() if rectified else message.k,
        np.zeros(0) if rectified else message.d,
        '' if rectified else message.distortion_model,
    )
    roi = message.roi
    binning = (max(message.binning_x, 1), max(message.binning_y, 1))
    if binning[0] != binning[1]:
        raise MessageError(
            f'CameraInfo bins {binning[0]} pixels in x and {binning[1]} in y; only equal binning '
            'is supported'
        )
    cropped = roi.width > 0 and roi.height > 0
    if not cropped and binning[0] == 1:
        return camera
    x, y, width, height = 0, 0, message.width, message.height
    if cropped:
        x, y, width, height = roi.x_offset, roi.y_offset, roi.width, roi.height
    return crop_camera(camera, x, y, width, height, 1.0 / binning[0])


def camera_to_message(camera: Camera, stamp_ns: int, frame_id: str) -> CameraInfo:
    """Return a camera as CameraInfo, with P = [K | 0] and R = identity."""
    fields = camera_to_info_fields(camera)
    projection = np.concatenate([camera.matrix, np.zeros((3, 1))], axis=1)
    return CameraInfo(
        header=make_header(stamp_ns, frame_id),
        width=fields['width'],
        height=fields['height'],
        distortion_model=fields['distortion_model'],
        d=array.array('d', fields['d']),
        k=fields['k'],
        r=np.eye(3).ravel(),
        p=projection.ravel(),
    )


# -- people -----------------------------------------------------------------------------------


def people_to_message(people: People) -> wire.PersonArray:
    """Return people as a PersonArray; ``people_from_message`` gives the same people back."""
    return wire.PersonArray(
        header=make_header(people.stamp_ns, people.frame_id),
        skeleton=people.skeleton,
        image_width=people.width,
        image_height=people.height,
        provenance=_provenance_to_message(people.provenance),
        persons=[_person_to_message(people, i) for i in range(len(people))],
    )


def mark_published(message: wire.PersonArray, now_ns: int) -> None:
    """Write the wall clock into a message that goes out next."""
    message.provenance.published = ns_to_stamp(now_ns)


def _person_to_message(people: People, i: int) -> wire.Person:
    scores = people.joint_scores[i].tolist()
    states = people.joint_states[i].tolist()
    covariances = people.covariances_m2[i].reshape(-1, 9).astype(np.float64)
    covariances[np.isnan(covariances).any(axis=1), 0] = -1.0
    return wire.Person(
        track_id=int(people.track_ids[i]),
        track_state=int(people.track_states[i]),
        score=float(people.scores[i]),
        bbox=people.boxes_px[i],
        visible_fraction=float(people.visible_fractions[i]),
        cut_edges=int(people.cut_edges[i]),
        joints_2d=[
            wire.Joint2D(x=x, y=y, score=score, state=state)
            for (x, y), score, state in zip(
                people.joints_px[i].tolist(), scores, states, strict=True
            )
        ],
        joints_3d=[
            wire.Joint3D(
                position=Point(x=x, y=y, z=z), covariance=covariance, score=score, state=state
            )
            for (x, y, z), covariance, score, state in zip(
                people.joints_m[i].tolist(), covariances, scores, states, strict=True
            )
        ],
        root_source=int(people.root_sources[i]),
        reprojection_error_px=float(people.reprojection_errors_px[i]),
    )


def people_from_message(message: wire.PersonArray) -> People:
    """Return the people of a PersonArray.

    Raises MessageError for an unknown skeleton and for persons whose number of joints is not the
    skeleton's.
    """
    try:
        count = get_skeleton(message.skeleton).num_joints
    except (KeyError, ValueError) as error:
        raise MessageError(f'PersonArray: {error}') from error
    for person in message.persons:
        got = len(person.joints_2d), len(person.joints_3d)
        if got != (count, count):
            raise MessageError(
                f'PersonArray: person {person.track_id} has {got[0]} 2D and {got[1]} 3D joints, '
                f'skeleton {message.skeleton!r} has {count}'
            )
    persons, n = message.persons, len(message.persons)
    covariances = np.array(
        [joint.covariance for p in persons for joint in p.joints_3d], np.float32
    ).reshape(n, count, 3, 3)
    covariances[covariances[:, :, 0, 0] == -1.0] = np.nan
    joints_m = [(j.position.x, j.position.y, j.position.z) for p in persons for j in p.joints_3d]
    joints_px = [(joint.x, joint.y) for p in persons for joint in p.joints_2d]
    return People.build(
        stamp_ns=stamp_to_ns(message.header.stamp),
        frame_id=message.header.frame_id,
        skeleton=message.skeleton,
        width=message.image_width,
        height=message.image_height,
        joints_px=np.array(joints_px, np.float32).reshape(n, count, 2),
        joints_m=np.array(joints_m, np.float32).reshape(n, count, 3),
        provenance=_provenance_from_message(message.provenance),
        boxes_px=np.array([p.bbox for p in persons]).reshape(n, 4),
        scores=_column(p.score for p in persons),
        covariances_m2=covariances,
        joint_scores=_column(j.score for p in persons for j in p.joints_2d).reshape(n, count),
        joint_states=_column(j.state for p in persons for j in p.joints_2d).reshape(n, count),
        track_ids=_column(p.track_id for p in persons),
        track_states=_column(p.track_state for p in persons),
        visible_fractions=_column(p.visible_fraction for p in persons),
        cut_edges=_column(p.cut_edges for p in persons),
        root_sources=_column(p.root_source for p in persons),
        reprojection_errors_px=_column(p.reprojection_error_px for p in persons),
    )


def _column(values: Iterable[float]) -> np.ndarray:
    return np.array(list(values))


# Fields of a Provenance that are the same on both sides.
_SAME = [entry.name for entry in fields(Provenance) if not entry.name.endswith('_ns')]


def _provenance_to_message(provenance: Provenance) -> wire.Provenance:
    return wire.Provenance(
        received=ns_to_stamp(provenance.received_ns),
        published=ns_to_stamp(provenance.published_ns),
        **{name: getattr(provenance, name) for name in _SAME},
    )


def _provenance_from_message(message: wire.Provenance) -> Provenance:
    return Provenance(
        received_ns=stamp_to_ns(message.received),
        published_ns=stamp_to_ns(message.published),
        **{name: getattr(message, name) for name in _SAME},
    )


def skeleton_to_message(skeleton: Skeleton, stamp_ns: int, frame_id: str) -> wire.SkeletonInfo:
    """Return the topology of a skeleton."""
    return wire.SkeletonInfo(
        header=make_header(stamp_ns, frame_id),
        name=skeleton.name,
        joint_names=list(skeleton.joint_names),
        parents=list(skeleton.parents),
        sides=list(skeleton.sides),
        root_index=skeleton.root_index,
    )


# -- occlusion, markers, diagnostics -------------------------------------------------------------


def occlusion_to_message(occlusion: Occlusion, width: int, height: int) -> wire.OcclusionReport:
    """Return what was hidden: the pixels whose centres lie in the rectangles and in the image.

    ``width`` and ``height`` are the size of the image that came in, px.
    """
    corners = np.array(occlusion.rectangles_px, np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    corners = np.clip(np.ceil(corners), 0, (width, height) * 2).astype(int)
    return wire.OcclusionReport(
        header=make_header(occlusion.frame.stamp_ns, occlusion.frame.frame_id),
        profile=occlusion.profile,
        seed=occlusion.seed,
        hidden_regions=[
            RegionOfInterest(x_offset=x, y_offset=y, width=right - x, height=bottom - y)
            for x, y, right, bottom in corners.tolist()
            if right > x and bottom > y
        ],
        hidden_fraction=float(occlusion.hidden_fraction),
    )


def occlusion_from_message(message: wire.OcclusionReport) -> tuple[str, np.ndarray]:
    """Return the condition, and the hidden rectangles (R, 4) x y w h as the occluder made them."""
    rows = [(r.x_offset - 0.5, r.y_offset - 0.5, r.width, r.height) for r in message.hidden_regions]
    return message.profile, np.array(rows, np.float64).reshape(-1, 4)


def diagnostics_to_message(
    stamp_ns: int, name: str, level: str, message: str, values: dict[str, str]
) -> DiagnosticArray:
    """Return the state of one node; ``level`` is OK, WARN, ERROR or STALE."""
    status = DiagnosticStatus(
        level=getattr(DiagnosticStatus, level),
        name=name,
        message=message,
        hardware_id='none',
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=make_header(stamp_ns, ''), status=[status])


def markers_to_message(
    shapes: list[Shape],
    gone: list[tuple[str, int]],
    stamp_ns: int,
    frame_id: str,
    lifetime_s: float,
) -> MarkerArray:
    """Return shapes as markers, and a DELETE for each (namespace, id) in ``gone``."""
    header = make_header(stamp_ns, frame_id)
    lifetime_ns = round(lifetime_s * _NANO)
    lifetime = Duration(sec=lifetime_ns // _NANO, nanosec=lifetime_ns % _NANO)
    markers = [
        Marker(header=header, ns=namespace, id=identity, action=Marker.DELETE)
        for namespace, identity in gone
    ]
    for shape in shapes:
        marker = Marker(
            header=header,
            ns=shape.namespace,
            id=shape.identity,
            type=getattr(Marker, shape.kind),
            action=Marker.ADD,
            lifetime=lifetime,
            points=[Point(x=x, y=y, z=z) for x, y, z in shape.points_m.tolist()],
            colors=[ColorRGBA(r=r, g=g, b=b, a=a) for r, g, b, a in shape.colours.tolist()],
        )
        marker.scale.x, marker.scale.y, marker.scale.z = map(float, shape.scale_m)
        if shape.kind == 'SPHERE':  # one solid: its place is the pose, its colour a single one
            position, orientation = marker.pose.position, marker.pose.orientation
            position.x, position.y, position.z = shape.points_m[0].tolist()
            orientation.x, orientation.y, orientation.z, orientation.w = shape.orientation
            marker.color, marker.points, marker.colors = marker.colors[0], [], []
        markers.append(marker)
    return MarkerArray(markers=markers)

"""Messages of recordings to values and back, without ROS: nodes/base/conversions.py for rosbags.

Reading works on anything with the attributes of the messages, so also on rclpy's. Writing makes
the message objects of a BagWriter's type store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rosbags.typesys.store import Typestore

from trpose_ros.cameras import camera_from_info_fields, camera_to_info_fields, crop_camera
from trpose_ros.people import PER_PERSON, Camera, People, Provenance
from trpose_ros.recordings.image_codec import decode_compressed, decode_image, encode_compressed
from trpose_ros.skeletons import get_skeleton

if TYPE_CHECKING:
    from trpose_ros.drawing.markers import Shape

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
PERSON_ARRAY = 'trpose_ros/msg/PersonArray'
OCCLUSION_REPORT = 'trpose_ros/msg/OcclusionReport'
SKELETON_INFO = 'trpose_ros/msg/SkeletonInfo'
# Of recordings that are made here, live or by a replay.
POSE_TOPIC = '/pose_node/people'
LIFTED_TOPIC = '/lifter_node/people'
_NANO = 1_000_000_000
_MARKER_TYPES = {'LINE_LIST': 5, 'SPHERE_LIST': 7}


def stamp_ns(message: Any) -> int:
    """Return the header stamp of a message in integer nanoseconds."""
    return _time_ns(message.header.stamp)


def read_image(message: Any) -> np.ndarray:
    """Return an Image or CompressedImage as (H, W, 3) uint8 RGB; raises ImageError."""
    if hasattr(message, 'encoding'):
        return decode_image(
            message.data,
            encoding=message.encoding,
            width=message.width,
            height=message.height,
            step=message.step,
            big_endian=bool(message.is_bigendian),
        )
    return decode_compressed(message.data, message.format)


def read_camera(message: Any) -> Camera:
    """Return the camera of a CameraInfo, region of interest and binning applied.

    Raises ValueError with the remedy for an uncalibrated or impossible calibration.
    """
    camera = camera_from_info_fields(
        message.width, message.height, message.k, message.d, message.distortion_model
    )
    roi, binning = message.roi, max(message.binning_x, message.binning_y, 1)
    if roi.width == 0 or roi.height == 0:
        if binning == 1:
            return camera
        return crop_camera(camera, 0, 0, camera.width, camera.height, 1.0 / binning)
    return crop_camera(camera, roi.x_offset, roi.y_offset, roi.width, roi.height, 1.0 / binning)


def read_people(message: Any) -> People:
    """Return the people of a PersonArray.

    Raises:
        ValueError: for an unknown skeleton or a wrong number of joints.

    """
    count = get_skeleton(message.skeleton).num_joints
    persons = list(message.persons)
    n = len(persons)
    for person in persons:
        if len(person.joints_2d) != count or len(person.joints_3d) != count:
            raise ValueError(
                f'person {person.track_id} has {len(person.joints_2d)} 2D and '
                f'{len(person.joints_3d)} 3D joints, skeleton {message.skeleton!r} has {count}'
            )
    flat = [[(j.x, j.y, j.score, j.state) for j in p.joints_2d] for p in persons]
    solid = [[(j.position.x, j.position.y, j.position.z) for j in p.joints_3d] for p in persons]
    covariances = [[j.covariance for j in p.joints_3d] for p in persons]
    planar = np.array(flat, np.float64).reshape(n, count, 4)
    squares = np.array(covariances, np.float64).reshape(n, count, 3, 3)
    squares[squares[..., 0, 0] == -1.0] = np.nan
    p = message.provenance
    columns = {
        'boxes_px': 'bbox',
        'scores': 'score',
        'track_ids': 'track_id',
        'track_states': 'track_state',
        'visible_fractions': 'visible_fraction',
        'cut_edges': 'cut_edges',
        'root_sources': 'root_source',
        'reprojection_errors_px': 'reprojection_error_px',
    }
    arrays = {
        name: np.array([getattr(person, attribute) for person in persons])
        for name, attribute in columns.items()
    }
    arrays['boxes_px'] = arrays['boxes_px'].reshape(n, 4)
    return People.build(
        stamp_ns=stamp_ns(message),
        frame_id=message.header.frame_id,
        skeleton=message.skeleton,
        width=message.image_width,
        height=message.image_height,
        joints_px=planar[..., :2],
        joints_m=np.array(solid, np.float64).reshape(n, count, 3),
        covariances_m2=squares,
        joint_scores=planar[..., 2],
        joint_states=planar[..., 3].astype(np.uint8),
        provenance=Provenance(
            estimator=p.estimator,
            lifter=p.lifter,
            weights_id=p.weights_id,
            occlusion=p.occlusion,
            window_length=p.window_length,
            lookahead=p.lookahead,
            intrinsics_assumed=p.intrinsics_assumed,
            received_ns=_time_ns(p.received),
            published_ns=_time_ns(p.published),
            preprocess_ms=p.preprocess_ms,
            inference_ms=p.inference_ms,
            dropped_frames=p.dropped_frames,
        ),
        **arrays,
    )


class MessageMaker:
    """Makes the messages that are written into recordings."""

    def __init__(self, typestore: Typestore) -> None:
        self._types = typestore.types

    def _make(self, msgtype: str, /, **fields: Any) -> Any:
        return self._types[msgtype](**fields)

    def time(self, time_ns: int) -> Any:
        """Return builtin_interfaces/Time."""
        return self._make(
            'builtin_interfaces/msg/Time', sec=time_ns // _NANO, nanosec=time_ns % _NANO
        )

    def header(self, time_ns: int, frame_id: str) -> Any:
        """Return std_msgs/Header."""
        return self._make('std_msgs/msg/Header', stamp=self.time(time_ns), frame_id=frame_id)

    def compressed_image(
        self, image: np.ndarray, time_ns: int, frame_id: str, quality: int = 90
    ) -> Any:
        """Return an (H, W, 3) uint8 RGB image as a JPEG CompressedImage."""
        return self._make(
            COMPRESSED_IMAGE,
            header=self.header(time_ns, frame_id),
            format='jpeg',
            data=np.frombuffer(encode_compressed(image, 'jpeg', quality), np.uint8),
        )

    def camera_info(self, camera: Camera, time_ns: int, frame_id: str) -> Any:
        """Return a CameraInfo with P = [K | 0] and R = identity."""
        fields = camera_to_info_fields(camera)
        roi = self._make(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        )
        return self._make(
            CAMERA_INFO,
            header=self.header(time_ns, frame_id),
            height=fields['height'],
            width=fields['width'],
            distortion_model=fields['distortion_model'],
            d=np.asarray(fields['d'], np.float64),
            k=np.asarray(fields['k'], np.float64),
            r=np.eye(3).ravel(),
            p=np.concatenate([camera.matrix, np.zeros((3, 1))], axis=1).ravel(),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )

    def people(self, people: People) -> Any:
        """Return people as a PersonArray; ``read_people`` gives the same people back."""
        p = people.provenance
        provenance = self._make(
            'trpose_ros/msg/Provenance',
            estimator=p.estimator,
            lifter=p.lifter,
            weights_id=p.weights_id,
            occlusion=p.occlusion,
            window_length=p.window_length,
            lookahead=p.lookahead,
            intrinsics_assumed=p.intrinsics_assumed,
            received=self.time(p.received_ns),
            published=self.time(p.published_ns),
            preprocess_ms=p.preprocess_ms,
            inference_ms=p.inference_ms,
            dropped_frames=p.dropped_frames,
        )
        return self._make(
            PERSON_ARRAY,
            header=self.header(people.stamp_ns, people.frame_id),
            skeleton=people.skeleton,
            image_width=people.width,
            image_height=people.height,
            provenance=provenance,
            persons=[self._person(people, i) for i in range(len(people))],
        )

    def _person(self, people: People, i: int) -> Any:
        one = {name: getattr(people, name)[i] for name in PER_PERSON}
        covariances = one['covariances_m2'].reshape(-1, 9).astype(np.float64)
        covariances[np.isnan(covariances).any(axis=1), 0] = -1.0
        joints_2d, joints_3d = [], []
        for j in range(len(covariances)):
            score, state = float(one['joint_scores'][j]), int(one['joint_states'][j])
            x, y = (float(v) for v in one['joints_px'][j])
            position = [float(v) for v in one['joints_m'][j]]
            joints_2d.append(
                self._make('trpose_ros/msg/Joint2D', x=x, y=y, score=score, state=state)
            )
            joints_3d.append(
                self._make(
                    'trpose_ros/msg/Joint3D',
                    position=self._make(
                        'geometry_msgs/msg/Point', **dict(zip('xyz', position, strict=True))
                    ),
                    covariance=covariances[j],
                    score=score,
                    state=state,
                )
            )
        return self._make(
            'trpose_ros/msg/Person',
            track_id=int(one['track_ids']),
            track_state=int(one['track_states']),
            score=float(one['scores']),
            bbox=one['boxes_px'].astype(np.float32),
            visible_fraction=float(one['visible_fractions']),
            cut_edges=int(one['cut_edges']),
            joints_2d=joints_2d,
            joints_3d=joints_3d,
            root_source=int(one['root_sources']),
            reprojection_error_px=float(one['reprojection_errors_px']),
        )

    def markers(
        self,
        shapes: list[Shape],
        gone: list[tuple[str, int]],
        time_ns: int,
        frame_id: str,
        lifetime_s: float,
    ) -> Any:
        """Return shapes as a MarkerArray, with a DELETE for each (namespace, id) in ``gone``."""
        markers = [self._marker(name, number, time_ns, frame_id) for name, number in gone]
        for shape in shapes:
            rows = shape.colours.tolist()
            markers.append(
                self._marker(
                    shape.namespace,
                    shape.identity,
                    time_ns,
                    frame_id,
                    type=_MARKER_TYPES[shape.kind],
                    action=0,
                    scale=self._xyz('geometry_msgs/msg/Vector3', shape.scale_m),
                    lifetime=self._duration(lifetime_s),
                    points=[
                        self._xyz('geometry_msgs/msg/Point', p) for p in shape.points_m.tolist()
                    ],
                    colors=[
                        self._make('std_msgs/msg/ColorRGBA', r=r, g=g, b=b, a=a)
                        for r, g, b, a in rows
                    ],
                )
            )
        return self._make('visualization_msgs/msg/MarkerArray', markers=markers)

    def _marker(
        self, namespace: str, number: int, time_ns: int, frame_id: str, **fields: Any
    ) -> Any:
        """Return a Marker; without further fields one that deletes."""
        values: dict[str, Any] = {
            'type': 0,
            'action': 2,
            'pose': self._make(
                'geometry_msgs/msg/Pose',
                position=self._xyz('geometry_msgs/msg/Point', (0.0, 0.0, 0.0)),
                orientation=self._make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0),
            ),
            'scale': self._xyz('geometry_msgs/msg/Vector3', (0.0, 0.0, 0.0)),
            'color': self._make('std_msgs/msg/ColorRGBA', r=0.0, g=0.0, b=0.0, a=0.0),
            'lifetime': self._duration(0.0),
            'frame_locked': False,
            'points': [],
            'colors': [],
            'texture_resource': '',
            'texture': self._make(
                COMPRESSED_IMAGE,
                header=self.header(0, ''),
                format='',
                data=np.zeros(0, np.uint8),
            ),
            'uv_coordinates': [],
            'text': '',
            'mesh_resource': '',
            'mesh_file': self._make(
                'visualization_msgs/msg/MeshFile', filename='', data=np.zeros(0, np.uint8)
            ),
            'mesh_use_embedded_materials': False,
        }
        return self._make(
            'visualization_msgs/msg/Marker',
            header=self.header(time_ns, frame_id),
            ns=namespace,
            id=number,
            **(values | fields),
        )

    def _xyz(self, msgtype: str, values: Sequence[float]) -> Any:
        return self._make(msgtype, **dict(zip('xyz', map(float, values), strict=True)))

    def _duration(self, seconds: float) -> Any:
        whole, rest = divmod(round(seconds * _NANO), _NANO)
        return self._make('builtin_interfaces/msg/Duration', sec=whole, nanosec=rest)

    def skeleton_info(self, name: str, time_ns: int, frame_id: str) -> Any:
        """Return the topology of a skeleton."""
        skeleton = get_skeleton(name)
        return self._make(
            SKELETON_INFO,
            header=self.header(time_ns, frame_id),
            name=name,
            joint_names=list(skeleton.joint_names),
            parents=np.array(skeleton.parents, np.int32),
            sides=list(skeleton.sides),
            root_index=skeleton.root_index,
        )

    def occlusion_report(
        self,
        *,
        time_ns: int,
        frame_id: str,
        profile: str,
        seed: int,
        rectangles_px: np.ndarray,
        hidden_fraction: float,
    ) -> Any:
        """Return what was hidden; rectangles (R, 4) lie inside the image, px."""
        regions = [
            self._make(
                'sensor_msgs/msg/RegionOfInterest',
                x_offset=max(int(np.ceil(x)), 0),
                y_offset=max(int(np.ceil(y)), 0),
                width=round(w),
                height=round(h),
                do_rectify=False,
            )
            for x, y, w, h in np.asarray(rectangles_px, np.float64)
        ]
        return self._make(
            OCCLUSION_REPORT,
            header=self.header(time_ns, frame_id),
            profile=profile,
            seed=seed,
            hidden_regions=regions,
            hidden_fraction=hidden_fraction,
        )


def _time_ns(time: Any) -> int:
    return int(time.sec) * _NANO + int(time.nanosec)

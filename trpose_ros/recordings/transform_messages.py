"""Messages about frames and bodies for others: tf, poses, point clouds. As in messages.py.

The functions that make messages take the maker: rclpy's or that of a recording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from trpose_ros.recordings.messages import MessageFields, stamp_ns
from trpose_ros.transforms import Transform

TF_MESSAGE = 'tf2_msgs/msg/TFMessage'
POSE_ARRAY = 'geometry_msgs/msg/PoseArray'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
_FIELD = 'sensor_msgs/msg/PointField'
_FIELD_TYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


def read_transforms(message: Any) -> Iterator[tuple[str, str, int, Transform]]:
    """Yield (parent, child, stamp in ns, transform) of a TFMessage, as they came."""
    for entry in message.transforms:
        parent, child = entry.header.frame_id, entry.child_frame_id
        yield parent, child, stamp_ns(entry), transform_of(entry.transform)


def transform_of(message: Any) -> Transform:
    """Return a geometry_msgs/Transform."""
    q, t = message.rotation, message.translation
    return Transform(np.array([q.x, q.y, q.z, q.w]), np.array([t.x, t.y, t.z]))


def make_transforms(
    make: MessageFields,
    transforms: Iterable[tuple[str, Transform]],
    parent: str,
    time_ns: int,
) -> Any:
    """Return (child, transform that takes its points to the parent) as a TFMessage."""
    header = make.header(time_ns, parent)
    stamped = [
        make.new(
            'geometry_msgs/msg/TransformStamped',
            header=header,
            child_frame_id=child,
            transform=make.new(
                'geometry_msgs/msg/Transform',
                translation=_xyz(make, 'geometry_msgs/msg/Vector3', transform.translation_m),
                rotation=_quaternion(make, transform.quaternion),
            ),
        )
        for child, transform in transforms
    ]
    return make.new(TF_MESSAGE, transforms=stamped)


def make_poses(make: MessageFields, poses: Iterable[Transform], frame_id: str, time_ns: int) -> Any:
    """Return poses in a frame as a PoseArray."""
    return make.new(
        POSE_ARRAY,
        header=make.header(time_ns, frame_id),
        poses=[
            make.new(
                'geometry_msgs/msg/Pose',
                position=_xyz(make, 'geometry_msgs/msg/Point', pose.translation_m),
                orientation=_quaternion(make, pose.quaternion),
            )
            for pose in poses
        ],
    )


def make_cloud(make: MessageFields, points: np.ndarray, frame_id: str, time_ns: int) -> Any:
    """Return a structured array (P,), whose first fields are x, y, z, as a PointCloud2."""
    names = points.dtype.names
    assert names is not None
    fields = points.dtype.fields
    assert fields is not None
    known = all(bool(np.isfinite(points[name]).all()) for name in 'xyz')
    message = make.new(
        POINT_CLOUD,
        header=make.header(time_ns, frame_id),
        height=1,
        width=len(points),
        fields=[
            make.new(
                _FIELD,
                name=name,
                offset=fields[name][1],
                datatype=_FIELD_TYPES[fields[name][0].str[1:]],
                count=1,
            )
            for name in names
        ],
        is_bigendian=False,
        point_step=points.dtype.itemsize,
        row_step=points.nbytes,
        is_dense=known,
    )
    return make.fill(message, 'data', np.frombuffer(points.tobytes(), np.uint8))


def read_cloud(message: Any) -> np.ndarray:
    """Return the points of a PointCloud2 of one row as a structured array."""
    kinds = {number: name for name, number in _FIELD_TYPES.items()}
    order = '>' if message.is_bigendian else '<'
    layout = np.dtype(
        {
            'names': [field.name for field in message.fields],
            'formats': [order + kinds[field.datatype] for field in message.fields],
            'offsets': [field.offset for field in message.fields],
            'itemsize': message.point_step,
        }
    )
    return np.frombuffer(bytes(message.data), layout)


def _xyz(make: MessageFields, msgtype: str, values: np.ndarray) -> Any:
    x, y, z = values.tolist()
    return make.new(msgtype, x=x, y=y, z=z)


def _quaternion(make: MessageFields, values: np.ndarray) -> Any:
    x, y, z, w = values.tolist()
    return make.new('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)

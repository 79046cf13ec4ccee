"""What other programs take without our messages: poses, point clouds, frames of tf.

People without a position of their own (``ROOT_NONE``) and LOST ones are in none of them.
"""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import PointCloud2

from trpose_ros.nodes.base import conversions
from trpose_ros.nodes.base.stage_node import StageNode, Topic
from trpose_ros.nodes.robot_frames import FramesConfig
from trpose_ros.people import People
from trpose_ros.pipeline.torsos import (
    Velocities,
    placed,
    torso_orientations,
    torso_pose,
    torso_positions,
)
from trpose_ros.recordings.transform_messages import (
    TF_MESSAGE,
    make_cloud,
    make_poses,
    make_transforms,
)
from trpose_ros.skeletons import get_skeleton
from trpose_ros.transforms import Transform

POSES = Topic(
    '~/poses',
    PoseArray,
    'out',
    'torsos that face somewhere: x forward, y left, z up the trunk',
    when='somebody subscribes',
)
TORSOS = Topic(
    '~/torsos',
    PointCloud2,
    'out',
    'a point a person: position, velocity, orientation, score, deviation, track',
    when='somebody subscribes',
)
JOINTS = Topic(
    '~/joints',
    PointCloud2,
    'out',
    'a point a joint: position, velocity, score, track, joint, state',
    when='somebody subscribes',
)
TF_OUT = Topic(
    '/tf', TF_MESSAGE, 'out', 'torso and joints of each track', depth=100, when='publish_tf is set'
)
_POINT = [(name, '<f4') for name in ('x', 'y', 'z', 'vx', 'vy', 'vz')]
_TORSO = np.dtype(
    [
        *_POINT,
        *((name, '<f4') for name in ('qx', 'qy', 'qz', 'qw', 'score', 'sigma')),
        ('track_id', '<i4'),
        ('track_state', '<u4'),
    ]
)
_JOINT = np.dtype(
    [*_POINT, ('score', '<f4'), ('track_id', '<i4'), ('joint', '<u4'), ('state', '<u4')]
)


class BodyOutputs:
    """Publishes people as others understand them; it remembers positions, for velocities."""

    def __init__(self, node: StageNode, config: FramesConfig) -> None:
        self._node = node
        self._config = config
        self._velocities = Velocities(config.velocity_window_s)
        self._sent_ns = 0

    def publish(self, people: People) -> None:
        """Publish what somebody takes."""
        velocities = self._velocities.push(people)
        here = placed(people)
        people, velocities = people.select(here), velocities[here]
        wanted = {
            topic: self._node.publisher(topic.name)
            for topic in (POSES, TORSOS, JOINTS)
            if self._node.publisher(topic.name).get_subscription_count()
        }
        if not wanted and not self._config.publish_tf:
            return
        positions = torso_positions(people.joints_m, people.skeleton)
        turns = torso_orientations(people.joints_m, people.skeleton)
        make, header = conversions.make, (people.frame_id, people.stamp_ns)
        if POSES in wanted:
            poses = [torso_pose(p, q) for p, q in zip(positions, turns, strict=True)]
            known = [pose for pose in poses if pose is not None]
            wanted[POSES].publish(make_poses(make, known, *header))
        if TORSOS in wanted:
            moving = torso_positions(velocities, people.skeleton)
            points = torso_points(people, positions, moving, turns)
            wanted[TORSOS].publish(make_cloud(make, points, *header))
        if JOINTS in wanted:
            wanted[JOINTS].publish(make_cloud(make, joint_points(people, velocities), *header))
        if self._config.publish_tf:
            self._publish_tf(people, positions, turns)

    def _publish_tf(self, people: People, positions: np.ndarray, turns: np.ndarray) -> None:
        if not people.frame_id:
            self._node.warn(
                'publish_tf',
                'publish_tf: images have no frame_id, so joints have no parent in tf: set it in '
                'the driver of the camera',
            )
            return
        self._node.statistics.clear_warning('publish_tf')
        if people.stamp_ns == self._sent_ns:  # tf takes each moment once
            return
        self._sent_ns = people.stamp_ns
        frames = person_frames(people, positions, turns, self._config.tf_prefix)
        if frames:
            message = make_transforms(conversions.make, frames, people.frame_id, people.stamp_ns)
            self._node.publisher(TF_OUT.name).publish(message)


def torso_points(
    people: People, positions: np.ndarray, velocities: np.ndarray, turns: np.ndarray
) -> np.ndarray:
    """Return torsos as a structured array (N,); ``sigma`` is the root's largest deviation, m."""
    points = np.zeros(len(people), _TORSO)
    _fill(points, positions, velocities)
    for k, name in enumerate(('qx', 'qy', 'qz', 'qw')):
        points[name] = turns[:, k]
    points['score'] = people.scores
    root = get_skeleton(people.skeleton).root_index
    points['sigma'] = largest_deviations(people.covariances_m2[:, root])
    points['track_id'], points['track_state'] = people.track_ids, people.track_states
    return points


def joint_points(people: People, velocities: np.ndarray) -> np.ndarray:
    """Return the joints that have a position as a structured array (P,)."""
    known = np.isfinite(people.joints_m).all(axis=2)
    row, joint = np.nonzero(known)
    points = np.zeros(len(row), _JOINT)
    _fill(points, people.joints_m[known], velocities[known])
    points['score'], points['state'] = people.joint_scores[known], people.joint_states[known]
    points['track_id'], points['joint'] = people.track_ids[row], joint
    return points


def _fill(points: np.ndarray, positions: np.ndarray, velocities: np.ndarray) -> None:
    for k, name in enumerate('xyz'):
        points[name], points[f'v{name}'] = positions[:, k], velocities[:, k]


def largest_deviations(covariances_m2: np.ndarray) -> np.ndarray:
    """Return (N,) the standard deviation along the least sure direction of (N, 3, 3), m."""
    found = np.full(len(covariances_m2), np.nan)
    known = np.isfinite(covariances_m2).all(axis=(1, 2))
    found[known] = np.sqrt(np.maximum(np.linalg.eigvalsh(covariances_m2[known])[:, -1], 0.0))
    return found


def person_frames(
    people: People, positions: np.ndarray, turns: np.ndarray, prefix: str
) -> list[tuple[str, Transform]]:
    """Return the frames of tracked people: PREFIX_ID of the torso, PREFIX_ID/JOINT of the joints.

    A joint's frame is turned as the one in which people are. What has no value has no frame.
    """
    names = get_skeleton(people.skeleton).joint_names
    straight = np.array([0.0, 0.0, 0.0, 1.0])
    frames = []
    for i, track_id in enumerate(people.track_ids.tolist()):
        if track_id < 0:
            continue
        pose = torso_pose(positions[i], turns[i])
        if pose is not None:
            frames.append((f'{prefix}{track_id}', pose))
        for name, joint in zip(names, people.joints_m[i], strict=True):
            joint_pose = torso_pose(joint, straight)
            if joint_pose is not None:
                frames.append((f'{prefix}{track_id}/{name}', joint_pose))
    return frames

"""Transforms, poses and clouds go into messages of a recording and come out as they were."""

import numpy as np
import pytest

from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.definitions import make_typestore
from trpose_ros.recordings.transform_messages import (
    POINT_CLOUD,
    POSE_ARRAY,
    TF_MESSAGE,
    make_cloud,
    make_poses,
    make_transforms,
    read_cloud,
    read_transforms,
    transform_of,
)
from trpose_ros.transforms import Transform

STAMP_NS = 1_700_000_000_123_456_789
TRANSFORM = Transform(np.array([0.5, -0.5, 0.5, -0.5]), np.array([1.0, -2.0, 3e5]))


@pytest.fixture(scope='module')
def store():
    return make_typestore()


def through_the_wire(store, message, msgtype):
    return store.deserialize_cdr(store.serialize_cdr(message, msgtype), msgtype)


def test_transforms_come_back_exactly(store):
    make = MessageMaker(store)
    message = make_transforms(make, [('a', TRANSFORM), ('b/c', TRANSFORM)], 'map', STAMP_NS)
    got = list(read_transforms(through_the_wire(store, message, TF_MESSAGE)))
    assert [entry[:3] for entry in got] == [('map', 'a', STAMP_NS), ('map', 'b/c', STAMP_NS)]
    np.testing.assert_array_equal(got[1][3].quaternion, TRANSFORM.quaternion)
    np.testing.assert_array_equal(got[1][3].translation_m, TRANSFORM.translation_m)
    assert not list(read_transforms(make_transforms(make, [], 'map', STAMP_NS)))


def test_poses_hold_position_and_orientation(store):
    message = make_poses(MessageMaker(store), [TRANSFORM], 'map', STAMP_NS)
    pose = through_the_wire(store, message, POSE_ARRAY).poses[0]
    assert (pose.position.z, pose.orientation.y) == (3e5, -0.5)
    moved = type('Transform', (), {'rotation': pose.orientation, 'translation': pose.position})
    np.testing.assert_array_equal(transform_of(moved).quaternion, TRANSFORM.quaternion)


@pytest.mark.parametrize('count', [0, 1, 5])
def test_clouds_of_any_fields_come_back(store, count):
    kinds = [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('id', '<i4'), ('state', '<u1')]
    rng = np.random.default_rng(count)
    points = np.zeros(count, kinds)
    for name in points.dtype.names:
        points[name] = rng.integers(-100, 100, count).astype(points.dtype[name])
    message = make_cloud(MessageMaker(store), points, 'map', STAMP_NS)
    got = through_the_wire(store, message, POINT_CLOUD)
    np.testing.assert_array_equal(read_cloud(got), points)
    assert (got.width, got.height, got.point_step, got.row_step) == (count, 1, 17, 17 * count)
    assert got.is_dense


def test_a_cloud_with_an_unknown_place_says_so(store):
    points = np.full(2, np.nan, [('x', '<f4'), ('y', '<f4'), ('z', '<f4')])
    assert not make_cloud(MessageMaker(store), points, 'map', 0).is_dense

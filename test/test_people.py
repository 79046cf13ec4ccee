"""The values that flow: shapes are checked, nothing is invented, geometry fills what it can."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import camera_from_fov
from trpose_ros.people import (
    PER_PERSON,
    Camera,
    Edge,
    Frame,
    JointState,
    People,
    concatenate,
    with_scores,
    with_visibility,
)

MATRIX = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])


def people(joints_px, width=640, height=480, **arrays):
    return People.build(
        stamp_ns=1,
        frame_id='camera',
        skeleton='h36m_17',
        width=width,
        height=height,
        joints_px=joints_px,
        **arrays,
    )


def test_nobody_has_all_fields_with_zero_rows():
    empty = people(np.zeros((0, 17, 2)))
    assert len(empty) == 0
    for name in PER_PERSON:
        assert len(getattr(empty, name)) == 0
    assert len(with_visibility(empty)) == 0
    assert len(empty.select([])) == 0


def test_what_is_not_known_is_nan_and_never_zero():
    one = people(np.full((1, 17, 2), 5.0))
    for name in ('joints_m', 'boxes_px', 'scores', 'covariances_m2', 'joint_scores'):
        assert np.isnan(getattr(one, name)).all(), name
    assert np.isnan(one.visible_fractions).all()
    assert one.track_ids.tolist() == [-1]
    assert (one.joint_states == JointState.UNKNOWN).all()


@pytest.mark.parametrize(
    ('joints_px', 'arrays', 'message'),
    [
        (np.zeros((17, 2)), {}, 'joints_px must be'),
        (np.zeros((1, 17, 3)), {}, 'joints_px must be'),
        (np.zeros((1, 17, 2)), {'scores': np.zeros(2)}, 'scores must have shape'),
        (np.zeros((1, 17, 2)), {'joints_m': np.zeros((1, 16, 3))}, 'joints_m must have shape'),
        (np.zeros((1, 17, 2)), {'colour': np.zeros(1)}, 'no field'),
    ],
)
def test_shapes_that_do_not_fit_are_named(joints_px, arrays, message):
    with pytest.raises(ValueError, match=message):
        people(joints_px, **arrays)


def test_select_and_concatenate_are_inverse():
    both = people(np.arange(3 * 34).reshape(3, 17, 2), scores=np.array([0.1, 0.2, 0.3]))
    joined = concatenate(both.select([2]), both.select(np.array([True, True, False])))
    np.testing.assert_array_equal(joined.scores, both.scores[[2, 0, 1]])
    np.testing.assert_array_equal(joined.joints_px, both.joints_px[[2, 0, 1]])
    with pytest.raises(ValueError, match='cannot join skeletons'):
        concatenate(both, both.replace(skeleton='smpl_24'))


def test_every_array_field_is_selected():
    one = people(np.zeros((1, 17, 2)))
    arrays = {
        f.name for f in dataclasses.fields(one) if isinstance(getattr(one, f.name), np.ndarray)
    }
    assert arrays == set(PER_PERSON)


def test_truncation_by_hand():
    joints = np.full((2, 17, 2), 100.0)
    joints[0, 0] = (-0.6, 100)  # left of the first pixel
    joints[0, 1] = (100, 479.6)  # below the last row
    joints[0, 2] = (-0.4, 479.4)  # still inside the border pixels
    joints[0, 3] = np.nan
    joints[1] = np.nan
    states = np.full((2, 17), int(JointState.OCCLUDED), np.uint8)
    states[0, 4] = JointState.TRUNCATED  # stale: it lies inside
    out = with_visibility(people(joints, joint_states=states))
    assert out.joint_states[0, :5].tolist() == [
        JointState.TRUNCATED,
        JointState.TRUNCATED,
        JointState.OCCLUDED,
        JointState.OCCLUDED,
        JointState.UNKNOWN,
    ]
    assert out.visible_fractions[0] == pytest.approx(14 / 16)
    assert np.isnan(out.visible_fractions[1])
    assert out.cut_edges.tolist() == [Edge.LEFT | Edge.BOTTOM, Edge.NONE]


def test_a_person_has_the_mean_score_of_the_joints_in_the_image():
    joints = np.full((4, 17, 2), 100.0)
    joints[0, 2:] = (-0.6, 100)  # left of the first pixel: cut off, not less sure
    joints[1, :] = (100, 5000)
    joint_scores = np.zeros((4, 17))
    joint_scores[0, :2] = 0.5, 1.0
    joint_scores[1] = 0.9
    joint_scores[2] = np.nan
    joint_scores[3] = 0.2
    given = np.array([np.nan, np.nan, np.nan, 0.7])
    before = people(joints, joint_scores=joint_scores, scores=given)
    np.testing.assert_allclose(with_scores(before).scores, [0.75, np.nan, np.nan, 0.7])
    assert len(with_scores(before.select([]))) == 0


@given(st.integers(0, 2**31), st.integers(1, 300), st.integers(1, 300))
def test_visibility_never_changes_the_joints_and_is_idempotent(seed, width, height):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(-100, 400, (3, 17, 2))
    joints[rng.random((3, 17)) < 0.2] = np.nan
    before = people(joints, width, height)
    once = with_visibility(before)
    np.testing.assert_array_equal(once.joints_px, before.joints_px)
    np.testing.assert_array_equal(with_visibility(once).joint_states, once.joint_states)
    truncated = once.joint_states == JointState.TRUNCATED
    assert ((once.cut_edges > 0) == truncated.any(axis=1)).all()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'width': 0}, 'size must be positive'),
        ({'matrix': np.eye(2)}, 'must be 3x3'),
        ({'matrix': np.diag([0.0, 1, 1])}, 'positive focal'),
        ({'matrix': MATRIX * np.nan}, 'finite'),
        ({'model': 'mirror'}, "'mirror'"),
        ({'distortion': np.zeros(3)}, 'distortion takes'),
        ({'distortion': np.full(5, np.inf)}, 'distortion takes'),
        ({'distortion': np.zeros(5), 'model': 'fisheye'}, 'distortion takes'),
    ],
)
def test_impossible_cameras_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Camera(**({'width': 640, 'height': 480, 'matrix': MATRIX} | changes))


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((480, 640), np.uint8),
        np.zeros((480, 640, 4), np.uint8),
        np.zeros((480, 640, 3), np.float32),
        np.zeros((481, 640, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
    ],
)
def test_impossible_images_are_refused(image):
    with pytest.raises(ValueError, match=r'image'):
        Frame(image=image, stamp_ns=0, camera=camera_from_fov(640, 480))

"""People in the words of ROS4HRI: numbers against formulae, and edges."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import make_people
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from trpose_ros.nodes.hri_bodies import (
    JOINTS,
    BodyIds,
    bodies,
    body_frame,
    regions,
    skeletons_2d,
)
from trpose_ros.people import RootSource, TrackState
from trpose_ros.skeletons import get_skeleton

FUSED = np.array([RootSource.FUSED])


def people(**arrays):
    return make_people(1, (0.3, 0.2, 4.0), **{'root_sources': FUSED, **arrays})


def test_ids_are_five_letters_that_stay():
    ids = BodyIds('salt')
    names = [ids.of(k) for k in range(500)]
    assert len(set(names)) == 500
    assert all(len(name) == 5 and name.isascii() and name.islower() for name in names)
    assert [ids.of(k) for k in range(500)] == names
    assert BodyIds('salt').of(7) == names[7]
    assert BodyIds('other').of(7) != names[7]


def test_ids_that_would_meet_do_not(monkeypatch):
    monkeypatch.setattr(BodyIds, '_letters', lambda self, track, attempt: 'abcde'[attempt] * 5)
    ids = BodyIds('')
    assert [ids.of(k) for k in (4, 9, 4)] == ['aaaaa', 'bbbbb', 'aaaaa']


def test_bodies_are_those_with_a_track():
    several = make_people(
        1,
        np.tile((0.0, 0.0, 4.0), (4, 1)),
        track_ids=np.array([3, -1, 5, 6]),
        track_states=np.array(
            [TrackState.TRACKED, TrackState.UNTRACKED, TrackState.LOST, TrackState.SEARCHING]
        ),
    )
    assert bodies(several).tolist() == [0, 3]
    assert bodies(several.select([])).tolist() == []


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ((-0.5, -0.5, 640, 480), (0, 0, 1, 1)),
        ((159.5, 119.5, 320, 240), (0.25, 0.25, 0.75, 0.75)),
        ((-100, 359.5, 259.5, 400), (0, 0.75, 0.25, 1)),
        ((700, 10, 20, 20), None),
        ((10, 10, 0, 20), None),
        ((np.nan, 10, 20, 20), None),
    ],
)
def test_regions_are_shares_of_the_image(box, expected):
    found = regions(people(boxes_px=np.array([box], float)))[0]
    if expected is None:
        assert np.isnan(found).all()
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_skeletons_have_the_order_of_the_message_and_no_joint_outside():
    scores = np.linspace(0.1, 0.9, 17)[None]
    one = people(joint_scores=scores)
    pixels = one.joints_px.copy()
    names = get_skeleton('h36m_17').joint_names
    pixels[0, names.index('lwri'), 0] = 700.0
    found = skeletons_2d(one.replace(joints_px=pixels))[0]
    for k, name in enumerate(JOINTS):
        if name == 'lwri':
            assert np.isnan(found[k, :2]).all()
            assert found[k, 2] == 0.0
        elif name in names:
            j = names.index(name)
            expected = (pixels[0, j] + 0.5) / (640, 480)
            np.testing.assert_allclose(found[k, :2], expected, rtol=1e-6)
            assert found[k, 2] == np.float32(scores[0, j])
    assert found[JOINTS.index('leye'), 2] == 0.0  # h36m_17 has no eyes


def test_a_size_that_is_not_known_gives_nothing():
    one = people(boxes_px=np.array([[1.0, 1, 5, 5]])).replace(width=0, height=0)
    assert np.isnan(regions(one)).all()
    assert np.isnan(skeletons_2d(one)[..., :2]).all()
    assert (skeletons_2d(one)[..., 2] == 0).all()


def test_the_frame_of_somebody_who_faces_the_camera():
    origin, quaternion = body_frame(people(), 0)
    np.testing.assert_allclose(origin, (0.3, 0.2, 4.0), atol=1e-6)
    axes = Rotation.from_quat(quaternion).as_matrix()
    # Their left is at the camera's right (+x): out of the chest is towards the camera.
    np.testing.assert_allclose(axes[:, 0], (0, 0, -1), atol=0.05)
    np.testing.assert_allclose(axes[:, 1], (1, 0, 0), atol=0.05)
    np.testing.assert_allclose(axes[:, 2], (0, -1, 0), atol=0.05)


@given(st.integers(0, 2**32 - 1))
def test_the_frame_moves_with_the_body(seed):
    rng = np.random.default_rng(seed)
    turn, shift = Rotation.random(random_state=seed), rng.normal(size=3) + np.array((0, 0, 4))
    one = people()
    origin, quaternion = body_frame(one, 0)
    moved = turn.apply(one.joints_m[0]) + shift
    origin_2, quaternion_2 = body_frame(one.replace(joints_m=moved[None].astype(np.float32)), 0)
    np.testing.assert_allclose(origin_2, turn.apply(origin) + shift, atol=1e-5)
    relative = (turn * Rotation.from_quat(quaternion)).inv() * Rotation.from_quat(quaternion_2)
    assert relative.magnitude() < 1e-4


@pytest.mark.parametrize(
    'change',
    [
        lambda joints: joints * np.nan,
        lambda joints: joints * 0.0,  # all in one point
        lambda joints: joints * [0, 1, 0],  # hips without a width
    ],
)
def test_no_frame_without_directions(change):
    one = people()
    assert body_frame(one.replace(joints_m=change(one.joints_m)), 0) is None


def test_no_frame_without_a_position():
    assert body_frame(people(root_sources=np.array([RootSource.NONE])), 0) is None

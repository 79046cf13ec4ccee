"""Arms of others: bones keep their lengths, all else stays, hands that touch stay."""

from __future__ import annotations

import numpy as np
import pytest
from made_people import moving_person

from trpose_ros.data.motion.limbs import swap_arms
from trpose_ros.skeletons import get_skeleton

ARMS = list(range(11, 17))


def people(count=12, frames=5):
    return np.stack([moving_person(frames, 'h36m_17', s, (0, 0, 1.0)) for s in range(count)])


def spread_arms(joints):
    """Hold the hands away from everything."""
    joints = joints.copy()
    for shoulder, elbow, hand, side in ((11, 12, 13, 1.0), (14, 15, 16, -1.0)):
        joints[..., shoulder, :] = joints[..., 8, :] + [0.2 * side, 0, 0]
        swing = 0.1 * np.arange(len(joints))[:, None]
        joints[..., elbow, :] = joints[..., shoulder, :] + [0.3 * side, 0, 0]
        joints[..., hand, :] = joints[..., elbow, :] + [0.25 * side, 0, 0]
        joints[..., hand, 1] += swing
    return joints


@pytest.mark.parametrize('count', [1, 2, 12])
def test_arms_keep_their_bones_and_all_else_stays(count):
    joints = spread_arms(people(count))
    before = joints.copy()
    swapped = swap_arms(joints, np.random.default_rng(0), 1.0)
    np.testing.assert_array_equal(joints, before)
    rest = [j for j in range(17) if j not in ARMS]
    np.testing.assert_array_equal(swapped[:, :, rest], joints[:, :, rest])
    lengths = []
    for poses in (swapped, joints):
        bones = [(p, c) for p, c in get_skeleton('h36m_17').bones if c in ARMS and p in ARMS]
        lengths.append([np.linalg.norm(poses[:, :, p] - poses[:, :, c], axis=-1) for p, c in bones])
    # Each window has the arms of one window of the batch: its lengths, in every frame.
    ours, all_of_them = np.array(lengths[0]), np.array(lengths[1])
    for i in range(count):
        gaps = np.abs(ours[:, i : i + 1] - all_of_them).max(axis=(0, 2))
        assert gaps.min() < 1e-5
    if count == 12:
        assert (np.abs(swapped - joints).max(axis=(1, 2, 3)) > 1e-3).sum() >= 6


def test_no_share_and_hands_that_touch_change_nothing():
    joints = people()
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(swap_arms(joints, rng, 0.0), joints)
    joints[:, :, 13] = joints[:, :, 16]
    np.testing.assert_array_equal(swap_arms(joints, rng, 1.0), joints)


def test_arms_follow_the_trunk_they_are_given_to():
    joints = spread_arms(people(2, 1))
    joints[1] = joints[0]
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    joints[1] = joints[0] @ turn.T + [3, 1, 0]
    swapped = swap_arms(joints, np.random.default_rng(3), 1.0)
    np.testing.assert_allclose(swapped, joints, atol=1e-5)

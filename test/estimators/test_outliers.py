"""Poses that cannot be are refused, each for its reason, and nobody else for it."""

from __future__ import annotations

import numpy as np
import pytest
from metrabs_stand_in import PERSON_MM

from trpose_ros.estimators.outliers import keep_plausible, usual_bones
from trpose_ros.skeletons import SKELETONS, get_skeleton

TREE = get_skeleton('h36m_17')
BONES = usual_bones(TREE.joint_names, TREE.bones)


def at(x_mm, variants=2):
    return np.repeat(PERSON_MM[None] + np.array([x_mm, 0.0, 4000.0]), variants, axis=0)


def long_shin(poses, length_mm):
    poses = poses.copy()
    knee, ankle = TREE.index('rkne'), TREE.index('rank')
    bone = poses[:, ankle] - poses[:, knee]
    poses[:, ankle] = poses[:, knee] + bone * (length_mm / np.linalg.norm(bone[0]))
    return poses


@pytest.mark.parametrize(
    # what is short by less than the published slack of 300 mm is a joint that is merely wrong
    ('length_mm', 'kept'),
    [(4400, False), (1300, False), (1280, True), (300, True), (50, True)],
)
def test_an_impossible_shin_drops_its_person_alone(length_mm, kept):
    poses = np.stack([at(0), long_shin(at(2000), length_mm), at(4000)])
    index, dropped = keep_plausible(poses, True, BONES)
    assert index.tolist() == ([0, 1, 2] if kept else [0, 2])
    assert dropped == ({} if kept else {'implausible_bones': 1})
    assert keep_plausible(poses, False, BONES)[0].tolist() == [0, 1, 2]


def test_every_reason_is_counted_once():
    apart = at(4000)
    difference = np.random.default_rng(0).normal(0, 600, apart[0].shape)
    apart[0] += difference
    apart[1] -= difference  # their mean is a fine person
    far, behind, nan = at(0) * 100, at(0) - [0, 0, 9000], at(0) * np.nan
    poses = np.stack([at(0), nan, behind, far, long_shin(at(2000), 4400), apart, at(30), at(-2000)])
    solvable = np.array([True] * 7 + [False])
    index, dropped = keep_plausible(poses, True, BONES, solvable)
    assert index.tolist() == [0]
    reasons = ('not_finite', 'too_few_joints_in_view', 'behind_camera', 'too_far', 'duplicate')
    reasons += ('implausible_bones', 'inconsistent_variants')
    assert dropped == dict.fromkeys(reasons, 1)


def test_nobody():
    index, dropped = keep_plausible(np.zeros((0, 1, 17, 3)), True, BONES)
    assert (index.size, dropped) == (0, {})


@pytest.mark.parametrize('name', SKELETONS)
def test_every_skeletons_limbs_have_a_length(name):
    tree = SKELETONS[name]
    edges, lengths = usual_bones(tree.joint_names, tree.bones)
    assert edges.tolist() == [list(bone) for bone in tree.bones]
    by_child = dict(zip((tree.joint_names[child] for _, child in tree.bones), lengths, strict=True))
    for joint, length in (('lkne', 430), ('rank', 430), ('lelb', 325), ('rwri', 255)):
        assert by_child[joint] == length

"""Joint conventions: trees, mirroring, conversions; against published index tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.skeletons import SKELETONS, Skeleton, convert, get_skeleton

NAMES = sorted(SKELETONS)
REFERENCE = np.load(Path(__file__).parent / 'reference' / 'geometry_and_eval.npz')
COUNTS = {
    'h36m_17': 17,
    'body_39': 39,
    'coco_17': 17,
    'coco_19': 19,
    'smpl_24': 24,
    'mpi_inf_3dhp_17': 17,
    'mpi_inf_3dhp_28': 28,
    'smpl+head_30': 30,
    'humaneva_15': 15,
    'openpose_25': 25,
    'mediapipe_33': 33,
}


def test_all_conventions_are_there():
    assert {name: s.num_joints for name, s in SKELETONS.items()} == COUNTS


@pytest.mark.parametrize('name', NAMES)
def test_tree_and_mirror(name):
    skeleton = get_skeleton(name)
    for joint in range(skeleton.num_joints):  # every joint leads to the one root of the tree
        steps = 0
        while skeleton.parents[joint] >= 0:
            joint, steps = skeleton.parents[joint], steps + 1
            assert steps <= skeleton.num_joints
        assert joint == skeleton.parents.index(-1)
    mirror = skeleton.mirror
    np.testing.assert_array_equal(mirror[mirror], np.arange(skeleton.num_joints))
    for joint, side in enumerate(skeleton.sides):
        assert (mirror[joint] == joint) == (side == 'centre')
    assert skeleton.sides.count('left') == skeleton.sides.count('right')
    for parent, child in skeleton.bones:  # a mirrored bone is a bone, but for COCO's own tree
        if not name.startswith(('coco', 'mediapipe')):
            assert (mirror[parent], mirror[child]) in skeleton.bones


def test_human36m_against_the_published_tables():
    skeleton = get_skeleton('h36m_17')
    np.testing.assert_array_equal(skeleton.parents, REFERENCE['skeleton_parents'])
    left = [i for i, side in enumerate(skeleton.sides) if side == 'left']
    right = [i for i, side in enumerate(skeleton.sides) if side == 'right']
    assert left == REFERENCE['joints_left'].tolist()
    assert right == REFERENCE['joints_right'].tolist()
    np.testing.assert_array_equal(skeleton.mirror[left], right)


def test_coco_to_human36m_against_published_numbers():
    keypoints = np.random.default_rng(7).uniform(0, 1000, (5, 17, 2)).astype(np.float32)
    out = convert(keypoints, 'coco_17', 'h36m_17')
    np.testing.assert_allclose(out, REFERENCE['mhformer_coco_to_h36m'], atol=2e-3)


@pytest.mark.parametrize('source', NAMES)
@pytest.mark.parametrize('target', NAMES)
@pytest.mark.parametrize('channels', [2, 3])
def test_conversion_keeps_limbs_and_moves_with_the_body(source, target, channels):
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(2, get_skeleton(source).num_joints, channels))
    out = convert(joints, source, target)
    assert out.shape == (2, get_skeleton(target).num_joints, channels)
    for name in ('lwri', 'rkne', 'lsho', 'rank', 'lhip'):
        index = get_skeleton(target).index(name)
        np.testing.assert_array_equal(
            out[:, index], joints[:, get_skeleton(source).index(name)], strict=True
        )
    shift = np.arange(1.0, channels + 1)
    np.testing.assert_allclose(convert(joints + shift, source, target), out + shift, atol=1e-9)
    np.testing.assert_allclose(convert(2.0 * joints, source, target), 2.0 * out, atol=1e-9)


@pytest.mark.parametrize('source', NAMES)
@pytest.mark.parametrize('target', NAMES)
def test_conversion_commutes_with_mirroring(source, target):
    rng = np.random.default_rng(1)
    joints = rng.normal(size=(1, get_skeleton(source).num_joints, 3))
    flip = np.array([-1.0, 1, 1])
    mirrored = joints[:, get_skeleton(source).mirror] * flip
    first = convert(mirrored, source, target)
    second = convert(joints, source, target)[:, get_skeleton(target).mirror] * flip
    np.testing.assert_allclose(first, second, atol=1e-9)


@given(st.integers(0, 2**31), st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_missing_joints_never_become_numbers(seed, source, target):
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(4, get_skeleton(source).num_joints, 3))
    full = np.isfinite(convert(joints, source, target)).all(axis=-1)
    joints[rng.random(joints.shape[:2]) < 0.5] = np.nan
    part = convert(joints, source, target)
    known = np.isfinite(part).all(axis=-1)
    assert not (known & ~full).any()
    nothing = convert(np.full_like(joints, np.nan), source, target)
    assert np.isnan(nothing).all()


@pytest.mark.parametrize(
    ('name', 'own'),  # indices of COCO's keypoints in the figures that the publishers draw
    [
        ('openpose_25', [0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11]),
        ('mediapipe_33', [0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]),
    ],
)
def test_others_become_human36m_as_coco_does(name, own):
    coco = np.random.default_rng(3).uniform(0, 1000, (4, 17, 2))
    joints = np.full((4, COUNTS[name], 2), np.nan)
    joints[:, own] = coco
    if name == 'openpose_25':  # the only trunk joint of its own that is used
        joints[:, 8] = (coco[:, 11] + coco[:, 12]) / 2
    np.testing.assert_allclose(
        convert(joints, name, 'h36m_17'), convert(coco, 'coco_17', 'h36m_17'), atol=1e-9
    )
    np.testing.assert_array_equal(convert(joints, name, 'coco_17'), coco)


@pytest.mark.parametrize('name', ['openpose_25', 'mediapipe_33'])
def test_without_hips_others_have_no_pelvis(name):
    joints = np.ones((1, COUNTS[name], 2))
    gone = ['lhip', 'rhip'] + ['pelv'] * (name == 'openpose_25')
    joints[:, [get_skeleton(name).index(joint) for joint in gone]] = np.nan
    out = np.isfinite(convert(joints, name, 'h36m_17')).all(axis=-1)[0]
    unknown = [j for j, ok in zip(get_skeleton('h36m_17').joint_names, out, strict=True) if not ok]
    assert unknown == ['pelv', 'rhip', 'lhip', 'spin']


def test_edge_sizes_and_types():
    assert convert(np.zeros((0, 17, 3), np.float32), 'h36m_17', 'smpl_24').shape == (0, 24, 3)
    assert convert(np.zeros((17, 3), np.float32), 'h36m_17', 'coco_17').dtype == np.float32
    assert convert(np.zeros((17, 2), int), 'coco_17', 'h36m_17').dtype == np.float64


def test_errors_name_the_remedy():
    with pytest.raises(ValueError, match=r'unknown skeleton .nobody.; known are .*smpl_24'):
        get_skeleton('nobody')
    with pytest.raises(ValueError, match='h36m_17 has 17 joints'):
        convert(np.zeros((1, 16, 3)), 'h36m_17', 'coco_17')
    with pytest.raises(ValueError, match='has no joint'):
        get_skeleton('coco_17').index('pelv')
    with pytest.raises(ValueError, match='twice'):
        Skeleton('x', ('a', 'a'), (-1, 0), 0)
    with pytest.raises(ValueError, match='exactly one -1'):
        Skeleton('x', ('a', 'b'), (-1, -1), 0)

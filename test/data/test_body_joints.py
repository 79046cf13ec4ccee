"""The union skeleton: every convention's joints are in it, and lie where a body has them."""

import numpy as np
import pytest
from tiny_body import make_rig, walking

from trpose_ros.data.rendering.landmarks import NAMES, posed_landmarks
from trpose_ros.data.rendering.posing import pose_rig
from trpose_ros.skeletons import contained_skeletons, get_skeleton

BODY = get_skeleton('body_39')


def test_human36m_comes_first_and_others_are_contained():
    assert BODY.joint_names[:17] == get_skeleton('h36m_17').joint_names
    contained = contained_skeletons('body_39')
    assert next(iter(contained)) == 'h36m_17'
    assert contained['h36m_17'] == list(range(17))
    assert set(contained) == {
        *('h36m_17', 'coco_17', 'coco_19', 'smpl_24', 'smpl+head_30', 'body_39'),
    }
    for name, indices in contained.items():
        assert len(indices) == get_skeleton(name).num_joints
        assert len(set(indices)) == len(indices)


def test_conventions_keep_their_own_places():
    contained = contained_skeletons('body_39')
    coco, smpl = get_skeleton('coco_17'), get_skeleton('smpl_24')
    named = BODY.joint_names
    assert named[contained['coco_17'][coco.index('lhip')]] == 'lhip_coco'
    assert named[contained['coco_17'][coco.index('lkne')]] == 'lkne'
    assert named[contained['smpl_24'][smpl.index('pelv')]] == 'pelv_smpl'
    assert named[contained['smpl_24'][smpl.index('lhip')]] == 'lhip'


@pytest.mark.parametrize('name', ['coco_17', 'smpl_24', 'smpl+head_30', 'h36m_17', 'coco_19'])
def test_mirroring_the_body_mirrors_what_it_contains(name):
    indices = np.array(contained_skeletons('body_39')[name])
    twins = BODY.mirror[indices]
    assert (twins == indices[get_skeleton(name).mirror]).all()


def test_landmarks_follow_their_bones():
    rig = make_rig()
    posed = pose_rig(rig, walking(3))
    assert posed.body_m.shape == (3, 39, 3)
    assert np.array_equal(posed.body_m[:, :17], posed.joints_m)
    points = np.stack([rig.heads[0] + [0.1, 0, 0], rig.heads[2] + [0, 0.2, 0]])
    bones = np.array([0, 2])
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rotations = np.broadcast_to(turn, (1, len(rig.names), 3, 3))
    moved = posed_landmarks(points, bones, rig.heads, rig.heads[None] + 1.0, rotations)[0]
    assert np.allclose(moved[0], rig.heads[0] + 1.0 + [0, 0.1, 0])
    assert np.allclose(moved[1], rig.heads[2] + 1.0 + [-0.2, 0, 0])


def test_a_real_body_has_its_landmarks_where_they_belong():
    bodies = pytest.importorskip('trpose_ros.data.rendering.bodies')
    try:
        library = bodies.BodyLibrary()
    except bodies.PackError as error:
        pytest.skip(f'needs the body pack: {error}')
    for shape in (0, 17, 39):
        rig = library.rig(shape)
        at = dict(zip(NAMES, rig.landmarks, strict=True))
        head = rig.heads[rig.names.index('Head')]
        assert at['nose'][1] < at['leye'][1] < at['lear'][1]  # the body faces -y
        assert at['leye'][0] > 0 > at['reye'][0]
        assert np.allclose(at['leye'] * [-1, 1, 1], at['reye'], atol=2e-3)
        assert at['lear'][0] > at['leye'][0]
        assert head[2] - 0.05 < at['nose'][2] < at['leye'][2] + 0.01
        assert at['lheel'][1] > at['ltoe'][1] > at['ltip'][1]
        assert max(at['lheel'][2], at['ltip'][2]) < 0.1
        spine = [at[n][2] for n in ('pelv_smpl', 'spi1', 'spi2', 'spi3', 'neck_smpl')]
        assert spine == sorted(spine)

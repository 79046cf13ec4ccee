"""Joint conventions and conversions between them.

A skeleton is an ordered list of joint names with a tree over them. Names are four letters in the
manner of MeTRAbs: ``lsho``, ``rkne``, ``pelv``; a name starts with l or r if and only if the joint
lies on that side of the body, so mirroring follows from the names alone.

Orders: Human3.6M and MPI-INF-3DHP as the data sets publish them, COCO-17 as the COCO keypoint
task, coco_19 as CMU Panoptic, smpl_24 as the SMPL body model, smpl+head_30 as SMPL followed by
the head top of MPI-INF-3DHP and five face points of COCO.

Conversions copy joints that mean the same thing, derive a few by formulae (pelvis = middle of the
hips, ...), and leave NaN where nothing is known. Torso and head joints of different conventions
are only near each other (some centimetres): a converted skeleton is an approximation there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from trpose_ros.registry import Registry

LEFT, RIGHT, CENTRE = 'left', 'right', 'centre'


@dataclass(frozen=True)
class Skeleton:
    """An ordered set of joints and the tree that joins them."""

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for the root of the tree
    root_index: int  # the joint that root-relative poses are relative to

    def __post_init__(self) -> None:
        """Validate names and tree."""
        n = len(self.joint_names)
        if len(set(self.joint_names)) != n:
            raise ValueError(f'skeleton {self.name!r} names a joint twice: {self.joint_names}')
        if len(self.parents) != n or self.parents.count(-1) != 1:
            raise ValueError(f'skeleton {self.name!r} needs {n} parents with exactly one -1')
        if not 0 <= self.root_index < n:
            raise ValueError(f'skeleton {self.name!r} has no joint {self.root_index}')

    @property
    def num_joints(self) -> int:
        """Return the number of joints J."""
        return len(self.joint_names)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """Return 'left', 'right' or 'centre' for each joint."""
        return tuple({'l': LEFT, 'r': RIGHT}.get(name[0], CENTRE) for name in self.joint_names)

    @cached_property
    def mirror(self) -> np.ndarray:
        """Return (J,) the index of each joint's mirrored twin; centre joints name themselves."""
        swap = {'l': 'r', 'r': 'l'}
        twins = [swap.get(name[0], name[0]) + name[1:] for name in self.joint_names]
        index = np.array([self.joint_names.index(twin) for twin in twins], dtype=np.intp)
        index.flags.writeable = False
        return index

    @cached_property
    def bones(self) -> list[tuple[int, int]]:
        """Return (parent, child) for each joint that has a parent."""
        return [(parent, child) for child, parent in enumerate(self.parents) if parent >= 0]

    def index(self, joint_name: str) -> int:
        """Return the index of a joint; raises ValueError naming the joints there are."""
        if joint_name not in self.joint_names:
            raise ValueError(
                f'skeleton {self.name!r} has no joint {joint_name!r}; it has '
                f'{", ".join(self.joint_names)}'
            )
        return self.joint_names.index(joint_name)


SKELETONS: Registry[Skeleton] = Registry('skeleton')


def register_skeleton(define: Callable[[], tuple[str, str, str]]) -> Callable[[], object]:
    """Register a skeleton; the function's docstring says where the order comes from.

    The function returns the name, the joints as ``'joint<parent ...'`` (``'pelv'`` alone has no
    parent) and the name of the root joint.
    """
    name, text, root = define()
    pairs = [word.partition('<') for word in text.split()]
    names = tuple(pair[0] for pair in pairs)
    parents = tuple(names.index(pair[2]) if pair[2] else -1 for pair in pairs)
    SKELETONS.register(name)(Skeleton(name, names, parents, names.index(root)))
    return define


_HUMAN36M = (
    'pelv rhip<pelv rkne<rhip rank<rkne lhip<pelv lkne<lhip lank<lkne spin<pelv neck<spin '
    'head<neck htop<head lsho<neck lelb<lsho lwri<lelb rsho<neck relb<rsho rwri<relb'
)
_SMPL = (
    'pelv lhip<pelv rhip<pelv spi1<pelv lkne<lhip rkne<rhip spi2<spi1 lank<lkne rank<rkne '
    'spi3<spi2 ltoe<lank rtoe<rank neck<spi3 lcla<spi3 rcla<spi3 head<neck lsho<lcla rsho<rcla '
    'lelb<lsho relb<rsho lwri<lelb rwri<relb lhan<lwri rhan<rwri'
)


@register_skeleton
def _h36m_17() -> tuple[str, str, str]:
    """Order the 17 joints of Human3.6M as lifters use them; 'head' is the neck-nose joint."""
    return 'h36m_17', _HUMAN36M, 'pelv'


@register_skeleton
def _coco_17() -> tuple[str, str, str]:
    """Order the COCO keypoints; COCO has no torso joints, so the tree hangs on the nose."""
    return (
        'coco_17',
        'nose leye<nose reye<nose lear<leye rear<reye lsho<nose rsho<nose lelb<lsho relb<rsho '
        'lwri<lelb rwri<relb lhip<lsho rhip<rsho lkne<lhip rkne<rhip lank<lkne rank<rkne',
        'nose',
    )


@register_skeleton
def _coco_19() -> tuple[str, str, str]:
    """Order the CMU Panoptic joints: COCO plus neck and pelvis, in another order."""
    return (
        'coco_19',
        'neck<pelv nose<neck pelv lsho<neck lelb<lsho lwri<lelb lhip<pelv lkne<lhip lank<lkne '
        'rsho<neck relb<rsho rwri<relb rhip<pelv rkne<rhip rank<rkne leye<nose lear<leye '
        'reye<nose rear<reye',
        'pelv',
    )


@register_skeleton
def _smpl_24() -> tuple[str, str, str]:
    """Order the SMPL body model's joints (Loper et al., SIGGRAPH Asia 2015)."""
    return 'smpl_24', _SMPL, 'pelv'


@register_skeleton
def _smpl_head_30() -> tuple[str, str, str]:
    """Order SMPL, the head top of MPI-INF-3DHP and the face points of COCO."""
    face = 'htop<head lear<leye leye<nose nose<head rear<reye reye<nose'
    return 'smpl+head_30', f'{_SMPL} {face}', 'pelv'


@register_skeleton
def _mpi_inf_3dhp_17() -> tuple[str, str, str]:
    """Order the evaluation joints of MPI-INF-3DHP (Mehta et al., 3DV 2017)."""
    return (
        'mpi_inf_3dhp_17',
        'htop<head neck<spin rsho<neck relb<rsho rwri<relb lsho<neck lelb<lsho lwri<lelb '
        'rhip<pelv rkne<rhip rank<rkne lhip<pelv lkne<lhip lank<lkne pelv spin<pelv head<neck',
        'pelv',
    )


@register_skeleton
def _mpi_inf_3dhp_28() -> tuple[str, str, str]:
    """Order all joints of MPI-INF-3DHP; its spine3, spine4, spine2, spine start the list."""
    return (
        'mpi_inf_3dhp_28',
        'spi3<spi2 spi4<spi3 spi2<spin spin<pelv pelv neck<spi4 head<neck htop<head lcla<neck '
        'lsho<lcla lelb<lsho lwri<lelb lhan<lwri rcla<neck rsho<rcla relb<rsho rwri<relb '
        'rhan<rwri lhip<pelv lkne<lhip lank<lkne lfoo<lank ltoe<lfoo rhip<pelv rkne<rhip '
        'rank<rkne rfoo<rank rtoe<rfoo',
        'pelv',
    )


@register_skeleton
def _humaneva_15() -> tuple[str, str, str]:
    """Order the 15 joints of HumanEva-I as lifters use them (Pavllo et al., CVPR 2019)."""
    return (
        'humaneva_15',
        'pelv neck<pelv lsho<neck lelb<lsho lwri<lelb rsho<neck relb<rsho rwri<relb lhip<pelv '
        'lkne<lhip lank<lkne rhip<pelv rkne<rhip rank<rkne head<neck',
        'pelv',
    )


@register_skeleton
def _body_39() -> tuple[str, str, str]:
    """Order the joints of the networks trained here: the union of Human3.6M, COCO and SMPL.

    The first 17 are Human3.6M's. Then COCO's face and its own hips, SMPL's own pelvis, spine, neck,
    collar bones, hands and balls of the feet, and last the heels and the tips of the big toes.
    """
    own = (
        'nose<head leye<nose reye<nose lear<leye rear<reye lhip_coco<pelv rhip_coco<pelv '
        'pelv_smpl<pelv spi1<pelv_smpl spi2<spi1 spi3<spi2 neck_smpl<spi3 lcla<spi3 rcla<spi3 '
        'lhan<lwri rhan<rwri ltoe<lank rtoe<rank lheel<lank rheel<rank ltip<ltoe rtip<rtoe'
    )
    return 'body_39', f'{_HUMAN36M} {own}', 'pelv'


@register_skeleton
def _openpose_25() -> tuple[str, str, str]:
    """Order the keypoints of OpenPose's BODY_25; its neck is the middle of the shoulders."""
    text = (
        'nose<neck neck<pelv rsho<neck relb<rsho rwri<relb lsho<neck lelb<lsho lwri<lelb pelv '
        'rhip<pelv rkne<rhip rank<rkne lhip<pelv lkne<lhip lank<lkne reye<nose leye<nose '
        'rear<reye lear<leye ltip<lank lsmall<lank lheel<lank rtip<rank rsmall<rank rheel<rank'
    )
    return 'openpose_25', text, 'pelv'


@register_skeleton
def _mediapipe_33() -> tuple[str, str, str]:
    """Order the landmarks of MediaPipe's pose; no torso joints, so the tree hangs on the nose."""
    text = (
        'nose leyein<nose leye<leyein leyeout<leye reyein<nose reye<reyein reyeout<reye '
        'lear<leyeout rear<reyeout lmouth<nose rmouth<nose lsho<nose rsho<nose lelb<lsho '
        'relb<rsho lwri<lelb rwri<relb lpinky<lwri rpinky<rwri lindex<lwri rindex<rwri '
        'lthumb<lwri rthumb<rwri lhip<lsho rhip<rsho lkne<lhip rkne<rhip lank<lkne rank<rkne '
        'lheel<lank rheel<rank ltip<lheel rtip<rheel'
    )
    return 'mediapipe_33', text, 'nose'


def get_skeleton(name: str) -> Skeleton:
    """Return the skeleton of that name; raises ValueError listing the known ones."""
    return SKELETONS[name]


# Joints of body_39 that another convention calls by a name which means another place there.
_OWN_IN_BODY = {
    'coco': {'lhip': 'lhip_coco', 'rhip': 'rhip_coco'},
    'smpl': {'pelv': 'pelv_smpl', 'neck': 'neck_smpl'},
}


def contained_skeletons(name: str) -> dict[str, list[int]]:
    """Return the skeletons whose joints are all joints of ``name``, as indices into it.

    Human3.6M's comes first; the joints of COCO and SMPL are their own where conventions differ.
    """
    body = get_skeleton(name)
    found = {}
    for other in ('h36m_17', *SKELETONS):
        own = _OWN_IN_BODY.get(_family(other), {}) if name == 'body_39' else {}
        wanted = [own.get(joint, joint) for joint in get_skeleton(other).joint_names]
        if set(wanted) <= set(body.joint_names) and not other.startswith(_FOREIGN_TRUNKS):
            found[other] = [body.index(joint) for joint in wanted]
    return found


# Their trunk joints lie elsewhere than joints of the same name here.
_FOREIGN_TRUNKS = ('mpi_inf_3dhp', 'humaneva')

# A recipe is a weighted sum of source joints. The first whose joints all exist is taken.
_Recipe = tuple[tuple[str, float], ...]

# Joints whose name is used for different places of the spine by different conventions.
_OWN_SPINE = ('spi1', 'spi2', 'spi3', 'spi4', 'spin')

_DERIVED: dict[str, tuple[_Recipe, ...]] = {
    'pelv': ((('lhip', 0.5), ('rhip', 0.5)),),
    'neck': ((('lsho', 0.5), ('rsho', 0.5)),),
    'head': ((('nose', 1.0),),),
    'spin': (
        (('pelv', 0.5), ('neck', 0.5)),
        (('lhip', 0.25), ('rhip', 0.25), ('lsho', 0.25), ('rsho', 0.25)),
    ),
}

# Conventions with COCO's face, shoulders and hips.
_LIKE_COCO = ('coco', 'openpose', 'mediapipe')

# Torso and head from COCO keypoints in the image (y down), the convention that published
# COCO-to-Human3.6M figures rest on. x and y have weights of their own: the head top, for example,
# lies above the middle of the face by as much as the eyes lie above the nose.
_COCO_IN_IMAGE: dict[str, tuple[_Recipe, _Recipe]] = {
    'spin': (
        (
            *(('lsho', 5 / 12), ('rsho', 5 / 12), ('lhip', 1 / 4), ('rhip', 1 / 4)),
            ('nose', -1 / 3),
        ),
        (('lsho', 1 / 4), ('rsho', 1 / 4), ('lhip', 1 / 4), ('rhip', 1 / 4)),
    ),
    'neck': (
        (('nose', 1 / 3), ('lsho', 1 / 3), ('rsho', 1 / 3)),
        (
            *(('nose', 1.0), ('lsho', 1 / 3), ('rsho', 1 / 3)),
            *(('leye', -1 / 3), ('reye', -1 / 3)),
        ),
    ),
    'head': (
        (('nose', 3 / 4), ('lsho', 1 / 8), ('rsho', 1 / 8)),
        (('nose', 3 / 4), ('lsho', 1 / 8), ('rsho', 1 / 8)),
    ),
    'htop': (
        (('leye', 1 / 4), ('reye', 1 / 4), ('lear', 1 / 4), ('rear', 1 / 4)),
        (('leye', 1.0), ('reye', 1.0), ('nose', -1.0)),
    ),
}


def _family(name: str) -> str:
    return name.partition('_')[0].partition('+')[0]


def _recipe(joint: str, source: Skeleton, target: Skeleton) -> _Recipe | None:
    have = set(source.joint_names)
    same_spine = _family(source.name) == _family(target.name)
    if joint in have and (same_spine or joint not in _OWN_SPINE or joint == 'spin'):
        return ((joint, 1.0),)
    if joint == 'spin' and _family(source.name) == 'smpl':
        return (('spi2', 1.0),)  # SMPL's second spine joint lies nearest to Human3.6M's only one
    for recipe in _DERIVED.get(joint, ()):
        if all(name in have for name, _ in recipe):
            return recipe
    return None


_Indexed = tuple[tuple[int, float], ...]


@cache
def _plan(source_name: str, target_name: str, in_image: bool) -> tuple[tuple[_Indexed, ...], ...]:
    """Return for each target joint one recipe per axis (the last one serves all later axes)."""
    source, target = get_skeleton(source_name), get_skeleton(target_name)
    likes = _family(source_name) in _LIKE_COCO
    has_formulae = likes and target_name.startswith(('h36m', 'mpi_'))
    formulae = _COCO_IN_IMAGE if in_image and has_formulae else {}
    plan = []
    for joint in target.joint_names:
        recipes: tuple[_Recipe, ...] = formulae.get(joint, ())
        if not recipes:
            recipe = _recipe(joint, source, target)
            recipes = () if recipe is None else (recipe,)
        plan.append(
            tuple(
                tuple((source.index(name), weight) for name, weight in recipe) for recipe in recipes
            )
        )
    return tuple(plan)


def convert(joints: np.ndarray, source_name: str, target_name: str) -> np.ndarray:
    """Express joints of one skeleton in another.

    joints (..., J, C) in any unit, C = 2 for image points (x right, y down) or 3; NaN = missing.
    Returns (..., J2, C) of the same floating type; NaN where the source does not tell. From COCO,
    OpenPose and MediaPipe to Human3.6M and MPI-INF-3DHP, image points follow the formulae of
    published figures and 3D points the simple geometric ones (no head top). Raises ValueError for
    unknown names and for a number of joints that does not fit the source skeleton.
    """
    joints = np.asarray(joints)
    if not np.issubdtype(joints.dtype, np.floating):
        joints = joints.astype(np.float64)
    source, target = get_skeleton(source_name), get_skeleton(target_name)
    if joints.ndim < 2 or joints.shape[-2] != source.num_joints:
        raise ValueError(
            f'{source_name} has {source.num_joints} joints: expected (..., {source.num_joints}, C)'
            f', got shape {joints.shape}'
        )
    if source_name == target_name:
        return joints.copy()
    channels = joints.shape[-1]
    out = np.full((*joints.shape[:-2], target.num_joints, channels), np.nan, joints.dtype)
    for index, recipes in enumerate(_plan(source_name, target_name, channels == 2)):
        for axis in range(channels if recipes else 0):
            recipe = recipes[min(axis, len(recipes) - 1)]
            if len(recipe) == 1 and recipe[0][1] == 1.0:  # a plain copy stays bit for bit
                out[..., index, axis] = joints[..., recipe[0][0], axis]
            else:
                values = joints[..., [i for i, _ in recipe], axis].astype(np.float64)
                out[..., index, axis] = values @ np.array([weight for _, weight in recipe])
    return out


def convert_ranks(ranks: np.ndarray, source_name: str, target_name: str) -> np.ndarray:
    """Express what is known about joints, not where they are, in another skeleton.

    ranks (..., J) of any type, lower is worse. Returns (..., J2): a joint is known as well as the
    worst joint that its image point is derived from; NaN where the source does not tell (0 in
    types without NaN), or where one of these is NaN. Raises ValueError as ``convert`` does.
    """
    source, target = get_skeleton(source_name), get_skeleton(target_name)
    if ranks.shape[-1:] != (source.num_joints,):
        raise ValueError(
            f'{source_name} has {source.num_joints} joints: expected (..., {source.num_joints}), '
            f'got shape {ranks.shape}'
        )
    if source_name == target_name:
        return ranks.copy()
    unknown = np.nan if np.issubdtype(ranks.dtype, np.floating) else 0
    out = np.full((*ranks.shape[:-1], target.num_joints), unknown, ranks.dtype)
    for index, recipes in enumerate(_plan(source_name, target_name, True)):
        origins = sorted({i for recipe in recipes for i, _ in recipe})
        if origins:
            out[..., index] = ranks[..., origins].min(axis=-1)
    return out

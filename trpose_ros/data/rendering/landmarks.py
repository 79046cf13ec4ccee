"""The joints beyond Human3.6M's 17: where faces, hands, feet and other conventions' joints lie.

Networks here predict the union skeleton ``body_39`` (skeletons.py). Its first 17 joints are read
off the rig (posing.py). The others are points fixed to one bone of the rig: a vertex of the base
mesh (nose, ears, heels, tips of the toes), the middle of an eye, or a place on the line between
two joints of the rig. SMPL's torso joints lie where SMPL's template has them as shares of the way
from hips to head (Loper et al., SIGGRAPH Asia 2015); they agree with real SMPL fits to a few
centimetres. COCO's hips are annotated on the surface: beside, above and in front of the joint.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.skeletons import get_skeleton

NAMES = get_skeleton('body_39').joint_names[17:]

# Vertices of the base mesh hm08, by looking for extremes of the head and the feet.
_VERTICES = {
    'nose': (5054, 'Head'),
    'lear': (12038, 'Head'),
    'rear': (5439, 'Head'),
    'lheel': (12453, 'LeftFoot'),
    'rheel': (5856, 'RightFoot'),
    'ltip': (11551, 'LeftToeBase'),
    'rtip': (4933, 'RightToeBase'),
}
# Between the heads of two bones: (from, to, share of the way, bone that carries it).
_BETWEEN = {
    'pelv_smpl': ('LowerBack', 'Spine', 0.0, 'Hips'),
    'spi1': ('LowerBack', 'Spine', 0.8, 'LowerBack'),
    'spi2': ('Spine', 'Spine1', 0.77, 'Spine'),
    'spi3': ('Spine1', 'Neck', 0.13, 'Spine1'),
    'neck_smpl': ('Neck1', 'Head', 0.1, 'Neck1'),
    'lcla': ('LeftShoulder', 'LeftArm', 0.38, 'LeftShoulder'),
    'rcla': ('RightShoulder', 'RightArm', 0.38, 'RightShoulder'),
    'lhan': ('LeftHand', 'LeftFingerBase', 1.0, 'LeftHand'),
    'rhan': ('RightHand', 'RightFingerBase', 1.0, 'RightHand'),
    'ltoe': ('LeftFoot', 'LeftToeBase', 1.0, 'LeftFoot'),
    'rtoe': ('RightFoot', 'RightToeBase', 1.0, 'RightFoot'),
}
# COCO's hips relative to the hip joints in shares of the distance between the hips: outwards,
# forwards, upwards: an estimate from anatomy, not a fit; photographs teach these joints, too.
_COCO_HIP = (0.05, 0.15, 0.25)


def rest_landmarks(
    vertices: np.ndarray, eyes: np.ndarray, heads: np.ndarray, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the landmarks of a body in the rest pose are, and which bones carry them.

    Args:
        vertices: (V, 3) of the base mesh, in the unit of ``heads``.
        eyes: (E,) numbers of the eyes' vertices.
        heads: (B, 3) heads of the rig's bones.
        names: (B,) of the bones.

    Returns:
        (L, 3) points and (L,) indices of bones, in the order of ``NAMES``.

    """
    at = {name: heads[k] for k, name in enumerate(names)}
    width = np.linalg.norm(at['LeftUpLeg'] - at['RightUpLeg'])
    left = vertices[eyes, 0] > 0
    points = {
        'leye': (vertices[eyes][left].mean(axis=0), 'Head'),
        'reye': (vertices[eyes][~left].mean(axis=0), 'Head'),
    }
    for name, (vertex, bone) in _VERTICES.items():
        points[name] = (vertices[vertex], bone)
    for name, (start, end, share, bone) in _BETWEEN.items():
        points[name] = (at[start] + share * (at[end] - at[start]), bone)
    out, forward, up = (width * share for share in _COCO_HIP)
    for name, hip, side in (('lhip_coco', 'LeftUpLeg', 1.0), ('rhip_coco', 'RightUpLeg', -1.0)):
        points[name] = (at[hip] + np.array([side * out, -forward, up]), 'Hips')
    return (
        np.stack([points[name][0] for name in NAMES]),
        np.array([names.index(points[name][1]) for name in NAMES]),
    )


def posed_landmarks(
    points: np.ndarray,
    bones: np.ndarray,
    rest_heads: np.ndarray,
    heads: np.ndarray,
    rotations: np.ndarray,
) -> np.ndarray:
    """Return landmarks (F, L, 3) carried by posed bones.

    ``points`` (L, 3) and ``bones`` (L,) as rest_landmarks gives them, ``rest_heads`` (B, 3),
    ``heads`` (F, B, 3) and ``rotations`` (F, B, 3, 3) of the posed rig.
    """
    offset = points - rest_heads[bones]
    return heads[:, bones] + np.einsum('flab,lb->fla', rotations[:, bones], offset)

"""A first guess where the whole body of a person is of whom the image shows a part.

A detector boxes what is seen. MeTRAbs wants a crop of the whole body, also of what lies outside the
image: in a crop around a face it would look for a whole person within the face. The joints that
were found tell the scale (the longest of the known bones, since foreshortening only shortens them)
and how far down the body is seen; the rest of an upright body is added below. The tracker
corrects the guess in the next frame.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.skeletons import get_skeleton

_COCO = get_skeleton('coco_17')
_SEEN = 0.3  # score of a joint
_BONES_M = {  # lengths of an adult
    ('lsho', 'rsho'): 0.36,
    ('lsho', 'lhip'): 0.5,
    ('rsho', 'rhip'): 0.5,
    ('lhip', 'lkne'): 0.43,
    ('rhip', 'rkne'): 0.43,
    ('lsho', 'lelb'): 0.28,
    ('rsho', 'relb'): 0.28,
}
_FACE_M = {('lear', 'rear'): 0.155, ('leye', 'reye'): 0.065}
# How much of an upright body lies below joints, metres; half between sitting and standing.
_BELOW_M = ((('lkne', 'rkne'), 0.5), (('lhip', 'rhip'), 0.85), (('lsho', 'rsho'), 1.3))
_BELOW_FACE_M, _ABOVE_FACE_M, _HALF_WIDTH_M = 1.5, 0.25, 0.35
_FACE = [_COCO.index(name) for name in ('nose', 'leye', 'reye', 'lear', 'rear')]


def whole_body_box(box_px: np.ndarray, joints_px: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return a box (4,) x, y, width, height px that holds the visible part and the rest below it.

    Args:
        box_px: (4,) around what is seen.
        joints_px: (17, 2) of coco_17.
        scores: (17,) of the joints.

    The box comes back as it is when an ankle is seen, when nothing tells the scale, and for people
    who are not upright.

    """
    at = {
        name: joints_px[k].astype(np.float64)
        for k, name in enumerate(_COCO.joint_names)
        if scores[k] >= _SEEN and np.isfinite(joints_px[k]).all()
    }
    scale = _px_per_m(at, _BONES_M) or _px_per_m(at, _FACE_M)
    face = [at[_COCO.joint_names[k]] for k in _FACE if _COCO.joint_names[k] in at]
    if not scale or 'lank' in at or 'rank' in at or (not face and not _middle(at, 'sho')):
        return np.asarray(box_px, np.float32)
    head = np.mean(face, axis=0) if face else _middle(at, 'sho')[0] - [0, 0.25 * scale]
    shoulders = _middle(at, 'sho')
    if shoulders and shoulders[0][1] < head[1]:
        return np.asarray(box_px, np.float32)
    bottom = head[1] + _BELOW_FACE_M * scale
    for names, below in _BELOW_M:
        found = [at[name][1] for name in names if name in at]
        if found:
            bottom = max(found) + below * scale
            break
    centre = shoulders[0][0] if shoulders else head[0]
    reach = _HALF_WIDTH_M * scale
    low = np.minimum(box_px[:2], [centre - reach, head[1] - _ABOVE_FACE_M * scale])
    high = np.maximum(np.add(box_px[:2], box_px[2:]), [centre + reach, bottom])
    return np.concatenate([low, high - low]).astype(np.float32)


def _px_per_m(at: dict[str, np.ndarray], bones: dict[tuple[str, str], float]) -> float:
    lengths = [
        float(np.linalg.norm(at[a] - at[b])) / metres
        for (a, b), metres in bones.items()
        if a in at and b in at
    ]
    return max(lengths, default=0.0)


def _middle(at: dict[str, np.ndarray], joint: str) -> list[np.ndarray]:
    """Return [the middle of both sides' joint], or [] when neither is seen."""
    found = [at[side + joint] for side in 'lr' if side + joint in at]
    return [np.mean(found, axis=0)] if found else []

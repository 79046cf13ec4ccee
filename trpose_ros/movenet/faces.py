"""From a face alone to a box that MeTRAbs can use.

A detector boxes what is seen. MeTRAbs has learned from crops around parts of a body, but in a crop
around a face it looks for a whole person within the face. Where a face was found and no shoulders,
the distances of eyes and ears tell the scale, and the box grows to head, shoulders and chest. The
tracker finds the whole body from there.
"""

from __future__ import annotations

import numpy as np

from trpose_ros.skeletons import get_skeleton

_COCO = get_skeleton('coco_17')
_SEEN = 0.3  # score of a joint
_FACE_M = {('lear', 'rear'): 0.155, ('leye', 'reye'): 0.065}  # of an adult
_BELOW_M, _ABOVE_M, _HALF_WIDTH_M = 0.75, 0.25, 0.35  # of the middle of the face
_FACE = ('nose', 'leye', 'reye', 'lear', 'rear')


def upper_body_box(box_px: np.ndarray, joints_px: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the box (4,) x, y, width, height px, larger where only a face was found.

    Args:
        box_px: (4,) around what is seen.
        joints_px: (17, 2) of coco_17.
        scores: (17,) of the joints.

    """
    box = np.asarray(box_px, np.float32)
    at = {
        name: joints_px[k].astype(np.float64)
        for k, name in enumerate(_COCO.joint_names)
        if scores[k] >= _SEEN and np.isfinite(joints_px[k]).all()
    }
    px_per_m = max(
        (
            float(np.linalg.norm(at[a] - at[b])) / metres
            for (a, b), metres in _FACE_M.items()
            if a in at and b in at
        ),
        default=0.0,
    )
    if not px_per_m or 'lsho' in at or 'rsho' in at:
        return box
    face = np.mean([at[name] for name in _FACE if name in at], axis=0)
    low = np.minimum(box[:2], face - px_per_m * np.array([_HALF_WIDTH_M, _ABOVE_M]))
    high = np.maximum(box[:2] + box[2:], face + px_per_m * np.array([_HALF_WIDTH_M, _BELOW_M]))
    return np.concatenate([low, high - low]).astype(np.float32)

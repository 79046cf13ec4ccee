"""Bodies that are where a tracker expects them, partly beyond the image, and their boxes."""

from __future__ import annotations

import numpy as np

from trpose_ros.people import Camera, JointState, People, with_visibility

_LARGEST_BOX = 20.0  # in image sides: a body almost at the lens projects to nonsense


def padded_box(joints_px: np.ndarray, padding: float) -> np.ndarray | None:
    """Return the padded box (4,) around the finite joints (J, 2); None without at least two."""
    joints_px = joints_px[np.isfinite(joints_px).all(axis=-1)]
    if len(joints_px) < 2:
        return None
    low, high = joints_px.min(axis=0), joints_px.max(axis=0)
    size = np.maximum(high - low, 1.0)
    # A thin body (seen from the side, arms down) still needs room across.
    size_padded = np.maximum(size * (1 + 2 * padding), size.max() * 0.25)
    return np.concatenate([(low + high - size_padded) / 2, size_padded])


def in_view(box: np.ndarray, camera: Camera, min_visible: float) -> bool:
    """Say whether enough of a box lies in the image, and whether the box is a sane one."""
    x, y, w, h = box
    if max(w, h) > _LARGEST_BOX * max(camera.width, camera.height):
        return False
    inside_w = min(x + w, camera.width - 0.5) - max(x, -0.5)
    inside_h = min(y + h, camera.height - 0.5) - max(y, -0.5)
    return bool(inside_w > 0 and inside_h > 0 and inside_w * inside_h >= min_visible * w * h)


def unseen_person(
    people: People, joints_m: np.ndarray, joints_px: np.ndarray, padding: float
) -> People:
    """Return one person of the frame of ``people``, joints (J, C) where they should be, unseen."""
    box = padded_box(joints_px, padding)
    row = People.build(
        stamp_ns=people.stamp_ns,
        frame_id=people.frame_id,
        skeleton=people.skeleton,
        width=people.width,
        height=people.height,
        joints_px=joints_px[None],
        joints_m=joints_m[None],
        boxes_px=np.full((1, 4), np.nan) if box is None else box[None],
    )
    unobserved = np.full((1, len(joints_px)), int(JointState.UNOBSERVED), np.uint8)
    return with_visibility(row).replace(joint_states=unobserved)

"""From a face that is seen to a box for head, shoulders and chest."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.movenet.faces import upper_body_box
from trpose_ros.skeletons import get_skeleton

COCO = get_skeleton('coco_17')
FACE = ('nose', 'leye', 'reye', 'lear', 'rear')


def head(width_px: float = 31.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return box, joints and scores of a face, its ears so far apart."""
    joints, scores = np.full((17, 2), np.nan), np.zeros(17)
    for name, x in zip(FACE, (0, 0.2, -0.2, 0.5, -0.5), strict=True):
        joints[COCO.index(name)] = 200 + x * width_px, 100
        scores[COCO.index(name)] = 0.8
    return np.array([180.0, 80, 40, 40]), joints, scores


def test_a_face_grows_to_the_chest():
    x, y, width, height = upper_body_box(*head())  # 200 px per metre
    assert (x, y) == (130, 50)
    assert (width, height) == (140, 200)


def test_somebody_whose_shoulders_are_seen_stays():
    box, joints, scores = head()
    joints[COCO.index('lsho')], scores[COCO.index('lsho')] = (260, 200), 0.5
    assert np.array_equal(upper_body_box(box, joints, scores), box.astype(np.float32))


def test_nothing_tells_the_scale_of_a_nose():
    box, joints, scores = head()
    scores[1:] = 0
    assert np.array_equal(upper_body_box(box, joints, scores), box.astype(np.float32))
    broken = np.full_like(joints, np.nan)
    assert np.array_equal(upper_body_box(box, broken, np.ones(17)), box.astype(np.float32))


@given(st.integers(0, 2**31))
def test_the_visible_part_is_always_inside(seed):
    rng = np.random.default_rng(seed)
    box = rng.uniform([0, 0, 5, 5], [100, 100, 200, 200])
    joints = rng.uniform(0, 300, (17, 2))
    x, y, w, h = upper_body_box(box, joints, rng.uniform(0, 0.6, 17))
    assert np.isfinite([x, y, w, h]).all()
    assert x <= box[0] + 1e-3
    assert y <= box[1] + 1e-3
    assert x + w >= box[0] + box[2] - 1e-2
    assert y + h >= box[1] + box[3] - 1e-2

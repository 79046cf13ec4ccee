"""From the part of a person that is seen to a box for all of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.movenet.whole_body import whole_body_box
from trpose_ros.skeletons import get_skeleton

COCO = get_skeleton('coco_17')
SCALE = 100.0  # px per metre
STANDING_M = {  # x to the right, y down, the left side to the right of the image
    'nose': (0, 0.15), 'leye': (0.032, 0.12), 'reye': (-0.032, 0.12), 'lear': (0.078, 0.14),
    'rear': (-0.078, 0.14), 'lsho': (0.18, 0.4), 'rsho': (-0.18, 0.4), 'lelb': (0.22, 0.68),
    'relb': (-0.22, 0.68), 'lwri': (0.22, 0.92), 'rwri': (-0.22, 0.92), 'lhip': (0.1, 0.9),
    'rhip': (-0.1, 0.9), 'lkne': (0.1, 1.33), 'rkne': (-0.1, 1.33), 'lank': (0.1, 1.75),
    'rank': (-0.1, 1.75),
}  # fmt: skip
JOINTS = 50 + SCALE * np.array([STANDING_M[name] for name in COCO.joint_names])


def seen_above(y_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the box and the scores of somebody of whom what lies above y_m is seen."""
    seen = np.array([STANDING_M[name][1] < y_m for name in COCO.joint_names])
    box = np.array([50 - 30, 50, 60, SCALE * y_m])
    return box, np.where(seen, 0.8, 0.1)


@pytest.mark.parametrize('cut_m', [0.35, 0.6, 1.0, 1.5])
def test_the_box_of_somebody_cut_off_reaches_about_to_the_feet(cut_m):
    box, scores = seen_above(cut_m)
    x, y, width, height = whole_body_box(box, JOINTS, scores)
    assert 0.85 * 185 < height < 1.25 * 185
    assert y <= 50
    assert x <= 20
    assert x + width >= 80


def test_a_whole_person_stays():
    box, scores = seen_above(9.0)
    assert np.array_equal(whole_body_box(box, JOINTS, scores), box.astype(np.float32))


def test_nobody_knows_the_scale_of_a_single_joint():
    box, scores = seen_above(0.0)
    scores[0] = 0.9
    assert np.array_equal(whole_body_box(box, JOINTS, scores), box.astype(np.float32))
    broken = np.full_like(JOINTS, np.nan)
    assert np.array_equal(whole_body_box(box, broken, np.ones(17)), box.astype(np.float32))


def test_somebody_upside_down_stays():
    box, scores = seen_above(1.0)
    turned = JOINTS * [1, -1]
    assert np.array_equal(whole_body_box(box, turned, scores), box.astype(np.float32))


@given(st.integers(0, 2**31))
def test_the_visible_part_is_always_inside(seed):
    rng = np.random.default_rng(seed)
    box = rng.uniform([0, 0, 5, 5], [100, 100, 200, 200])
    joints = rng.uniform(0, 300, (17, 2))
    x, y, w, h = whole_body_box(box, joints, rng.uniform(0, 1, 17))
    assert np.isfinite([x, y, w, h]).all()
    assert x <= box[0] + 1e-3
    assert y <= box[1] + 1e-3
    assert x + w >= box[0] + box[2] - 1e-2
    assert y + h >= box[1] + box[3] - 1e-2

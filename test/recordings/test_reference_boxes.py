"""Reference boxes of a recording's truth, whose people may come in several skeletons."""

from __future__ import annotations

import numpy as np

from trpose_ros.people import People
from trpose_ros.recordings.sources import reference_boxes_by_stamp


def people(stamp_ns, skeleton, joints, count=1):
    return People.build(
        stamp_ns=stamp_ns,
        frame_id='camera',
        skeleton=skeleton,
        width=640,
        height=480,
        joints_px=np.tile(np.arange(joints * 2.0).reshape(joints, 2), (count, 1, 1)),
        joints_m=np.ones((count, joints, 3)),
    )


def test_another_skeleton_in_between_has_no_box_and_stops_nothing():
    truth = {
        3: people(3, 'h36m_17', 17),
        1: people(1, 'h36m_17', 17, count=0),
        2: people(2, 'h36m_17', 17),
        5: people(5, 'smpl_24', 24),
    }
    boxes = reference_boxes_by_stamp(truth)
    assert sorted(boxes) == [2, 3]
    assert all(box.shape == (4,) and np.isfinite(box).all() for box in boxes.values())
    assert reference_boxes_by_stamp({}) == {}

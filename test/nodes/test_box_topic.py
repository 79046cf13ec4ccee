"""Boxes from a topic: matched to images by stamp, from our messages and from other detectors'."""

import types

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, FakeEstimator, blank
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import project
from trpose_ros.estimators.boxes import BoxesByStamp, StampedBoxes
from trpose_ros.pipeline.pipeline import (
    PipelineConfig,
    PoseStage,
    PoseStageConfig,
    build_pose_stage,
)
from trpose_ros.pipeline.tracking import Tracker

ROW = [250.0, 100.0, 140.0, 300.0, 0.9]
START_NS = 10**12


def stamped(stamp_ns, rows=(ROW,), size=(0, 0)):
    return StampedBoxes(stamp_ns, np.array(rows, np.float32).reshape(-1, 5), size)


def test_a_frame_gets_the_boxes_of_its_own_stamp_once():
    source = BoxesByStamp(0.5)
    for k in range(3):
        source.add(stamped(START_NS + k * STEP_NS, [[k, 0, 10, 10, 1]]))
    frame = blank(START_NS + STEP_NS)
    assert source.boxes(frame)[0, 0] == 1
    assert source.answer_ns == frame.stamp_ns
    assert source.boxes(frame)[0, 0] == 2  # the one after is near enough, too, and unused
    assert source.boxes(frame).shape == (0, 5)  # the first is older than one that was used
    assert source.counts == {'received': 3, 'used': 2, 'too_old': 0}


@given(
    ages_ms=st.lists(st.integers(-2000, 2000), max_size=20),
    limit_ms=st.integers(0, 1000),
)
def test_boxes_are_the_nearest_and_never_older_than_allowed(ages_ms, limit_ms):
    source = BoxesByStamp(limit_ms / 1000)
    for number, age in enumerate(ages_ms):
        source.add(stamped(START_NS - age * 10**6, [[number, 0, 10, 10, 1]]))
    found = source.boxes(blank(START_NS))
    allowed = [abs(age) for age in ages_ms if abs(age) <= limit_ms]
    assert len(found) == bool(allowed)
    if allowed:
        assert abs(ages_ms[int(found[0, 0])]) == min(allowed)
    assert source.counts['too_old'] == sum(age > limit_ms for age in ages_ms)
    assert len(source.boxes(blank(START_NS + 10 * 10**9))) == 0


def test_boxes_of_a_smaller_image_are_scaled_and_broken_ones_left_out():
    source = BoxesByStamp()
    source.add(stamped(START_NS, [ROW, [np.nan, 0, 1, 1, 1]], size=(320, 240)))
    np.testing.assert_allclose(source.boxes(blank(START_NS)), [[500, 200, 280, 600, 0.9]])


def stage_with(source, estimator, **config):
    return PoseStage(
        estimator=estimator,
        box_source=source,
        tracker=Tracker(),
        config=PoseStageConfig(boxes='topic', **config),
    )


def box_at(root_m):
    x, y = project(np.asarray(root_m, float)[None], CAMERA)[0]
    return [x - 60, y - 130, 120, 260, 0.9]


def test_a_detector_slower_than_the_camera_finds_a_walker_once():
    """It answers every 10th frame, 9 frames late; the walker has left the box by then."""
    estimator, source = FakeEstimator(), BoxesByStamp(0.5)
    stage = stage_with(source, estimator)
    roots = [np.array([-2.5 + 0.1 * k, 0.2, 5.0]) for k in range(50)]
    ids = []
    for k, root in enumerate(roots):
        estimator.roots_m = root[None]
        if k % 10 == 9:
            source.add(stamped(START_NS + (k - 9) * STEP_NS, [box_at(roots[k - 9])]))
        people = stage.process(blank(START_NS + k * STEP_NS))
        ids.append(people.track_ids.tolist())
    assert ids[:9] == [[]] * 9
    assert ids[9:] == [[0]] * 41  # the tracker's boxes go on between
    assert all(len(boxes) == 1 for boxes in estimator.calls[9:])  # and no stale box was estimated
    assert source.counts['used'] == 5


def test_somebody_who_comes_later_is_found_at_once_however_seldom_a_search_is_due():
    roots = np.array([[-1.0, 0.2, 5.0], [1.0, 0.2, 5.0]])
    estimator, source = FakeEstimator(roots), BoxesByStamp(0.5)
    stage = stage_with(source, estimator, detect_every_s=3600.0)
    numbers = []
    for k in range(6):
        seen = roots if k >= 3 else roots[:1]
        source.add(stamped(START_NS + k * STEP_NS, [box_at(root) for root in seen]))
        numbers.append(len(stage.process(blank(START_NS + k * STEP_NS))))
    assert numbers == [1, 1, 1, 2, 2, 2]


def test_elsewhere_than_in_the_node_topic_boxes_are_refused():
    with pytest.raises(ValueError, match=r"boxes 'topic'.*pose_node"):
        build_pose_stage(PipelineConfig(pose=PoseStageConfig(boxes='topic')))


# -- messages ---------------------------------------------------------------------------------


def detection(x, y, w, h, *hypotheses, theta=0.0):
    """What vision_msgs/Detection2D (since Humble) looks like to Python."""
    plain = types.SimpleNamespace
    return plain(
        results=[plain(hypothesis=plain(class_id=kind, score=score)) for kind, score in hypotheses],
        bbox=plain(
            center=plain(position=plain(x=float(x), y=float(y)), theta=theta),
            size_x=float(w),
            size_y=float(h),
        ),
    )


def detections(*rows, stamp_ns=START_NS):
    header = types.SimpleNamespace(
        stamp=types.SimpleNamespace(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9),
        frame_id='optical',
    )
    return types.SimpleNamespace(header=header, detections=list(rows))


@pytest.fixture
def topic():
    pytest.importorskip('rclpy', reason='needs ROS 2: source install/env.sh')
    from trpose_ros.nodes import box_topic

    return box_topic


def test_detections_of_people_become_boxes(topic):
    message = detections(
        detection(100, 200, 40, 80, ('person', 0.8)),
        detection(300, 200, 40, 80, ('car', 0.9)),
        detection(50, 60, 10, 20, ('car', 0.7), ('person', 0.4)),
        detection(50, 60, 10, 20),  # a detector of one kind names none
    )
    found, others = topic.boxes_from_detections(message, {'person'})
    assert found.stamp_ns == START_NS
    assert others == {'car'}
    np.testing.assert_allclose(
        found.rows,
        [[80, 160, 40, 80, 0.8], [45, 50, 10, 20, 0.4], [45, 50, 10, 20, np.nan]],
        rtol=1e-6,
    )
    everything, others = topic.boxes_from_detections(message, ())
    assert len(everything.rows) == 4
    assert others == set()
    assert topic.boxes_from_detections(detections(), {'person'})[0].rows.shape == (0, 5)


@given(theta=st.floats(-7, 7), w=st.floats(1, 300), h=st.floats(1, 300), x=st.floats(-100, 700))
def test_a_turned_box_becomes_the_upright_one_around_it(theta, w, h, x):
    box_topic = pytest.importorskip('trpose_ros.nodes.box_topic', exc_type=ImportError)
    message = detections(detection(x, 50, w, h, ('person', 1.0), theta=theta))
    box = box_topic.boxes_from_detections(message, {'person'})[0].rows[0]
    corners = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    corners = corners @ turn.T + [x, 50]
    np.testing.assert_allclose(box[:2], corners.min(axis=0), atol=1e-3)
    np.testing.assert_allclose(box[:2] + box[2:4], corners.max(axis=0), atol=1e-3)


def test_a_missing_message_package_is_named_with_its_remedy(topic, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'vision_msgs.msg', None)
    with pytest.raises(ValueError, match=r'vision_msgs.*apt install.*PersonArray'):
        topic.message_type('Detection2DArray')

"""Tracking by formula: predicted bodies, boxes, life times and orders, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from test_tracking import BODY, CAMERA, MS, people

from trpose_ros.cameras import crop_camera, distort_points, project, undistort_points
from trpose_ros.people import Camera, JointState, RootSource, TrackState
from trpose_ros.pipeline import track, tracking
from trpose_ros.pipeline.tracking import Tracker, TrackerConfig

S = 1_000_000_000
LENS = Camera(640, 480, CAMERA.matrix, [-0.25, 0.07, 0.001, -0.002, 0.0])


def predicted(tracker, stamp_ms, camera=CAMERA):
    """Let nobody be seen; return the only person that is predicted."""
    out = tracker.update(people(stamp_ms=stamp_ms, camera=camera), camera)
    assert out.track_states.tolist() == [TrackState.SEARCHING]
    return out


def place_of(out):
    return out.joints_m[0].astype(float).mean(axis=0) - BODY.mean(axis=0)


def test_a_predicted_body_moves_with_its_speed_and_comes_to_rest():
    tracker = Tracker(TrackerConfig(velocity_s=0.3, coast_s=0.5))
    velocity, x = 0.0, 0.0
    for step, moved in enumerate((0.0, 0.1, 0.04, -0.02)):
        x += moved
        tracker.update(people((x, 0, 4), stamp_ms=100 * step), CAMERA)
        if step:
            velocity += (1 - np.exp(-0.1 / 0.3)) * (moved / 0.1 - velocity)
    for stamp_ms in (350, 500, 900):
        reach = 0.5 * (1 - np.exp(-(stamp_ms - 300) / 500))
        out = predicted(tracker, stamp_ms)
        expected = BODY + np.array([x + velocity * reach, 0, 4])
        np.testing.assert_allclose(out.joints_m[0], expected, atol=1e-6)
        np.testing.assert_allclose(out.joints_px[0], project(expected, CAMERA), atol=1e-3)
        assert out.stamp_ns == stamp_ms * MS


def test_a_speed_is_limited_and_keeps_its_direction():
    config = TrackerConfig(gate_m=100, gate_2d=100, max_speed_m_s=2.0, velocity_s=0.2, coast_s=0.4)
    tracker = Tracker(config)
    tracker.update(people((0, 0, 4)), CAMERA)
    tracker.update(people((0.6, 0, 4.8), stamp_ms=100), CAMERA)  # 10 m/s
    velocity = 2.0 * np.array([0.6, 0, 0.8]) * (1 - np.exp(-0.1 / 0.2))
    out = predicted(tracker, 300)
    expected = np.array([0.6, 0, 4.8]) + velocity * 0.4 * (1 - np.exp(-0.2 / 0.4))
    np.testing.assert_allclose(place_of(out), expected, atol=1e-6)


def test_a_repeated_stamp_tells_no_speed():
    tracker = Tracker()
    tracker.update(people((0, 0, 4)), CAMERA)
    tracker.update(people((0.3, 0, 4)), CAMERA)
    np.testing.assert_allclose(place_of(predicted(tracker, 100)), (0.3, 0, 4), atol=1e-6)


def test_joints_that_are_not_seen_move_along_with_the_others():
    tracker = Tracker()
    tracker.update(people((0, 0, 4)), CAMERA)
    now = people((0.2, 0, 4), stamp_ms=100)
    joints_m, joints_px = now.joints_m.copy(), now.joints_px.copy()
    joints_m[0, 3], joints_px[0, 3] = np.nan, np.nan
    tracker.update(now.replace(joints_m=joints_m, joints_px=joints_px), CAMERA)
    out = predicted(tracker, 100)
    np.testing.assert_allclose(out.joints_m[0, 3], BODY[3] + (0.2, 0, 4), atol=1e-6)


def flat(now):
    """Take the 3D away."""
    return now.replace(joints_m=np.full_like(now.joints_m, np.nan))


def test_a_box_is_the_padded_body():
    tracker = Tracker(TrackerConfig(padding=0.2))
    tracker.update(people((0, 0, 4)), CAMERA)
    ids, ((x, y, w, h),) = tracker.predict_boxes(CAMERA, 33 * MS)
    px = project(BODY + np.array((0, 0, 4)), CAMERA)
    low, size = px.min(axis=0), np.ptp(px, axis=0)
    assert ids.tolist() == [0]
    np.testing.assert_allclose((x, y, w, h), (*(low - 0.2 * size), *(1.4 * size)), rtol=1e-5)


def test_a_box_grows_smaller_no_faster_than_people_run():
    config = TrackerConfig(gate_m=100, gate_2d=100, padding=0.0, max_speed_m_s=4.0)
    tracker, near, far = Tracker(config), np.array((0, 0, 3.0)), np.array((0, 0, 6.0))
    tracker.update(people(near), CAMERA)
    tracker.update(people(far, stamp_ms=100), CAMERA)
    _, ((_, _, _, height),) = tracker.predict_boxes(CAMERA, 100 * MS)
    body = BODY + far
    centre = body.mean(axis=0)
    before = np.linalg.norm(BODY.mean(axis=0) + near)
    away = np.linalg.norm(centre)
    nearer = body + centre * ((before + 4.0 * 0.1) / away - 1)
    np.testing.assert_allclose(height, np.ptp(project(nearer, CAMERA)[:, 1]), rtol=1e-5)


@pytest.mark.parametrize('new', [crop_camera(CAMERA, 60, 40, 500, 400, 0.5), CAMERA, LENS])
def test_joints_without_3d_stay_in_the_direction_where_they_were_seen(new):
    tracker = Tracker()
    tracker.update(flat(people((0.3, 0, 4))), CAMERA)
    out = predicted(tracker, 40, new)
    expected = project(BODY + np.array((0.3, 0, 4)), new)
    np.testing.assert_allclose(out.joints_px[0], expected, atol=2e-3)
    assert np.isnan(out.joints_m).all()
    assert np.isfinite(tracker.predict_boxes(new, 80 * MS)[1]).all()


@pytest.mark.parametrize('lens', [LENS, Camera(640, 480, CAMERA.matrix, [0.05] * 4, 'fisheye')])
def test_a_cropped_lens_is_the_same_lens(lens, monkeypatch):
    cropped = crop_camera(lens, 31, 17, 400, 300, (0.5, 1.5))
    px = np.random.default_rng(0).uniform((50, 50), (400, 300), (30, 2))
    expected = distort_points(undistort_points(px, lens), cropped)
    monkeypatch.setattr(track, 'undistort_points', None)  # slow, and not needed
    np.testing.assert_allclose(track.through(px, lens, cropped), expected, atol=1e-6)
    assert track.through(px, lens, lens) is px


@pytest.mark.parametrize(('later_ns', 'state'), [(0, 'TRACKED'), (-1, 'NEW')])
def test_a_track_is_confirmed_when_it_is_old_enough(later_ns, state):
    tracker = Tracker(TrackerConfig(confirm_s=0.1))
    tracker.update(people((0, 0, 3)), CAMERA)
    out = tracker.update(people((0, 0, 3)).replace(stamp_ns=100 * MS + later_ns), CAMERA)
    assert TrackState(out.track_states[0]).name == state


@pytest.mark.parametrize(('later_ns', 'lost'), [(0, False), (1, True)])
@pytest.mark.parametrize('old', [False, True])
def test_a_track_ends_after_its_time(old, later_ns, lost):
    tracker = Tracker(TrackerConfig(lost_s=0.7, lost_new_s=0.4))
    for stamp_ms in range(0, 201 if old else 1, 20):
        tracker.update(people((0, 0, 3), stamp_ms=stamp_ms), CAMERA)
    last = stamp_ms * MS
    for step in range(1, 15):  # the stream goes on: its period stays short
        tracker.update(people().replace(stamp_ns=last + 20 * step * MS), CAMERA)
    at = last + (700 if old else 400) * MS + later_ns
    out = tracker.update(people().replace(stamp_ns=at), CAMERA)
    state = TrackState.LOST if lost else TrackState.SEARCHING
    assert out.track_states.tolist() == [state]
    assert len(tracker) == (0 if lost else 1)


@pytest.mark.parametrize(('later_ns', 'offered'), [(0, 1), (1, 0)])
def test_a_box_is_offered_for_its_time(later_ns, offered):
    tracker = Tracker(TrackerConfig(search_s=0.3))
    for stamp_ms in range(0, 201, 20):
        tracker.update(people((0, 0, 3), stamp_ms=stamp_ms), CAMERA)
    for stamp_ms in range(220, 481, 20):
        tracker.update(people(stamp_ms=stamp_ms), CAMERA)
    ids, boxes = tracker.predict_boxes(CAMERA, 500 * MS + later_ns)
    assert len(ids) == len(boxes) == offered
    assert ids.dtype == np.int32
    assert boxes.shape == (offered, 4)


def test_boxes_of_the_last_stamp_itself_are_offered():
    tracker = Tracker()
    tracker.update(people((0, 0, 3), stamp_ms=50), CAMERA)
    assert len(tracker.predict_boxes(CAMERA, 50 * MS)[0]) == 1
    assert len(tracker.predict_boxes(CAMERA, 50 * MS - 1)[0]) == 0


def orders(now):
    """Return the ids that a new tracker gives."""
    return Tracker(TrackerConfig(duplicate_2d=0.0)).update(now, CAMERA).track_ids.tolist()


def test_ids_go_from_left_to_right_then_down_then_away_then_by_score():
    assert orders(people((0.5, 0, 4), (-0.5, 0, 4), (0, 0, 4))) == [2, 0, 1]
    assert orders(people((0, 0.5, 4), (0, -0.5, 4))) == [1, 0]
    one = people((0, 0, 4), (0, 0, 4), (0, 0, 4), scores=np.array([0.2, 0.9, np.nan]))
    assert orders(one) == [1, 0, 2]
    depths = one.joints_m + np.array([0.3, 0.6, 0.0], np.float32)[:, None, None]
    assert orders(one.replace(joints_m=depths)) == [1, 2, 0]


@pytest.mark.parametrize(
    ('better', 'worse'),
    [
        ({'scores': 0.9}, {'scores': 0.8}),
        ({'scores': 0.1}, {'scores': np.nan}),
        (
            {'scores': 0.89, 'shift': 0},
            {'scores': 0.87, 'shift': 400},
        ),  # cut off: a percent at most
        ({'scores': 0.9, 'shift': 0}, {'scores': 0.9, 'shift': 400}),
        ({'reprojection_errors_px': 1.0}, {'reprojection_errors_px': 9.0}),
        ({'reprojection_errors_px': 50.0, 'scores': 0.52}, {'scores': 0.5}),
        ({'reprojection_errors_px': 9e9, 'scores': 0.502}, {'scores': 0.5}),  # 100 px at most
    ],
)
@pytest.mark.parametrize('order', [(0, 1), (1, 0)])
def test_the_better_of_two_estimates_of_one_person_stays(better, worse, order):
    camera = CAMERA

    def row(changes):
        changes = dict(changes)
        shift = changes.pop('shift', 0)
        now = people((0, 0, 3), **{k: np.array([v]) for k, v in changes.items()})
        px = now.joints_px.copy()
        px[0, :3, 1] += shift  # three joints below the image
        return now.replace(joints_px=px)

    rows = [row(better), row(worse)]
    quality = [tracking._quality(r)[0] for r in rows]
    assert quality[0] > quality[1]
    both = tracking.concatenate(rows[order[0]], rows[order[1]])
    out = Tracker(TrackerConfig(duplicate_2d=1.0)).update(both, camera)
    assert len(out) == 1
    np.testing.assert_array_equal(out.joints_px[0], rows[0].joints_px[0])
    np.testing.assert_array_equal(out.scores, rows[0].scores)


@pytest.mark.parametrize(('name', 'limit'), [('joints_m', 1e4), ('joints_px', 1e6)])
def test_astronomic_coordinates_are_none(name, limit):
    now = people((0, 0, 3))
    values = getattr(now, name).copy()
    values[0, :4, 0] = limit, -limit, 1.001 * limit, -1.001 * limit
    values[0, 4] = np.inf
    out = getattr(Tracker().update(now.replace(**{name: values}), CAMERA), name)
    assert np.isfinite(out[0, :2]).all()
    assert np.isnan(out[0, 2:4, 0]).all()
    assert np.isnan(out[0, 4]).all()
    np.testing.assert_array_equal(out[0, 5:], values[0, 5:])


def test_a_predicted_row_says_whose_it_is():
    tracker = Tracker()
    sources = np.array([RootSource.FIT, RootSource.ESTIMATOR])
    tracker.update(people((-0.5, 0, 3), (0.5, 0, 3), root_sources=sources), CAMERA)
    out = tracker.update(people((-0.5, 0, 3), stamp_ms=40, frame_id='camera'), CAMERA)
    assert out.track_ids.tolist() == [0, 1]
    assert out.root_sources[1] == RootSource.ESTIMATOR
    assert (out.width, out.height, out.frame_id, out.skeleton) == (640, 480, 'camera', 'h36m_17')
    assert (out.joint_states[1] == JointState.UNOBSERVED).all()
    px = project(BODY + np.array((0.5, 0, 3)), CAMERA)
    low, size = px.min(axis=0), np.ptp(px, axis=0)
    np.testing.assert_allclose(out.boxes_px[1], (*(low - 0.15 * size), *(1.3 * size)), rtol=1e-4)


def test_skeletons_without_two_joints_in_the_image_have_no_box():
    tracker = Tracker()
    now = flat(people((0, 0, 3)))
    px = np.full_like(now.joints_px, np.nan)
    px[0, 5] = 300, 200
    tracker.update(now.replace(joints_px=px), CAMERA)
    out = predicted(tracker, 40)
    assert np.isnan(out.boxes_px).all()
    assert len(tracker.predict_boxes(CAMERA, 60 * MS)[0]) == 0


def test_a_skeleton_that_changes_reports_nobody_as_lost_in_it():
    tracker = Tracker()
    tracker.update(people((0, 0, 3)), CAMERA)
    tracker.reset()
    assert len(tracker) == 0
    out = tracker.update(people((0, 0, 3), stamp_ms=0), CAMERA)  # a stamp as before: no jump
    assert out.track_states.tolist() == [TrackState.NEW]
    assert S == 1000 * MS

"""Tracking: ids last, boxes hold the whole body, nothing bad crashes it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.cameras import camera_from_fov, crop_camera, project, unproject
from trpose_ros.people import JointState, People, TrackState, concatenate
from trpose_ros.pipeline.association import assign, duplicates, pose_distance_2d, pose_distance_m
from trpose_ros.pipeline.tracking import Tracker, TrackerConfig
from trpose_ros.skeletons import get_skeleton

CAMERA = camera_from_fov(640, 480)
MS = 1_000_000

# A standing person, pelvis at the origin, y down: h36m_17.
BODY = np.array(
    [
        *[(0, 0, 0), (-0.13, 0, 0), (-0.13, 0.45, 0), (-0.13, 0.88, 0)],
        *[(0.13, 0, 0), (0.13, 0.45, 0), (0.13, 0.88, 0)],
        *[(0, -0.23, 0), (0, -0.48, 0), (0, -0.58, -0.08), (0, -0.7, 0)],
        *[(0.16, -0.45, 0), (0.3, -0.2, 0), (0.3, 0.05, 0)],
        *[(-0.16, -0.45, 0), (-0.3, -0.2, 0), (-0.3, 0.05, 0)],
    ]
)


def people(*places, stamp_ms=0, camera=CAMERA, skeleton='h36m_17', frame_id='camera', **changes):
    """Make people standing at the places (x, y, z) in m."""
    joints_m = np.array([BODY + np.array(place) for place in places]).reshape(-1, 17, 3)
    joints = get_skeleton(skeleton).num_joints
    joints_m = joints_m[:, :joints]
    return People.build(
        stamp_ns=stamp_ms * MS,
        frame_id=frame_id,
        skeleton=skeleton,
        width=camera.width,
        height=camera.height,
        joints_px=project(joints_m, camera),
        joints_m=joints_m,
        **changes,
    )


def test_nobody():
    tracker = Tracker()
    ids, boxes = tracker.predict_boxes(CAMERA, 0)
    assert ids.shape == (0,)
    assert boxes.shape == (0, 4)
    out = tracker.update(people(), CAMERA)
    assert len(out) == 0
    assert len(tracker) == 0


def test_life_of_a_track():
    config = TrackerConfig(confirm_s=0.05, lost_s=0.5, search_s=0.3)
    tracker = Tracker(config)
    states = []
    for step in range(20):
        seen = step < 5
        now = people(*([(0, 0, 3)] if seen else []), stamp_ms=step * 100)
        offered = len(tracker.predict_boxes(CAMERA, now.stamp_ns)[0])
        out = tracker.update(now, CAMERA)
        assert len(out) <= 1
        assert len(out) == 0 or out.track_ids[0] == 0
        states.append((TrackState(out.track_states[0]) if len(out) else None, offered))
    new, tracked, searching, lost = (TrackState(value) for value in (1, 2, 3, 4))
    assert states[:5] == [(new, 0), *[(tracked, 1)] * 4]
    assert states[5:8] == [(searching, 1)] * 3  # searched for 0.3 s
    assert states[8:10] == [(searching, 0)] * 2  # still predicted
    assert states[10:] == [(lost, 0), *[(None, 0)] * 9]  # reported once


def test_a_new_track_that_is_never_confirmed_goes_quickly():
    tracker = Tracker(TrackerConfig(confirm_s=0.1, lost_new_s=0.2, lost_s=2.0))
    tracker.update(people((0, 0, 3)), CAMERA)
    states = [
        tracker.update(people(stamp_ms=t), CAMERA).track_states.tolist() for t in (100, 250, 400)
    ]
    assert states == [[TrackState.SEARCHING], [TrackState.LOST], []]


def test_a_predicted_person_is_marked_as_such():
    tracker = Tracker()
    tracker.update(people((0, 0, 3)), CAMERA)
    out = tracker.update(people(stamp_ms=40), CAMERA)
    assert (out.joint_states == JointState.UNOBSERVED).all()
    np.testing.assert_allclose(out.joints_m[0], BODY + np.array((0, 0, 3)), atol=1e-5)
    np.testing.assert_allclose(
        out.joints_px[0], project(BODY + np.array((0, 0, 3)), CAMERA), atol=1e-3
    )
    assert out.visible_fractions[0] == 1.0
    assert np.isnan(out.scores).all()


def test_id_survives_a_short_loss_while_walking():
    tracker = Tracker()
    ids = []
    for step in range(40):
        visible = not 15 <= step < 22  # 0.28 s
        places = [(-1.5 + 0.05 * step, 0, 4)] if visible else []  # 1.25 m/s
        out = tracker.update(people(*places, stamp_ms=40 * step), CAMERA)
        ids += out.track_ids.tolist()
    assert set(ids) == {0}


def test_two_people_crossing_keep_their_ids():
    tracker = Tracker()
    for step in range(60):
        x = -1.5 + 0.05 * step
        out = tracker.update(people((x, 0, 3), (-x, 0, 4.5), stamp_ms=40 * step), CAMERA)
        assert out.track_ids.tolist() == [0, 1]


def test_box_holds_the_whole_body_although_only_the_upper_part_is_seen():
    tracker = Tracker()
    tracker.update(people((0, 0, 3)), CAMERA)
    full = tracker.predict_boxes(CAMERA, 40 * MS)[1][0]
    for step in range(1, 50):  # the person comes nearer; all joints below the hips vanish
        now = people((0, 0, 3 - 0.02 * step), stamp_ms=40 * step)
        joints_m, joints_px = now.joints_m.copy(), now.joints_px.copy()
        joints_m[:, 1:7], joints_px[:, 1:7] = np.nan, np.nan
        out = tracker.update(now.replace(joints_m=joints_m, joints_px=joints_px), CAMERA)
        assert out.track_ids.tolist() == [0]
        box = tracker.predict_boxes(CAMERA, (40 * step + 1) * MS)[1][0]
        feet = project(BODY[3] + np.array((0, 0, 3 - 0.02 * step)), CAMERA)
        assert box[1] + box[3] > feet[1]
    assert box[3] > full[3]


def test_box_of_a_body_reaching_out_of_the_image():
    tracker = Tracker()
    tracker.update(people((0, 0.3, 1.2)), CAMERA)
    _, boxes = tracker.predict_boxes(CAMERA, 40 * MS)
    truth = project(BODY + np.array((0, 0.3, 1.2)), CAMERA)
    assert boxes[0, 1] + boxes[0, 3] > truth[:, 1].max() > CAMERA.height
    assert boxes[0, 1] < truth[:, 1].min()


def squeezed(share, stamp_ms):
    """Return a person at 3 m whom the estimator takes for one of ``share`` of the size."""
    now = people((0, 0, 3), stamp_ms=stamp_ms)
    top = now.joints_px[:, 10:11]
    joints_px = (now.joints_px - top) * share + top
    joints_m = unproject(joints_px, BODY[:, 2] + 3 / share, CAMERA)
    return now.replace(joints_px=joints_px, joints_m=joints_m.astype(np.float32))


def test_box_does_not_collapse_with_an_estimate_that_shrinks_all_at_once():
    tracker = Tracker()
    for step in range(5):
        tracker.update(people((0, 0, 3), stamp_ms=33 * step), CAMERA)
    full = tracker.predict_boxes(CAMERA, 165 * MS)[1][0]
    out = tracker.update(squeezed(0.6, 165), CAMERA)  # as if it had leapt from 3 m to 5 m
    assert out.track_ids.tolist() == [0]
    assert tracker.predict_boxes(CAMERA, 198 * MS)[1][0, 3] > 0.93 * full[3]
    tracker.update(people((0, 0, 3), stamp_ms=198), CAMERA)
    again = tracker.predict_boxes(CAMERA, 231 * MS)[1][0]
    assert again[3] == pytest.approx(full[3], rel=0.03)
    for step in range(7, 40):  # what lasts is believed
        tracker.update(squeezed(0.6, 33 * step), CAMERA)
    assert tracker.predict_boxes(CAMERA, 1320 * MS)[1][0, 3] == pytest.approx(
        0.6 * full[3], rel=0.05
    )


@pytest.mark.parametrize('speed', [-2.0, 2.0])
def test_box_follows_somebody_who_runs_along_the_optical_axis(speed):
    tracker = Tracker()
    for step in range(40):
        place = (0, 0, 5 + speed * 0.033 * step)
        _, boxes = tracker.predict_boxes(CAMERA, 33 * step * MS)
        if step > 10:
            truth = np.ptp(project(BODY + np.array(place), CAMERA)[:, 1])
            assert boxes[0, 3] == pytest.approx(1.3 * truth, rel=0.04)  # padded by 15 %
        tracker.update(people(place, stamp_ms=33 * step), CAMERA)


def test_people_crossing_while_the_farther_one_is_hidden_keep_their_ids():
    tracker, seen = Tracker(), {}
    for step in range(80):
        x = -1.6 + 0.04 * step
        places = [(x, 0, 3)] + ([(-x, 0, 4)] if abs(x) > 0.3 else [])
        out = tracker.update(people(*places, stamp_ms=33 * step), CAMERA)
        for place in range(len(places)):
            near = np.linalg.norm(out.joints_m[:, 0] - np.array(places[place]), axis=1)
            if out.track_states[near.argmin()] != TrackState.SEARCHING:
                seen.setdefault(place, set()).add(int(out.track_ids[near.argmin()]))
    assert sorted(map(sorted, seen.values())) == [[0], [1]]


def test_after_nobody_for_a_while_there_is_a_new_person():
    tracker = Tracker()
    for step in range(10):
        tracker.update(people((0, 0, 3), stamp_ms=40 * step), CAMERA)
    lost = []
    for step in range(10, 200):
        out = tracker.update(people(stamp_ms=40 * step), CAMERA)
        lost += [step for state in out.track_states if state == TrackState.LOST]
    assert len(lost) == 1
    assert len(tracker) == 0
    out = tracker.update(people((0, 0, 3), stamp_ms=8000), CAMERA)
    assert out.track_ids.tolist() == [1]
    assert out.track_states.tolist() == [TrackState.NEW]


def test_nobody_is_searched_outside_the_view():
    tracker = Tracker()
    for step in range(6):
        tracker.update(people((0.6 * step, 0, 3), stamp_ms=40 * step), CAMERA)
    out = tracker.update(people((8, 0, 3), stamp_ms=240), CAMERA)
    outside = out.track_ids[out.joints_m[:, 0, 0] > 7]
    assert len(outside) == 1
    ids, _ = tracker.predict_boxes(CAMERA, 280 * MS)
    assert outside[0] not in ids


def test_repeated_estimates_of_one_person_are_merged_and_the_better_one_stays():
    tracker = Tracker()
    twice = people((0, 0, 3), (0.02, 0, 3.1), (1, 0, 3), scores=np.array([0.5, 0.9, 0.7]))
    out = tracker.update(twice, CAMERA)
    assert len(out) == 2
    np.testing.assert_allclose(out.scores, [0.9, 0.7])


def test_two_people_behind_each_other_are_not_merged():
    assert len(Tracker().update(people((0, 0, 3), (0.1, 0, 5)), CAMERA)) == 2


def test_stamp_that_jumps_back_ends_all_tracks():
    tracker = Tracker()
    tracker.update(people((0, 0, 3), stamp_ms=1000), CAMERA)
    assert len(tracker.predict_boxes(CAMERA, 0)[0]) == 0
    out = tracker.update(people((0, 0, 3), stamp_ms=0), CAMERA)
    assert out.track_ids.tolist() == [1, 0]
    assert out.track_states.tolist() == [TrackState.NEW, TrackState.LOST]
    assert tracker.update(people((0, 0, 3), stamp_ms=40), CAMERA).track_ids.tolist() == [1]


def test_repeated_and_zero_stamps():
    tracker = Tracker()
    for _ in range(3):
        out = tracker.update(people((0, 0, 3), stamp_ms=0), CAMERA)
        assert out.track_ids.tolist() == [0]
        assert np.isfinite(tracker.predict_boxes(CAMERA, 0)[1]).all()


def test_nan_people_are_untracked_and_nan_joints_do_no_harm():
    tracker = Tracker()
    now = people((0, 0, 3), (1, 0, 3))
    joints_m, joints_px = now.joints_m.copy(), now.joints_px.copy()
    joints_m[0], joints_px[0] = np.nan, np.nan
    joints_m[1, ::2] = np.nan
    out = tracker.update(now.replace(joints_m=joints_m, joints_px=joints_px), CAMERA)
    assert out.track_ids.tolist() == [-1, 0]
    assert out.track_states.tolist() == [TrackState.UNTRACKED, TrackState.NEW]


def test_people_without_3d_are_tracked_in_the_image():
    tracker = Tracker()
    for step in range(10):
        now = people((0.02 * step, 0, 3), (1.5, 0, 3), stamp_ms=40 * step)
        out = tracker.update(now.replace(joints_m=np.full_like(now.joints_m, np.nan)), CAMERA)
        assert out.track_ids.tolist() == [0, 1]
    _, boxes = tracker.predict_boxes(CAMERA, 400 * MS)
    assert np.isfinite(boxes).all()


def test_camera_change_keeps_the_ids():
    tracker = Tracker()
    tracker.update(people((0, 0, 3), (0.8, 0, 3)), CAMERA)
    other = crop_camera(CAMERA, 100, 50, 500, 400, 0.5)
    now = people((0, 0, 3), (0.8, 0, 3), stamp_ms=40, camera=other)
    out = tracker.update(now, other)
    assert out.track_ids.tolist() == [0, 1]
    without = now.replace(joints_m=np.full_like(now.joints_m, np.nan), stamp_ns=80 * MS)
    assert tracker.update(without, other).track_ids.tolist() == [0, 1]


def test_another_frame_or_skeleton_starts_anew():
    tracker = Tracker()
    tracker.update(people((0, 0, 3)), CAMERA)
    out = tracker.update(people((0, 0, 3), stamp_ms=40, frame_id='other'), CAMERA)
    assert out.track_ids.tolist() == [1, 0]
    assert out.track_states[1] == TrackState.LOST
    assert np.isnan(out.joints_m[1]).all()
    more = People.build(
        stamp_ns=80 * MS,
        frame_id='other',
        skeleton='coco_19',
        width=640,
        height=480,
        joints_px=np.full((1, 19, 2), 100.0),
    )
    assert tracker.update(more, CAMERA).track_ids.tolist() == [2]


def test_reset_forgets_but_never_reuses_ids():
    tracker = Tracker()
    tracker.update(people((0, 0, 3)), CAMERA)
    tracker.reset()
    assert tracker.update(people((0, 0, 3)), CAMERA).track_ids.tolist() == [1]


@given(
    st.lists(
        st.tuples(st.floats(-2, 2), st.floats(-0.5, 0.5), st.floats(1.5, 8)), min_size=1, max_size=5
    ),
    st.randoms(use_true_random=False),
)
def test_permuting_people_permutes_the_ids(places, random):
    order = list(range(len(places)))
    straight, shuffled = Tracker(), Tracker()
    for step in range(3):
        random.shuffle(order)
        now = people(*places, stamp_ms=40 * step)
        first = straight.update(now, CAMERA)
        second = shuffled.update(now.select(order), CAMERA)
        by_id = {int(i): j for i, j in zip(first.track_ids, first.joints_m, strict=True)}
        assert sorted(by_id) == sorted(second.track_ids.tolist())
        for i, joints_m in zip(second.track_ids, second.joints_m, strict=True):
            np.testing.assert_array_equal(joints_m, by_id[int(i)])


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_nonsense_never_raises(seed):
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    for _ in range(6):
        n = int(rng.integers(0, 4))
        now = people(*rng.uniform(-3, 3, (n, 3)), stamp_ms=int(rng.integers(0, 2000)))
        joints_m, joints_px = now.joints_m.copy(), now.joints_px.copy()
        joints_m[rng.random(joints_m.shape) < 0.3] = rng.choice([np.nan, np.inf, 0.0, 1e20])
        joints_px[rng.random(joints_px.shape) < 0.3] = rng.choice([np.nan, np.inf, -1e20, 0.0])
        out = tracker.update(now.replace(joints_m=joints_m, joints_px=joints_px), CAMERA)
        live = out.track_ids[out.track_ids >= 0]
        assert len(set(live.tolist())) == len(live)
        ids, boxes = tracker.predict_boxes(CAMERA, int(rng.integers(0, 2000)) * MS)
        assert len(ids) == len(boxes)
        assert np.isfinite(boxes).all()


def test_distances_by_hand():
    a, b = np.tile((0.0, 0, 2), (1, 2, 1)), np.tile((0.3, 0, 3), (1, 2, 1))
    np.testing.assert_allclose(pose_distance_m(a, b, 0.4), [[0.5]])  # 0.3 across, 0.4 * 1 along
    c = np.array([[[0.0, 0], [30, 40]]])
    np.testing.assert_allclose(pose_distance_2d(c, c + np.array((5, 0))), [[0.1]])
    assert np.isnan(pose_distance_2d(c, np.full_like(c, np.nan))).all()


def test_assignment_minimises_the_total_and_respects_gates():
    distance = np.array([[0.1, 0.2], [0.15, 0.9]])
    unknown, ones = np.full((2, 2), np.nan), np.ones(2)
    assert assign(distance, unknown, ones, ones, np.zeros(2)) == [(0, 1), (1, 0)]
    assert assign(distance, unknown, 0.12 * ones, ones, np.zeros(2)) == [(0, 0)]
    assert assign(unknown, unknown, ones, ones, np.zeros(2)) == []
    assert assign(np.zeros((0, 2)), np.zeros((0, 2)), ones[:0], ones[:0], ones[:0]) == []


def test_duplicates_of_nobody():
    assert duplicates(np.zeros((0, 3, 3)), np.zeros((0, 3, 2)), np.zeros(0), 0.1, 0.2).size == 0


def test_config_names_the_bad_value():
    with pytest.raises(ValueError, match='lost_s'):
        TrackerConfig(lost_s=-1.0)


def test_concatenated_rows_fit_people():
    out = Tracker().update(concatenate(people((0, 0, 3)), people((2, 0, 3))), CAMERA)
    assert out.track_ids.tolist() == [0, 1]


def walk(tracker, hz, seconds=8.0, seen=lambda step: True, jitter=0.0):
    """Let one person walk past at 1.2 m/s; return each frame's ids, states and offered boxes."""
    rng, results = np.random.default_rng(0), []
    for step in range(round(seconds * hz) + 1):
        at_s = (step + jitter * rng.uniform(-0.5, 0.5)) / hz
        places = [(1.2 * (at_s % 4) - 2.4, 0, 4)] if seen(step) else []
        now = people(*places, stamp_ms=round(1000 * at_s + 100))
        offered = tracker.predict_boxes(CAMERA, now.stamp_ns)[0].tolist()
        out = tracker.update(now, CAMERA)
        results.append((out.track_ids.tolist(), out.track_states.tolist(), offered))
    return results


@pytest.mark.parametrize('hz', [0.6, 1, 2, 3, 4])
def test_slow_streams_keep_one_id(hz):
    results = walk(Tracker(), hz, 3.9 if hz < 1 else 3.0, jitter=0.3)
    assert len(results) >= 3
    assert [ids for ids, _, _ in results] == [[0]] * len(results)
    assert [states for _, states, _ in results][1:] == [[TrackState.TRACKED]] * (len(results) - 1)
    assert [offered for _, _, offered in results][1:] == [[0]] * (len(results) - 1)


def test_a_slow_stream_still_loses_who_leaves():
    tracker = Tracker()
    states = [states for _, states, _ in walk(tracker, 1, seen=lambda step: step < 3)]
    assert states[3:6] == [[TrackState.SEARCHING], [TrackState.LOST], []]


@pytest.mark.parametrize('hz', [15, 40])
def test_life_times_of_usual_streams_do_not_depend_on_their_rate(hz, monkeypatch):
    gaps = {1, *range(5, 5 + hz // 2), *range(hz, round(2.7 * hz))}
    results = walk(Tracker(), hz, 2.8, seen=lambda step: step not in gaps, jitter=0.2)
    monkeypatch.setattr('trpose_ros.pipeline.tracking._PERIODS', 0.0)
    assert results == walk(Tracker(), hz, 2.8, seen=lambda step: step not in gaps, jitter=0.2)
    assert {TrackState.NEW, TrackState.LOST} <= {s for _, states, _ in results for s in states}


def test_one_pause_of_a_fast_stream_ends_a_track():
    tracker = Tracker()
    for stamp_ms in (0, 33, 66, 99):
        tracker.update(people((0, 0, 3), stamp_ms=stamp_ms), CAMERA)
    assert tracker.predict_boxes(CAMERA, 1700 * MS)[0].tolist() == []
    assert tracker.update(people((0, 0, 3), stamp_ms=1700), CAMERA).track_ids.tolist() == [1, 0]


def test_frames_many_seconds_apart_are_no_stream():
    tracker = Tracker()
    ids = [
        tracker.update(people((0, 0, 3), stamp_ms=60_000 * i), CAMERA).track_ids[0]
        for i in range(3)
    ]
    assert ids == [0, 1, 2]

"""Streams over their life: tracks that come and go, gaps, missing joints, bad input."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import LIFTERS, STEP_NS, clip, make, run, whole_windows

from trpose_ros.lifters.networks.mhformer import MHFormer, MHFormerConfig
from trpose_ros.lifters.networks.mixste import MixSTE, MixSTEConfig
from trpose_ros.lifters.networks.pstmo import PSTMO, PSTMOConfig
from trpose_ros.lifters.networks.videopose3d import VideoPose3D, VideoPose3DConfig
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.lifters.streams.missing import JointFiller
from trpose_ros.lifters.streams.videopose3d import VideoPose3DCore
from trpose_ros.lifters.streams.windows import mhformer_core, mixste_core, pstmo_core
from trpose_ros.people import JointState


@pytest.mark.parametrize('name', LIFTERS)
def test_many_tracks_are_one_batch_and_do_not_touch_each_other(name):
    joints = clip(12, seed=6, people=5)
    ids = np.array([7, 3, 100_000, 0, 12])
    together = run(make(name), joints, ids)
    for row in range(5):
        alone = run(make(name), joints[row : row + 1])[0]
        np.testing.assert_allclose(together[row], alone, atol=1e-9)


@pytest.mark.parametrize('name', LIFTERS)
def test_tracks_that_come_and_go_free_their_state(name):
    stream = make(name, 0, max_gap_s=0.05)
    joints = clip(1, seed=7, people=3)[:, 0]
    most = 0
    for t in range(60):
        stream.push(t * STEP_NS, np.arange(3) + 3 * (t // 3), joints)
        most = max(most, stream._capacity)
    assert most <= 16
    assert len(stream) <= 9
    stream.flush()
    assert len(stream) == 0
    assert stream._capacity == 0
    assert len(stream.core._time) == 0


def test_ten_thousand_tracks_leave_nothing_behind():
    stream = make('videopose3d', 0, max_gap_s=0.05)
    joints = clip(1, seed=7, people=50)[:, 0]
    for t in range(200):
        stream.push(t * 10 * STEP_NS, np.arange(50) + 50 * t, joints)
        assert len(stream) <= 50
        assert stream._capacity <= 128
    assert stream.flush() == []  # look-ahead 0 keeps nobody waiting
    assert len(stream) == 0


@pytest.mark.parametrize(
    ('core', 'megabytes'),
    [
        (lambda: VideoPose3DCore(VideoPose3D(VideoPose3DConfig())), 1.0),
        (lambda: pstmo_core(PSTMO(PSTMOConfig()).eval()), 1.0),
        (lambda: mhformer_core(MHFormer(MHFormerConfig(351, 16, 16, 2)).eval()), 0.05),
        (lambda: mixste_core(MixSTE(MixSTEConfig(depth=2)).eval()), 33.9),
    ],
    ids=['videopose3d', 'pstmo', 'mhformer', 'mixste'],
)
def test_a_person_needs_the_documented_memory(core, megabytes):
    """Published sizes; what is kept does not depend on the channels and layers left out here."""
    core = core()
    core.reserve(1)
    core.start(torch.tensor([0]), torch.zeros(1, 17, 2))
    held = sum(ring.numel() * ring.element_size() for ring in core._rings)
    assert held / 1e6 == pytest.approx(megabytes, rel=0.1)
    core.reserve(0)
    assert sum(ring.numel() for ring in core._rings) == 0


@pytest.mark.parametrize('name', LIFTERS)
def test_a_gap_restarts_and_time_going_backward_restarts_all(name):
    stream = make(name)
    joints = clip(20, seed=8)
    whole = run(make(name), joints[:, 8:])[0]
    results = []
    for t in range(8):
        results += stream.push(t * STEP_NS, [4], joints[:, t])
    late = 10**9
    for t in range(8, 20):
        results += stream.push(late + t * STEP_NS, [4], joints[:, t])
    results += stream.flush()
    assert len(results) == 20  # what waited before the gap is not lost
    after = np.array([r.joints_m for r in results if r.stamp_ns >= late])
    np.testing.assert_allclose(after, whole, atol=1e-9)
    again = []
    for t in range(5):
        again += stream.push(t * STEP_NS + 10**12, [4], joints[:, t])
    for t in range(8, 20):
        again += stream.push(t * STEP_NS, [4], joints[:, t])
    again = [r for r in again + stream.flush() if r.stamp_ns < 10**12]
    np.testing.assert_allclose(np.array([r.joints_m for r in again]), whole, atol=1e-9)


@pytest.mark.parametrize('name', LIFTERS)
def test_a_repeated_stamp_is_ignored(name):
    joints = clip(11, seed=9)
    want = run(make(name), joints)[0]
    stream = make(name)
    results = []
    for t in range(11):
        results += stream.push(t * STEP_NS, [0], joints[:, t])
        assert stream.push(t * STEP_NS, [0], joints[:, t] + 1) == []
    got = np.array([r.joints_m for r in results + stream.flush()])
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize('name', LIFTERS)
def test_missing_joints_are_filled_and_states_can_withdraw_them(name):
    joints = clip(12, seed=10)
    joints[0, 3:6, 10] = np.nan
    joints[0, :, 16] = np.inf  # missing from beginning to end
    states = np.zeros((12, 1, 17), int)
    states[5, 0, 2] = JointState.UNOBSERVED
    known = joints.copy()
    known[~np.isfinite(known)] = np.nan
    known[0, 5, 2] = np.nan
    want = whole_windows(name, JointFiller().fill_clips(known)[0], make(name).look_ahead)
    stream = make(name)
    results = []
    for t in range(12):
        results += stream.push(t * STEP_NS, [0], joints[:, t], states[t])
    got = np.array([r.joints_m for r in results + stream.flush()])
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize('name', LIFTERS)
def test_nobody_and_people_without_a_joint(name):
    stream = make(name, flip=True)
    empty = np.zeros((0, 17, 2))
    for t in range(5):
        assert stream.push(t, [], empty) == []
    assert stream.push(10, [1], np.full((1, 17, 2), np.nan)) == []
    assert len(stream) == 0
    assert stream.flush() == []
    results = stream.push(20, [1], clip(1)[:, 0])
    assert len(results + stream.flush()) == 1


@settings(max_examples=25)
@given(
    name=st.sampled_from(sorted(LIFTERS)),
    presence=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=20),
    flip=st.booleans(),
)
def test_each_observation_gets_one_result_whatever_happens(name, presence, flip):
    stream = make(name, flip=flip, max_gap_s=0.07)
    joints = clip(len(presence), seed=12, people=3)
    expected, results = set(), []
    for t, row in enumerate(presence):
        ids = np.flatnonzero(row)
        results += stream.push(t * STEP_NS, ids, joints[ids, t])
        expected |= {(int(i), t * STEP_NS) for i in ids}
    results += stream.flush()
    assert {(r.track_id, r.stamp_ns) for r in results} == expected
    assert len(results) == len(expected)
    assert all(np.isfinite(r.joints_m).all() and not r.joints_m[0].any() for r in results)
    assert len(stream) == 0


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: make('mixste', 9), r'look_ahead must be 0..8 for this 9-frame MixSTE, got 9'),
        (lambda: make('pstmo', 5), r'look_ahead must be 0..4 .* got 5'),
        (lambda: make('videopose3d_causal', 1), r'look_ahead must be 0..0 .*causal.* got 1'),
        (lambda: make('mixste', 4, hop=6), r'hop must be 1..5 .* got 6'),
        (lambda: make('pstmo', hop=2), r'hop must be 1..1 .* got 2'),
        (lambda: LifterConfig(look_ahead=-1), 'look_ahead'),
        (lambda: make('mixste').push(0, [1], np.zeros((2, 17, 2))), r'\(1, 17, 2\)'),
        (lambda: make('mixste').push(0, [1, 1], np.zeros((2, 17, 2))), r'distinct, got \[1, 1\]'),
    ],
)
def test_bad_settings_and_input_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ('hz', 'words'),
    [(50, []), (15, ['15.0 Hz']), (3, ['3.0 Hz']), (1, ['1.0 Hz', 'max_gap_s'])],
)
def test_frames_at_another_rate_are_warned_of_once_even_where_every_one_starts_a_window(
    hz, words, caplog
):
    stream = make('videopose3d', 0)  # trained at 50 Hz
    joints = clip(6)
    for t in range(6):
        stream.push(round(t * 1e9 / hz), np.array([t if hz < 2 else 0]), joints[:, t])
    assert len(caplog.records) == bool(words)
    for word in [*words, 'trained at 50.0 Hz'] if words else []:
        assert word in caplog.text
    assert ('max_gap_s' in caplog.text) == (hz == 1)

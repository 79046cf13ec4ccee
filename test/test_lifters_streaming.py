"""All four streams: the same numbers as whole windows over a clip, whatever the people do."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from trpose_ros import processor
from trpose_ros.lifters import create_lifter
from trpose_ros.lifters import offline
from trpose_ros.lifters.base import LifterConfig
from trpose_ros.lifters.mhformer import MHFormer
from trpose_ros.lifters.mhformer import MHFormerConfig
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.lifters.mixste import MixSTE
from trpose_ros.lifters.mixste import MixSTEConfig
from trpose_ros.lifters.parity import filled_state_dict
from trpose_ros.lifters.pstmo import PSTMO
from trpose_ros.lifters.pstmo import PSTMOConfig
from trpose_ros.lifters.registry import LIFTERS as REGISTERED
from trpose_ros.lifters.registry import LoadedWeights
from trpose_ros.lifters.registry import pick_dtype
from trpose_ros.lifters.streaming import LifterStream
from trpose_ros.lifters.videopose3d import VideoPose3D
from trpose_ros.lifters.videopose3d import VideoPose3DConfig
from trpose_ros.lifters.videopose3d_stream import VideoPose3DCore
from trpose_ros.lifters.window_stream import mhformer_core
from trpose_ros.lifters.window_stream import mixste_core
from trpose_ros.lifters.window_stream import pstmo_core
from trpose_ros.people import JointState

RATE_HZ = 50.0
STEP_NS = 20_000_000
LIFTERS = {
    'videopose3d': (VideoPose3D(VideoPose3DConfig((3, 3), 32)), VideoPose3DCore),
    'videopose3d_353': (VideoPose3D(VideoPose3DConfig((3, 5), 16)), VideoPose3DCore),
    'videopose3d_causal': (VideoPose3D(VideoPose3DConfig((3, 3), 32, True)), VideoPose3DCore),
    'mhformer': (MHFormer(MHFormerConfig(9, 32, 64, 2)), mhformer_core),
    'mixste': (MixSTE(MixSTEConfig(9, 32, 2)), mixste_core),
    'pstmo': (PSTMO(PSTMOConfig(9, 32, 64, 2)), pstmo_core),
}
for _model, _ in LIFTERS.values():
    _shapes = {key: tuple(value.shape) for key, value in _model.state_dict().items()}
    _model.load_state_dict(
        {key: torch.from_numpy(value) for key, value in filled_state_dict(_shapes).items()}
    )
    _model.eval().requires_grad_(False).double()

WINDOW = {name: 15 if name == 'videopose3d_353' else 9 for name in LIFTERS}
MOST = {'mhformer': 8, 'mixste': 8, 'pstmo': 4, 'videopose3d_causal': 0, 'videopose3d_353': 7}
ALL = [(name, ahead) for name in LIFTERS for ahead in range(MOST.get(name, 4) + 1)]


def make(name, look_ahead=None, *, hop=1, flip=False, step=1, rate_hz=RATE_HZ, **options):
    model, core = LIFTERS[name]
    more = {'frame_step': step} if name == 'pstmo' else {}
    config = LifterConfig(
        name=name.split('_')[0], model='test', hop=hop, flip=flip, dtype='float64', **options
    )
    return LifterStream(
        core(model, look_ahead, **more),
        config,
        rate_hz=rate_hz,
        weights_id='test',
        dtype=torch.float64,
    )


def whole_windows(name, joints, look_ahead, *, flip=False, step=1):
    """Lift a clip (T, 17, 2) window by window."""
    model = LIFTERS[name][0]
    size = WINDOW[name]
    target, output, forward = size // 2, 0, model
    if name in ('mhformer', 'mixste'):
        target = output = size - 1 - look_ahead
    elif name == 'videopose3d_causal':
        target = size - 1
    indices = offline.window_indices(len(joints), size, target, look_ahead, step)
    return offline.lift_windows(forward, torch.from_numpy(joints), indices, output, flip).numpy()


def clip(frames, seed=0, people=1):
    rng = np.random.default_rng(seed)
    walk = rng.normal(0, 0.03, (people, frames, 17, 2)).cumsum(axis=1)
    return walk + rng.uniform(-0.5, 0.5, (people, 1, 17, 2))


def run(stream, joints, ids=None, start_ns=1_000, step_ns=STEP_NS):
    """Push (N, T, 17, 2) and flush; return (N, T, 17, 3), NaN where nothing came."""
    ids = np.arange(len(joints)) if ids is None else ids
    lifted = np.full((*joints.shape[:3], 3), np.nan)
    results = []
    for t in range(joints.shape[1]):
        results += stream.push(start_ns + t * step_ns, ids, joints[:, t])
    results += stream.flush()
    assert len({(r.track_id, r.stamp_ns) for r in results}) == len(results)
    for result in results:
        row, frame = list(ids).index(result.track_id), (result.stamp_ns - start_ns) // step_ns
        lifted[row, frame] = result.joints_m
    return lifted


@pytest.mark.parametrize(('name', 'ahead'), ALL)
def test_streaming_is_offline_for_every_look_ahead(name, ahead):
    joints = clip(23)
    got = run(make(name, ahead), joints)
    want = whole_windows(name, joints[0], ahead)
    np.testing.assert_allclose(got[0], want, atol=1e-9)
    assert np.abs(want[:, 1:]).max() > 0.1
    assert np.abs(np.diff(want[:, 1:], axis=0)).max() > 1e-3


@pytest.mark.parametrize('name', LIFTERS)
@pytest.mark.parametrize('frames', [1, 2, 5])
def test_clips_shorter_than_the_window(name, frames):
    joints = clip(frames, seed=1)
    stream = make(name)
    np.testing.assert_allclose(
        run(stream, joints)[0], whole_windows(name, joints[0], stream.look_ahead), atol=1e-9
    )


@pytest.mark.parametrize('name', LIFTERS)
def test_flip_averaging_in_the_same_batch(name):
    joints = clip(14, seed=2)
    stream = make(name, flip=True)
    calls = []
    step = stream.core.step
    stream.core.step = lambda slots, frames, count: (
        calls.append(len(slots)),
        step(slots, frames, count),
    )[1]
    got = run(stream, joints)[0]
    want = whole_windows(name, joints[0], stream.look_ahead, flip=True)
    np.testing.assert_allclose(got, want, atol=1e-9)
    assert set(calls) == {2}
    plain = whole_windows(name, joints[0], stream.look_ahead)
    assert np.abs(want - plain).max() > 1e-3


@pytest.mark.parametrize('ahead', [0, 3, 8])
def test_frame_steps_of_pstmo(ahead):
    joints = clip(30, seed=3)
    stream = make('pstmo', ahead, step=2)
    assert stream.window == 17
    np.testing.assert_allclose(
        run(stream, joints)[0], whole_windows('pstmo', joints[0], ahead, step=2), atol=1e-9
    )


@pytest.mark.parametrize('name', ['mixste', 'mhformer'])
@pytest.mark.parametrize(('hop', 'ahead'), [(2, 0), (4, 0), (4, 3), (5, 2), (8, 1)])
def test_hops_read_several_outputs_of_one_window(name, hop, ahead):
    frames, size = 21, 9
    joints = clip(frames, seed=4)
    stream = make(name, ahead, hop=hop)
    runs = []
    lift = stream.core._lift
    stream.core._lift = lambda *features: (runs.append(features[-1]), lift(*features))[1]
    got = run(stream, joints)[0]
    assert len(runs) == -(-frames // hop)
    padded = torch.from_numpy(np.concatenate([joints[0], *[joints[0, -1:]] * ahead]))
    want = np.zeros((frames, 17, 3))
    for first in range(0, frames, hop):
        last = min(first + hop, frames) - 1
        index = np.clip(np.arange(size) + last + ahead - size + 1, 0, None)
        poses = LIFTERS[name][0](padded[None, index])[0]
        for frame in range(first, last + 1):
            want[frame] = poses[size - 1 - ahead - (last - frame)]
    want[:, 0] = 0
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize('frames', [4, 9, 18, 25])
@pytest.mark.parametrize('flip', [False, True])
def test_a_hop_as_long_as_the_window_is_the_published_evaluation_of_mixste(frames, flip):
    joints = clip(frames, seed=5)
    got = run(make('mixste', 0, hop=9, flip=flip), joints)[0]
    want = offline.lift_chunks(LIFTERS['mixste'][0], torch.from_numpy(joints[0]), 9, flip)
    np.testing.assert_allclose(got, want.numpy(), atol=1e-9)


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


@pytest.mark.parametrize('name', LIFTERS)
@pytest.mark.parametrize('period_ns', [2 * STEP_NS, 33_333_333])
def test_other_rates_are_resampled_by_stamps(name, period_ns, caplog):
    """Joints that move evenly look the same at any rate."""
    rng = np.random.default_rng(11)
    start, speed = rng.uniform(-0.5, 0.5, (17, 2)), rng.normal(0, 0.4, (17, 2))
    stream = make(name, 2 if MOST.get(name, 4) else 0)
    results, frames = [], 40
    with caplog.at_level(logging.WARNING):
        for t in range(frames):
            stamp = t * period_ns
            results += stream.push(stamp, [0], (start + speed * stamp * 1e-9)[None])
        results += stream.flush()
    assert [r.stamp_ns for r in results] == [t * period_ns for t in range(frames)]
    assert sum('was trained at 50.0 Hz' in r.message for r in caplog.records) == 1
    # At the training rate the same motion, sampled where the camera looked.
    fine = np.arange(0, (frames - 1) * period_ns + 1, STEP_NS)
    even = start + speed * fine[:, None, None] * 1e-9
    want = run(make(name, stream.look_ahead), even[None])[0]
    when = np.array([r.stamp_ns for r in results])[2:-8]
    got = np.array([r.joints_m for r in results])[2:-8]
    at = np.clip(when / STEP_NS, 0, len(fine) - 1)
    low = np.floor(at).astype(int)
    share = (at - low)[:, None, None]
    mixed = (1 - share) * want[low] + share * want[np.minimum(low + 1, len(fine) - 1)]
    settled = slice(10, None)  # the clock has to learn the rate first
    np.testing.assert_allclose(got[settled], mixed[settled], atol=1e-6)
    assert np.ptp(mixed[settled], axis=0).max() > 0.2


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


@pytest.mark.parametrize('name', LIFTERS)
def test_results_wait_no_longer_than_declared(name):
    for ahead in {0, MOST.get(name, 4)}:
        stream = make(name, ahead)
        assert stream.delay_s == pytest.approx(ahead / RATE_HZ)
        joints = clip(20, seed=13)
        for t in range(20):
            stamps = [r.stamp_ns for r in stream.push(t * STEP_NS, [0], joints[:, t])]
            assert stamps == ([(t - ahead) * STEP_NS] if t >= ahead else [])


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


def test_float32_and_half_precision_are_close():
    joints = clip(12, seed=14)
    for name, (model, _) in LIFTERS.items():
        want = run(make(name, 0), joints)[0]
        largest = np.abs(want).max()
        errors = {}
        for dtype in ('float32', 'bfloat16'):
            config = LifterConfig(name=name.split('_')[0], look_ahead=0, dtype=dtype, flip=False)
            loaded = LoadedWeights(
                {key: value.float() for key, value in model.state_dict().items()},
                dataclasses.asdict(model.config),
                'test',
            )
            stream = LifterStream(
                REGISTERED[config.name](loaded, config),
                config,
                rate_hz=RATE_HZ,
                weights_id='test',
                dtype=pick_dtype(config),
            )
            got = run(stream, joints)[0]
            assert got.dtype == np.float64
            errors[dtype] = np.abs(got - want).mean() / largest
        assert errors['float32'] < 1e-6
        assert errors['float32'] < errors['bfloat16'] < 0.01  # halved, and yet close


def test_half_precision_moves_the_shipped_lifter_by_less_than_a_millimetre(monkeypatch):
    monkeypatch.setattr(processor, 'cpu_has_bfloat16', lambda: True)  # emulated if need be
    rng = np.random.default_rng(15)
    body = rng.uniform(-0.25, 0.25, (1, 17, 2))
    sway = 0.02 * np.sin(np.arange(60)[None, :, None, None] / 7 + rng.uniform(0, 6, (1, 1, 17, 2)))
    lifted = {}
    for dtype in ('float32', 'bfloat16'):
        stream = create_lifter(LifterConfig(look_ahead=4, dtype=dtype))
        lifted[dtype] = run(stream, body[:, None] + sway, step_ns=round(1e9 / stream.rate_hz))
    apart = np.linalg.norm(lifted['float32'] - lifted['bfloat16'], axis=3)
    assert 0 < apart.mean() < 0.001


@pytest.mark.parametrize('native', [True, False])
def test_bfloat16_without_instructions_for_it_becomes_float32_and_says_so(
    monkeypatch, caplog, native
):
    monkeypatch.setattr(processor, 'cpu_has_bfloat16', lambda: native)
    with caplog.at_level(logging.WARNING):
        stream = create_lifter(LifterConfig(dtype='bfloat16', device='cpu'))
    assert stream.config.dtype == ('bfloat16' if native else 'float32')
    reduced = {weight.dtype for pair in stream.core._blocks for weight, _ in pair}
    assert reduced == {torch.bfloat16 if native else torch.float32}
    said = [record.getMessage() for record in caplog.records]
    assert said == [] if native else 'no bfloat16 instructions' in said[0]

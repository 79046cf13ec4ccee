"""All four streams: the same numbers as whole windows over a clip, whatever the people do."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from streams import ALL, LIFTERS, MOST, RATE_HZ, STEP_NS, clip, make, run, whole_windows

from trpose_ros.lifters import create_lifter, offline
from trpose_ros.lifters.registry import LIFTERS as REGISTERED
from trpose_ros.lifters.registry import LoadedWeights, pick_dtype
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.lifters.streams.stream import LifterStream
from trpose_ros.runtimes import processor


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


@pytest.mark.parametrize('name', LIFTERS)
def test_results_wait_no_longer_than_declared(name):
    for ahead in {0, MOST.get(name, 4)}:
        stream = make(name, ahead)
        assert stream.delay_s == pytest.approx(ahead / RATE_HZ)
        joints = clip(20, seed=13)
        for t in range(20):
            stamps = [r.stamp_ns for r in stream.push(t * STEP_NS, [0], joints[:, t])]
            assert stamps == ([(t - ahead) * STEP_NS] if t >= ahead else [])


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

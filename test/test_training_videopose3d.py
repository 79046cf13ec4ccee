"""Training data and training of the shipped lifter: motions, cameras, noise, runs that go on."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros import weights
from trpose_ros.data.motion import MotionPack
from trpose_ros.data.motion import vary_bones
from trpose_ros.data.virtual_cameras import CameraConfig
from trpose_ros.data.virtual_cameras import NoiseConfig
from trpose_ros.data.virtual_cameras import add_noise
from trpose_ros.data.virtual_cameras import look_rotation
from trpose_ros.data.virtual_cameras import view
from trpose_ros.lifters import LifterConfig
from trpose_ros.lifters import create_lifter
from trpose_ros.lifters.missing import JointFiller
from trpose_ros.lifters.videopose3d import VideoPose3D
from trpose_ros.lifters.videopose3d import VideoPose3DConfig
from trpose_ros.skeletons import get_skeleton
from trpose_ros.training import videopose3d_measure as measure
from trpose_ros.training.lifting_samples import make_sample
from trpose_ros.training.videopose3d import TrainingConfig
from trpose_ros.training.videopose3d import cut_future
from trpose_ros.training.videopose3d import train

SKELETON = get_skeleton('h36m_17')
TEST_SUBJECT = measure.TEST_SUBJECTS[0][1]


def standing(frames, seed=0):
    """Return (T, 17, 3): somebody upright who sways, z up."""
    rng = np.random.default_rng(seed)
    rest = np.zeros((17, 3))
    rest[:, 2] = [1, 1, 0.5, 0, 1, 0.5, 0, 1.2, 1.5, 1.6, 1.7, 1.45, 1.2, 1, 1.45, 1.2, 1]
    rest[:, 0] = [0, -0.1, -0.1, -0.1, 0.1, 0.1, 0.1, 0, 0, 0, 0, 0.2, 0.3, 0.3, -0.2, -0.3, -0.3]
    rest[[2, 5], 1] = -0.2
    sway = rng.normal(0, 0.01, (frames, 17, 3)).cumsum(axis=0)
    return (rest + sway - sway.mean(axis=0)).astype(np.float32)


def tiny_pack():
    clips = [standing(40, i) for i in range(3)]
    lengths = np.array([len(clip) for clip in clips])
    return MotionPack(
        np.concatenate(clips),
        np.cumsum([0, *lengths[:-1]]),
        lengths,
        ('a', 'b', 'c'),
        ('one', 'two', TEST_SUBJECT),
        ('train', 'val', 'test'),
        30.0,
    )


@given(st.integers(0, 1000))
def test_bones_vary_alike_on_both_sides_and_over_time(seed):
    world = np.stack([standing(4, seed)] * 6)
    varied = vary_bones(world, np.random.default_rng(seed))

    def lengths(joints):
        return np.stack(
            [np.linalg.norm(joints[:, :, b] - joints[:, :, a], axis=-1) for a, b in SKELETON.bones],
            axis=-1,
        )

    factor = lengths(varied) / lengths(world)
    np.testing.assert_allclose(factor, factor[:, :1].repeat(4, axis=1), rtol=1e-3)
    child = [b for _, b in SKELETON.bones]
    other = [child.index(SKELETON.mirror[b]) for b in child]
    np.testing.assert_allclose(factor, factor[:, :, other], rtol=1e-3)
    assert factor.min() > 0.7
    assert factor.max() < 1.35
    assert np.ptp(factor[:, 0, 0]) > 0


def test_cameras_see_what_a_pinhole_sees():
    world = np.stack([standing(9)] * 300)
    rng = np.random.default_rng(1)
    joints_m, joints, half_height = view(world, CameraConfig(moving_share=1.0), rng)
    assert joints_m[..., 2].min() >= 0.249
    # Rigid: distances between joints do not change, apart from persons pushed back.
    apart = np.linalg.norm(joints_m[:, :, 3] - joints_m[:, :, 10], axis=-1)
    np.testing.assert_allclose(
        apart, np.linalg.norm(world[:, :, 3] - world[:, :, 10], axis=-1), 1e-3
    )
    # One focal length per window explains all joints that are not clamped.
    inside = np.abs(joints).max(axis=-1) < 4
    with np.errstate(divide='ignore', invalid='ignore'):
        focal = joints * joints_m[..., 2:] / joints_m[..., :2]
    steady = inside[..., None] & (np.abs(joints_m[..., :2]) > 0.05)
    for window in range(0, 300, 10):
        values = focal[window][steady[window]]
        np.testing.assert_allclose(values, np.median(values), rtol=1e-3)
    upright = joints[:, :, 10, 1] < joints[:, :, 0, 1]  # y down: the head above the pelvis
    assert upright.mean() > 0.99
    seen = (np.abs(joints[..., 0]) < 1) & (np.abs(joints[..., 1]) < half_height[:, None, None])
    assert 0.3 < seen.mean() < 0.97  # people are cut off, but not all of them


def test_rotations_are_rotations():
    rng = np.random.default_rng(0)
    rotation = look_rotation(*rng.uniform(-1, 1, (3, 50)))
    product = rotation @ np.swapaxes(rotation, 1, 2)
    np.testing.assert_allclose(product, np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    ahead = look_rotation(np.zeros(1), np.zeros(1), np.zeros(1))[0]
    np.testing.assert_allclose(ahead @ [1, 0, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(ahead @ [0, 0, 1], [0, -1, 0], atol=1e-12)


def test_noise_has_gaps_but_never_loses_a_whole_person():
    rng = np.random.default_rng(2)
    exact = rng.uniform(-1.5, 1.5, (400, 27, 17, 2)).astype(np.float32)
    noisy = add_noise(exact, np.full(400, 0.75), NoiseConfig(), rng)
    gone = np.isnan(noisy).any(axis=-1)
    assert 0.02 < gone.mean() < 0.5
    assert not gone.all(axis=2).any()
    none = NoiseConfig(0, 0, 0, 0, 0, 0, 0)
    clean = add_noise(exact, np.full(400, 0.75), none, rng)
    seen = np.isfinite(clean)
    np.testing.assert_allclose(clean[seen], exact[seen], atol=1e-6)
    assert seen.mean() > 0.8  # only what lies outside the image may be silent


def test_half_of_a_batch_is_mirrored():
    world = np.stack([standing(5)] * 8)
    sample = make_sample(
        world, np.random.default_rng(3), CameraConfig(), NoiseConfig(), JointFiller()
    )
    assert sample.joints.shape == (8, 5, 17, 2)
    assert np.isfinite(sample.joints).all()
    np.testing.assert_array_equal(sample.target_m[:, :, 0], 0)
    # Right is right of what is in front, in mirrored bodies too: the knees are bent forward.
    pose = sample.target_m[:, 0]
    ahead = pose[:, 2] + pose[:, 5] - pose[:, 1] - pose[:, 4]
    side = np.einsum('bi,bi->b', np.cross(pose[:, 1] - pose[:, 4], pose[:, 10]), ahead)
    assert (side < 0).all() or (side > 0).all()


@given(st.floats(0, 1), st.integers(0, 8), st.integers(0, 99))
def test_cut_futures_repeat_the_newest_known_frame(share, index, seed):
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(20, 9, 17, 2))
    cut = joints.copy()
    cut_future(cut, index, share, rng)
    np.testing.assert_array_equal(cut[:, : index + 1], joints[:, : index + 1])
    for before, after in zip(joints, cut, strict=True):
        changed = np.flatnonzero((before != after).any(axis=(1, 2)))
        if len(changed):
            first = changed[0]
            assert first > index
            assert (after[first:] == before[first - 1]).all()


def settings(path, **more):
    options = {
        'out': str(path),
        'filter_widths': (3, 3),
        'channels': 16,
        'steps': 8,
        'batch': 8,
        'save_every': 4,
        'bf16': False,
    }
    return TrainingConfig(**(options | more))


def test_a_run_that_was_cut_off_gives_the_same_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('trpose_ros.training.videopose3d.evaluate', lambda *_: {'cmu exact': {}})
    whole = train(settings(tmp_path / 'whole.safetensors'), tiny_pack())
    config = settings(tmp_path / 'cut.safetensors')
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return True

    with monkeypatch.context() as patch:
        patch.setattr('trpose_ros.training.videopose3d.mpjpe', _interrupting(stop))
        with pytest.raises(KeyboardInterrupt):
            train(config, tiny_pack())
    state = tmp_path / 'cut.safetensors.state'
    assert state.is_file()
    with pytest.raises(ValueError, match='other settings'):
        train(settings(tmp_path / 'cut.safetensors', batch=10), tiny_pack())
    resumed = train(config, tiny_pack())
    assert not state.exists()
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[key], value, rtol=0, atol=0)
    header = weights.load(config.out, 'videopose3d').meta
    assert json.loads(header['training'])['steps done'] == 8
    assert str(tmp_path) not in str(header)
    assert 'step 8/8' in capsys.readouterr().out


def _interrupting(stop):
    def loss(predicted, target):
        stop()
        return (predicted - target).norm(dim=-1).mean()

    return loss


def test_training_learns_and_the_release_can_be_used(tmp_path, capsys):
    config = settings(
        tmp_path / 'a.safetensors',
        steps=40,
        batch=32,
        save_every=40,
        channels=32,
        learning_rate=0.02,
    )
    pack = tiny_pack()
    model = train(config, pack)
    fresh = measure.evaluate(VideoPose3D(VideoPose3DConfig((3, 3), 32)), pack, outputs=5)
    after = measure.evaluate(model, pack, outputs=5)
    assert set(after) == {'cmu exact', 'cmu noisy', 'cmu noisy, look-ahead 0'}
    assert after['cmu noisy']['mpjpe'] < 0.9 * fresh['cmu noisy']['mpjpe']
    measure.release(tmp_path / 'a.safetensors', tmp_path / 'b.safetensors', pack)
    card = weights.verify(tmp_path / 'b.safetensors').path.with_suffix('.md').read_text()
    assert '| 4 |' in card  # the official look-ahead of 9 frames
    assert str(tmp_path) not in card
    stream = create_lifter(LifterConfig(model=str(tmp_path / 'b.safetensors'), look_ahead=0))
    assert len(stream.push(0, np.array([1]), np.zeros((1, 17, 2)))) == 1
    assert 'sha256' in capsys.readouterr().out


def test_streams_and_whole_windows_measure_the_same():
    model = VideoPose3D(VideoPose3DConfig((3, 3), 16)).eval().requires_grad_(False)
    joints = np.random.default_rng(5).uniform(-1, 1, (3, 20, 17, 2)).astype(np.float32)
    got = measure.stream_poses(model, joints, 4, 12, 4)
    want = model(torch.from_numpy(joints)).numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_errors_are_those_of_the_definition():
    rng = np.random.default_rng(6)
    target = rng.normal(0, 0.3, (2, 6, 17, 3))
    turn = look_rotation(np.array([0.3]), np.array([0.2]), np.array([0.1]))[0]
    found = measure.errors_mm(1.2 * target @ turn, target)
    assert found['p_mpjpe'] == 0
    assert found['mpjpe'] > 50
    assert measure.errors_mm(target + 0.003, target)['mpjpe'] == pytest.approx(
        1000 * 0.003 * 3**0.5, abs=0.06
    )
    assert measure.errors_mm(target + 0.003, target)['mpjve'] == 0


def test_the_shipped_weights_are_what_their_card_says():
    file = weights.verify('videopose3d-27')
    assert file.path.stat().st_size < 3_000_000
    assert file.meta['licence'] == 'Apache-2.0'
    stream = create_lifter(LifterConfig(look_ahead=0))
    assert stream.delay_s == 0
    assert create_lifter(LifterConfig()).look_ahead == 13

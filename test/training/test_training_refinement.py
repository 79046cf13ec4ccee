"""Training the refinement: changed windows stay true, it learns, and its measures are right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from doubles import FakeLifter
from lifting_stand_in import CAMERA, a_pass, always
from made_people import moving_person

from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.evaluation.estimation import save_pass
from trpose_ros.people import JointState, TrackState
from trpose_ros.pipeline.lift_stage import LiftStage
from trpose_ros.refinement.network import RefinementNetwork
from trpose_ros.refinement.settings import RefinementConfig
from trpose_ros.training import TrainingError
from trpose_ros.training.refinement import mixtures, samples
from trpose_ros.training.refinement.measure import (
    condition_of,
    fitted_factor,
    measure,
    one_euro,
    refined,
    table,
)
from trpose_ros.training.refinement.passes import Recorded, conditions_of, load
from trpose_ros.training.refinement.sequences import Named, tracks_of
from trpose_ros.training.refinement.task import RefinementTask
from trpose_ros.training.refinement.trainer import RefinementTraining, read


def recorded(frames=24, name='train-0000-metrabs-s-clean-0', states=None):
    seen = a_pass({3: states or always(frames)}, frames)
    truth = np.stack(
        [p.joints_m[0] if len(p) else np.full((17, 3), 2.0, np.float32) for p in seen.people]
    )
    return Recorded(name, seen, truth, False)


def noisy_track(seed=0, size=0.05, frames=24):
    """Return a track whose estimator and lifter are wrong by ``size`` m in every number."""
    track = tracks_of(recorded(frames), LiftStage(lifter=FakeLifter(0)))[0]
    rng = np.random.default_rng(seed)
    estimated = track.true_m + rng.normal(0, size, track.true_m.shape)
    lifted = track.true_m + rng.normal(0, size, track.true_m.shape)
    return type(track)(
        **{
            **vars(track),
            'estimated_m': estimated,
            'lifted_m': lifted - lifted[:, :1],
            'fused_m': estimated,
            'covariances_m2': np.broadcast_to(size**2 * np.eye(3), (frames, 17, 3, 3)).copy(),
            'fused_m2': np.broadcast_to(size**2 * np.eye(3), (frames, 17, 3, 3)).copy(),
            'scores': np.full((frames, 17), 0.9),
        }
    )


def named(condition='clean', **options):
    return Named(f'val-0000-metrabs-s-{condition}-0', 'fake', noisy_track(**options))


def small(seed=0):
    torch.manual_seed(seed)
    return RefinementNetwork(RefinementConfig(hidden=16))


def test_a_pass_becomes_a_track_with_its_truth():
    (track,) = tracks_of(recorded(), LiftStage(lifter=FakeLifter(2)))
    assert len(track) == 24
    np.testing.assert_allclose(track.true_m, track.estimated_m)
    rays = track.true_m[..., :2] / track.true_m[..., 2:]
    np.testing.assert_allclose(track.rays, rays, atol=1e-4)
    assert np.isfinite(track.lifted_m).all()
    assert (track.lifted_m[:, 0] == 0).all()


def test_frames_without_the_person_are_left_out_and_short_tracks_too():
    states = [TrackState.TRACKED] * 10 + [None] * 6 + [TrackState.TRACKED] * 8
    (track,) = tracks_of(recorded(states=states), LiftStage(lifter=FakeLifter(0)))
    assert track.frames.tolist() == [*range(10), *range(16, 24)]
    assert (
        tracks_of(
            recorded(states=[TrackState.TRACKED] * 7 + [None] * 17), LiftStage(lifter=FakeLifter(0))
        )
        == []
    )


@pytest.mark.parametrize('seed', range(6))
def test_changed_windows_are_still_of_one_person(seed):
    """Where the estimator is right, it is right after every change."""
    track = noisy_track(size=0.0)
    rng = np.random.default_rng(seed)
    windows = samples.draw([track], np.ones(1), 8, 20, rng)
    assert windows.elapsed_s.shape == (8, 20)
    assert (windows.elapsed_s[:, 0] == 0).all()
    assert (windows.elapsed_s[:, 1:] > 0).all()
    rays = windows.true_m[..., :2] / windows.true_m[..., 2:]
    measured = windows.states != JointState.UNOBSERVED
    known = np.isfinite(windows.rays).all(axis=-1) & measured
    off = np.linalg.norm(windows.rays - rays, axis=-1)[known]
    assert np.quantile(off, 0.9) < 0.02  # interpolated rays bend a little
    given = samples.moments_of(windows)
    for values in given:
        assert torch.isfinite(values.float()).all()


def test_other_motions_with_errors_of_recorded_tracks(monkeypatch):
    monkeypatch.setattr(mixtures, 'create_lifter', lambda config: FakeLifter(config.look_ahead))
    tracks = [noisy_track(seed, 0.05, frames=70) for seed in range(3)]
    motion = moving_person(80, 'h36m_17', seed=8)
    pack = MotionPack(
        motion, np.zeros(1, int), np.full(1, 80), ('walk',), ('somebody',), ('train',), 30.0
    )
    made = mixtures.mixed_tracks(tracks, pack, 4, 2, 0)
    assert len(made) == 4
    for track in made:
        assert len(track) == mixtures.FRAMES
        error = track.estimated_m - track.true_m
        assert 0.03 < error[:, 1:].std() < 0.12  # of two whose squares add up
        assert np.isfinite(track.lifted_m).all()
        rays = track.true_m[..., :2] / track.true_m[..., 2:]
        assert np.abs(track.rays - rays).max() < 1e-3  # the 2D of these tracks is right
    with pytest.raises(ValueError, match='60 frames'):
        mixtures.mixed_tracks(tracks[:0], pack, 4, 2, 0)


def test_a_window_of_the_whole_track_is_the_track():
    track = noisy_track()
    windows = samples.Windows.of(track)
    np.testing.assert_allclose(np.diff(track.stamps_ns) * 1e-9, windows.elapsed_s[0, 1:])
    np.testing.assert_array_equal(windows.true_m[0], track.true_m)


def test_it_learns_to_be_steadier_and_better():
    torch.manual_seed(0)
    network = small()
    apart = [named(seed=9)]
    before = {row['method']: row for row in measure(network, apart)}
    tracks = [named(seed=seed) for seed in range(3)]
    task = RefinementTask(network, tracks, 8, 16, 0, 0.0, 1.0)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    losses = []
    for batch in task.batches(0, 60):
        found = task.loss(batch, 0)
        optimizer.zero_grad()
        found['total'].backward()
        optimizer.step()
        losses.append(found['total'].item())
    after = {row['method']: row for row in measure(network, apart)}
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    assert after['refinement']['mpjpe_mm'] < before['refinement']['mpjpe_mm']
    assert after['refinement']['accel_mm'] < 0.5 * after['estimator']['accel_mm']


def test_batches_depend_on_seed_and_number_alone():
    task = RefinementTask(small(), [named()], 2, 8, 5, 0.1, 1.0)
    first = list(task.batches(0, 3))[2]
    (second,) = task.batches(2, 3)
    np.testing.assert_array_equal(first[0].values, second[0].values)
    (other,) = RefinementTask(small(), [named()], 2, 8, 6, 0.1, 1.0).batches(2, 3)
    assert not np.array_equal(first[1], other[1])


def test_the_factor_puts_95_percent_into_the_ellipsoids():
    network = small()
    track = [named(size=0.1, frames=48)]
    network.config = RefinementConfig(hidden=16, sigma_factor=fitted_factor(network, track))
    row = next(r for r in measure(network, track) if r['method'] == 'refinement')
    assert row['inside95_percent'] == pytest.approx(95, abs=0.3)
    assert 'truncated' not in table([row])
    assert condition_of(track[0]) == 'clean'


def test_the_constant_person_is_left_alone_by_the_one_euro_filter_and_noise_is_not():
    still = np.ones((30, 17, 3))
    seconds = np.arange(30) / 30
    np.testing.assert_allclose(one_euro(still, seconds), still)
    noise = np.random.default_rng(0).normal(0, 0.02, still.shape)
    assert one_euro(still + noise, seconds)[10:].std() < 0.6 * noise.std()


def test_the_numbers_of_a_pass_survive_the_file(tmp_path):
    made = recorded(name='val-0003-metrabs-s-moving_box-1')
    save_pass(tmp_path / f'{made.name}.npz', made.seen)
    np.savez(tmp_path / f'{made.name}.truth.npz', truth_m=made.truth_m, near=True)
    (back,) = load(tmp_path, 'val')
    assert (back.name, back.near) == (made.name, True)
    np.testing.assert_array_equal(back.truth_m, made.truth_m)
    assert [p.stamp_ns for p in back.seen.people] == [p.stamp_ns for p in made.seen.people]
    assert back.seen.cameras[0] == back.seen.cameras[0]
    assert list(load(tmp_path, 'train')) == []
    with pytest.raises(TrainingError, match='passes'):
        read(RefinementTraining(passes=str(tmp_path)), 'train')


def test_conditions_of_a_clip_are_two_and_the_five_take_turns():
    rng = np.random.default_rng(0)
    pairs = [conditions_of(number, number % 2 == 0, rng) for number in range(10)]
    assert all(len(pair) == 2 for pair in pairs)
    assert len({pair[1].profile for pair in pairs}) == 5
    assert all(pair[0].profile == 'none' for pair in pairs[::2])


def test_refined_is_what_the_network_says():
    track = noisy_track()
    network = small()
    joints, covariances = refined(network, track)
    assert joints.shape == (24, 17, 3)
    assert (np.linalg.eigvalsh(covariances) > 0).all()
    assert CAMERA.width == 640

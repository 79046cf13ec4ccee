"""Uncertainty of joints: recovered from made-up errors, and in the estimator's answer."""

import numpy as np
import pytest
from metrabs_stand_in import save_network, stand_in_network

from trpose_ros import cameras
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.metrabs.uncertainty import (
    FEATURES,
    UncertaintyModel,
    covariances_mm2,
    mix_variants,
    near,
)
from trpose_ros.people import Frame, JointState
from trpose_ros.weights import WeightsError

CAMERA = cameras.camera_from_fov(320, 240)
BOX = np.array([[100.0, 20.0, 100.0, 200.0]])
F = len(FEATURES)


def frame():
    return Frame(np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8), 0, CAMERA)


def model(log_across=3.0, log_along=4.0, joints=17):
    across, along = np.zeros(F + joints), np.zeros(F + joints)
    across[F:], along[F:] = log_across, log_along
    return UncertaintyModel(across, along)


def make(path, **settings):
    config = EstimatorConfig(model=str(path), precision='float32', **settings)
    return create_estimator('metrabs_torch', config)


def test_the_fit_finds_the_weights_that_made_the_errors():
    pytest.importorskip('numba', reason="training needs its extra: pip install '.[train]'")
    from trpose_ros.training.metrabs.uncertainty import Observed, fit, measure

    rng = np.random.default_rng(0)
    true = UncertaintyModel(
        np.concatenate([rng.uniform(0, 0.5, F), rng.normal(1, 0.2, 4)]),
        np.concatenate([rng.uniform(0, 0.5, F), rng.normal(0.5, 0.2, 4)]),
    )
    features = rng.normal(1.5, 1.0, (3000, 4, F))
    joints = rng.normal(0, 300, (3000, 4, 3)) + np.array([0, 0, 3000])
    covariances = covariances_mm2(true, features, joints)
    errors = np.einsum(
        'bjik,bjk->bji', np.linalg.cholesky(covariances), rng.standard_normal(joints.shape)
    )
    found = fit(Observed(features, joints, errors))
    # A few Gaussian residuals count linearly: sigmas come out a little smaller, alike for all.
    np.testing.assert_allclose(found.across[:F], true.across[:F], atol=0.06)
    np.testing.assert_allclose(found.along[:F], true.along[:F], atol=0.06)
    held_out = measure(found, Observed(features, joints, errors))
    assert held_out['inside_50'] == pytest.approx(50, abs=3)
    assert held_out['inside_90'] == pytest.approx(90, abs=3)
    assert held_out['spearman'] > 0.6


def test_ellipsoids_lie_along_the_line_of_sight():
    joints = np.array([[[0.0, 0.0, 2000.0], [1000.0, -500.0, 2000.0]]])
    covariances = covariances_mm2(model(joints=2), np.zeros((1, 2, F)), joints)
    np.testing.assert_allclose(covariances[0, 0], np.diag(np.exp([6.0, 6.0, 8.0])))
    for covariance, joint in zip(covariances[0], joints[0], strict=True):
        sight = joint / np.linalg.norm(joint)
        np.testing.assert_allclose(covariance @ sight, np.exp(8.0) * sight)


def test_scatter_of_variants_adds_to_their_mean_covariance():
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 20, (5, 2, 3, 3))
    covariances = np.broadcast_to(np.eye(3) * 100.0, (5, 2, 3, 3, 3))
    mixed = mix_variants(poses, covariances)
    np.testing.assert_allclose(
        mixed[1, 2], 100 * np.eye(3) + np.cov(poses[:, 1, 2].T, bias=True), rtol=1e-9
    )
    np.testing.assert_allclose(mix_variants(poses[:1], covariances[:1]), covariances[0])
    assert mix_variants(poses[:2], None) is None
    alone = mix_variants(poses, None)
    np.testing.assert_allclose(alone[0, 0], np.eye(3) * poses[:, 0, 0].var(axis=0, ddof=1).mean())


def test_scores_are_probabilities_that_fall_with_the_covariance():
    scores = near(np.eye(3) * np.array([1.0, 50.0**2, 100.0**2, 1e6])[:, None, None])
    assert (np.diff(scores) < 0).all()
    assert scores[0] == pytest.approx(1.0)
    assert 0 < scores[3] < 0.01


def test_the_estimator_states_covariances_scores_and_visible_joints(tmp_path):
    header = {'uncertainty': model().to_json()}
    save_network(tmp_path / 'sure.safetensors', stand_in_network(), **header)
    people = make(tmp_path / 'sure.safetensors').estimate(frame(), BOX)
    sight = people.joints_m[0, 0] / np.linalg.norm(people.joints_m[0, 0])
    expected = np.exp(8.0) * 1e-6 * sight
    np.testing.assert_allclose(people.covariances_m2[0, 0] @ sight, expected, rtol=1e-4)
    assert (people.joint_scores > 0.5).all()
    assert (people.joint_states == JointState.VISIBLE).mean() > 0.8
    header = {'uncertainty': model(6.0, 6.0).to_json()}
    save_network(tmp_path / 'unsure.safetensors', stand_in_network(), **header)
    people = make(tmp_path / 'unsure.safetensors', num_aug=3).estimate(frame(), BOX)
    assert (people.joint_states == JointState.UNKNOWN).all()
    assert (people.joint_scores < 0.5).all()
    assert (np.linalg.eigvalsh(people.covariances_m2[0].astype(float)) > 0).all()


def test_without_weights_only_the_scatter_of_several_variants_is_stated(tmp_path):
    save_network(tmp_path / 'plain.safetensors', stand_in_network(image_gain=1.0))
    people = make(tmp_path / 'plain.safetensors').estimate(frame(), BOX)
    assert np.isnan(people.covariances_m2).all()
    assert np.isnan(people.joint_scores).all()
    assert (people.joint_states == JointState.UNKNOWN).all()
    people = make(tmp_path / 'plain.safetensors', num_aug=5).estimate(frame(), BOX)
    assert np.isfinite(people.covariances_m2).all()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (model(joints=5).to_json(), rf'not \({F + 17},\)'),
        ('{"features": ["mood"]}', 'mood'),
        ('not json', 'uncertainty'),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path, text, message):
    save_network(tmp_path / 'bad.safetensors', stand_in_network(), uncertainty=text)
    with pytest.raises(WeightsError, match=message):
        make(tmp_path / 'bad.safetensors')

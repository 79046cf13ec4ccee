"""Fitting the uncertainty end to end on few crops; what is measured of hidden joints."""

import json

import numpy as np
import pytest

pytest.importorskip('numba', reason="training needs its extra: pip install '.[train]'")

from metrabs_stand_in import save_network
from metrabs_stand_in import stand_in_network
from tiny_body import PlainBackgrounds
from tiny_body import TinyStore

from trpose_ros import cameras
from trpose_ros import weights
from trpose_ros.data.compose import Composer
from trpose_ros.data.compose import CropConfig
from trpose_ros.data.hiding import CONDITIONS
from trpose_ros.estimators import EstimatorConfig
from trpose_ros.estimators import create_estimator
from trpose_ros.metrabs.inference import CropRunner
from trpose_ros.metrabs.uncertainty import FEATURES
from trpose_ros.people import Frame
from trpose_ros.training import hidden_joints
from trpose_ros.training import uncertainty

NETWORK = stand_in_network(image_gain=2.0)
SIDE = NETWORK.config.proc_side


@pytest.fixture(scope='module')
def composer():
    return Composer(TinyStore(), PlainBackgrounds(), CropConfig(side=SIDE))


@pytest.fixture
def everybody(composer, monkeypatch):
    for module in (uncertainty, hidden_joints):
        monkeypatch.setattr(module, 'prepare', lambda config, split, shards: composer)


def test_a_reduced_fit_writes_header_and_card_and_the_estimator_uses_it(tmp_path, everybody):
    path = tmp_path / 'seeing.safetensors'
    weights.write_card(save_network(path, NETWORK), 'Words about it.\n\nMore words.')
    before = weights.load(path)
    config = uncertainty.UncertaintyTraining(model=str(path), crops=60, test_crops=20, batch=32)
    results = uncertainty.run(config)
    assert list(results) == ['clean', *CONDITIONS]
    for measured in results.values():
        assert -1 <= measured['spearman'] <= 1
        assert 0 <= measured['inside_50'] <= measured['inside_90'] <= 100
    after = weights.verify(path)  # the card has the new checksum
    assert json.loads(after.meta['uncertainty_measured']) == results
    assert len(json.loads(after.meta['uncertainty'])['across']) == len(FEATURES) + 17
    assert {k: v for k, v in after.meta.items() if k in before.meta} == before.meta
    for name, tensor in before.tensors.items():
        np.testing.assert_array_equal(after.tensors[name], tensor)
    card = path.with_suffix('.md').read_text(encoding='utf-8')
    assert 'Words about it.\n\nMore words.\n\n`uncertainty_measured`' in card
    assert card.endswith(
        '    trpose train uncertainty --shards 24 --crops 60 --test-crops 20 --seed 0\n'
    )
    estimator = create_estimator('metrabs_torch', EstimatorConfig(model=str(path)))
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    frame = Frame(image, 0, cameras.camera_from_fov(320, 240))
    people = estimator.estimate(frame, np.array([[100.0, 20.0, 100.0, 200.0]]))
    assert len(people) == 1
    assert (np.linalg.eigvalsh(people.covariances_m2[0].astype(float)) > 0).all()
    assert ((people.joint_scores >= 0) & (people.joint_scores <= 1)).all()
    assert uncertainty.run(config) == results  # the crops depend on the seed alone
    again = path.with_suffix('.md').read_text(encoding='utf-8')
    assert again.count('trpose train uncertainty') == 1


def test_hidden_joints_are_those_behind_the_own_body_or_a_rectangle(composer):
    runner = CropRunner(NETWORK, hidden_joints.torch.device('cpu'), hidden_joints.torch.float32)
    shares = {}
    for condition in ('clean', 'moving_box', 'fixed_lower'):
        features, hidden = hidden_joints.observe(runner, composer, condition, 12, 0)
        assert features.shape == (len(hidden), len(FEATURES) + 17)
        assert np.isfinite(features).all()
        shares[condition] = hidden.mean()
    assert shares['clean'] < shares['moving_box']
    assert shares['clean'] < shares['fixed_lower']


def test_what_the_features_know_is_found_and_what_they_do_not_is_not():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 5))
    hidden = features @ [2.0, 0, -1, 0, 0] + rng.logistic(size=4000) > 1
    known = hidden_joints.measure(hidden_joints.fit(features, hidden), features, hidden)
    assert known['roc_area'] > 0.85
    assert known['hidden_of_surest_5%'] > 0.9
    coin = rng.random(4000) < 0.3
    blind = hidden_joints.measure(
        hidden_joints.fit(features[:2000], coin[:2000]), features[2000:], coin[2000:]
    )
    assert blind['roc_area'] == pytest.approx(0.5, abs=0.05)
    assert blind['hidden'] == pytest.approx(0.3, abs=0.04)


def test_the_whole_measurement(everybody, tmp_path):
    path = tmp_path / 'seeing.safetensors'
    save_network(path, NETWORK)
    result = hidden_joints.run(hidden_joints.HiddenJoints(model=str(path), crops=10))
    assert result['joints'] > 100
    assert 0 < result['hidden'] < 1

"""Fitting the uncertainty end to end on few crops."""

import json

import numpy as np
import pytest

pytest.importorskip('numba', reason="training needs its extra: pip install '.[train]'")

from metrabs_stand_in import save_network, stand_in_network
from tiny_body import PlainBackgrounds, TinyStore

from trpose_ros import cameras, weights
from trpose_ros.data.rendering.crops import Composer, CropConfig
from trpose_ros.data.rendering.hiding import CONDITIONS
from trpose_ros.estimators import EstimatorConfig, create_estimator
from trpose_ros.metrabs.uncertainty import FEATURES
from trpose_ros.people import Frame
from trpose_ros.training.metrabs import uncertainty

NETWORK = stand_in_network(image_gain=2.0)
SIDE = NETWORK.config.proc_side


@pytest.fixture(scope='module')
def composer():
    return Composer(TinyStore(), PlainBackgrounds(), CropConfig(side=SIDE))


@pytest.fixture
def everybody(composer, monkeypatch):
    monkeypatch.setattr(uncertainty, 'prepare', lambda config, split, shards: composer)


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
    estimator = create_estimator(
        'metrabs_torch', EstimatorConfig(model=str(path), suppress_implausible=False)
    )
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    frame = Frame(image, 0, cameras.camera_from_fov(320, 240))
    people = estimator.estimate(frame, np.array([[100.0, 20.0, 100.0, 200.0]]))
    assert len(people) == 1
    assert (np.linalg.eigvalsh(people.covariances_m2[0].astype(float)) > 0).all()
    assert ((people.joint_scores >= 0) & (people.joint_scores <= 1)).all()
    assert uncertainty.run(config) == results  # the crops depend on the seed alone
    again = path.with_suffix('.md').read_text(encoding='utf-8')
    assert again.count('trpose train uncertainty') == 1

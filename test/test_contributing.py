"""The examples of CONTRIBUTING.md do what the text around them says."""

import re
from pathlib import Path

import numpy as np
import pytest

from trpose_ros.data import registry as data_registry
from trpose_ros.estimators import base as estimators
from trpose_ros.lifters import registry as lifters
from trpose_ros.occlusion import profiles
from trpose_ros.occlusion.profiles import Scene
from trpose_ros.people import Camera, Frame, JointState

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
BLOCKS = dict(
    re.findall(r'^## (Add [^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```', TEXT, re.M | re.S)
)
REGISTRIES = (
    (estimators, 'ESTIMATORS'),
    (lifters, 'LIFTERS'),
    (profiles, 'PROFILES'),
    (data_registry, 'DATASETS'),
)


@pytest.fixture
def example():
    """Return a function that runs an example and gives its names, which are forgotten behind it."""
    registries = [getattr(module, name) for module, name in REGISTRIES]
    before = [set(registry) for registry in registries]

    def run(title):
        names = {'__name__': f'example_{len(title)}'}
        exec(compile(BLOCKS[title], f'CONTRIBUTING.md: {title}', 'exec', dont_inherit=True), names)
        return names

    yield run
    # What was imported meanwhile stays: a module registers its names once.
    for registry, names in zip(registries, before, strict=True):
        for name in set(registry) - names:
            del registry._entries[name]


def test_every_section_that_adds_something_has_one_example():
    sections = re.findall(r'^## (Add .*)$', TEXT, re.M)
    assert sections == list(BLOCKS)
    assert len(BLOCKS) == TEXT.count('```python') == 4


def test_estimator(example):
    estimator = example('Add an estimator')['estimator']
    camera = Camera(64, 48, np.diag([60.0, 60.0, 1.0]))
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 5, camera, 'optical')
    boxes = np.array([[10, 20, 8, 40], [np.nan, 0, 1, 1], [0, 0, 0, 9]], np.float32)
    assert len(estimator.estimate(frame, np.zeros((0, 4), np.float32))) == 0
    people = estimator.estimate(frame, boxes)
    assert (len(people), people.stamp_ns, people.frame_id) == (1, 5, 'optical')
    assert estimator.skipped == {'box_empty': 2}
    assert people.joint_states[0, -1] == JointState.TRUNCATED  # ankles below the image
    np.testing.assert_allclose(people.joints_px[0, [0, -1]], [[14, 20], [14, 60]])


def test_lifter(example):
    names = example('Add a lifter')
    joints = np.random.default_rng(0).uniform(-1, 1, (1, 17, 2))
    (lifted,) = names['stream'].push(0, np.array([7]), joints)
    assert lifted.track_id == 7
    np.testing.assert_allclose(lifted.joints_m[:, 2], 0.0, atol=1e-6)
    np.testing.assert_allclose(lifted.joints_m[:, :2], joints[0] - joints[0, :1], atol=1e-6)
    assert 'flat' in lifters.LIFTERS


def test_occluder(example):
    profile = example('Add an occluder')['profile']
    assert profile.values == (0.25, 0.5)
    assert profile.description.startswith('Hide a corner')
    sides = set()
    for seed in range(8):
        scene = Scene(
            box=(10.0, 20.0, 30.0, 60.0),
            width=64,
            height=80,
            severity=0.5,
            time_ns=0,
            hold='frame',
            draw=lambda key, seed=seed: np.random.default_rng([seed, key]),
        )
        ((x0, y0, x1, y1),) = profile.hide(scene)
        assert (x1 - x0, y0, y1) == (10.0, 20.0, 40.0)
        sides.add(x0)
    assert sides == {10.0, 20.0}


def test_data_set(example, tmp_path, monkeypatch):
    folder = tmp_path / 'my_lab_files'
    folder.mkdir()
    metres = np.zeros((3, 17, 3), np.float32)
    metres[1, 4] = np.nan
    np.savez(folder / 'walk_1.npz', joints_px=np.zeros((3, 17, 2), np.float32), joints_m=metres)
    monkeypatch.chdir(tmp_path)
    (sample,) = example('Add a data set')['samples']
    assert (len(sample), sample.identity) == (3, 'my_lab|walk_1|walk|front')
    assert not sample.valid[1, 4]
    assert sample.valid.sum() == 50
    assert data_registry.recognise(folder) == ['my_lab']

"""The model of an estimator's errors: what it does to joints, and that its numbers can be found."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_people import moving_person

from trpose_ros.data.motion import keypoint_errors as detector_errors
from trpose_ros.data.motion.keypoint_errors import (
    GROUPS,
    LIMBS,
    STATES,
    DetectorErrors,
    JointErrors,
    Spells,
    load_fitted,
    spells,
    states_of,
    with_errors,
)
from trpose_ros.data.motion.virtual_cameras import NoiseConfig, add_noise
from trpose_ros.skeletons import get_skeleton

NONE = JointErrors(0, 0, 0, 0.3, 0, 0, 0.1, 0)
MIRROR = get_skeleton('h36m_17').mirror


def errors_of(row: JointErrors = NONE, hidden: JointErrors | None = None, **more) -> DetectorErrors:
    rows = {state: dict.fromkeys(GROUPS, row) for state in STATES}
    rows['hidden'] = dict.fromkeys(GROUPS, hidden or row)
    values = {
        'estimator': 'made',
        'rows': rows,
        'level': dict.fromkeys(STATES, 0.0),
        'unrest': dict.fromkeys(STATES, 0.0),
        'common': 0.0,
        'swaps': dict.fromkeys(LIMBS, Spells(0.0, 0.1)),
        'missing': dict.fromkeys(('whole', 'cut'), Spells(0.0, 0.1)),
        'fitted_on': 'nothing',
    }
    return DetectorErrors(**(values | more))


def people(batch: int, frames: int) -> np.ndarray:
    """Return (B, T, 17, 2) joints on a screen, about a third of its height tall."""
    made = [moving_person(frames, 'h36m_17', seed)[..., [0, 2]] for seed in range(batch)]
    return (0.3 * (np.stack(made) - [0, 1.0])).astype(np.float32)


@pytest.mark.parametrize('shape', [(0, 5), (1, 1), (2, 7)])
def test_no_errors_change_nothing(shape):
    joints = people(*shape) if shape[0] else np.zeros((0, 5, 17, 2), np.float32)
    state = states_of(joints, None, np.full(shape[0], 0.75))
    seen = with_errors(joints, state, errors_of(), 30.0, np.random.default_rng(0))
    np.testing.assert_array_equal(seen, joints)


def test_states_are_told_by_mask_and_border():
    joints = np.zeros((1, 1, 17, 2), np.float32)
    joints[0, 0, 1], joints[0, 0, 2] = (1.01, 0), (0, 0.76)
    hidden = np.zeros((1, 1, 17), bool)
    hidden[..., [2, 3]] = True
    state = states_of(joints, hidden, np.array([0.75]))
    assert state[0, 0, :5].tolist() == [0, 2, 2, 1, 0]


def test_hidden_joints_are_pulled_to_the_visible_middle():
    joints = people(1, 3)
    hidden = np.zeros((1, 3, 17), bool)
    hidden[..., 13] = True
    errors = errors_of(hidden=dataclasses.replace(NONE, pull=0.25))
    config = NoiseConfig(errors=errors)
    seen = add_noise(joints, np.array([0.75]), config, np.random.default_rng(0), hidden)
    middle = np.delete(joints, 13, axis=2).mean(axis=2)
    np.testing.assert_allclose(seen[:, :, 13], 0.75 * joints[:, :, 13] + 0.25 * middle, atol=1e-6)
    np.testing.assert_array_equal(np.delete(seen, 13, axis=2), np.delete(joints, 13, axis=2))


def test_frames_without_output_repeat_the_last_one_and_swaps_swap():
    joints = people(8, 40)
    state = np.zeros(joints.shape[:3], int)
    rng = np.random.default_rng(0)
    held = errors_of(missing=dict.fromkeys(('whole', 'cut'), Spells(0.4, 0.1)))
    seen = with_errors(joints, state, held, 30.0, rng)
    same = (seen == joints).all(axis=(2, 3))
    assert 0.4 < same.mean() < 0.8
    repeats = (seen[:, 1:] == seen[:, :-1]).all(axis=(2, 3))
    assert (same[:, 1:] | repeats).all()
    swapped = errors_of(swaps={'arms': Spells(0.9, 1.0), 'legs': Spells(0.0, 0.1)})
    seen = with_errors(joints, state, swapped, 30.0, rng)
    crossed = (seen == joints[:, :, MIRROR]).all(axis=3)
    assert crossed[:, :, 13].mean() > 0.6
    np.testing.assert_array_equal(seen[:, :, :8], joints[:, :, :8])


@given(st.floats(0, 0.9), st.floats(0.01, 1.0))
def test_spells_fill_their_share(share, mean_s):
    shape = (400, 60, 1)
    flags = spells(np.random.default_rng(1), np.full(shape, share), np.full(shape, mean_s), 30.0)
    leave = 1 / max(mean_s * 30, 1)
    possible = min(share, 1 / (1 + leave)) if leave == 1 else share  # one frame each: every other
    assert abs(flags.mean() - possible) < 0.12


def test_the_same_generator_gives_the_same_noise():
    joints, config = people(3, 9), NoiseConfig(errors=errors_of(JointErrors(*[0.1] * 8)))
    height = np.full(3, 0.75)
    first, second = (add_noise(joints, height, config, np.random.default_rng(4)) for _ in '12')
    np.testing.assert_array_equal(first, second)
    assert np.isfinite(first).all()
    assert not np.array_equal(first, joints)


def test_numbers_survive_a_file_and_damage_is_named(tmp_path):
    path = tmp_path / 'made.json'
    errors = errors_of(JointErrors(*np.linspace(0.01, 0.9, 8).tolist()))
    errors.save(path)
    assert load_fitted(str(path)) == errors
    assert [p.name for p in tmp_path.iterdir()] == ['made.json']
    content = json.loads(path.read_text())
    for name, change in (
        ('cut', path.read_text()[:200]),
        ('list', '[]'),
        ('format', json.dumps(content | {'format': 99})),
        ('share', json.dumps(content | {'common': 1.5})),
        ('nan', json.dumps(content | {'level': dict.fromkeys(STATES, float('nan'))})),
        ('row', json.dumps(content | {'rows': {'visible': {}}})),
    ):
        bad = tmp_path / f'{name}.json'
        bad.write_text(change)
        with pytest.raises(ValueError, match=r'trpose train noise'):
            load_fitted(str(bad))
    with pytest.raises(ValueError, match="'cats'"):
        NoiseConfig.fitted('cats')


@pytest.mark.parametrize('name', detector_errors.fitted_names())
def test_shipped_numbers_give_plausible_joints(name):
    joints = people(4, 27)
    hidden = np.zeros(joints.shape[:3], bool)
    hidden[:, :, GROUPS['ankle']] = True
    config = NoiseConfig.fitted(name)
    seen = add_noise(joints, np.full(4, 0.75), config, np.random.default_rng(0), hidden)
    size = np.linalg.norm(np.ptp(joints, axis=2), axis=-1).mean()
    far = np.linalg.norm(seen - joints, axis=-1) / size
    assert 0.001 < np.median(far[~hidden]) < 0.2
    assert np.median(far[hidden]) > np.median(far[~hidden])


def test_a_fit_finds_the_numbers_of_a_made_estimator():
    pytest.importorskip('torch')
    from trpose_ros.training.lifters.noise_fit import distances, fit, measured, simulate, steps
    from trpose_ros.training.lifters.noise_runs import NoiseRun

    seen_well = JointErrors(0.0, 0.01, 0.02, 0.25, 0.004, 0.03, 0.2, 0.3)
    guessed = JointErrors(0.3, 0.02, 0.06, 0.4, 0.008, 0.0, 0.1, 0.0)
    truth = errors_of(
        seen_well,
        guessed,
        swaps={'arms': Spells(0.05, 0.2), 'legs': Spells(0.0, 0.1)},
        missing={'whole': Spells(0.0, 0.1), 'cut': Spells(0.1, 0.2)},
    )
    joints = people(24, 60)
    hidden = np.zeros(joints.shape[:3], bool)
    hidden[::2, :, [2, 3, 5, 6, 13]] = True
    state = states_of(joints, hidden, np.full(24, 0.75))
    shown = dataclasses.replace(truth, missing=dict.fromkeys(('whole', 'cut'), Spells(0, 0.1)))
    seen = with_errors(joints, state, shown, 30.0, np.random.default_rng(0))
    seen[::2, 20:26] = np.nan
    runs = [
        NoiseRun(i, 'clean', joints[i], seen[i], hidden[i], 0.75, 30.0) for i in range(len(joints))
    ]
    found = fit(runs, 'made', 'made up')
    assert found.rows['hidden']['knee'].pull == pytest.approx(0.3, abs=0.1)
    assert found.rows['visible']['elbow'].pull == pytest.approx(0.0, abs=0.05)
    assert found.missing['cut'].share == pytest.approx(0.1, abs=0.01)
    assert found.missing['whole'].share == 0
    assert found.swaps['arms'].share == pytest.approx(0.05, abs=0.03)
    assert found.rows['visible']['trunk'].jump_share == pytest.approx(0.03, abs=0.02)
    real, made = [measured(run) for run in runs], simulate(found, runs, 4, 5)
    for index in range(2):
        for q in (0.5, 0.9):
            expected = np.quantile(distances(real, index), q)
            assert np.quantile(distances(made, index), q) == pytest.approx(expected, rel=0.25)
        expected = np.median(np.concatenate([steps(d, index) for d in real]))
        got = np.median(np.concatenate([steps(d, index) for d in made]))
        assert got == pytest.approx(expected, rel=0.25)


def test_an_estimator_that_never_answers_is_refused():
    pytest.importorskip('torch')
    from trpose_ros.training.lifters.noise_fit import fit
    from trpose_ros.training.lifters.noise_runs import NoiseRun

    joints = people(1, 9)[0]
    run = NoiseRun(0, 'clean', joints, np.full_like(joints, np.nan), np.zeros((9, 17), bool), 1, 30)
    with pytest.raises(ValueError, match='made answered in 0 frames'):
        fit([run], 'made', 'made up')


def test_what_is_seen_of_rendered_people_is_kept(shared_dir, tmp_path):
    pytest.importorskip('torch')
    from trpose_ros.training.lifters.noise_runs import load_runs, observe, save_runs

    runs = list(observe('metrabs-s', 1, 0.07, 3))
    assert [run.condition for run in runs][:2] == ['clean', 'random_box']
    assert len(runs) == 6
    clean = runs[0]
    assert not clean.hidden.any()
    assert np.isfinite(clean.truth).all()
    assert any(run.hidden.any() for run in runs[1:])
    save_runs(tmp_path / 'runs.npz', runs)
    for run, again in zip(runs, load_runs(tmp_path / 'runs.npz'), strict=True):
        assert (run.clip, run.condition, run.rate_hz) == (
            again.clip,
            again.condition,
            again.rate_hz,
        )
        np.testing.assert_array_equal(run.seen, again.seen)
    with pytest.raises(ValueError, match=r"not of 'another seed'; delete it"):
        load_runs(tmp_path / 'runs.npz', 'another seed')
    (tmp_path / 'runs.npz').write_bytes((tmp_path / 'runs.npz').read_bytes()[:300])
    with pytest.raises(ValueError, match='holds no runs'):
        load_runs(tmp_path / 'runs.npz')

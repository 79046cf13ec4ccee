"""Encounters: who is in the picture when is what their names say; one frame is drawn."""

from __future__ import annotations

import numpy as np
import pytest

from trpose_ros.cameras import camera_from_fov, project
from trpose_ros.data.motion.packs import MotionPack
from trpose_ros.data.rendering.encounters import (
    CENTRE_M,
    ENCOUNTERS,
    ROTATION,
    WALKS,
    encounter,
    lay,
)
from trpose_ros.data.rendering.sprites import load_motion

CAMERA = camera_from_fov(640, 480, 65.0)


@pytest.fixture(scope='module')
def motions(shared_dir) -> dict[str, MotionPack]:
    return {split: load_motion(split) for split in WALKS}


def seen_from_the_camera(kind, split, motions, seed=0):
    """Return how many joints of each person lie in the picture (T, N), and joints (T, N, 17, 3)."""
    paths, _ = lay(kind, motions[split], split, seed)
    joints = (np.stack(paths, axis=1) - CENTRE_M) @ ROTATION.T
    pixels = project(joints, CAMERA)
    inside = (pixels > -0.5) & (pixels < (CAMERA.width - 0.5, CAMERA.height - 0.5))
    return inside.all(axis=-1).sum(axis=-1), joints


@pytest.mark.parametrize('split', WALKS)
@pytest.mark.parametrize('seconds', [0.5, 1.0, 2.0, 5.0])
def test_who_leaves_is_gone_for_as_long_as_the_name_says(split, seconds, motions):
    inside, _ = seen_from_the_camera(f'return{seconds:g}', split, motions)
    seen = np.flatnonzero(inside[:, 0])
    gaps = np.diff(seen)
    assert gaps.max() / 30 == pytest.approx(seconds, abs=0.35)
    assert seen[0] <= 1
    assert seen[-1] == len(inside) - 1


def test_somebody_else_comes_in(motions):
    inside, _ = seen_from_the_camera('another2', 'val', motions)
    first, second = (np.flatnonzero(inside[:, n]) for n in range(2))
    assert (second[0] - first[-1]) / 30 == pytest.approx(2.0, abs=0.35)


@pytest.mark.parametrize('split', WALKS)
@pytest.mark.parametrize(('kind', 'count'), [('crossing2', 2), ('crossing3', 3), ('exchange', 2)])
def test_people_pass_each_other_in_the_picture(kind, count, split, motions):
    inside, joints = seen_from_the_camera(kind, split, motions)
    assert inside.shape[1] == count
    assert (inside[len(inside) // 2] > 12).all()
    side = joints[:, :, 0, 0] / joints[:, :, 0, 2]
    assert np.sign(side[0, 0] - side[0, 1]) == -np.sign(side[-1, 0] - side[-1, 1])


def test_two_who_embrace_come_as_near_as_arms(motions):
    _, joints = seen_from_the_camera('close2', 'val', motions)
    apart = np.linalg.norm(joints[:, 0, 0] - joints[:, 1, 0], axis=-1)
    assert apart.min() == pytest.approx(0.4, abs=0.05)
    assert apart[0] > 1.5
    assert apart[-1] > 1.5


def test_a_panel_hides_who_passes_behind_it(motions):
    paths, (panel,) = lay('behind', motions['val'], 'val', 0)
    assert (paths[0][..., 1].min() > panel.corners_m[:, 1]).all()
    ray = paths[0][len(paths[0]) // 2] - CENTRE_M
    through = CENTRE_M + ray * (panel.corners_m[0, 1] / ray[:, 1:2])
    assert (through > panel.corners_m.min(axis=0) - 1e-6).all()
    assert (through < panel.corners_m.max(axis=0) + 1e-6).all()


def test_an_empty_room_is_drawn_without_people(motions):
    clip = encounter('empty', 'val')
    frame, truth = clip.draw(0)
    assert len(truth) == 0
    assert clip.joints_m(0).shape == (0, 17, 3)
    assert frame.image.std() > 5


def test_another_seed_is_another_encounter_and_the_same_is_the_same(motions):
    first, again, other = (
        lay('crossing2', motions['val'], 'val', seed)[0][0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or np.abs(first - other).max() > 0.05


def test_unknown_names_are_named(motions):
    with pytest.raises(ValueError, match="unknown encounter 'duel'; known are crossing2"):
        lay('duel', motions['val'], 'val', 0)
    with pytest.raises(ValueError, match='split must be one of val, test'):
        lay(next(iter(ENCOUNTERS)), motions['val'], 'nobody', 0)

"""The film of before and after: sizes, frames, and the side on which somebody stands."""

from __future__ import annotations

import numpy as np
import pytest

from trpose_ros.cameras import camera_from_fov
from trpose_ros.demo.before_after import Scene, film, write_film
from trpose_ros.drawing.figures import Shot
from trpose_ros.people import People
from trpose_ros.recordings.video import VideoReader

WIDTH, HEIGHT = 96, 64


@pytest.fixture
def camera():
    return camera_from_fov(WIDTH, HEIGHT, 60.0)


def person(stamp_ns, shift_m=0.0):
    joints = np.tile(np.array([shift_m, 0.0, 3.0]), (1, 17, 1))
    joints[0, :, 1] += np.linspace(-0.8, 0.8, 17)
    joints[0, :, 0] += np.linspace(-0.3, 0.3, 17)
    return People.build(
        stamp_ns=stamp_ns,
        frame_id='c',
        skeleton='h36m_17',
        width=WIDTH,
        height=HEIGHT,
        joints_px=np.full((1, 17, 2), 30.0),
        joints_m=joints,
        track_ids=np.array([1]),
    )


def shots(camera, count, people, lifted):
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    return [Shot(image, camera, people, lifted) for _ in range(count)]


def test_each_side_shows_its_own_person(camera):
    def one(people, lifted):
        scene = Scene('clean', shots(camera, 1, people, lifted), (50.0, float('nan')))
        return next(film(scene)).astype(int)

    nobody, left, right = one(None, None), one(person(0), None), one(None, person(0))
    half = nobody.shape[1] // 2
    assert nobody.shape == left.shape == right.shape
    assert nobody.shape[0] % 2 == nobody.shape[1] % 2 == 0
    assert np.abs(left - nobody)[:, :half].sum() > 0
    assert np.abs(left - nobody)[:, half:].sum() == 0
    assert np.abs(right - nobody)[:, :half].sum() == 0
    assert np.abs(right - nobody)[:, half:].sum() > 0


def test_scenes_follow_each_other_in_one_file(camera, tmp_path):
    scenes = [
        Scene(name, shots(camera, count, person(0), person(0, 0.1)), (100.0, 80.0))
        for name, count in (('clean', 3), ('random_box', 0), ('fixed_lower', 2))
    ]
    assert write_film(tmp_path / 'film.mp4', scenes, 15.0) == 5
    with VideoReader(tmp_path / 'film.mp4') as video:
        assert video.frame_count == 5


def test_a_film_without_frames_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match='no frame'):
        write_film(tmp_path / 'film.mp4', [], 15.0)
    assert list(tmp_path.iterdir()) == []

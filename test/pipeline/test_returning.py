"""Who comes back keeps the id, and nobody else gets it."""

from __future__ import annotations

import numpy as np
import pytest
from doubles import CAMERA, STEP_NS, make_people
from hypothesis import given, settings
from hypothesis import strategies as st

from trpose_ros.people import Frame, JointState, TrackState
from trpose_ros.pipeline.appearance import FEATURES, colours, differences, mixed, other_colours
from trpose_ros.pipeline.tracking import Tracker, TrackerConfig

RED = np.array([25.0, 60, 40, 20, 0, 0])
BLUE = np.array([20.0, 10, -50, 20, 0, 0])
UNSEEN = np.full(FEATURES, np.nan)
HERE, THERE = (0.0, 0.2, 4.0), (1.5, 0.2, 4.0)


class Story:
    """A tracker that is told who is there, in which colours."""

    def __init__(self, **config):
        self.tracker = Tracker(TrackerConfig(**config))
        self.step = 0

    def show(self, *people, seconds=0.5):
        """Show (place, colours) for a while; return the ids by state in the last frame."""
        for _ in range(round(seconds * 30)):
            self.step += 1
            roots = np.array([place for place, _ in people]).reshape(-1, 3)
            worn = np.array([c for _, c in people]).reshape(-1, FEATURES)
            rows = make_people(10**9 + self.step * STEP_NS, roots)
            out = self.tracker.update(rows, CAMERA, worn)
            alive = out.track_ids[out.track_states != TrackState.LOST].tolist()
            lost = out.track_ids[out.track_states == TrackState.LOST].tolist()
            assert len(set(alive)) == len(alive)
            assert not set(alive) & set(lost)
        return sorted(out.track_ids[out.track_states != TrackState.LOST].tolist())


@pytest.mark.parametrize('gone_s', [0.5, 1.0, 2.0, 5.0])
def test_the_same_colours_are_the_same_person(gone_s):
    story = Story()
    assert story.show((HERE, RED)) == [0]
    story.show(seconds=gone_s)
    assert story.show((THERE, RED + 1.0)) == [0]


def test_other_colours_are_somebody_else():
    story = Story()
    story.show((HERE, RED))
    story.show(seconds=3.0)
    assert story.show((HERE, BLUE)) == [1]


def test_nobody_is_known_again_after_a_long_time_or_when_it_is_switched_off():
    for config, gone_s in (({'remember_s': 4.0}, 5.0), ({'remember_s': 0.0}, 2.0)):
        story = Story(**config)
        story.show((HERE, RED))
        story.show(seconds=gone_s)
        assert story.show((HERE, RED)) == [1]


def test_without_colours_ids_are_never_used_twice():
    story = Story()
    story.show((HERE, UNSEEN))
    story.show(seconds=2.0)
    assert story.show((HERE, UNSEEN)) == [1]


def test_two_who_are_dressed_alike_are_not_told_apart():
    story = Story()
    assert story.show((HERE, RED), (THERE, RED)) == [0, 1]
    story.show(seconds=2.0)
    assert story.show((HERE, RED)) == [2]


def test_who_is_still_there_is_nobody_who_comes_back():
    story = Story()
    story.show((HERE, RED), (THERE, BLUE))
    story.show((HERE, RED), seconds=2.5)
    assert story.show((HERE, RED), (THERE, RED)) == [0, 2]


def test_nobody_flies():
    story = Story()
    story.show(((0.0, 0.2, 4.0), RED))
    story.show(seconds=1.7)
    assert story.show(((0.0, 0.2, 24.0), RED)) == [1]


def test_who_shows_little_at_first_is_known_when_the_clothes_are_seen():
    story = Story()
    story.show((HERE, RED))
    story.show(seconds=2.0)
    assert story.show((HERE, UNSEEN), seconds=0.3) == [1]
    assert story.show((HERE, RED), seconds=0.1) == [0]
    assert story.show((HERE, RED), seconds=3.0) == [0]
    story.show(seconds=2.0)
    assert story.show((HERE, RED)) == [0]


def test_after_a_second_nobody_is_renamed():
    story = Story()
    story.show((HERE, RED))
    story.show(seconds=2.0)
    assert story.show((HERE, UNSEEN), seconds=1.5) == [1]
    assert story.show((HERE, RED), seconds=1.0) == [1]


def test_an_id_that_is_given_up_is_reported_lost_once():
    tracker = Tracker()
    lost, step = [], 0
    for place, worn, frames in (
        (HERE, RED, 15),
        (None, RED, 60),
        (HERE, UNSEEN, 9),
        (HERE, RED, 9),
    ):
        for _ in range(frames):
            step += 1
            roots = np.zeros((0, 3)) if place is None else np.array([place])
            out = tracker.update(
                make_people(step * STEP_NS, roots), CAMERA, np.tile(worn, (len(roots), 1))
            )
            lost += out.track_ids[out.track_states == TrackState.LOST].tolist()
    assert lost == [0, 1]


@given(st.integers(0, 2**31))
@settings(max_examples=8, deadline=None)
def test_no_two_people_share_an_id_whatever_they_wear(seed):
    rng = np.random.default_rng(seed)
    story = Story()
    for _ in range(6):
        people = [
            ((1.6 * k - 2.4, 0.2, 5.0), [RED, BLUE, UNSEEN][rng.integers(3)])
            for k in range(4)
            if rng.random() < 0.6
        ]
        story.show(*people, seconds=float(rng.choice([0.1, 0.3, 1.6])))


def test_colours_are_those_of_the_clothes_that_are_seen():
    people = make_people(0, [HERE, (9.0, 0.2, 4.0)])  # the second one is beyond the image
    people = people.replace(joint_states=np.full((2, 17), int(JointState.VISIBLE), np.uint8))
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    hips = people.joints_px[0, 0, 1]
    image[: int(hips)] = (200, 0, 0)
    image[int(hips) :] = (0, 0, 200)
    found = colours(Frame(image, 0, CAMERA, 'optical').image, people)
    assert found.shape == (2, FEATURES)
    assert found[0, 1] > 50  # red above
    assert found[0, 5] < -50  # blue below
    assert np.isnan(found[1]).all()
    hidden = people.joint_states.copy()
    hidden[:, [4, 11]] = JointState.OCCLUDED  # left hip and shoulder: seen from the side
    np.testing.assert_allclose(colours(image, people.replace(joint_states=hidden))[0], found[0])
    hidden[:, 1] = JointState.OCCLUDED
    assert np.isnan(colours(image, people.replace(joint_states=hidden))).all()
    assert colours(image, people.select([])).shape == (0, FEATURES)
    strange = people.replace(skeleton='ghum_35')  # networks bring skeletons of their own
    assert np.isnan(colours(image, strange)).all()


def test_differences_and_means_by_hand():
    torso = np.array([1.0, 2, 2, np.nan, np.nan, np.nan])
    both = np.stack([np.zeros(FEATURES), UNSEEN])
    np.testing.assert_array_equal(differences(torso[None], both), [[3.0, np.nan]])
    assert differences(both[:0], both).shape == (0, 2)
    mean = mixed(torso, np.array([2.0, 2, 2, 5, 5, 5]), 0.5)
    np.testing.assert_array_equal(mean, [1.5, 2, 2, 5, 5, 5])
    np.testing.assert_array_equal(mixed(torso, UNSEEN, 0.5), torso)


def test_what_speaks_against_other_colours():
    against = other_colours(np.stack([RED, BLUE]), np.stack([RED, UNSEEN, RED + 8.0]))
    assert against[0, 0] == 0
    assert against[1, 0] == np.inf  # it is the one in red
    assert 0 < against[0, 1] == against[1, 1] < 0.5
    assert np.isfinite(against[0, 2])
    alone = other_colours(BLUE[None], RED[None])
    assert alone[0, 0] == 1.0  # the light may have changed


def test_people_who_change_places_behind_each_other_keep_their_ids():
    """At the crossing both estimates are of the one in front, then they are apart again."""
    story = Story()
    for x in np.linspace(-1.5, 1.5, 60):
        front, back = ((x, 0.2, 4.0), RED), ((-x, 0.2, 4.5), BLUE)
        hidden = abs(x) < 0.3
        ids = story.show(front, ((x, 0.2, 4.1), RED) if hidden else back, seconds=1 / 30)
        assert ids == [0, 1]
    out = story.tracker.update(
        make_people(10**9 + (story.step + 1) * STEP_NS, [(1.5, 0.2, 4.0), (-1.5, 0.2, 4.5)]),
        CAMERA,
        np.stack([RED, BLUE]),
    )
    assert out.track_ids.tolist() == [0, 1]

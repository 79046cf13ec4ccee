"""The rendered test clips: the same for everybody, with truth that fits the pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trpose_ros.cameras import project
from trpose_ros.evaluation.conditions import Condition
from trpose_ros.evaluation.rendered_sequences import QUICK_MOTIONS, chosen, rendered_clips

pytest.importorskip('numba')


@pytest.fixture(scope='module')
def clips(shared_dir):
    assert shared_dir.is_dir()
    return rendered_clips(seconds=0.15, motions=QUICK_MOTIONS)


def test_clips_are_the_same_every_time(clips):
    again = rendered_clips(seconds=0.15, motions=QUICK_MOTIONS)
    assert len({clip.identity for clip in clips}) == 2
    assert [clip.fingerprint for clip in again] == [clip.fingerprint for clip in clips]
    assert clips[0].fingerprint != clips[1].fingerprint
    assert [clip.identity.split('|')[0] for clip in clips] == ['rendered'] * 2


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 50))
def test_a_limit_takes_clips_of_each_performer_evenly(sizes, limit):
    performers = [[100 * i + k for k in range(size)] for i, size in enumerate(sizes)]
    everything = chosen(performers, 0)
    assert sorted(everything) == [clip for clips in performers for clip in clips]
    some = chosen(performers, limit)
    assert len(set(some)) == len(some) == (min(limit, sum(sizes)) if limit else sum(sizes))
    for i, size in enumerate(sizes):
        mine = [clip - 100 * i for clip in some if clip // 100 == i]
        assert mine == sorted(mine)
        steps = np.diff([*mine, size])  # the last one stands for all up to the end
        assert len(mine) == 0 or (mine[0] == 0 and steps.max() - steps.min() <= 1)


def test_nobody_performed():
    assert chosen([], 0) == chosen([[]], 3) == []


def test_truth_fits_the_pictures(clips):
    for clip in clips:
        frames = list(clip.frames())
        assert [frame.stamp_ns for frame in frames] == sorted(clip.truth) == sorted(clip.boxes_px)
        assert clip.start_ns == frames[0].stamp_ns
        for one, two in zip(frames, clip.frames(), strict=True):
            np.testing.assert_array_equal(one.image, two.image)
        people = clip.truth[frames[0].stamp_ns]
        np.testing.assert_allclose(
            people.joints_px, project(people.joints_m, frames[0].camera), atol=1e-2
        )
        x, y, w, h = clip.boxes_px[frames[0].stamp_ns]
        inside = (people.joints_px > (x, y)) & (people.joints_px < (x + w, y + h))
        assert inside.all(-1).mean() > 0.9  # the box is smoothed; a foot may swing ahead of it
        occluder = Condition('fixed_lower').occluder(clip.identity, clip.start_ns)
        shown = occluder.apply(frames[0], clip.boxes_px[frames[0].stamp_ns])
        assert 0.3 < shown.hidden_fraction < 0.4

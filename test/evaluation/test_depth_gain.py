"""Rendered bodies with depth: people get where they stand, and no clip gets worse."""

import functools

import numpy as np
import pytest

from trpose_ros.data.rendering.bodies import BodyLibrary
from trpose_ros.data.rendering.clips import Clip, ClipConfig
from trpose_ros.evaluation.depth_gain import Gain, _line, as_measured, gain_of
from trpose_ros.people import RootSource, TrackState
from trpose_ros.pipeline.depth import inside_m
from trpose_ros.pipeline.lift_stage import LiftStage


class Guess:
    """A pose stage that sees the truth, too large by a factor, with noise in every joint."""

    def __init__(self, clip, scale):
        self.clip, self.scale, self.rng = clip, scale, np.random.default_rng(0)

    def reset(self):
        pass

    def process(self, frame):
        index = round((frame.stamp_ns - self.clip.config.start_ns) * 1e-9 * 30)
        _, people = self.clip.draw(index)
        noise = self.rng.normal(size=people.joints_m.shape) * 0.02
        return people.replace(
            joints_m=self.scale * (people.joints_m + noise),
            joints_px=people.joints_px + self.rng.normal(size=people.joints_px.shape) * 1.0,
            track_states=np.full(len(people), TrackState.TRACKED, np.uint8),
            root_sources=np.full(len(people), RootSource.ESTIMATOR, np.uint8),
        )


@pytest.fixture(scope='module')
def library(shared_dir):
    return BodyLibrary()


@pytest.mark.parametrize(('framing', 'scale'), [('whole', 1.15), ('near', 0.85), ('whole', 1.0)])
def test_depth_takes_most_of_the_error_away_and_adds_none(library, framing, scale):
    config = ClipConfig(seconds=0.1, width=240, height=180, framing=framing, seed=5)
    clip = Clip(config, library)
    clip._render = functools.cache(clip._render)  # image, depth and truth are of one rendering
    gain = gain_of(clip, Guess(clip, scale), [LiftStage(lifter=None) for _ in range(2)], 0)
    assert gain.used == len(gain.with_m) == 2
    before, after = gain.without_m.mean(), gain.with_m.mean()
    assert after < (0.4 * before if scale != 1.0 else before + 0.06)


def test_joints_lie_as_far_inside_as_in_rendered_bodies(library):
    """Medians over a few people; test bodies are others than those the numbers come from."""
    found = []
    for seed in range(2):
        clip = Clip(ClipConfig(seconds=0.04, width=320, height=240, seed=seed), library)
        clip._render = functools.cache(clip._render)
        _, people = clip.draw(0)
        depth = clip.depth(0)
        column, row = np.rint(people.joints_px[0]).astype(int).T
        inside = (column >= 0) & (column < 320) & (row >= 0) & (row < 240)
        surface = depth[np.clip(row, 0, 239), np.clip(column, 0, 319)]
        offset = people.joints_m[0, :, 2] - surface - inside_m('h36m_17')
        found += offset[inside & np.isfinite(surface) & (people.joint_states[0] == 1)].tolist()
    assert len(found) > 15
    assert abs(np.median(found)) < 0.02
    assert np.percentile(np.abs(found), 80) < 0.06


def test_a_stereo_camera_has_holes_noise_and_points_that_fly_at_edges():
    rng = np.random.default_rng(0)
    true = np.full((96, 128), 2.0)
    true[:, 64:] = 4.0
    seen = as_measured(true, rng)
    share = np.isnan(seen).mean()
    assert 0.1 < share < 0.35
    flat = np.abs(seen - true)[:, :50]
    assert 0.005 < np.nanstd(flat) < 0.03
    assert np.nanmax(np.abs(seen - true)[:, 60:68]) > 0.3
    assert np.isfinite(as_measured(true, rng, holes=0.0)[:, :50]).all()


def test_the_table_is_in_centimetres():
    gain = Gain(np.array([0.1, 0.3]), np.array([0.02, np.nan]), 1)
    assert _line('3', 'whole', gain).split() == ['3', 'whole', '2', '1', '20.0', '2.0']

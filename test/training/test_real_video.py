"""A crop network on a real video with 3D truth: one that knows the truth has no error."""

import numpy as np
import pytest
import torch

from trpose_ros.data.rendering.bodies import PackError, shared_data_dir
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.training.metrabs import real_video

MODEL = Metrabs(MetrabsConfig('resnet-plain-xs', num_joints=39))


def test_joints_are_relative_to_the_middle_of_the_hips():
    joints = np.random.default_rng(0).normal(size=(2, 12, 3))
    moved = real_video.relative(joints + np.array([1.0, 2, 3]))
    assert np.allclose(moved, real_video.relative(joints))
    assert np.allclose((moved[:, 0] + moved[:, 3]) / 2, 0)


def test_without_the_pack_nothing_is_said(monkeypatch):
    def missing(name):
        raise PackError(name)

    monkeypatch.setattr(real_video, 'shared_data_dir', missing)
    assert real_video.on_real_video(MODEL) == {}


def test_who_knows_the_truth_has_no_error(monkeypatch):
    try:
        shared_data_dir('real_video')
    except PackError as error:
        pytest.skip(f'needs the pack of a real video: {error}')
    monkeypatch.setattr(real_video, '_STEP', 50)
    monkeypatch.setattr(real_video, 'CONDITIONS', ('fixed_upper',))
    given = []
    batches = real_video.batches

    def noted(*arguments):
        for batch, truth, indices in batches(*arguments):
            given.append((truth, indices))
            yield batch, truth, indices

    def told(model, batch):
        truth, indices = given[-1]
        poses = torch.zeros(len(truth), 39, 3)
        poses[:, indices] = torch.tensor(1000 * truth, dtype=torch.float32)
        return poses, None

    monkeypatch.setattr(real_video, 'batches', noted)
    monkeypatch.setattr(real_video, 'run', told)
    results = real_video.on_real_video(MODEL)
    assert results == {
        'clean': {'mpjpe_mm': 0.0, 'pck': 1.0},
        'fixed_upper': {'mpjpe_mm': 0.0, 'pck': 1.0},
    }

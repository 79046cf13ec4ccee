"""Pictures with 2D labels only: crops that show what their labels say, and a loss through them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from tiny_body import PlainBackgrounds
from tiny_body import TinyStore

from trpose_ros.data.compose import Composer
from trpose_ros.data.samples import DataError
from trpose_ros.data.samples import Sample
from trpose_ros.metrabs.model import Metrabs
from trpose_ros.metrabs.model import MetrabsConfig
from trpose_ros.people import Camera
from trpose_ros.training import labelled_2d
from trpose_ros.training.distributed import Share
from trpose_ros.training.labelled_2d import Labelled2d
from trpose_ros.training.metrabs import MetrabsBatches
from trpose_ros.training.metrabs import MetrabsTask
from trpose_ros.training.metrabs import MetrabsTraining
from trpose_ros.training.metrabs import flat_loss


def dotted(camera=None, frames: int = 2, drop: int | None = None) -> Sample:
    """Return a sample whose pictures show a white blob at every joint, on black."""
    rng = np.random.default_rng(0)
    joints = rng.uniform([250, 120], [420, 360], (frames, 17, 2)).astype(np.float32)
    images = np.zeros((frames, 480, 640, 3), np.uint8)
    y, x = np.mgrid[:480, :640]
    for t in range(frames):
        for joint in joints[t]:
            near = np.exp(-((x - joint[0]) ** 2 + (y - joint[1]) ** 2) / 18)
            images[t] = np.maximum(images[t], (255 * near[..., None]).astype(np.uint8))
    valid = np.ones((frames, 17), bool)
    if drop is not None:
        valid[:, drop] = False
    return Sample(
        dataset='made',
        subject='a',
        action='b',
        camera_name='0',
        split='train',
        fps=30.0,
        skeleton='h36m_17',
        width=640,
        height=480,
        valid=valid,
        joints_px=joints,
        camera=camera,
        images=images,
    )


CAMERAS = (
    None,
    Camera(640, 480, np.array([[600.0, 0, 320], [0, 590, 240], [0, 0, 1]])),
    Camera(
        640,
        480,
        np.array([[500.0, 0, 310], [0, 500, 250], [0, 0, 1]]),
        np.array([-0.25, 0.08, 0.001, 0, 0]),
    ),
)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2), st.integers(0, 1000))
def test_labels_lie_where_the_picture_shows_the_joints(number, seed):
    people = Labelled2d([dotted(CAMERAS[number])], 128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labelled_2d, 'adjust_colours', lambda image, rng: image)
        patch.setattr(labelled_2d, '_HIDDEN', 0.0)
        crop = people.crop(np.random.default_rng(seed))
    assert crop.image.shape == (128, 128, 3)
    inside = ((crop.joints_px >= 1) & (crop.joints_px <= 126)).all(axis=1)
    assert inside.sum() >= 2
    column, row = np.rint(crop.joints_px[inside]).astype(int).T
    assert (crop.image[row, column, 0] > 90).all()


def test_frames_without_labels_and_samples_without_images_are_left_out():
    sample = dotted(drop=3)
    people = Labelled2d([sample, dataclasses.replace(sample, images=None)], 128)
    assert len(people) == 2
    crops = [people.crop(np.random.default_rng(seed)) for seed in range(6)]
    for crop in crops:  # the right foot, or the left one of a mirrored person
        missing = np.flatnonzero(np.isnan(crop.joints_px).any(axis=1))
        assert missing.tolist() in ([3], [6])
    assert len({tuple(np.flatnonzero(np.isnan(c.joints_px[:, 0]))) for c in crops}) == 2
    bare = dataclasses.replace(sample, valid=np.zeros((2, 17), bool))
    with pytest.raises(DataError, match='2D joints'):
        Labelled2d([bare], 128)
    with pytest.raises(DataError, match='2D joints'):
        Labelled2d([], 128)


def batches(**changes) -> MetrabsBatches:
    composer = Composer(TinyStore(), PlainBackgrounds())
    config = MetrabsTraining(batch=3, batch_2d=4, easy_steps=1, **changes)
    return MetrabsBatches(composer, config, 7, Labelled2d([dotted(drop=3)], 128))


def test_both_kinds_are_in_a_batch_and_both_teach():
    data = batches()
    batch, again = data[2], data[2]
    assert batch.flat is not None
    assert batch.flat.images.shape == (4, 3, 128, 128)
    assert torch.equal(batch.flat.images, again.flat.images)
    data.share = Share(1, 2)
    assert torch.equal(data[2].flat.images, batch.flat.images[2:])
    torch.manual_seed(0)
    task = MetrabsTask(Metrabs(MetrabsConfig(backbone='resnet-plain-xs')), data, 0)
    losses = task.loss(batch, 1000)
    assert losses['flat'] > 0
    without = task.loss(dataclasses.replace(batch, flat=None), 1000)
    assert 'flat' not in without
    losses['flat'].backward()
    gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_the_loss_is_zero_at_the_truth_and_counts_labelled_joints_only():
    geometry = MetrabsConfig().geometry
    batch = batches()[0].flat
    z = 3000.0
    rays = torch.linalg.solve(
        batch.intrinsics, torch.cat([batch.joints_px, torch.ones(4, 17, 1)], -1).mT
    ).mT
    poses = torch.where(torch.isfinite(rays), rays * z, torch.tensor(z))
    assert float(flat_loss(poses, batch, geometry)) < 1e-5
    missing = torch.isnan(batch.joints_px).any(-1)
    moved = torch.where(missing[..., None], poses + 50.0, poses)
    assert float(flat_loss(moved, batch, geometry)) < 1e-5
    assert float(flat_loss(poses + torch.tensor([50.0, 0, 0]), batch, geometry)) > 0.01

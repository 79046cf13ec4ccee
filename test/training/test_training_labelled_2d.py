"""Pictures with 2D labels only: crops that show what their labels say, and a loss through them."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_body import PlainBackgrounds, TinyStore

from trpose_ros.data.rendering.crops import UNKNOWN, UNSEEN, Composer, CropConfig
from trpose_ros.data.samples import DataError, Sample
from trpose_ros.metrabs.model import Metrabs, MetrabsConfig
from trpose_ros.metrabs.visibility import HIDDEN, OUTSIDE, VISIBLE
from trpose_ros.people import Camera
from trpose_ros.training.distributed import Share
from trpose_ros.training.metrabs import labelled_2d
from trpose_ros.training.metrabs.batches import Batch
from trpose_ros.training.metrabs.labelled_2d import Labelled2d
from trpose_ros.training.metrabs.losses import Heads, bone_loss, photograph_loss, state_loss
from trpose_ros.training.metrabs.trainer import MetrabsBatches, MetrabsTask, MetrabsTraining


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
        for name in ('_HIDDEN', '_COARSE', '_BLURRED'):
            patch.setattr(labelled_2d, name, 0.0)
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
        missing = np.flatnonzero(np.isnan(crop.joints_px[:17]).any(axis=1))
        assert missing.tolist() in ([3], [6])
    assert len({tuple(np.flatnonzero(np.isnan(c.joints_px[:, 0]))) for c in crops}) == 2
    bare = dataclasses.replace(sample, valid=np.zeros((2, 17), bool))
    with pytest.raises(DataError, match='2D joints'):
        Labelled2d([bare], 128)
    with pytest.raises(DataError, match='2D joints'):
        Labelled2d([], 128)


def batches(**changes) -> MetrabsBatches:
    composer = Composer(TinyStore(), PlainBackgrounds(), CropConfig(side=128))
    config = MetrabsTraining(batch=3, batch_2d=4, side=128, **changes)
    return MetrabsBatches(composer, config, 7, Labelled2d([dotted(drop=3)], 128))


SMALL = MetrabsConfig('resnet-plain-xs', num_joints=39, states=True)


def part(batch: Batch, rows: slice) -> Batch:
    return dataclasses.replace(batch.part(rows), images=batch.images[rows])


def test_both_kinds_are_in_a_batch_and_both_teach():
    data = batches()
    batch, again = data[2], data[2]
    assert batch.images.shape == (7, 3, 128, 128)
    assert torch.isfinite(batch.joints_m[:, 0, 0]).tolist() == [True] * 3 + [False] * 4
    assert torch.equal(batch.images, again.images)
    data.share = Share(1, 2)
    assert torch.equal(data[2].images, batch.images[-len(data[2].images) :])
    torch.manual_seed(0)
    task = MetrabsTask(Metrabs(SMALL), data, 0)
    losses = task.loss(batch, 1000)
    assert losses['flat'] > 0
    assert losses['relative'] > 0
    assert 'flat' not in task.loss(part(batch, slice(0, 3)), 1000)
    assert 'relative' not in task.loss(part(batch, slice(3, None)), 1000)
    losses['flat'].backward()
    gradients = [p.grad for p in task.model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() for g in gradients)


def test_the_loss_is_zero_at_the_truth_and_counts_labelled_joints_only():
    geometry = SMALL.geometry
    batch = part(batches()[0], slice(3, None))
    rays = torch.linalg.solve(
        batch.intrinsics, torch.cat([batch.joints_px, torch.ones(4, 39, 1)], -1).mT
    ).mT
    missing = ~torch.isfinite(rays).all(-1, keepdim=True)
    poses = torch.where(missing, 0.0, rays) * 3000.0 + missing * torch.tensor([0, 0, 3000.0])
    coords2d = torch.where(missing, 64.0, torch.nan_to_num(batch.joints_px))
    logits = torch.zeros(4, 39 * 9, 8, 8)

    def flat(poses, coords2d):
        losses = photograph_loss(Heads(poses, coords2d, poses, logits), batch, geometry)
        return float(losses['flat']), float(losses['flat_heads'])

    assert max(flat(poses, coords2d)) < 1e-5
    assert max(flat(torch.where(missing, poses + 50.0, poses), coords2d + 30.0 * missing)) < 1e-5
    assert flat(poses + torch.tensor([50.0, 0, 0]), coords2d)[0] > 0.01
    assert flat(poses, coords2d + 5.0)[1] > 0.01


def test_bones_of_people_cost_nothing_and_stretched_ones_do():
    people = 1000 * torch.from_numpy(np.stack([TinyStore(1)[0]['joints_m']]))
    usual = bone_loss(people)
    assert bone_loss(1.6 * people) > usual + 0.05
    bent = people.clone()
    bent[:, 12] += torch.tensor([0, 0, 400.0])  # one elbow alone
    assert bone_loss(bent) > usual + 0.01


def test_states_cost_by_what_is_known_of_them():
    chance = torch.tensor([[[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.2, 0.2, 0.6]]])
    logits = chance.log()
    seen = torch.tensor([[VISIBLE, UNSEEN, UNKNOWN]], dtype=torch.uint8)
    wanted = -(np.log(0.7) + np.log(0.9)) / 2
    assert float(state_loss(logits, seen)) == pytest.approx(0.05 * wanted, rel=1e-5)
    nothing = torch.full((1, 3), UNKNOWN, dtype=torch.uint8)
    assert float(state_loss(logits, nothing)) == 0.0


def test_a_joint_that_is_covered_is_hidden_and_one_beyond_the_crop_outside():
    px = np.array([[10.0, 10], [20, 20], [-5, 3], [np.nan, np.nan], [np.nan, np.nan]])
    covered = np.zeros((32, 32), bool)
    covered[18:22, 18:22] = True
    labelled = np.isfinite(px[:, 0])
    unseen = np.array([False, False, False, True, False])
    states = labelled_2d.joint_states(px, labelled, unseen, covered)
    assert states.tolist() == [VISIBLE, HIDDEN, OUTSIDE, UNSEEN, UNKNOWN]

"""VideoPose3D's trajectory model, and what people without labels teach."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from human36m_archives import write_archives
from made_people import moving_person

from trpose_ros import weights
from trpose_ros.data.samples import DataError
from trpose_ros.lifters.registry import create_lifter
from trpose_ros.lifters.streams.base import LifterConfig
from trpose_ros.training.lifters.trainer import open_windows
from trpose_ros.training.lifters.videopose3d import build, main, make_task
from trpose_ros.training.lifters.videopose3d_options import VideoPose3DTraining
from trpose_ros.training.lifters.videopose3d_rooted import bone_error, image_error, root_error
from trpose_ros.training.lifters.windows import DatasetWindows
from trpose_ros.training.loop import LoopConfig, TrainingLoop

SMALL = {'frames': 9, 'channels': 32, 'batch': 16, 'trajectory': True}


@pytest.fixture(scope='module')
def mocap(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mocap')
    joints = np.concatenate([moving_person(60, 'h36m_17', seed) for seed in range(4)])
    np.savez(
        folder / 'mocap_cmu_30hz.npz',
        root=joints[:, 0],
        rel=joints - joints[:, :1],
        start=[0, 60, 120, 180],
        length=[60, 60, 60, 60],
        name=['a', 'b', 'c', 'd'],
        subject=['anna', 'bert', 'cmu014', 'dora'],
        split=['train', 'train', 'test', 'val'],
        fps=30.0,
        joint_names=np.array(['j'] * 17),
    )
    return folder


def task_of(mocap, steps=4, **changes):
    torch.manual_seed(0)
    training = VideoPose3DTraining(mocap=str(mocap), **(SMALL | changes))
    windows = open_windows(training)
    return make_task(build(training, 3 if windows.marked else 2), training, windows, 0, steps)


def loop_config(steps):
    return LoopConfig(steps=steps, learning_rate=3e-3, average=0.0, warm_up=0, log_every=5)


@pytest.mark.parametrize('recipe', ['clean', 'robust'])
def test_all_losses_fall(recipe, mocap, tmp_path):
    task = task_of(mocap, 60, recipe=recipe, unlabelled=1.0, unlabelled_after=5)
    TrainingLoop(task, loop_config(60), tmp_path).run()
    first, *rows = (tmp_path / 'log.csv').read_text().splitlines()
    names = first.split(',')
    table = np.array([[float(x or 'nan') for x in row.split(',')] for row in rows])
    for name in ('pose', 'root', 'image'):
        column = table[:, names.index(name)]
        assert np.nanmean(column[-3:]) < 0.9 * np.nanmean(column[1:3]), name
    assert 'bones' in names


def test_people_without_labels_come_after_a_while_and_are_others(mocap):
    task = task_of(mocap, unlabelled=1.0, unlabelled_after=2)
    sizes = [len(batch) for batch in task.batches(0, 4)]
    assert sizes == [3, 3, 5, 5]
    joints, target_m, root_m, unlabelled, cameras = next(iter(task.batches(3, 4)))
    assert joints.shape == unlabelled.shape == (16, 9, 17, 2)
    assert cameras.shape == (16, 4)
    again = next(iter(task.batches(3, 4)))
    same = (joints, target_m, root_m, unlabelled, cameras)
    assert all(torch.equal(a, b) for a, b in zip(again, same, strict=True))
    # Joints are the projections of what the labels say.
    absolute = target_m + root_m[:, :, None]
    assert (absolute[..., 2] > 0.2).all()


def test_a_true_skeleton_has_no_error_in_the_image(mocap):
    windows = open_windows(VideoPose3DTraining(mocap=str(mocap), **SMALL))
    drawn = windows.draw_rooted(np.random.default_rng(0), 64)
    joints, target_m, root_m, cameras = (torch.from_numpy(np.array(a)) for a in drawn)
    absolute = (target_m + root_m[:, :, None])[:, 4]
    whole = joints[:, 4].abs().amax(dim=(1, 2)) < 4  # beyond, 2D is clamped
    assert whole.sum() > 30
    assert float(image_error(absolute[whole], joints[whole, 4], cameras[whole])) < 1e-4
    moved = absolute[whole] + torch.tensor([0.1, 0.0, 0.0])
    assert float(image_error(moved, joints[whole, 4], cameras[whole])) > 0.01


def test_losses_by_hand():
    predicted = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 5.0]])
    target = torch.tensor([[0.0, 0.0, 4.0], [1.0, 1.0, 5.0]])
    assert float(root_error(predicted, target)) == pytest.approx((2 / 4 + 1 / 5) / 2)
    pose = torch.from_numpy(moving_person(1, 'h36m_17'))
    assert float(bone_error(pose, pose)) == 0
    bones = float((2 * pose).diff(dim=0).sum())  # one frame: nothing
    assert bones == 0
    longer = bone_error(1.5 * pose, pose)
    assert float(bone_error(2 * pose, pose)) == pytest.approx(2 * float(longer), rel=1e-5)
    marks = torch.cat([torch.zeros(1, 17, 2), torch.ones(1, 17, 1)], dim=-1)
    marks[0, 3, :2], marks[0, 3, 2] = 0.5, 0.0
    ahead = torch.zeros(1, 17, 3) + torch.tensor([0.0, 0.0, 3.0])
    camera = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert float(image_error(ahead, marks, camera)) == 0
    behind = ahead * torch.tensor([1.0, 1.0, -1.0])
    assert torch.isfinite(image_error(behind, marks, camera))


@pytest.mark.parametrize('recipe', ['clean', 'robust'])
def test_the_stream_gives_the_root(recipe, mocap, tmp_path, capsys):
    out = tmp_path / 'rooted.safetensors'
    options = [f'--mocap={mocap}', f'--out={out}', f'--folder={tmp_path / "run"}', '--threads=1']
    options += [f'--recipe={recipe}', '--frames=9', '--channels=16', '--batch=8', '--steps=2']
    options += ['--trajectory=true', '--unlabelled=0.5', '--unlabelled-after=1', '--relative=4']
    main([*options, '--test-windows=8'])
    assert json.loads(weights.load(out, 'videopose3d').meta['measured_error'])
    capsys.readouterr()
    main([*options, '--test-windows=8', f'--measure={out}'])
    assert 'cmu exact' in capsys.readouterr().out
    stream = create_lifter(LifterConfig(name='videopose3d', model=str(out)))
    joints = np.zeros((1, 17, 2), np.float32) + np.linspace(-0.1, 0.1, 17)[:, None]
    lifted = []
    for number in range(12):
        stamp_ns = 1_000_000_000 + number * 33_333_333
        lifted += stream.push(stamp_ns, np.array([1]), joints, np.ones((1, 17), np.uint8))
    lifted += stream.flush()
    assert len(lifted) == 12
    assert all(np.isfinite(one.root_m).all() and one.root_m.shape == (3,) for one in lifted)


def test_subjects_of_a_data_set_without_3d(tmp_path):
    write_archives(tmp_path, ('S1', 'S9'), frames=30)
    windows = DatasetWindows('human36m', str(tmp_path), 'gt', 9, unlabelled=('S2',))
    joints, target_m, root_m, cameras = windows.draw_rooted(np.random.default_rng(0), 8)
    assert joints.shape == (8, 9, 17, 2)
    absolute = target_m + root_m[:, :, None]
    assert (absolute[..., 2] > 0.5).all()
    focal, centre = cameras[:, None, None, :2], cameras[:, None, None, 2:]
    projected = absolute[..., :2] / absolute[..., 2:] * focal + centre
    inside = np.abs(joints).max(axis=-1) < 1  # where the lens bends little
    assert np.median(np.abs(projected - joints)[inside]) < 0.02
    unlabelled, target_m, _, cameras = windows.draw_rooted(np.random.default_rng(0), 4, False)
    assert np.isfinite(unlabelled).all()
    assert np.isnan(target_m).all()
    assert np.isfinite(cameras).all()
    bare = DatasetWindows('human36m', str(tmp_path), 'gt', 9)
    with pytest.raises(DataError, match='no subject without labels'):
        bare.draw_rooted(np.random.default_rng(0), 4, False)


def test_what_is_missing_is_named(mocap, tmp_path):
    with pytest.raises(ValueError, match='unlabelled = 1 needs trajectory = true'):
        VideoPose3DTraining(unlabelled=1.0)
    with np.load(mocap / 'mocap_cmu_30hz.npz') as pack:
        arrays = dict(pack)
    arrays['split'] = ['train', 'train', 'test', 'train']
    np.savez(tmp_path / 'mocap_cmu_30hz.npz', **arrays)
    task = task_of(tmp_path, unlabelled=1.0, unlabelled_after=0)
    with pytest.raises(DataError, match="no clip of 9 frames in the split 'val'"):
        next(iter(task.batches(0, 1)))

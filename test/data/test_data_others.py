"""HumanEva archives, own videos, motion packs and recordings."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from made_people import look_at, metadata, move, moving_person, pinhole

from trpose_ros.cameras import camera_from_fov, normalise_screen
from trpose_ros.data.datasets.camera_fit import fit_camera, fit_intrinsics
from trpose_ros.data.motion.packs import PACKS, load_mocap
from trpose_ros.data.registry import load_dataset, recognise
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.people import JointState, People
from trpose_ros.recordings.bag_messages import MessageMaker
from trpose_ros.recordings.bags import BagWriter, make_typestore
from trpose_ros.skeletons import get_skeleton

# --- HumanEva --------------------------------------------------------------------------------

POSES = {
    'S1': [look_at((4 * np.cos(a), 4 * np.sin(a), 1.3), (0, 0, 1)) for a in (0.1, 2.2, 4.0)],
    'S2': [look_at((4 * np.cos(a), 4 * np.sin(a), 1.5), (0, 0, 1)) for a in (0.4, 2.5, 4.4)],
}


def see(world, person, camera):
    return pinhole(move(world, POSES[person][camera]), 600, (320, 240)).astype(np.float32)


def write_humaneva(folder, frames=40, change_3d=lambda j: j):
    three, two = {}, {}
    for number, subject in enumerate(('Train/S1', 'Train/S2', 'Validate/S1')):
        three[subject], two[subject] = {}, {}
        for chunk in range(2):
            take = f'Walking 1 chunk{chunk}'
            world = moving_person(frames, 'humaneva_15', 10 * number + chunk)
            two[subject][take] = [see(world, subject[-2:], c) for c in range(3)]
            three[subject][take] = change_3d(world)
    np.savez(folder / 'data_3d_humaneva15.npz', positions_3d=np.array(three, dtype=object))
    write_2d(folder / 'data_2d_humaneva15_gt.npz', two, 'humaneva_15', layout_name='humaneva15')
    return three, two


def write_2d(path, positions, skeleton, **meta):
    np.savez(
        path,
        positions_2d=np.array(positions, dtype=object),
        metadata=np.array(metadata(skeleton, **meta), dtype=object),
    )


def test_humaneva_finds_its_cameras(tmp_path):
    three, _ = write_humaneva(tmp_path)
    samples = list(load_dataset('humaneva', tmp_path))
    assert len(samples) == 3 * 2 * 3
    assert len({s.identity for s in samples}) == len(samples)
    assert {s.subject: s.split for s in samples} == {
        'Train/S1': 'train',
        'Train/S2': 'train',
        'Validate/S1': 'test',
    }
    for s in samples:
        pose = POSES[s.subject[-2:]][int(s.camera_name[1]) - 1]
        np.testing.assert_allclose(s.joints_m, move(three[s.subject][s.action], pose), atol=0.01)
        np.testing.assert_allclose(s.camera.matrix[0, 0], 600, rtol=2e-3)
        assert (s.width, s.height, s.fps, s.skeleton) == (640, 480, 60.0, 'humaneva_15')
    assert {s.subject for s in load_dataset('humaneva', tmp_path, split='test')} == {'Validate/S1'}


def test_humaneva_with_coco_detections(tmp_path):
    three, _ = write_humaneva(tmp_path)
    two = {
        s: {t: [np.ones((len(j), 17, 2), np.float32)] * 3 for t, j in takes.items()}
        for s, takes in three.items()
    }
    name = 'data_2d_humaneva15_detectron_pt_coco.npz'
    write_2d(tmp_path / name, two, 'coco_17', layout_name='coco')
    sample = next(iter(load_dataset('humaneva', tmp_path, keypoints='detectron_pt_coco')))
    assert (sample.skeleton, sample.skeleton_px) == ('humaneva_15', 'coco_17')
    short = {s: {t: [c[:3] for c in cs] for t, cs in takes.items()} for s, takes in two.items()}
    write_2d(tmp_path / name, short, 'coco_17')
    with pytest.raises(DataError, match='3 frames but the 3D archive 40'):
        list(load_dataset('humaneva', tmp_path, keypoints='detectron_pt_coco'))


def test_corrupt_chunks_of_humaneva_are_left_out(tmp_path):
    first = iter([True])

    def spoil(joints):
        return np.where(next(first, False), np.nan, joints)

    write_humaneva(tmp_path, change_3d=spoil)
    samples = list(load_dataset('humaneva', tmp_path))
    assert len(samples) == 5 * 3
    assert ('Train/S1', 'Walking 1 chunk0') not in {(s.subject, s.action) for s in samples}


def test_bad_humaneva(tmp_path):
    write_humaneva(tmp_path, change_3d=lambda j: j * 1000)
    with pytest.raises(DataError, match='millimetres'):
        list(load_dataset('humaneva', tmp_path))
    write_humaneva(tmp_path, change_3d=lambda j: j[:, :14])
    with pytest.raises(DataError, match=r'must be \(T, 15, 3\)'):
        list(load_dataset('humaneva', tmp_path))
    write_humaneva(tmp_path, change_3d=lambda j: j[:, :, ::-1] * 1.3)
    with pytest.raises(DataError, match='are mirrored'):
        list(load_dataset('humaneva', tmp_path))
    np.savez(tmp_path / 'data_3d_humaneva15.npz', positions_3d=np.array({}, dtype=object))
    with pytest.raises(DataError, match='a few hundred bytes'):
        list(load_dataset('humaneva', tmp_path))
    (tmp_path / 'data_2d_humaneva15_gt.npz').unlink()
    with pytest.raises(MissingDataError, match=r'data_2d_humaneva15_gt\.npz is not there'):
        list(load_dataset('humaneva', tmp_path))


# --- cameras from joints ---------------------------------------------------------------------


def test_a_camera_is_found_from_world_joints():
    world = moving_person(60, 'h36m_17', 3)
    pose = look_at((3, 2, 1.4), (0, 0, 1))
    px = pinhole(move(world, pose), 700, (310, 250))
    camera, found = fit_camera(px, world, 640, 480, 'clip')
    np.testing.assert_allclose(found, pose, atol=0.02)
    np.testing.assert_allclose(camera.matrix[0, 0], 700, rtol=5e-3)
    with pytest.raises(DataError, match='0 joints inside'):
        fit_camera(px * 0 - 5, world, 640, 480, 'clip')


def test_intrinsics_survive_outliers_and_refuse_nonsense():
    joints = moving_person(40, 'h36m_17', 1, (0, 0, 4))
    px = pinhole(joints, 800, (400, 300))
    px[::7, 3] += 200
    camera = fit_intrinsics(px, joints, 800, 600, 'clip')
    np.testing.assert_allclose(camera.matrix, [[800, 0, 400], [0, 800, 300], [0, 0, 1]], atol=0.5)
    with pytest.raises(DataError, match='0 joints with 2D and 3D'):
        fit_intrinsics(px * np.nan, joints, 800, 600, 'clip')
    with pytest.raises(DataError, match='no pinhole camera'):
        fit_intrinsics(np.random.default_rng(0).uniform(0, 800, px.shape), joints, 800, 600, 'c')


# --- own videos ------------------------------------------------------------------------------


def test_own_videos(tmp_path):
    px = np.arange(5.0)[:, None, None] * np.ones((1, 17, 2))
    gap = px.copy()
    gap[[1, 3]] = np.nan
    sizes = {'a.mp4': {'w': 1280, 'h': 720}}
    path = tmp_path / 'data_2d_custom_mine.npz'
    write_2d(path, {'a.mp4': {'custom': [gap]}}, 'coco_17', video_metadata=sizes)
    (sample,) = load_dataset('custom_2d', tmp_path, fps=25)
    np.testing.assert_allclose(sample.joints_px, px)
    assert not sample.valid[[1, 3]].any()
    assert (sample.width, sample.height, sample.fps) == (1280, 720, 25)
    assert sample.joints_m is None
    assert list(load_dataset('custom_2d', tmp_path, split='train')) == []
    write_2d(path, {'a.mp4': {'custom': [gap * np.nan]}}, 'coco_17', video_metadata=sizes)
    with pytest.raises(DataError, match='in no frame at all'):
        list(load_dataset('custom_2d', tmp_path))
    write_2d(path, {'a.mp4': {'custom': [px]}}, 'coco_17')
    with pytest.raises(DataError, match='no size of'):
        list(load_dataset('custom_2d', tmp_path))


# --- motion packs ----------------------------------------------------------------------------


def write_pack(path, **changes):
    joints = moving_person(50, 'h36m_17')
    content = {
        'root': joints[:, 0],
        'rel': (joints - joints[:, :1]).astype(np.float16),
        'start': np.array([0, 30]),
        'length': np.array([30, 20]),
        'name': np.array(['walk', 'run']),
        'subject': np.array(['a', 'b']),
        'split': np.array(['train', 'test']),
        'fps': np.array(30.0),
        'joint_names': np.array(get_skeleton('h36m_17').joint_names),
    }
    np.savez(path, **(content | changes))
    return joints


def test_motion_packs(tmp_path):
    joints = write_pack(tmp_path / 'mocap_mine.npz')
    first, second = load_dataset('motion', tmp_path)
    assert (first.action, first.split, second.subject, second.split) == (
        'walk',
        'train',
        'b',
        'test',
    )
    np.testing.assert_allclose(second.world_m, joints[30:], atol=2e-3)
    assert first.joints_px is None
    assert [s.action for s in load_dataset('motion', tmp_path, split='test')] == ['run']
    assert recognise(tmp_path) == ['motion']


def test_motion_seen_by_cameras_is_the_same_every_time(tmp_path):
    write_pack(tmp_path / 'motion.npz')
    once, again = (list(load_dataset('motion', tmp_path, views=2)) for _ in range(2))
    assert [s.camera_name for s in once] == ['virtual0', 'virtual1'] * 2
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a.joints_px, b.joints_px)
    assert np.abs(once[0].joints_px - once[1].joints_px).max() > 1
    sample = once[0]
    # One pinhole camera with its centre in the middle of the image explains all joints.
    rays = sample.joints_m[..., :2] / sample.joints_m[..., 2:]
    screen = normalise_screen(sample.joints_px, sample.width, sample.height)
    near = (np.abs(screen) < 3.9).all(axis=-1)
    focal = (screen[near] / rays[near]).ravel()
    focal = focal[np.abs(rays[near]).ravel() > 0.02]
    np.testing.assert_allclose(focal, np.median(focal), rtol=0.01)
    # ... and it stands still: distances between joints of different frames are kept.
    np.testing.assert_allclose(
        np.linalg.norm(sample.joints_m[0, 3] - sample.joints_m[9, 5]),
        np.linalg.norm(sample.world_m[0, 3] - sample.world_m[9, 5]),
        atol=1e-4,
    )


def test_bad_motion_packs(tmp_path):
    path = tmp_path / 'motion.npz'
    write_pack(path, length=np.array([30, 60]))
    with pytest.raises(DataError, match='clips reach to frame 90'):
        list(load_dataset('motion', tmp_path))
    joints = 1000 * moving_person(50, 'h36m_17')
    write_pack(path, root=joints[:, 0], rel=joints - joints[:, :1])
    with pytest.raises(DataError, match='millimetres'):
        list(load_dataset('motion', tmp_path))
    path.write_bytes(b'PK\x03\x04 no archive')
    with pytest.raises(DataError, match='not a readable motion pack'):
        list(load_dataset('motion', tmp_path))


def test_motion_packs_that_would_spoil_a_training(tmp_path):
    path = tmp_path / PACKS[0]
    joints = write_pack(path)
    assert len(load_mocap(tmp_path)) == 2
    broken = joints - joints[:, :1]
    broken[35, 4] = np.nan
    write_pack(path, rel=broken)
    with pytest.raises(ValueError, match=r"clip 'run' has joints that are not a number.*frame 5"):
        load_mocap(tmp_path)
    write_pack(path, root=1000 * joints[:, 0], rel=1000 * (joints - joints[:, :1]))
    with pytest.raises(ValueError, match='millimetres'):
        load_mocap(tmp_path)
    write_pack(path, rel=broken[:, :16])
    with pytest.raises(ValueError, match=r'rel must be \(F, 17, 3\), got \(50, 16, 3\)'):
        load_mocap(tmp_path)


# --- recordings ------------------------------------------------------------------------------

SIZE = (64, 48)


def write_bag(path, frames=6, truth='/ground_truth/people', images=True, ids=(7, 3), skip=()):
    make = MessageMaker(make_typestore())
    camera = camera_from_fov(*SIZE, 60.0, assumed=False)
    joints = moving_person(frames * 2, 'h36m_17', 0, (0, 0, 3)).reshape(frames, 2, 17, 3)
    with BagWriter(path) as bag:
        for t in range(frames):
            stamp = 1_000_000_000 + t * 40_000_000
            here = [i for i in range(2) if (t, i) not in skip]
            states = np.zeros((len(here), 17), np.uint8)
            states[:, 4] = JointState.OCCLUDED
            people = People.build(
                stamp_ns=stamp,
                frame_id='camera',
                skeleton='h36m_17',
                width=SIZE[0],
                height=SIZE[1],
                joints_px=joints[t, here, :, :2] * 10,
                joints_m=joints[t, here],
                joint_states=states,
                track_ids=np.array([ids[i] for i in here]),
            )
            bag.write(truth, make.people(people), stamp)
            bag.write('/camera/camera_info', make.camera_info(camera, stamp, 'camera'), stamp)
            if images:
                image = np.full((SIZE[1], SIZE[0], 3), 20 * t, np.uint8)
                message = make.compressed_image(image, stamp, 'camera')
                bag.write('/camera/image/compressed', message, stamp)
    return joints


def test_recordings(tmp_path):
    joints = write_bag(tmp_path / 'a.mcap', skip=((2, 0),))
    first, second = load_dataset('recordings', tmp_path)  # ids 3 and 7
    np.testing.assert_allclose(first.joints_m, joints[:, 1], atol=1e-6)
    assert first.valid.all()
    assert not second.valid[2].any()
    assert np.isnan(second.joints_px[2]).all()
    assert first.occluded[:, 4].all()
    assert first.occluded.sum() == 6
    assert first.fps == pytest.approx(25)
    assert (first.camera.width, first.width, first.height) == (64, *SIZE)
    assert [round(first.images[i].mean() / 20) for i in (0, 3, 1, 5)] == [0, 3, 1, 5]
    assert round(pickle.loads(pickle.dumps(first.images))[2].mean() / 20) == 2
    assert round(first.frames(2, 6, 2).images[1].mean() / 20) == 4


def test_recordings_without_ids_images_or_the_usual_name(tmp_path):
    write_bag(tmp_path / 'bag', truth='/people', images=False, ids=(-1, -1))
    with pytest.raises(DataError, match=r"PersonArray topics are \['/people'\]"):
        list(load_dataset('recordings', tmp_path))
    samples = list(load_dataset('recordings', tmp_path, truth_topic='/people'))
    assert len(samples) == 2
    assert samples[0].images is None
    one = list(load_dataset('recordings', tmp_path / 'bag', truth_topic='/people'))
    assert len(one) == 2
    assert list(load_dataset('recordings', tmp_path, split='train')) == []


def test_a_recording_that_is_none(tmp_path):
    (tmp_path / 'a.mcap').write_bytes(b'no bag at all')
    with pytest.raises(DataError, match=r'a\.mcap'):
        list(load_dataset('recordings', tmp_path))

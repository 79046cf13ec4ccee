"""Human3.6M archives made in the published format, and the cameras against published numbers."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from human36m_archives import REFERENCE, pose, write_2d, write_archives
from made_people import metadata

from trpose_ros.cameras import denormalise_screen
from trpose_ros.data.datasets import human36m
from trpose_ros.data.datasets import human36m_cameras as cameras
from trpose_ros.data.datasets.keypoint_archives import read_archive
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.skeletons import get_skeleton


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('human36m')
    write_archives(path, extra=3)
    return path


# --- cameras, against published numbers ------------------------------------------------------


def test_intrinsics_are_the_published_ones():
    for camera in range(4):
        np.testing.assert_allclose(
            cameras.normalised_intrinsics(camera), REFERENCE['h36m_intrinsics'][camera], rtol=1e-6
        )


def test_projection_is_the_published_one():
    for camera in range(4):
        intrinsics = cameras.normalised_intrinsics(camera)
        joints = REFERENCE['world_to_camera'][camera].astype(float)
        for name, linear in (('project_to_2d', False), ('project_to_2d_linear', True)):
            found = cameras.project_normalised(joints, intrinsics, linear)
            np.testing.assert_allclose(found, REFERENCE[name][camera], atol=2e-6)


def test_world_and_camera_frames_are_inverse_and_published():
    world = REFERENCE['camera_to_world'].astype(float)
    for camera in range(4):
        found = cameras.world_to_camera(world, pose(camera))
        np.testing.assert_allclose(found, REFERENCE['world_to_camera'][camera], atol=1e-5)
        np.testing.assert_allclose(cameras.camera_to_world(found, pose(camera)), world, atol=1e-9)
        matrix = cameras.pose_matrix(pose(camera))
        np.testing.assert_allclose(world @ matrix[:3, :3].T + matrix[:3, 3], found, atol=1e-9)


def test_opencv_camera_is_the_same_within_a_third_of_a_pixel():
    for camera in range(4):
        joints = REFERENCE['world_to_camera'][camera].astype(float).reshape(-1, 3)
        c = cameras.to_camera(camera)
        found = cv2.projectPoints(joints, np.zeros(3), np.zeros(3), c.matrix, c.distortion)[0]
        width, height = cameras.SIZES[camera]
        screen = cameras.project_normalised(joints, cameras.normalised_intrinsics(camera))
        px = denormalise_screen(screen, width, height)
        inside = ((px > 0) & (px < (width, height))).all(axis=1)
        assert inside.any()
        assert np.abs(found[:, 0] - px)[inside].max() < 0.35


def test_points_behind_the_camera_stay_at_the_border():
    joints = np.array([[9.0, -9.0, 1.0], [0.1, 0.0, 0.0], [0.0, 0.0, -1.0]])
    found = cameras.project_normalised(joints, cameras.normalised_intrinsics(0), linear=True)
    intrinsics = cameras.normalised_intrinsics(0)
    np.testing.assert_allclose(found[0], intrinsics[:2] * (1, -1) + intrinsics[2:4])
    assert found[1, 0] == intrinsics[0] + intrinsics[2]


def test_rotation_and_quaternion_are_inverse():
    rng = np.random.default_rng(0)
    for q in (*rng.normal(size=(20, 4)), np.array([0, 1.0, 0, 0]), np.array([0, 0, 0, 1.0])):
        unit = q / np.linalg.norm(q)
        matrix = cameras.rotation(unit)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        again = cameras.quaternion(matrix)
        np.testing.assert_allclose(again * np.sign(again @ unit), unit, atol=1e-9)
    for bad in ([1, 1, 0, 0], [np.nan, 0, 0, 1], [1, 0, 0]):
        with pytest.raises(DataError, match='unit quaternion'):
            cameras.rotation(np.array(bad, float))


def test_undistortion_inverts_the_projection():
    plane = np.random.default_rng(0).uniform(-0.42, 0.42, (50, 2))
    for camera in range(4):
        intrinsics = cameras.normalised_intrinsics(camera)
        screen = cameras.project_normalised(np.c_[plane, np.ones(50)], intrinsics)
        np.testing.assert_allclose(
            cameras.undistort_normalised(screen, intrinsics), plane, atol=1e-9
        )


# --- loader ----------------------------------------------------------------------------------


def test_every_subject_take_and_camera_is_a_sample(folder):
    samples = list(load_dataset('human36m', folder))
    # S11's unnumbered Directions is dropped; S2 has no 3D and is given only when named.
    assert len(samples) == (3 + 3 + 2) * 4
    assert len({s.identity for s in samples}) == len(samples)
    assert not any(s.subject == 'S11' and s.action == 'Directions' for s in samples)
    assert {s.subject: s.split for s in samples} == {'S1': 'train', 'S9': 'test', 'S11': 'test'}
    for s in samples:
        assert len(s) == 30  # 2D is longer than 3D and is cut
        assert (s.fps, s.skeleton, s.skeleton_px) == (50.0, 'h36m_17', '')
        assert (s.width, s.height) == cameras.SIZES[cameras.CAMERAS.index(s.camera_name)]
        assert s.valid.all()
        assert s.joints_px.dtype == s.joints_m.dtype == np.float32


def test_splits_subjects_and_actions_choose(folder):
    assert {s.subject for s in load_dataset('human36m', folder, split='train')} == {'S1'}
    test = list(load_dataset('human36m', folder, split='test', actions=('WalkDog',)))
    assert {(s.subject, s.action) for s in test} == {('S9', 'WalkDog 1'), ('S11', 'WalkDog 1')}
    two = list(load_dataset('human36m', folder, subjects=('S2',)))
    assert len(two) == 4
    assert two[0].joints_m is None
    assert len(two[0]) == 7


def test_camera_poses_are_found_by_resection(folder):
    for s in load_dataset('human36m', folder, subjects=('S9',), actions=('WalkDog',)):
        expected = pose(cameras.CAMERAS.index(s.camera_name))
        matrix = cameras.pose_matrix(expected)
        np.testing.assert_allclose(s.world_to_camera, matrix, atol=1e-3)
        joints = cameras.world_to_camera(s.world_m.astype(float), expected)
        assert np.abs(s.joints_m - joints).max() < 1e-3


def test_projected_keypoints_need_no_archive(folder):
    for a, b in zip(
        load_dataset('human36m', folder, subjects=('S1',)),
        load_dataset('human36m', folder, subjects=('S1',), keypoints='projected'),
        strict=True,
    ):
        assert np.abs(a.joints_px - b.joints_px).max() < 0.05


def test_prepare_writes_the_poses_once(tmp_path):
    takes, _ = write_archives(tmp_path, ('S9',))
    seen = []
    path = human36m.prepare(tmp_path, lambda *so_far: seen.append(so_far))
    assert seen == [(1, 1)]
    written = json.loads(path.read_text())
    assert set(written) == {'S9'}
    assert len(written['S9']) == 4
    (tmp_path / 'data_2d_h36m_gt.npz').rename(tmp_path / 'data_2d_h36m_other.npz')
    samples = list(load_dataset('human36m', tmp_path, keypoints='other'))
    assert len(samples) == 4 * len(takes['S9'])
    path.write_text('{"S9": [{}]}')
    with pytest.raises(DataError, match='prepare again'):
        list(load_dataset('human36m', tmp_path, keypoints='other'))
    assert not list(tmp_path.glob('*.partial'))


def test_metadata_of_the_original_gives_the_poses(tmp_path):
    takes, _ = write_archives(tmp_path, ('S9',))
    (tmp_path / 'data_2d_h36m_gt.npz').rename(tmp_path / 'data_2d_h36m_cpn_ft_h36m_dbb.npz')
    with pytest.raises(MissingDataError, match=r'need data_2d_h36m_gt.npz or metadata.xml'):
        list(load_dataset('human36m', tmp_path, keypoints='cpn_ft_h36m_dbb'))
    values = np.zeros((4, 11, 6))
    for camera in range(4):
        turn = cameras.rotation(pose(camera).orientation).T  # about x, then y, then z
        values[camera, :, 0] = np.arctan2(-turn[1, 2], turn[2, 2])
        values[camera, :, 1] = np.arcsin(turn[0, 2])
        values[camera, :, 2] = np.arctan2(-turn[0, 1], turn[0, 0])
        values[camera, :, 3:] = pose(camera).position_m * 1000
    numbers = [*values.ravel(), *np.zeros(36)]
    text = ' '.join(f'{v:.10g}' for v in numbers)
    (tmp_path / 'metadata.xml').write_text(f'<metadata><w0>[{text}]</w0></metadata>')
    samples = list(load_dataset('human36m', tmp_path, keypoints='cpn_ft_h36m_dbb'))
    assert len(samples) == 4 * len(takes['S9'])
    np.testing.assert_allclose(samples[1].world_to_camera, cameras.pose_matrix(pose(1)), atol=1e-6)
    (tmp_path / 'metadata.xml').write_text('<metadata><w0>[1 2]</w0></metadata>')
    with pytest.raises(DataError, match='2 numbers, expected 300'):
        list(load_dataset('human36m', tmp_path, keypoints='cpn_ft_h36m_dbb'))


def test_detections_instead_of_ground_truth_do_not_give_poses(tmp_path):
    _, two = write_archives(tmp_path, ('S9',))
    rng = np.random.default_rng(0)
    noisy = {
        s: {t: [p + rng.normal(0, 15, p.shape).astype(np.float32) for p in c] for t, c in a.items()}
        for s, a in two.items()
    }
    write_2d(tmp_path / 'data_2d_h36m_gt.npz', noisy)
    with pytest.raises(DataError, match='px apart at best'):
        list(load_dataset('human36m', tmp_path))


def test_coco_detections_keep_their_skeleton(tmp_path):
    _, two = write_archives(tmp_path, ('S9',))
    coco = metadata('coco_17', layout_name='coco')
    write_2d(tmp_path / 'data_2d_h36m_detectron_pt_coco.npz', two, **coco)
    sample = next(iter(load_dataset('human36m', tmp_path, keypoints='detectron_pt_coco')))
    assert (sample.skeleton, sample.skeleton_px) == ('h36m_17', 'coco_17')
    assert sample.to_skeleton('h36m_17').skeleton_px == ''


# --- bad archives ----------------------------------------------------------------------------


def rewrite_3d(folder, change):
    takes, _ = write_archives(folder, ('S9',))
    takes['S9'] = {take: change(joints) for take, joints in takes['S9'].items()}
    np.savez(folder / 'data_3d_h36m.npz', positions_3d=np.array(takes, dtype=object))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda j: j * 1000, 'millimetres where metres'),
        (lambda j: j[:, :17], r'must be \(T, 32, 3\), got float32 \(30, 17, 3\)'),
        (lambda j: j.astype(int), 'got int64'),
        (lambda j: np.where(np.arange(30)[:, None, None] == 4, np.nan, j), 'NaN in frame 4'),
    ],
)
def test_bad_3d_archives(tmp_path, change, words):
    rewrite_3d(tmp_path, change)
    with pytest.raises(DataError, match=words):
        list(load_dataset('human36m', tmp_path))


def test_archives_that_do_not_belong_together(tmp_path):
    _, two = write_archives(tmp_path, ('S9',))
    short = {s: {t: [p[:20] for p in c] for t, c in a.items()} for s, a in two.items()}
    write_2d(tmp_path / 'data_2d_h36m_short.npz', short)
    with pytest.raises(DataError, match='has 20 frames but the 3D archive 30'):
        list(load_dataset('human36m', tmp_path, keypoints='short'))
    del two['S9']['WalkDog 1']
    write_2d(tmp_path / 'data_2d_h36m_less.npz', two)
    with pytest.raises(DataError, match='WalkDog 1, camera 0 is not in the archive'):
        list(load_dataset('human36m', tmp_path, keypoints='less'))
    np.savez(tmp_path / 'data_2d_h36m_wrong.npz', x=np.zeros(3))
    with pytest.raises(DataError, match=r"no dictionary 'positions_2d' \(it holds \['x'\]\)"):
        list(load_dataset('human36m', tmp_path, keypoints='wrong'))
    np.savez(tmp_path / 'data_3d_h36m.npz', x=np.zeros(3))
    with pytest.raises(DataError, match='no dictionary positions_3d'):
        list(load_dataset('human36m', tmp_path))


def test_a_missing_archive_is_named(tmp_path, folder):
    with pytest.raises(MissingDataError, match=r'data_2d_h36m_cpn_ft_h36m_dbb\.npz is not there'):
        list(load_dataset('human36m', folder, keypoints='cpn_ft_h36m_dbb'))
    write_2d(tmp_path / 'data_2d_h36m_gt.npz', {})
    with pytest.raises(MissingDataError, match=r'data_3d_h36m\.npz is not there'):
        list(load_dataset('human36m', tmp_path))


# --- 2D archives -----------------------------------------------------------------------------


def test_the_layout_is_told_by_the_symmetry(tmp_path):
    path = tmp_path / 'a.npz'
    for skeleton in ('h36m_17', 'coco_17', 'humaneva_15', 'mpi_inf_3dhp_17'):
        count = get_skeleton(skeleton).num_joints
        px = np.zeros((2, count, 2), np.float32)
        write_2d(path, {'S1': {'Walk': [px]}}, **metadata(skeleton))
        archive = read_archive(path)
        assert (archive.skeleton, archive.layout_name) == (skeleton, '')
        assert archive.take('S1', 'Walk', 0).shape == px.shape


@pytest.mark.parametrize(
    ('meta', 'words'),
    [
        ({'num_joints': 16}, 'beyond the 16'),
        ({'num_joints': 21}, 'fit no known skeleton'),
        ({'keypoints_symmetry': [[1, 2], [3, 4]]}, 'fit no known skeleton'),
        ({'keypoints_symmetry': [[-1], [1]]}, 'beyond'),
        ({'keypoints_symmetry': 5}, 'keypoints_symmetry'),
        ({'num_joints': None}, 'num_joints'),
        ({'video_metadata': {'v': {'w': 0, 'h': 5}}}, 'must be positive'),
        ({'video_metadata': {'v': {'w': 7}}}, 'video_metadata must be'),
        ({'video_metadata': [1]}, 'video_metadata must be'),
    ],
)
def test_bad_metadata(tmp_path, meta, words):
    write_2d(tmp_path / 'a.npz', {}, **meta)
    with pytest.raises(DataError, match=words):
        read_archive(tmp_path / 'a.npz')


def test_bad_positions(tmp_path):
    path = tmp_path / 'a.npz'
    write_2d(path, {'S1': 3})
    with pytest.raises(DataError, match="'S1' must be a dict"):
        read_archive(path)
    write_2d(path, {'S1': {'Walk': 3}})
    with pytest.raises(DataError, match='S1, Walk must be a list'):
        read_archive(path)
    write_2d(path, {'S1': {'Walk': [np.zeros((4, 16, 2))]}})
    with pytest.raises(DataError, match=r'must be \(T, 17, 2\) pixels, got float64 \(4, 16, 2\)'):
        read_archive(path).take('S1', 'Walk', 0)
    with pytest.raises(DataError, match='camera 1 is not in the archive'):
        read_archive(path).take('S1', 'Walk', 1)


# --- averages --------------------------------------------------------------------------------


def test_actions_weigh_the_same_and_frames_within_them():
    takes = {('S9', 'Eating'): (10.0, 1), ('S9', 'Eating 1'): (0.0, 3), ('S11', 'Posing'): (8.0, 2)}
    found = human36m.average_over_actions(takes)
    assert found == {'Eating': 2.5, 'Posing': 4.0, 'average': 3.25}
    with pytest.raises(ValueError, match='no frames'):
        human36m.average_over_actions({('S9', 'Eating'): (0.0, 0)})
    assert human36m.action_of('WalkDog 1') == 'WalkDog'
    assert len(human36m.ACTIONS) == 15

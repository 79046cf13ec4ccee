"""3DPW: pickles as Python 2 wrote them, moving cameras, actors without a camera pose."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from made_people import look_at, move, moving_person, pinhole

from trpose_ros.data.datasets.threedpw import COCO_OF_18
from trpose_ros.data.registry import load_dataset
from trpose_ros.data.samples import DataError, MissingDataError
from trpose_ros.skeletons import get_skeleton

# The 18 joints of the detections, by their published order.
COCO_18 = (
    *('nose', 'neck', 'rsho', 'relb', 'rwri', 'lsho', 'lelb', 'lwri', 'rhip', 'rkne', 'rank'),
    *('lhip', 'lkne', 'lank', 'reye', 'leye', 'rear', 'lear'),
)


def make_sequence(frames=9, actors=2, name='downtown_walk_00', **changes):
    poses = np.stack([look_at((0.1 * t, -4, 1.5), (0, 0, 1)) for t in range(frames)])
    joints = [moving_person(frames, 'smpl_24', actor) for actor in range(actors)]
    detections = np.random.default_rng(0).uniform(100, 900, (actors, frames, 3, 18))
    detections[:, :, 2] = 0.8
    detections[:, 4:5] = 0  # fewer than six joints were found
    detections[:, 5:6, :, 3] = 0  # one joint was not
    valid = np.ones((actors, frames), int)
    valid[0, 2:3] = 0
    content = {
        'sequence': name,
        'betas': [np.zeros(10)] * actors,
        'poses': [np.zeros((frames, 72))] * actors,
        'trans': [np.zeros((frames, 3))] * actors,
        'jointPositions': [j.reshape(frames, 72).astype(float) for j in joints],
        'poses2d': list(detections),
        'img_frame_ids': np.arange(frames) * 2,
        'cam_poses': poses,
        'campose_valid': list(valid),
        'cam_intrinsics': np.array([[1960.0, 0, 540], [0, 1960.0, 960], [0, 0, 1]]),
        'genders': ['m', 'f'][:actors],
        'texture_maps': [],
    }
    return content | changes


def write(folder, content, part='test', name='downtown_walk_00'):
    place = folder / 'sequenceFiles' / part
    place.mkdir(parents=True, exist_ok=True)
    data = pickle.dumps(content, protocol=2).replace(b'numpy._core.', b'numpy.core.')
    (place / f'{name}.pkl').write_bytes(data)


def test_every_actor_is_a_sample_seen_by_the_moving_camera(tmp_path):
    content = make_sequence()
    write(tmp_path, content)
    samples = list(load_dataset('threedpw', tmp_path))
    assert [s.person for s in samples] == [0, 1]
    assert len({s.identity for s in samples}) == 2
    for s in samples:
        world = content['jointPositions'][s.person].reshape(9, 24, 3)
        for t in range(9):
            joints = move(world[t], content['cam_poses'][t])
            np.testing.assert_allclose(s.joints_m[t], joints, atol=1e-5)
            np.testing.assert_allclose(s.joints_px[t], pinhole(joints, 1960, (540, 960)), atol=0.01)
        assert (s.width, s.height, s.fps) == (1080, 1920, 30.0)  # upright
        assert s.world_to_camera.shape == (9, 4, 4)
    assert not samples[0].valid[2].any()  # the camera was not aligned to this actor
    assert samples[1].valid.all()
    assert samples[0].frames(2, 4).world_to_camera.shape == (2, 4, 4)


def test_detections_become_coco(tmp_path):
    content = make_sequence()
    write(tmp_path, content)
    sample = next(iter(load_dataset('threedpw', tmp_path, keypoints='detected')))
    assert sample.skeleton_px == 'coco_17'
    names = get_skeleton('coco_17').joint_names
    assert [COCO_18[i] for i in COCO_OF_18] == list(names)
    assert np.isnan(sample.joints_px[4]).all()
    assert np.isnan(sample.joints_px[5, names.index('relb')]).all()
    assert np.isfinite(sample.joints_px[0]).all()
    np.testing.assert_allclose(
        sample.joints_px[0, names.index('lank')], content['poses2d'][0][0, :2, 13], rtol=1e-6
    )


def test_splits_are_the_folders(tmp_path):
    for part in ('train', 'validation', 'test'):
        write(tmp_path, make_sequence(2, 1, part), part, part)
    for split, part in (('train', 'train'), ('val', 'validation'), ('test', 'test')):
        (sample,) = load_dataset('threedpw', tmp_path, split=split)
        assert (sample.split, sample.subject) == (split, part)
    assert len(list(load_dataset('threedpw', tmp_path))) == 3


def test_images_give_the_size_and_must_be_complete(tmp_path):
    write(tmp_path, make_sequence(2, 1))
    place = tmp_path / 'imageFiles' / 'downtown_walk_00'
    place.mkdir(parents=True)
    for number in range(2):
        image = np.full((64, 36, 3), 90 * number, np.uint8)
        cv2.imwrite(str(place / f'image_{number:05d}.jpg'), image)
    (sample,) = load_dataset('threedpw', tmp_path)
    assert (sample.width, sample.height) == (36, 64)
    assert sample.images[1].mean() == pytest.approx(90, abs=2)
    (place / 'image_00001.jpg').unlink()
    with pytest.raises(DataError, match='has 1 images but the sequence 2 frames'):
        list(load_dataset('threedpw', tmp_path))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'jointPositions': [np.zeros((9, 51))]}, r'must be \(9, 72\), got \(9, 51\)'),
        ({'jointPositions': [1000 * moving_person(9, 'smpl_24').reshape(9, 72)]}, 'millimetres'),
        ({'jointPositions': [['a']]}, 'not an array of numbers'),
        ({'cam_poses': np.zeros((9, 3, 4))}, 'cam_poses must be'),
        ({'cam_poses': np.tile(np.eye(4), (8, 1, 1))}, r'must be \(8, 72\)'),
        ({'campose_valid': [np.ones(4)]}, 'must have 9 flags'),
    ],
)
def test_bad_sequences(tmp_path, changes, words):
    write(tmp_path, make_sequence(**changes))
    with pytest.raises(DataError, match=words):
        list(load_dataset('threedpw', tmp_path))


def test_absent_parts(tmp_path):
    content = make_sequence()
    for key in ('poses2d', 'campose_valid'):
        del content[key]
    write(tmp_path, content)
    assert all(s.valid.all() for s in load_dataset('threedpw', tmp_path))
    with pytest.raises(DataError, match='has no detections'):
        list(load_dataset('threedpw', tmp_path, keypoints='detected'))
    with pytest.raises(ValueError, match='keypoints'):
        list(load_dataset('threedpw', tmp_path, keypoints='other'))
    write(tmp_path, {'sequence': 'x'})
    with pytest.raises(DataError, match=r"lacks \['jointPositions'"):
        list(load_dataset('threedpw', tmp_path))
    with pytest.raises(MissingDataError, match=r'no sequences \(train\)'):
        list(load_dataset('threedpw', tmp_path, split='train'))

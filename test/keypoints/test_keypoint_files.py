"""Files of keypoints of other programs: what is read, and what is refused with which remedy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from made_people import metadata

from trpose_ros.keypoints.clip import KeypointError, frames_of
from trpose_ros.keypoints.read import read_keypoints
from trpose_ros.keypoints.tables import joint_name
from trpose_ros.people import JointState

T = 4
POINTS = np.random.default_rng(0).uniform(50, 300, (T, 17, 2))
SCORES = np.random.default_rng(1).uniform(0.1, 1, (T, 17))


def archive(path, items, **more):
    np.savez(
        path,
        positions_2d=np.array({'view.mp4': {'custom': items}}, dtype=object),
        metadata=np.array({**metadata('coco_17'), **more}, dtype=object),
    )
    return path


def document(path, content):
    path.write_text(json.dumps(content))
    return path


def triples(points, third):
    return np.concatenate([points, np.asarray(third)[:, None]], axis=1).ravel().tolist()


def openpose(folder, frames, start=0):
    folder.mkdir()
    for t, people in enumerate(frames, start):
        table = [{'person_id': [-1], 'pose_keypoints_2d': list(p)} for p in people]
        document(folder / f'walk_{t:012d}_keypoints.json', {'version': 1.3, 'people': table})
    return folder


def marks(points):
    return [{'x': x, 'y': y, 'z': 0.0, 'visibility': 0.9} for x, y in points.tolist()]


def csv_lines(path, header, rows):
    path.write_text('\n'.join([header, *(','.join(map(str, row)) for row in rows)]) + '\n')
    return path


# --- what is read ----------------------------------------------------------------------------


def test_an_archive_of_ones_own_video(tmp_path):
    size = {'video_metadata': {'view.mp4': {'w': 640, 'h': 400}}}
    whole = np.concatenate([POINTS, SCORES[..., None]], axis=2).astype(np.float32)
    read = read_keypoints(archive(tmp_path / 'a.npz', [whole, None, POINTS[:2]], **size))
    assert (read.skeleton, read.size, read.rate_hz) == ('coco_17', (640, 400), None)
    assert read.ids.tolist() == [0, 2, 0, 2, 0, 0]  # a camera without anybody is left out
    np.testing.assert_allclose(read.joints[read.ids == 0], POINTS, rtol=1e-6)
    np.testing.assert_allclose(read.scores[read.ids == 0], SCORES, rtol=1e-6)
    assert np.isnan(read.scores[read.ids == 2]).all()


@pytest.mark.parametrize('people', [0, 1, 3])
def test_plain_arrays(tmp_path, people):
    array = POINTS if people == 0 else np.stack([POINTS + 10 * n for n in range(people)], axis=1)
    array = array.copy()
    array[1] = np.nan  # nobody, and a frame all the same
    np.save(tmp_path / 'a.npy', array)
    np.savez(tmp_path / 'a.npz', keypoints=array, other=np.zeros(3))
    for name in ('a.npy', 'a.npz'):
        read = read_keypoints(tmp_path / name, skeleton='coco_17')
        assert read.frames.tolist() == [0, 1, 2, 3]
        assert len(read.rows) == 3 * max(people, 1)
        np.testing.assert_array_equal(read.joints[read.ids == 0], POINTS[[0, 2, 3]])


def test_coco_annotations(tmp_path):
    flags = np.full(17, 2)
    flags[:2] = 0, 1
    points = POINTS.copy()
    points[:, 0] = 0
    content = {
        'images': [
            {'id': 70 + t, 'file_name': f'v/{9 + t}.jpg', 'width': 640, 'height': 480}
            for t in reversed(range(T))
        ],
        'annotations': [
            {'image_id': 70 + t, 'keypoints': triples(points[t], flags), 'track_id': 5}
            for t in (3, 0, 1)
        ],
    }
    read = read_keypoints(document(tmp_path / 'a.json', content))
    assert read.frames.tolist() == [9, 10, 11, 12]  # by the numbers in the names, not by rank
    assert read.rows.tolist() == [0, 1, 3]
    assert read.size == (640, 480)
    assert read.ids.tolist() == [5, 5, 5]
    assert np.isnan(read.joints[:, 0]).all()
    assert np.isnan(read.scores).all()
    told = [JointState.UNKNOWN, JointState.OCCLUDED, JointState.VISIBLE]
    assert read.states[0, :3].tolist() == told
    assert 'sorted' in read.problems[0]


def test_coco_results(tmp_path):
    content = [
        {'image_id': f'{t}.jpg', 'keypoints': triples(POINTS[t] + 9 * n, SCORES[t]), 'score': 0.9}
        for t in range(T)
        for n in range(2)
    ]
    read = read_keypoints(document(tmp_path / 'a.json', content))
    assert read.most_people == 2
    assert (read.ids == -1).all()
    np.testing.assert_allclose(read.joints[::2], POINTS)
    np.testing.assert_allclose(read.scores[::2], SCORES)


def test_mmpose(tmp_path):
    body = np.concatenate([POINTS, np.ones((T, 116, 2))], axis=1)  # COCO-WholeBody
    frames = [
        {
            'frame_id': t + 1,
            'instances': [{'keypoints': p.tolist(), 'keypoint_scores': [0.5] * 133}],
        }
        for t, p in enumerate(body)
    ]
    frames[2]['instances'] = []
    read = read_keypoints(document(tmp_path / 'a.json', {'instance_info': frames}))
    assert read.frames.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(read.joints, POINTS[[0, 1, 3]])
    assert (read.scores == 0.5).all()


def test_openpose(tmp_path):
    body = np.random.default_rng(2).uniform(50, 300, (25, 2))
    sure = np.full(25, 0.8)
    sure[3] = 0
    body[3] = 0
    read = read_keypoints(
        openpose(tmp_path / 'json', [[triples(body, sure)], [], [triples(body, sure)] * 2], 12)
    )
    assert read.skeleton == 'openpose_25'
    assert read.frames.tolist() == [12, 13, 14]
    assert read.rows.tolist() == [0, 2, 2]
    assert np.isnan(read.joints[0, 3]).all()
    np.testing.assert_array_equal(np.delete(read.joints[0], 3, 0), np.delete(body, 3, 0))


@pytest.mark.parametrize('shape', ['lists', 'old', 'tasks', 'document'])
def test_mediapipe(tmp_path, shape):
    points = np.random.default_rng(3).uniform(0, 1, (T, 33, 2))
    people = [marks(p) for p in points]
    content = {
        'lists': people,
        'old': [{'pose_landmarks': {'landmark': p}} for p in people],
        'tasks': [
            {'pose_landmarks': [p], 'timestamp_ms': 40 * t} for t, p in enumerate(people)
        ],
        'document': {
            'width': 640, 'height': 480, 'fps': 25,
            'frames': [{'frame': t + 3, 'landmarks': p} for t, p in enumerate(people)],
        },
    }[shape]  # fmt: skip
    read = read_keypoints(document(tmp_path / 'a.json', content))
    assert (read.skeleton, read.unit) == ('mediapipe_33', 'shares')
    np.testing.assert_allclose(read.joints, points)
    assert (read.scores == 0.9).all()
    if shape == 'tasks':
        assert read.stamps_ns.tolist() == [0, 40_000_000, 80_000_000, 120_000_000]
    if shape == 'document':
        assert (read.size, read.rate_hz, read.frames[0]) == ((640, 480), 25.0, 3)


def test_csv_long_and_wide(tmp_path):
    names = ['nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear']
    limbs = ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
    names += [f'{side}_{limb}' for limb in limbs for side in ('left', 'right')]
    rows = [
        (t, 7, name, *POINTS[t, j], SCORES[t, j]) for t in range(T) for j, name in enumerate(names)
    ]
    long = csv_lines(tmp_path / 'long.csv', 'frame,track_id,joint,x,y,confidence', rows)
    columns = ','.join(f'{n}_x,{n}_y,{n}_score' for n in names)
    wide_rows = [(t, 7, *triples(POINTS[t], SCORES[t])) for t in range(T)]
    wide = csv_lines(tmp_path / 'wide.csv', f'frame,id,{columns}', wide_rows)
    timed = csv_lines(
        tmp_path / 'timed.csv',
        'time_s,' + ','.join(f'x{i},y{i},c{i}' for i in range(17)),
        [(0.5 * t, *triples(POINTS[t], SCORES[t])) for t in range(T)],
    )
    for path in (long, wide, timed):
        read = read_keypoints(path, skeleton='coco_17' if path is timed else '')
        assert read.skeleton == 'coco_17'
        np.testing.assert_allclose(read.joints, POINTS)
        np.testing.assert_allclose(read.scores, SCORES)
        assert read.ids.tolist() == [-1 if path is timed else 7] * T
    assert read.stamps_ns.tolist() == [0, 500_000_000, 1_000_000_000, 1_500_000_000]


def test_names_of_joints():
    assert joint_name('LEFT_FOOT_INDEX') == 'ltip'
    assert joint_name('mouth_right') == 'rmouth'
    assert joint_name(' right eye outer') == 'reyeout'
    assert joint_name('rsho') == 'rsho'


def test_frames_by_number_by_last_digits_by_rank():
    assert frames_of([5, 3, 5]) == {5: 5, 3: 3}
    assert frames_of(['a2_10.jpg', 'a2_9.jpg']) == {'a2_10.jpg': 10, 'a2_9.jpg': 9}
    assert frames_of(['b.jpg', 'a.jpg']) == {'b.jpg': 1, 'a.jpg': 0}


# --- what is refused -------------------------------------------------------------------------


def refuse(path, words, **options):
    with pytest.raises(ValueError, match=words) as error:
        read_keypoints(path, **options)
    assert len(str(error.value)) < 1500


def test_arrays_that_do_not_say_enough(tmp_path):
    np.save(tmp_path / 'a.npy', POINTS)
    refuse(tmp_path / 'a.npy', 'give --skeleton, one of h36m_17')
    refuse(tmp_path / 'a.npy', 'openpose_25 has 25 joints', skeleton='openpose_25')
    refuse(tmp_path / 'a.npy', "unknown skeleton 'coco'", skeleton='coco')
    refuse(tmp_path / 'a.npy', '--unit must be one of px', unit='metres')
    np.save(tmp_path / 'b.npy', POINTS / 1000)
    refuse(tmp_path / 'b.npy', 'no pixels; give --unit shares', skeleton='coco_17')
    refuse(tmp_path / 'a.npy', 'no shares; give --unit px', skeleton='coco_17', unit='shares')
    np.savez(tmp_path / 'a.npz', one=POINTS, two=POINTS)
    refuse(tmp_path / 'a.npz', 'name one of one, two with --take', skeleton='coco_17')
    refuse(tmp_path / 'a.npz', "no array 'three'", skeleton='coco_17', take='three')
    np.savez(tmp_path / 'b.npz', boxes=np.zeros((3, 4)))
    refuse(tmp_path / 'b.npz', r"holds \{'boxes': \(3, 4\)\}")


@pytest.mark.parametrize(
    ('array', 'words'),
    [
        (np.zeros((0, 17, 2)), 'holds nobody'),
        (np.full((3, 17, 2), np.nan), r'holds nobody \(3 frames\)'),
        (np.zeros((3, 17, 4)), r'\(3, 17, 4\); keypoints are'),
        (np.full((3, 17, 2), 1e9), 'lies at 1e\\+09'),
        (np.zeros((3, 17, 2), 'U1'), 'keypoints are'),
    ],
)
def test_arrays_that_are_none(tmp_path, array, words):
    np.save(tmp_path / 'a.npy', array)
    refuse(tmp_path / 'a.npy', words, skeleton='coco_17')


def test_archives_with_several_takes(tmp_path):
    positions = {'S1': {'Walk': [POINTS, POINTS], 'Sit': [POINTS]}}
    path = tmp_path / 'a.npz'
    np.savez(
        path,
        positions_2d=np.array(positions, dtype=object),
        metadata=np.array(metadata('coco_17'), dtype=object),
    )
    refuse(path, '--take, one of S1/Walk, S1/Sit')
    refuse(path, 'as in --take S1/Walk/0', take='S1/Walk')
    refuse(path, "no take 'S2/Walk'", take='S2/Walk')
    refuse(path, 'is not in the archive', take='S1/Walk/7')
    assert len(read_keypoints(path, take='S1/Walk/1').rows) == T
    assert len(read_keypoints(path, take='S1/Sit').rows) == T


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ([], 'is empty'),
        ({}, 'is empty'),
        (5, 'none of COCO'),
        ({'pictures': [], 'format': 'x'}, 'holds .*format.*none of COCO'),
        ([{'landmark_count': 4}], 'none of COCO'),
        ([{'image_id': 1, 'keypoints': [1.0] * 75}], '75 numbers; COCO has 17'),
        ([{'image_id': 1, 'keypoints': ['a'] * 51}], 'are no numbers'),
        ([{'image_id': 1, 'keypoints': None}], 'numbers'),
        ([{'image_id': 10**12, 'keypoints': [9.0] * 51}], 'frame number 1000000000000 is too'),
        ({'images': [], 'annotations': [{'image_id': 3, 'keypoints': [1] * 51}]}, 'image 3'),
        ({'instance_info': [{'frame_id': 1}]}, 'damaged: KeyError'),
        ({'people': [{'pose_keypoints_2d': [0] * 54}]}, '54 numbers; .*--model_pose BODY_25'),
        ({'people': []}, 'holds nobody'),
        ([[{'x': 0.5, 'y': 0.5}] * 32], 'mediapipe_33 has 33 joints'),
    ],
)  # fmt: skip
def test_documents_of_others_and_damaged_ones(tmp_path, content, words):
    refuse(document(tmp_path / 'a.json', content), words)


def test_files_that_are_no_keypoints(tmp_path):
    refuse(tmp_path / 'nothing.npz', 'does not exist')
    (tmp_path / 'empty.json').write_bytes(b'')
    refuse(tmp_path / 'empty.json', r'is empty \(0 bytes\)')
    (tmp_path / 'a.json').write_text('{"a":' * 100_000)
    refuse(tmp_path / 'a.json', 'no readable JSON')
    (tmp_path / 'a.npy').write_bytes(b'\x93NUMPY nonsense')
    refuse(tmp_path / 'a.npy', 'no readable npy')
    (tmp_path / 'walk.mp4').write_bytes(b'x')
    refuse(tmp_path / 'walk.mp4', 'videos are for `trpose run`')
    (tmp_path / 'folder').mkdir()
    refuse(tmp_path / 'folder', r'holds no \.json files')
    document(tmp_path / 'folder' / 'a.json', [1])
    refuse(tmp_path / 'folder', 'has no people as OpenPose')


@pytest.mark.parametrize(
    ('header', 'rows', 'words'),
    [
        ('a,b', [(1, 2)], r"columns \['a', 'b'\], without frame"),
        ('frame,a', [(1, 2)], 'JOINT_x, JOINT_y are needed'),
        ('frame,joint,x,y', [(1, 'nose', 2)], 'line 2: 3 values under 4 columns'),
        ('frame,joint,x,y', [(1, 'nose', 'left', 3)], "line 2: 'left' is no number"),
        ('frame,joint,x,y', [('nan', 'nose', 2, 3)], "is 'nan': give every line one"),
        ('frame,joint,x,y', [(1, 'nose', 2, 3)] * 2, "line 3: joint 'nose' of frame 1 comes twice"),
        ('frame,joint,x,y', [(1, 'tail', 2, 3)], "no joint 'tail'"),
        ('frame,joint,x,y', [], 'holds nobody'),
    ],
)
def test_tables_that_are_refused(tmp_path, header, rows, words):
    refuse(csv_lines(tmp_path / 'a.csv', header, rows), words, skeleton='coco_17')


def test_scores_that_are_no_probabilities_are_not_used(tmp_path):
    content = [{'image_id': 1, 'keypoints': triples(POINTS[0], 9 * SCORES[0])}]
    read = read_keypoints(document(tmp_path / 'a.json', content))
    assert np.isnan(read.scores).all()
    assert 'no probabilities' in read.problems[0]


def test_ids_twice_and_ids_of_some(tmp_path):
    person = {'image_id': 1, 'keypoints': triples(POINTS[0], SCORES[0]), 'track_id': 3}
    twice = read_keypoints(document(tmp_path / 'a.json', [person] * 2))
    with pytest.raises(KeypointError, match='track id 3 occurs 2 times in frame 1; give --ignore'):
        twice.told_ids()
    some = [person, {**person, 'track_id': -1}]
    with pytest.raises(KeypointError, match='1 people have a track id and 1 have none'):
        read_keypoints(document(tmp_path / 'a.json', some)).told_ids()
    refuse(document(tmp_path / 'a.json', [{**person, 'track_id': 2**40}]), 'is too large')


def test_times_that_do_not_rise(tmp_path):
    frames = [{'frame': t, 'timestamp_ms': 5, 'landmarks': marks(np.ones((33, 2)))} for t in (0, 1)]
    refuse(document(tmp_path / 'a.json', frames), 'times must rise')

"""Calibrations of several cameras: three formats, and what no cameras can have."""

import json

import numpy as np
import pytest

from trpose_ros.multiview.rig import Rig, RigCamera, from_quaternion, placement_of
from trpose_ros.multiview.rig_file import is_rig, read_rig

OURS = """
world: map
cameras:
  front:
    frame_id: front_optical
    position_m: [0, -3, 1.2]
    quaternion_xyzw: [-0.70711, 0, 0, 0.70711]
    topic: /front/people
    intrinsics: {K: [600, 0, 320, 0, 600, 240, 0, 0, 1], size: [640, 480], distortion: []}
  rear:
    camera_to_world: [[-1, 0, 0, 0], [0, 0, -1, 3], [0, -1, 0, 1.2], [0, 0, 0, 1]]
    time_offset_s: 0.04
"""
K = [[600, 0, 320], [0, 600, 240], [0, 0, 1]]


def write(tmp_path, text, name='rig.yaml'):
    path = tmp_path / name
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    return path


def test_our_own_format(tmp_path):
    path = write(tmp_path, OURS)
    rig = read_rig(path)
    assert is_rig(path)
    assert (rig.names, rig.world) == (('front', 'rear'), 'map')
    front, rear = rig['front'], rig['rear']
    assert (front.topic, front.frame, rear.frame) == ('/front/people', 'front_optical', 'rear')
    assert front.intrinsics.matrix[0, 0] == 600
    assert rear.time_offset_s == 0.04
    # straight ahead of the front camera lies y, that of the rear one -y
    np.testing.assert_allclose(front.placement.rotation @ [0, 0, 1], [0, 1, 0], atol=1e-4)
    np.testing.assert_allclose(rear.placement.rotation @ [0, 0, 1], [0, -1, 0], atol=1e-9)
    np.testing.assert_allclose(front.placement.rotation @ [0, 1, 0], [0, 0, -1], atol=1e-4)
    assert rig.extrinsics('front_optical', 0) is front.placement
    assert rig.extrinsics('elsewhere', 0) is None
    assert rig.only(('rear',)).names == ('rear',)


def test_world_to_camera_is_the_inverse(tmp_path):
    there = from_quaternion([0.1, 0.2, 0.3, np.sqrt(1 - 0.14)], [1.0, 2.0, 3.0])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = there
    one = {'cameras': {'a': {'world_to_camera': np.linalg.inv(matrix).tolist()}}}
    found = read_rig(write(tmp_path, one, 'a.json'))['a'].placement
    np.testing.assert_allclose(found.rotation, there.rotation, atol=1e-9)
    np.testing.assert_allclose(found.position_m, [1, 2, 3], atol=1e-9)


def test_a_camchain_of_kalibr_stands_on_its_first_camera(tmp_path):
    step = np.eye(4)
    step[0, 3] = -0.2  # a point of cam0 lies 0.2 m farther left in cam1
    one = {
        'camera_model': 'pinhole',
        'intrinsics': [600, 600, 320, 240],
        'distortion_model': 'radtan',
        'distortion_coeffs': [0.1, 0, 0, 0],
        'resolution': [640, 480],
        'rostopic': '/cam0/image_raw',
    }
    chain = {'cam0': one, 'cam1': {**one, 'T_cn_cnm1': step.tolist()}}
    chain['cam2'] = chain['cam1']
    rig = read_rig(write(tmp_path, chain, 'chain.json'))
    assert [c.placement.position_m[0] for c in rig.cameras] == pytest.approx([0, 0.2, 0.4])
    assert rig['cam0'].image_topic == '/cam0/image_raw'
    assert rig['cam0'].intrinsics.distortion[0] == 0.1


def panoptic(scale=100.0):
    """Two cameras 3 m apart, as lists with world-to-camera transforms in cm."""
    entries = []
    for name, x in (('00_00', 0.0), ('00_01', 3.0)):
        entries.append(
            {
                'name': name,
                'resolution': [640, 480],
                'K': K,
                'distCoef': [0.0] * 5,
                'R': np.eye(3).tolist(),
                't': [[-x * scale], [0.0], [0.0]],
            }
        )
    return {'cameras': entries}


@pytest.mark.parametrize(('scale', 'unit'), [(1.0, ''), (100.0, 'cm'), (1000.0, 'mm')])
def test_lists_of_cameras_and_their_units(tmp_path, scale, unit):
    rig = read_rig(write(tmp_path, panoptic(scale), 'calibration.json'))
    np.testing.assert_allclose(rig['00_01'].placement.position_m, [3, 0, 0], atol=1e-9)
    assert unit in ' '.join(rig.notes)
    assert bool(rig.notes) == bool(unit)
    said = read_rig(write(tmp_path, {**panoptic(scale), 'unit': unit or 'm'}, 'said.json'))
    np.testing.assert_allclose(said['00_01'].placement.position_m, [3, 0, 0], atol=1e-9)
    assert said.notes == ()


def replaced(before, after):
    assert before in OURS
    return OURS.replace(before, after)


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', "no 'cameras'"),
        ('cameras: {}', "no 'cameras'"),
        ('cameras: 5', "no 'cameras'"),
        ('[1, 2]', "camera '0'"),
        ('cameras: {front: 3}', "camera 'front'"),
        (replaced('[-0.70711, 0, 0, 0.70711]', '[-1, 0, 0, 1]'), 'of length 1.41'),
        (replaced('[-1, 0, 0, 0], [0', '[1, 0, 0, 0], [0'), 'mirrors'),
        (replaced('[-1, 0, 0, 0], [0', '[-2, 0, 0, 0], [0'), 'no rotation'),
        (replaced('[0, 0, 0, 1]]', '[0, 0, 0, 2]]'), 'last row'),
        (replaced('[0, -3, 1.2]', '[0, -3000, 1200]'), 'millimetres'),
        (replaced('[0, -3, 1.2]', '[0, .nan, 1.2]'), 'finite'),
        (replaced('[0, -3, 1.2]', '[0, -3]'), 'position 3'),
        (replaced('position_m: [0, -3, 1.2]\n', '\n'), 'needs position_m'),
        (replaced('topic: /front/people', 'topik: /front/people'), 'topik'),
        (replaced('size: [640, 480]', 'size: [200, 100]'), 'principal point'),
        (replaced('K: [600', 'K: [0'), 'not calibrated'),
        (replaced('time_offset_s: 0.04', 'time_offset_s: soon'), "camera 'rear'"),
        (replaced('world: map', 'unit: inch'), 'inch'),
        (replaced('time_offset_s: 0.04', 'frame_id: front_optical'), 'that of two cameras'),
        (replaced('[-1, 0, 0, 0], [0, 0, -1, 3], [0, -1, 0, 1.2]', '[1], [2], [3]'), 'rear'),
    ],
)
def test_what_no_cameras_have_is_named(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=words) as caught:
        read_rig(path)
    assert str(path) in str(caught.value)


def test_other_files_are_none(tmp_path):
    one = 'image_width: 640\nimage_height: 480\ncamera_matrix: {data: []}\n'
    assert not is_rig(write(tmp_path, one))
    with pytest.raises(ValueError, match='not JSON'):
        is_rig(write(tmp_path, '{', 'a.json'))


def test_cameras_in_one_place_have_no_depth():
    place = placement_of(np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match='two cameras'):
        Rig((RigCamera('a', place), RigCamera('a', place)))


def test_a_rounded_rotation_becomes_one():
    place = placement_of(np.eye(3) + 1e-3, [0, 0, 0])
    np.testing.assert_allclose(place.rotation @ place.rotation.T, np.eye(3), atol=1e-12)

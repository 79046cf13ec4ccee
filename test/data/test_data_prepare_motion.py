"""Motion capture files: excerpts of real ones against an independent conversion, and made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trpose_ros.data.motion.files import read_amc, read_asf, read_bvh
from trpose_ros.data.motion.packs import load_pack
from trpose_ros.data.motion.prepare import (
    MotionConfig,
    cut,
    joints_of_acclaim,
    joints_of_bvh,
    prepare,
    skeleton_of,
    subject_of,
)
from trpose_ros.data.samples import DataError, MissingDataError

REAL = Path(__file__).parents[1] / 'reference' / 'motion'
EXPECTED = np.load(REAL / 'expected.npz')
SHORT = MotionConfig(shortest_s=0.0)


def test_acclaim_agrees_with_an_independent_conversion():
    motion = read_amc(REAL / '07_02.amc', read_asf(REAL / '07.asf'))
    assert len(motion) == 41
    joints = joints_of_acclaim(motion, 'clip')[::4]
    expected = EXPECTED['cmu_07_02']
    relative = joints - joints[:, :1]
    np.testing.assert_allclose(relative, expected - expected[:, :1], atol=2.6e-4)  # float16 there
    path = joints[:, 0] - joints[0, 0]
    np.testing.assert_allclose(path, expected[:, 0] - expected[0, 0], atol=1e-4)


def test_biovision_agrees_with_an_independent_conversion():
    motion = read_bvh(REAL / '14_27.bvh')
    assert motion.rate_hz == pytest.approx(120, rel=1e-3)
    joints = joints_of_bvh(motion, 'clip')[8::4]
    expected = EXPECTED['cmu_14_27']
    difference = (joints - joints[:, :1]) - (expected - expected[:, :1])
    assert np.abs(np.delete(difference, [9, 10], axis=1)).max() < 3e-4
    # The points of the head have no joint in the file: set by the person's size.
    assert np.abs(difference[:, [9, 10]]).max() < 3e-3


def test_a_pack_is_built_split_by_subject(tmp_path):
    folder, said = tmp_path / 'in', []
    (folder / '07').mkdir(parents=True)
    for name in ('07.asf', '07_02.amc'):
        (folder / '07' / name).write_text((REAL / name).read_text())
    (folder / '14_27.bvh').write_text((REAL / '14_27.bvh').read_text())
    (folder / 'bad.bvh').write_text('HIERARCHY\n')
    seen, target = [], tmp_path / 'out' / 'motion.npz'
    clips = prepare(folder, target, SHORT, said.append, lambda *so_far: seen.append(so_far))
    assert seen == [(0, 3), (1, 3), (2, 3)]
    pack = load_pack(tmp_path / 'out' / 'motion.npz')
    assert pack.names == ('cmu_07_02', 'cmu_14_27')
    assert pack.subjects == ('cmu007', 'cmu014')
    assert pack.splits == ('train', 'test')
    assert pack.rate_hz == 30
    assert len(said) == 1
    assert 'bad.bvh has no MOTION' in said[0]
    for index, clip in enumerate(clips):
        joints = pack.clip(index)
        np.testing.assert_allclose(joints, clip.joints_m, atol=2e-3)
        np.testing.assert_allclose(joints[0, 0, :2], 0, atol=1e-6)
        floor = np.percentile(joints[:, [3, 6], 2], 2)
        np.testing.assert_allclose(floor, 0.08, atol=2e-3)
        assert (joints[:, 10, 2] > 1.3).all()  # the head is up
    assert not list((tmp_path / 'out').glob('.*'))


def test_nothing_to_build_from(tmp_path):
    with pytest.raises(MissingDataError, match=r'mocap\.cs\.cmu\.edu'):
        prepare(tmp_path, tmp_path / 'motion.npz')
    (tmp_path / '14_27.amc').write_text(':DEGREES\n')
    said = []
    with pytest.raises(DataError, match='none of the 1 motion files'):
        prepare(tmp_path, tmp_path / 'motion.npz', report=said.append)
    assert '14.asf beside it' in said[0]
    assert not (tmp_path / 'motion.npz').exists()


def test_names(tmp_path):
    assert subject_of(tmp_path / '14' / '14_27.amc', tmp_path) == 'cmu014'
    assert subject_of(tmp_path / 'anna' / 'walk.bvh', tmp_path) == 'anna'
    assert subject_of(tmp_path / 'walk.bvh', tmp_path) == 'walk'
    for name in ('zombie.asf', 'charleston.asf'):
        (tmp_path / name).touch()
    assert skeleton_of(tmp_path / 'charleston2.amc').name == 'charleston.asf'
    with pytest.raises(MissingDataError, match=r'2 \.asf files'):
        skeleton_of(tmp_path / 'other.amc')


# --- made files ------------------------------------------------------------------------------

ASF = """
:units
  mass 1.0
  length 0.45
  angle {angle}
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
:bonedata
  begin
    id 1
    name upper
    direction 0 -2 0
    length 4
    axis {axis} XYZ
    dof rx ry rz
  end
  begin
    id 2
    name lower
    direction 0 -1 0
    length 3
    axis {axis} XYZ
    dof rx
  end
:hierarchy
  begin
    root upper
    upper lower
  end
"""


def write_acclaim(folder, root, upper, lower, axis=(0, 0, 0), angle='deg'):
    (folder / 'a.asf').write_text(ASF.format(axis=' '.join(map(str, axis)), angle=angle))
    lines = [':FULLY-SPECIFIED', ':DEGREES' if angle == 'deg' else ':RADIANS']
    for number in range(len(root)):
        lines += [str(number + 1)]
        for name, values in (('root', root), ('upper', upper), ('lower', lower)):
            lines.append(f'{name} ' + ' '.join(f'{v:.9g}' for v in np.ravel(values[number])))
    (folder / 'a.amc').write_text('\n'.join(lines))
    return read_amc(folder / 'a.amc', read_asf(folder / 'a.asf'))


@pytest.mark.parametrize('angle', ['deg', 'rad'])
def test_acclaim_angles_are_meant_in_the_axes_of_the_bone(tmp_path, angle):
    degrees = angle == 'deg'
    rng = np.random.default_rng(0)
    span = 60 if degrees else 1.0
    root = np.concatenate([rng.normal(size=(5, 3)), rng.uniform(-span, span, (5, 3))], axis=1)
    upper, lower = rng.uniform(-span, span, (5, 3)), rng.uniform(-span, span, (5, 1))
    axis = (10, -20, 30) if degrees else (0.1, -0.2, 0.3)
    motion = write_acclaim(tmp_path, root, upper, lower, axis, angle)
    metre = 0.0254 / 0.45
    frame = Rotation.from_euler('xyz', axis, degrees=degrees)
    for t in range(5):
        turn = Rotation.from_euler('xyz', root[t, 3:], degrees=degrees)
        place = root[t, :3] * metre
        for name, angles, length in (('upper', upper[t], 4), ('lower', [lower[t, 0], 0, 0], 3)):
            turn = turn * frame * Rotation.from_euler('xyz', angles, degrees=degrees) * frame.inv()
            place = place + turn.apply([0, -1, 0]) * length * metre
            np.testing.assert_allclose(motion.points[name][t], place, atol=1e-7)


def bvh(channels, rows, period=0.01):
    return (
        'HIERARCHY\nROOT hip\n{\n  OFFSET 0 0 0\n'
        f'  CHANNELS 6 Xposition Yposition Zposition {channels}\n'
        '  JOINT knee\n  {\n    OFFSET 0 -40 0\n'
        f'    CHANNELS 3 {channels}\n    End Site\n    {{\n      OFFSET 0 -42 1\n    }}\n  }}\n}}\n'
        f'MOTION\nFrames: {len(rows)}\nFrame Time: {period}\n'
        + '\n'.join(' '.join(f'{v:.9g}' for v in row) for row in rows)
    )


@pytest.mark.parametrize('order', ['ZXY', 'ZYX', 'XYZ', 'YXZ'])
def test_biovision_rotations_are_in_the_order_of_the_channels(tmp_path, order):
    rows = np.random.default_rng(1).uniform(-80, 80, (4, 9))
    path = tmp_path / 'a.bvh'
    path.write_text(bvh(' '.join(f'{a}rotation' for a in order), rows))
    motion = read_bvh(path)
    assert motion.rate_hz == pytest.approx(100)
    units = dict(zip('XYZ', np.eye(3), strict=True))

    def turn(angles):
        matrix = np.eye(3)
        for axis, angle in zip(order, angles, strict=True):
            matrix = matrix @ Rotation.from_rotvec(np.radians(angle) * units[axis]).as_matrix()
        return matrix

    for t, row in enumerate(rows):
        first = turn(row[3:6])
        knee = row[:3] + first @ [0, -40, 0]
        foot = knee + first @ turn(row[6:]) @ [0, -42, 1]
        np.testing.assert_allclose(motion.points['knee'][t], knee, atol=1e-5)
        np.testing.assert_allclose(motion.points['knee.end'][t], foot, atol=1e-5)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: t.replace('MOTION', ''), 'no MOTION part'),
        (lambda t: t.replace('OFFSET 0 -40 0', 'OFFSET 0 x 0'), "line 8: 'OFFSET 0 x 0'"),
        (lambda t: t.replace('JOINT', 'JIONT'), 'unknown keyword'),
        (lambda t: t.replace('  }\n}\n', '  }\n'), 'not closed'),
        (lambda t: t.replace('Frames: 3', 'Frames: 4'), '4 frames of 9 channels but holds 27'),
        (lambda t: t.rsplit(' ', 2)[0], '3 frames of 9 channels but holds 25'),
        (lambda t: t.replace('Frame Time: 0.01', 'Frame Time: 0'), 'cannot be read'),
        (lambda t: t.replace('0.5', 'nan'), 'values that no motion has'),
        (lambda t: t.replace('0.5', 'abc'), 'cannot be read'),
    ],
)
def test_damaged_biovision(tmp_path, change, words):
    text = bvh('Zrotation Xrotation Yrotation', np.full((3, 9), 0.5))
    path = tmp_path / 'a.bvh'
    path.write_text(text)
    assert len(read_bvh(path)) == 3
    path.write_text(change(text))
    with pytest.raises(DataError, match=words):
        read_bvh(path)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: t.replace('rhumerus', 'other', 1), "'other' with 3 values does not fit"),
        (lambda t: t.replace('rtibia 3', 'rtibia 3 3', 1), 'belongs to another skeleton'),
        (lambda t: t.replace('rtibia 3', 'x' * 9000 + ' 3', 1), r'^.{,600}another skeleton'),
        (lambda t: t.replace('rtibia 3', 'rtibia x3', 1), r'line \d+: could not convert'),
        (lambda t: t[: t.index('\n41\n') + 300], 'announces 41 frames but holds'),
        (lambda t: '', 'announces 0 frames'),
    ],
)
def test_damaged_acclaim(tmp_path, change, words):
    path = tmp_path / 'a.amc'
    text = (REAL / '07_02.amc').read_text()
    assert 'rtibia 3' in text
    path.write_text(change(text))
    with pytest.raises(DataError, match=words):
        read_amc(path, read_asf(REAL / '07.asf'))


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda t: t.replace('length 2.68184', 'length long'), "'length long'"),
        (lambda t: t.partition(':hierarchy')[0], 'no hierarchy'),
        (lambda t: t.replace('root lhipjoint', 'root nothing'), "names 'nothing'"),
        (lambda t: t.replace('thorax lowerneck', 'lowerneck'), 'before its parent|no bone'),
    ],
)
def test_damaged_skeletons(tmp_path, change, words):
    path = tmp_path / 'a.asf'
    path.write_text(change((REAL / '07.asf').read_text()))
    with pytest.raises(DataError, match=words):
        read_asf(path)


def test_a_skeleton_of_something_else(tmp_path):
    path = tmp_path / 'a.bvh'
    path.write_text(bvh('Zrotation Xrotation Yrotation', np.zeros((3, 9))))
    with pytest.raises(DataError, match="no joint is the right hip; tried \\['rightthigh'"):
        joints_of_bvh(read_bvh(path), 'a.bvh')
    motion = write_acclaim(tmp_path, np.zeros((2, 6)), np.zeros((2, 3)), np.zeros((2, 1)))
    with pytest.raises(DataError, match='lacks the bones'):
        joints_of_acclaim(motion, 'a.amc')


@pytest.mark.parametrize('unit', [0.01, 1.0, 0.0254, 0.0254 / 0.45, 0.001])
def test_units_of_biovision_are_told_by_the_legs(unit):
    motion = read_bvh(REAL / '14_27.bvh')
    expected = joints_of_bvh(motion, 'clip')
    for points in motion.points.values():
        points *= 0.01 / unit
    np.testing.assert_allclose(joints_of_bvh(motion, 'clip'), expected, atol=1e-9)


def test_a_leg_of_twenty_centimetres_has_no_unit():
    motion = read_bvh(REAL / '14_27.bvh')
    for points in motion.points.values():
        points *= 0.2 / 82
    with pytest.raises(DataError, match='fits a person in no unit'):
        joints_of_bvh(motion, 'clip')


@pytest.mark.parametrize('prefix', ['mixamorig:', ''])
def test_other_naming_schemes(prefix):
    motion = read_bvh(REAL / '14_27.bvh')
    expected = joints_of_bvh(motion, 'clip')
    new = {'Thigh': 'UpLeg', 'Shin': 'Leg', 'Foot': 'Foot', 'Shldr': 'Arm'}
    new |= {'ForeArm': 'ForeArm', 'Hand': 'Hand'}
    names = {'abdomen': 'Spine', 'chest': 'Spine1', 'neck': 'Neck', 'head': 'Head', 'hip': 'Hips'}
    for old, name in new.items():
        names |= {f'r{old}': f'Right{name}', f'l{old}': f'Left{name}'}
    names |= {'rCollar': 'RightShoulder', 'lCollar': 'LeftShoulder'}
    for part in (motion.points, motion.rotations):
        for old in list(part):
            part[prefix + names.get(old, f'x{old}')] = part.pop(old)
    np.testing.assert_allclose(joints_of_bvh(motion, 'clip'), expected, atol=1e-9)


def test_glitches_cut_and_t_poses_go():
    joints = joints_of_bvh(read_bvh(REAL / '14_27.bvh'), 'clip')[8:]
    joints = np.repeat(joints, 10, axis=0) + 0.001 * np.arange(10 * len(joints))[:, None, None]
    rest = joints[:1] * [1.3, 1.3, 1]  # one frame of another pose at the start
    pieces = cut(np.concatenate([rest, joints]), 120, MotionConfig())
    assert [len(p) for p in pieces] == [len(joints) // 4 + (len(joints) % 4 > 0)]
    glitch = joints.copy()
    glitch[60:] += 0.5
    assert len(cut(glitch, 120, SHORT)) == 2
    assert cut(joints[:1], 120, SHORT) == []
    assert cut(joints[:0], 120, SHORT) == []
    with pytest.raises(DataError, match='not finite'):
        cut(joints * np.nan, 120, SHORT)


def test_a_full_disk_leaves_no_half_pack(tmp_path, monkeypatch):
    for name in ('07.asf', '07_02.amc'):
        (tmp_path / name).write_text((REAL / name).read_text())
    target = tmp_path / 'motion.npz'
    prepare(tmp_path, target, SHORT)
    before = target.read_bytes()

    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez_compressed', full)
    with pytest.raises(OSError, match='the disk is full'):
        prepare(tmp_path, target, SHORT)
    assert target.read_bytes() == before
    assert not list(tmp_path.glob('.*.part'))


# --- files that no system of motion capture writes ----------------------------------------------

BVH = """HIERARCHY
ROOT a
{{
OFFSET {offset}
CHANNELS {channels}
End Site
{{
OFFSET 0 1 0
}}
}}
MOTION
Frames: {frames}
Frame Time: {period}
{values}
"""
PLAIN = {
    'offset': '0 0 0',
    'channels': '3 Xrotation Yrotation Zrotation',
    'frames': 1,
    'period': 0.01,
    'values': '0 0 0',
}


def test_the_plain_file_is_read(tmp_path):
    path = tmp_path / 'a.bvh'
    path.write_text(BVH.format(**PLAIN))
    np.testing.assert_array_equal(read_bvh(path).points['a.end'], [[0, 1, 0]])


@pytest.mark.parametrize(
    'changed',
    [
        {'offset': 'nan 0 0'},
        {'offset': '1e308 0 0'},
        {'offset': '0 0'},
        {'channels': '3 Xrotation Yrotation Wrotation'},
        {'channels': '3 Xrotation Yrotation turning'},
        {'channels': '3 Xrotation Xrotation Yrotation'},
        {'channels': '4 Xrotation Yrotation Zrotation Xrotation', 'values': '0 0 0 0'},
        {'channels': '4 Xrotation Yrotation Zrotation'},
        {'channels': '-1'},
        {'period': '0'},
        {'period': '-1'},
        {'period': '1e-300'},
        {'period': 'nan'},
        {'values': '0 0 1e308'},
        {'values': '0 0 inf'},
        {'frames': 1 << 70},
        {'frames': -1},
    ],
)
def test_absurd_bvh_files_are_one_line_that_names_the_file(tmp_path, changed):
    path = tmp_path / 'strange.bvh'
    path.write_text(BVH.format(**(PLAIN | changed)))
    with pytest.raises(DataError, match=r'strange\.bvh'):
        read_bvh(path)


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('length 0.45', 'length 0'),
        ('length 0.45', 'length nan'),
        ('length 0.45', 'length -1'),
        ('order TX TY TZ RX RY RZ', 'order TX TY'),
        ('order TX TY TZ RX RY RZ', 'order TX TX TZ RX RY RZ'),
        ('axis 0 0 0  XYZ', 'axis 0 0 0  XXY'),
        ('axis 0 0 0  XYZ', 'axis 0 0 0  ABC'),
        ('dof rx ry rz', 'dof rx rx rz'),
        ('dof rx ry rz', 'dof qx'),
        ('    length ', '    length nan'),
        ('    length ', '    length 1e308 '),
        ('    direction ', '    direction inf '),
    ],
)
def test_absurd_asf_files_are_one_line_that_names_the_file(tmp_path, old, new):
    text = (REAL / '07.asf').read_text()
    assert old in text
    path = tmp_path / 'strange.asf'
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=r'strange\.asf, line'):
        read_asf(path)


def test_few_bytes_do_not_become_gigabytes(tmp_path):
    """A joint without channels costs a line of text, and memory in every frame."""
    sites = 'End Site\n{\nOFFSET 0 1 0\n}\n' * 2000
    text = BVH.format(**(PLAIN | {'frames': 6000, 'values': '0 0 0 ' * 6000}))
    path = tmp_path / 'a.bvh'
    path.write_text(text.replace('End Site', f'{sites}End Site', 1))
    with pytest.raises(DataError, match=r'a\.bvh has 2002 joints in 6000 frames'):
        read_bvh(path)

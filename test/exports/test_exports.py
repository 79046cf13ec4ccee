"""Exports: what is written is what was known, gaps stay gaps, and BVH gives the positions back."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_people import moving_person
from scipy.spatial.transform import Rotation

from trpose_ros.archives import load_arrays
from trpose_ros.data.motion.files import read_bvh
from trpose_ros.exports.bvh_file import euler_angles, shortest_turns
from trpose_ros.exports.files import EXPORTS, Export, formats_of, write_exports
from trpose_ros.exports.tracks import collect, films
from trpose_ros.people import JointState, People, RootSource, TrackState
from trpose_ros.skeletons import get_skeleton
from trpose_ros.writing import WriteError

H36M = get_skeleton('h36m_17')
RATE_HZ, STEP_NS = 25.0, 40_000_000
TURN = np.array([1.0, -1, -1])  # camera frame to y up


def frames(bodies, skeleton='h36m_17', source=RootSource.FIT, **changes):
    """Return the people of {id: (T, J, 3)}; NaN as a whole is nobody."""
    count = len(next(iter(bodies.values())))
    made = []
    for t in range(count):
        here = [i for i, body in bodies.items() if np.isfinite(body[t]).any()]
        shape = (len(here), get_skeleton(skeleton).num_joints)
        made.append(
            People.build(
                stamp_ns=1_000_000_000 + t * STEP_NS,
                frame_id='camera',
                skeleton=skeleton,
                width=640,
                height=480,
                joints_px=np.full((*shape, 2), 5.0),
                joints_m=np.array([bodies[i][t] for i in here]).reshape(*shape, 3),
                covariances_m2=np.tile(np.diag([1e-4, 2e-4, 3e-2]), (*shape, 1, 1)),
                joint_states=np.full(shape, int(JointState.VISIBLE)),
                joint_scores=np.full(shape, 0.5),
                track_ids=np.array(here, int),
                track_states=np.full(len(here), int(TrackState.TRACKED)),
                root_sources=np.full(len(here), int(source)),
            ).replace(**changes)
        )
    return made


def body(count=6, seed=0, root_m=(0.2, 0.1, 4.0)):
    return moving_person(count, 'h36m_17', seed, root_m=root_m)


def write(name, people, folder, rate_hz=None):
    export = Export(people, {'format': 'trpose tracks', 'licence': 'MIT'}, rate_hz)
    return write_exports([name], export, folder / 'people')


# --- tables and arrays -----------------------------------------------------------------------


def test_parquet_is_the_table_of_csv_with_numbers_as_they_are(tmp_path):
    late = body(seed=1)
    late[:2] = np.nan
    people = frames({3: body(), 8: late})
    people[0].joints_m[0, 5] = np.nan
    (path,) = write('parquet', people, tmp_path)
    (lines,) = write('csv', people, tmp_path)
    table = pyarrow.parquet.read_table(path)
    with lines.open(newline='') as stream:
        head, *rows = csv.reader(stream)
    assert table.column_names == head
    assert table.num_rows == len(rows) == (6 + 4) * 17
    assert json.loads(table.schema.metadata[b'trpose'])['licence'] == 'MIT'
    for name, values in table.to_pydict().items():
        texts = [row[head.index(name)] for row in rows]
        assert [value is None for value in values] == [text == '' for text in texts]
        known = [(v, t) for v, t in zip(values, texts, strict=True) if v is not None]
        if isinstance(known[0][0], str):
            assert all(value == text for value, text in known)
        else:
            read = np.array([float(text) for _, text in known])
            np.testing.assert_allclose([v for v, _ in known], read, rtol=1e-3, atol=1e-2)
    assert table['x_m'].null_count == table['z_m'].null_count == 1
    x_m = np.array([row['x_m'] for row in table.to_pylist()[17:34]])
    np.testing.assert_array_equal(x_m, people[1].joints_m[0, :, 0])


def test_a_package_that_a_format_needs_is_missed_before_the_work():
    text = (
        "import sys; sys.modules['pyarrow'] = None\n"
        'from trpose_ros.exports.files import formats_of\n'
        "formats_of('csv,bvh')\n"
        "try: formats_of('parquet')\n"
        'except ModuleNotFoundError as error: print(error.name)'
    )
    done = subprocess.run([sys.executable, '-c', text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'pyarrow'


def test_parquet_of_nobody_has_its_columns(tmp_path):
    (path,) = write('parquet', frames({3: body()})[0:1], tmp_path)
    columns = pyarrow.parquet.read_schema(path)
    empty = frames({3: np.full((1, 17, 3), np.nan)})
    (path,) = write('parquet', empty, tmp_path)
    table = pyarrow.parquet.read_table(path)
    assert table.num_rows == 0
    assert table.schema.names == columns.names
    assert table.schema.types == columns.types


def test_npz(tmp_path):
    late = body(seed=1)
    late[:2] = np.nan
    (path,) = write('npz', frames({3: body(), 8: late}), tmp_path)
    read = load_arrays(path)
    assert read['joints_m'].shape == (6, 2, 17, 3)
    assert read['track_ids'].tolist() == [3, 8]
    np.testing.assert_allclose(read['joints_m'][:, 0], body() - body()[:, :1], atol=1e-6)
    np.testing.assert_array_equal(read['root_m'][:, 0], body()[:, 0])
    for name in ('joints_m', 'root_m', 'covariances_m2', 'scores'):
        assert np.isnan(read[name][:2, 1]).all()
        assert np.isfinite(read[name][2:, 1]).all()
    assert (read['states'][:2, 1] == JointState.UNKNOWN).all()
    assert np.diff(read['stamps_ns']).tolist() == [STEP_NS] * 5
    assert json.loads(str(read['facts']))['licence'] == 'MIT'
    assert tuple(read['joint_names']) == H36M.joint_names


def test_relative_people_have_no_root(tmp_path):
    (path,) = write('npz', frames({3: body()}, source=RootSource.NONE), tmp_path)
    assert np.isnan(load_arrays(path)['root_m']).all()


def test_csv(tmp_path):
    made = body()
    made[2, 5] = np.nan
    (path,) = write('csv', frames({3: made}), tmp_path)
    with path.open(newline='') as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 6 * 17
    first, gap = lines[0], lines[2 * 17 + 5]
    assert (first['stamp_ns'], first['id'], first['joint']) == ('1000000000', '3', 'pelv')
    assert (first['state'], first['score'], first['root_source']) == ('visible', '0.5000', 'fit')
    assert float(first['x_m']) == pytest.approx(made[0, 0, 0], abs=1e-5)
    assert (float(first['cov_yy_m2']), first['cov_xy_m2']) == (2e-4, '0')
    assert (gap['x_m'], gap['y_m'], gap['z_m']) == ('', '', '')


def test_json(tmp_path):
    made = body()
    made[1] = np.nan
    (path,) = write('json', frames({3: made}), tmp_path)
    read = json.loads(path.read_text())
    assert read['skeleton']['joints'] == list(H36M.joint_names)
    assert [len(f['people']) for f in read['frames']] == [1, 0, 1, 1, 1, 1]
    person = read['frames'][0]['people'][0]
    np.testing.assert_allclose(person['joints_3d_m'], made[0], atol=1e-5)
    assert person['covariances_m2'][0][2][2] == pytest.approx(3e-2)
    assert read['complete'] is True


def test_predictions_and_people_without_id_are_left_out():
    made = frames({3: body(), 8: body(seed=1)})
    ids, states = np.array([-1, 8]), np.array([TrackState.TRACKED, TrackState.SEARCHING])
    gone = [p.replace(track_ids=ids, track_states=states) for p in made]
    assert collect(gone).ids.tolist() == []
    with pytest.raises(ValueError, match='no frames'):
        collect([])


# --- films: TRC and BVH ----------------------------------------------------------------------


def test_trc(tmp_path):
    made = body()
    made[2] = np.nan
    made[4, 5] = np.nan
    (path,) = write('trc', frames({3: made}), tmp_path)
    assert path.name == 'people-3.trc'
    lines = path.read_text().split('\n')
    assert lines[0] == 'PathFileType\t4\t(X/Y/Z)\tpeople-3.trc'
    head = dict(zip(lines[1].split('\t'), lines[2].split('\t'), strict=True))
    assert head['DataRate'] == '25'
    assert (head['NumFrames'], head['NumMarkers'], head['Units']) == ('6', '17', 'mm')
    assert [n for n in lines[3].split('\t') if n] == ['Frame#', 'Time', *H36M.joint_names]
    assert lines[4].split('\t')[2:5] == ['X1', 'Y1', 'Z1']
    assert lines[5] == ''
    rows = [line.split('\t') for line in lines[6:12]]
    assert all(len(row) == 2 + 51 for row in rows)
    assert [row[0] for row in rows] == ['1', '2', '3', '4', '5', '6']
    assert float(rows[3][1]) == pytest.approx(3 / 25)
    assert rows[2][2:] == [''] * 51
    assert rows[4][17:20] == [''] * 3
    np.testing.assert_allclose(
        np.array(rows[0][2:], float), (made[0] * TURN * 1000).ravel(), atol=1e-3
    )


def test_the_rate_may_be_given_and_frames_are_put_in_their_places():
    made = frames({3: body()})
    assert films(made)[0].rate_hz == 25.0
    twice = films(made, 50.0)[0]
    assert len(twice.joints_m) == 11
    assert np.isnan(twice.joints_m[1::2]).all()
    assert np.isfinite(twice.joints_m[::2]).all()
    one = films(made[:1])[0]
    assert (one.rate_hz, len(one.joints_m)) == (30.0, 1)
    far = [made[0], *made[1:], made[-1].replace(stamp_ns=10**15)]
    with pytest.raises(ValueError, match='these are no film; write csv'):
        films(far)


def stiff(count, seed, twist=1.0):
    """Return (T, 17, 3) joints whose bones keep their lengths."""
    rng = np.random.default_rng(seed)
    joints = np.zeros((count, 17, 3))
    joints[:, 0] = rng.normal(0, 0.3, (count, 3)) + np.array([0, 0, 4])
    for parent, child in sorted(H36M.bones, key=lambda bone: bone[1]):
        way = rng.normal(size=3) + twist * rng.normal(0, 0.4, (count, 3))
        way /= np.linalg.norm(way, axis=1, keepdims=True)
        joints[:, child] = joints[:, parent] + way * (0.1 + 0.02 * child)
    return joints


@given(st.integers(0, 2**31), st.sampled_from([1, 2, 5]))
@settings(max_examples=5, deadline=None)
def test_bvh_gives_stiff_people_back(tmp_path_factory, seed, count):
    made = stiff(count, seed)
    (path,) = write('bvh', frames({3: made}), tmp_path_factory.mktemp('bvh'))
    motion = read_bvh(path)
    assert len(motion) == count
    read = np.stack([motion.points[name] for name in H36M.joint_names], axis=1)
    np.testing.assert_allclose(read, made * TURN, atol=2e-5)


def test_bvh_has_bones_of_constant_length_where_people_have_none(tmp_path):
    made = body(40)
    scale = 1 + 0.1 * np.sin(np.arange(40))[:, None, None]
    made = (made - made[:, :1]) * scale + made[:, :1]
    made[7] = np.nan  # filled in between
    (path,) = write('bvh', frames({3: made}), tmp_path)
    motion = read_bvh(path)
    assert len(motion) == 40
    assert motion.rate_hz == pytest.approx(25.0)
    points = np.stack([motion.points[name] for name in H36M.joint_names], axis=1)
    there = np.arange(40) != 7
    for parent, child in H36M.bones:
        bone, true = points[:, child] - points[:, parent], (made[:, child] - made[:, parent]) * TURN
        lengths = np.linalg.norm(bone, axis=1)
        median = np.median(np.linalg.norm(true[there], axis=1))
        np.testing.assert_allclose(lengths, lengths[0], atol=1e-5)
        assert lengths[0] == pytest.approx(median, rel=0.02)
        unit = true[there] / np.linalg.norm(true[there], axis=1, keepdims=True)
        np.testing.assert_allclose(bone[there] / lengths[there, None], unit, atol=1e-4)


def test_bvh_is_a_hierarchy_whose_angles_do_not_jump(tmp_path):
    (path,) = write('bvh', frames({3: stiff(30, 1, twist=0.1)}), tmp_path)
    head, _, tail = path.read_text().partition('MOTION')
    assert head.startswith('HIERARCHY\nROOT pelv\n{')
    assert head.count('{') == head.count('}')
    assert head.count('End Site') == 5
    names = [line.split()[1] for line in head.split('\n') if line.strip().startswith('JOINT')]
    assert set(H36M.joint_names) - {'pelv'} <= set(names)
    values = np.array([line.split() for line in tail.split('\n')[3:] if line], float)
    assert values.shape == (30, 6 + 3 * len(names))


def test_angles_go_on_round_and_round():
    told = np.arange(0, 1000, 9.0)
    turns = Rotation.from_euler('y', told[:, None], degrees=True).as_matrix()
    np.testing.assert_allclose(euler_angles(turns)[:, 2], told, atol=1e-6)  # no step back to -180


def test_bvh_of_people_who_lack_joints(tmp_path):
    made = moving_person(3, 'coco_17', root_m=(0, 0, 4.0))
    with pytest.raises(ValueError, match="no joint 'htop', which BVH needs"):
        write('bvh', frames({3: made}, 'coco_17'), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_shortest_turns_at_the_ends():
    rest = np.array([0.0, 1, 0])
    ways = np.array([[0.0, 1, 0], [0, -1, 0], [1, 0, 0], [0, -1, 1e-12]])
    turns = shortest_turns(rest, ways)
    np.testing.assert_allclose(turns @ rest, ways, atol=1e-9)
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.eye(3)[None].repeat(4, 0), atol=1e-9
    )


# --- names and files -------------------------------------------------------------------------


def test_formats_by_name():
    assert formats_of('') == ()
    assert formats_of('csv, BVH,csv') == ('csv', 'bvh')
    with pytest.raises(
        ValueError, match="unknown export 'fbx'; known are csv, parquet, npz, json, bvh, trc"
    ):
        formats_of('csv,fbx')


@pytest.mark.parametrize('name', EXPORTS)
def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path, name):
    (tmp_path / 'people').write_text('a file')
    with pytest.raises(WriteError, match='cannot be written'):
        write_exports([name], Export(frames({3: body()})), tmp_path / 'people' / 'x')
    assert [p.name for p in tmp_path.iterdir()] == ['people']


@pytest.mark.parametrize('name', EXPORTS)
def test_the_same_people_give_the_same_bytes(tmp_path, name):
    made = frames({3: body(), 8: body(seed=1)})
    first, second = (write(name, made, tmp_path / n) for n in ('a', 'b'))
    assert len(first) == (2 if name in ('bvh', 'trc') else 1)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()

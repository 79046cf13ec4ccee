"""Recordings: what is written is read back; damaged ones give what is left and name the rest."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from trpose_ros.recordings.bags import BagError, BagReader, BagWriter, make_typestore

STORE = make_typestore()
FORMS = [
    ('one.mcap', 'mcap', 'none'),
    ('one.mcap', 'mcap', 'storage'),
    ('one.db3', 'sqlite3', 'none'),
    ('folder', 'mcap', 'none'),
    ('folder', 'mcap', 'file'),
    ('folder', 'mcap', 'message'),
    ('folder', 'sqlite3', 'none'),
    ('folder', 'sqlite3', 'file'),
    ('folder', 'sqlite3', 'message'),
]


def header(stamp_ns: int):
    time = STORE.types['builtin_interfaces/msg/Time'](stamp_ns // 10**9, stamp_ns % 10**9)
    return STORE.types['std_msgs/msg/Header'](time, 'camera')


def compressed_image(stamp_ns: int, size: int = 3000):
    data = np.random.default_rng(stamp_ns % 2**32).integers(0, 40, size, dtype=np.uint8)
    return STORE.types['sensor_msgs/msg/CompressedImage'](header(stamp_ns), 'jpeg', data)


def person_array(stamp_ns: int, persons: int = 1):
    types = STORE.types
    point = types['geometry_msgs/msg/Point'](0.25, -0.5, 3.0)
    joint_2d = types['trpose_ros/msg/Joint2D'](1.5, float('nan'), 0.5, 3)
    joint_3d = types['trpose_ros/msg/Joint3D'](point, np.full(9, 0.125), 0.75, 1)
    person = types['trpose_ros/msg/Person'](
        7, 2, 0.5, np.arange(4, dtype=np.float32), 1.0, 5, [joint_2d] * 17, [joint_3d] * 17, 1, 2.0
    )
    zero = types['builtin_interfaces/msg/Time'](0, 0)
    provenance = types['trpose_ros/msg/Provenance'](
        'metrabs_torch', '', 'w', '', 0, 0, False, zero, zero, 1.0, 2.0, 0
    )
    return types['trpose_ros/msg/PersonArray'](
        header(stamp_ns), 'h36m_17', 640, 480, provenance, [person] * persons
    )


def write(path, count=300, storage='mcap', compression='none'):
    with BagWriter(path, storage=storage, compression=compression) as bag:
        for k in range(count):
            stamp_ns = 10**9 + k * 33_333_333
            bag.write('/image/compressed', compressed_image(stamp_ns), stamp_ns)
            bag.write('/people', person_array(stamp_ns, k % 3), stamp_ns)
    return path


def stamps(reader, topic):
    return [m.log_ns for m in reader.messages([topic])]


@pytest.mark.parametrize(('name', 'storage', 'compression'), FORMS)
def test_what_is_written_is_read_back(tmp_path, name, storage, compression):
    path = write(tmp_path / name, 20, storage, compression)
    with BagReader(path) as bag:
        assert bag.topics == {
            '/image/compressed': 'sensor_msgs/msg/CompressedImage',
            '/people': 'trpose_ros/msg/PersonArray',
        }
        assert bag.counts == {'/image/compressed': 20, '/people': 20}
        messages = list(bag.messages())
        assert bag.problems == []
    assert len(messages) == 40
    assert [m.log_ns for m in messages] == sorted(m.log_ns for m in messages)
    image, people = messages[2].message, messages[3].message
    expected = compressed_image(messages[2].log_ns)
    assert image.format == 'jpeg'
    np.testing.assert_array_equal(image.data, expected.data)
    assert people.header.stamp.nanosec == messages[3].log_ns % 10**9
    joint = people.persons[0].joints_2d[3]
    assert (joint.x, joint.state) == (1.5, 3)
    assert np.isnan(joint.y)
    np.testing.assert_array_equal(people.persons[0].joints_3d[0].covariance, np.full(9, 0.125))
    assert sorted(p.name for p in tmp_path.iterdir()) == [name]


@pytest.mark.parametrize('count', [0, 1])
@pytest.mark.parametrize('name', ['b.mcap', 'b.db3', 'b'])
def test_empty_and_single(tmp_path, name, count):
    with BagReader(write(tmp_path / name, count)) as bag:
        assert len(list(bag.messages())) == 2 * count
        assert bag.problems == []


def test_reading_is_lazy(tmp_path):
    with BagReader(write(tmp_path / 'b.mcap')) as bag:
        first = next(iter(bag.messages(types=['trpose_ros/msg/PersonArray'])))
    assert first.topic == '/people'


@pytest.mark.parametrize('compression', ['none', 'storage'])
@pytest.mark.parametrize('keep', [0.3, 0.77, 0.999])
def test_cut_off_mcap_gives_what_is_there(tmp_path, compression, keep):
    path = write(tmp_path / 'b.mcap', compression=compression)
    with BagReader(path) as bag:
        whole = stamps(bag, '/image/compressed')
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with BagReader(path) as bag:
        rest = stamps(bag, '/image/compressed')
        assert any('b.mcap' in p for p in bag.problems), bag.problems
    assert rest == whole[: len(rest)]
    if compression == 'none':
        assert len(rest) >= int(len(whole) * keep) - 25
    else:
        assert len(rest) >= int(len(whole) * keep * 0.5)


def test_mcap_without_summary_is_whole(tmp_path):
    path = write(tmp_path / 'b.mcap')
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b'rosbag2', len(content) // 2) - 13])
    with BagReader(path) as bag:
        assert len(stamps(bag, '/people')) == 300
        assert bag.problems


def test_damaged_chunk_costs_only_itself(tmp_path):
    path = write(tmp_path / 'b.mcap', 900, compression='storage')
    content = bytearray(path.read_bytes())
    begin = content.index(b'\x28\xb5\x2f\xfd', len(content) // 2)  # a chunk's zstd frame
    content[begin : begin + 64] = b'\xa5' * 64
    path.write_bytes(content)
    with BagReader(path) as bag:
        rest = stamps(bag, '/image/compressed')
        assert any('chunk at byte' in p for p in bag.problems)
    assert 450 <= len(rest) < 900
    assert rest == sorted(set(rest))
    assert rest[0] == 10**9
    assert rest[-1] == 10**9 + 899 * 33_333_333


@pytest.mark.parametrize('keep', [0.4, 0.8])
def test_cut_off_sqlite_gives_what_is_there(tmp_path, keep):
    path = write(tmp_path / 'b.db3')
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with BagReader(path) as bag:
        rest = stamps(bag, '/image/compressed')
        assert any('b.db3' in p for p in bag.problems)
    assert len(rest) >= 300 * keep * 0.8
    assert rest == sorted(rest)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_cut_off_zstd_file(tmp_path, storage):
    folder = write(tmp_path / 'bag', storage=storage, compression='file')
    file = next(folder.glob('*.zstd'))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])
    with BagReader(folder) as bag:
        assert len(stamps(bag, '/image/compressed')) > 80
        assert any('zstd' in p for p in bag.problems)


def test_folder_without_metadata(tmp_path):
    folder = write(tmp_path / 'bag')
    (folder / 'metadata.yaml').unlink()
    with BagReader(folder) as bag:
        assert len(stamps(bag, '/people')) == 300
        assert any('metadata.yaml' in p for p in bag.problems)


def test_folder_of_several_files_with_one_missing(tmp_path):
    folder = write(tmp_path / 'bag', 5)
    name = next(folder.glob('*.mcap')).name
    shutil.copy(write(tmp_path / 'late.mcap', 3), folder / 'bag_10.mcap')
    text = (folder / 'metadata.yaml').read_text()
    listed = f'- {name}\n  - bag_9.mcap\n  - bag_10.mcap'
    (folder / 'metadata.yaml').write_text(text.replace(f'- {name}', listed, 1))
    with BagReader(folder) as bag:
        assert len(stamps(bag, '/people')) == 8
        assert bag.problems == ['bag_9.mcap: file is missing']


def test_message_that_cannot_be_decoded_is_named_once(tmp_path):
    with BagWriter(tmp_path / 'b.mcap') as bag:
        for k in range(3):
            bag.write_serialized('/people', 'trpose_ros/msg/PersonArray', b'\0\1\0\0\5', k)
        bag.write('/people', person_array(5), 5)
    with BagReader(tmp_path / 'b.mcap') as bag:
        assert stamps(bag, '/people') == [5]
        assert len(bag.problems) == 2
        assert '/people at 0 ns' in bag.problems[0]
        assert '3 messages' in bag.problems[1]


@pytest.mark.parametrize(
    ('content', 'name'),
    [(b'', 'b.mcap'), (b'junk' * 100, 'b.mcap'), (b'', 'b.db3'), (b'junk' * 999, 'b.db3')],
)
def test_no_recording_at_all(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=name):
        BagReader(tmp_path / name)


def test_wrong_paths_say_so(tmp_path):
    with pytest.raises(BagError, match='does not exist'):
        BagReader(tmp_path / 'missing.mcap')
    (tmp_path / 'a.txt').write_text('x')
    with pytest.raises(BagError, match='not a recording'):
        BagReader(tmp_path / 'a.txt')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'folder' / 'metadata.yaml').write_text('x: 1')
    with pytest.raises(BagError, match=r'no .mcap or .db3'):
        BagReader(tmp_path / 'folder')
    with pytest.raises(BagError, match='folder'):
        BagWriter(tmp_path / 'x.mcap', compression='file')


def test_failed_writing_leaves_nothing(tmp_path):
    def fail():
        with BagWriter(tmp_path / 'b.mcap') as bag:
            bag.write('/people', person_array(1), 1)
            raise RuntimeError('stop')

    with pytest.raises(RuntimeError, match='stop'):
        fail()
    assert list(tmp_path.iterdir()) == []

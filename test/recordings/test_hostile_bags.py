"""Recordings from strangers: bounded in memory and time, one bad part costs only itself."""

import sqlite3
import struct
import sys
import time
import tracemalloc

import pytest

from trpose_ros.recordings import unpacking
from trpose_ros.recordings.bags import BagError, BagReader
from trpose_ros.recordings.unpacking import unpack_file, unpack_message, unpacked_part

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def record(code, body, length=None):
    return struct.pack('<BQ', code, len(body) if length is None else length) + body


def text(value):
    data = value.encode()
    return struct.pack('<I', len(data)) + data


def schema(number, name, definition):
    return record(3, struct.pack('<H', number) + text(name) + text('ros2msg') + text(definition))


def channel(number, topic):
    return record(
        4, struct.pack('<HH', number, number) + text(topic) + text('cdr') + struct.pack('<I', 0)
    )


def message(number, stamp_ns):
    head = struct.pack('<HIQQ', number, 0, stamp_ns, stamp_ns)
    return record(5, head + b'\0\1\0\0' + struct.pack('<i', 7))


def chunk(data, size, kind='zstd'):
    head = struct.pack('<QQQII', 0, 1, size, 0, len(kind)) + kind.encode()
    return record(6, head + struct.pack('<Q', len(data)) + data)


def mcap(path, *records):
    path.write_bytes(b'\x89MCAP0\r\n' + record(1, text('ros2') + text('x')) + b''.join(records))
    return path


GOOD = schema(1, 'std_msgs/msg/Int32', 'int32 data') + channel(1, '/good') + message(1, 5)


def read(path):
    """Return the values on /good, and the problems."""
    with BagReader(path) as bag:
        values = [m.message.data for m in bag.messages(['/good'])]
        return values, bag.problems


BOMB = zstd.compress(bytes(8 << 20))  # some hundred bytes


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(unpacking, '_SPARE_BYTES', 1 << 20)


@pytest.mark.parametrize('size', [100, 8 << 20, 1 << 62])
def test_a_chunk_that_becomes_too_much_is_left_out(tmp_path, small_limits, size):
    path = mcap(tmp_path / 'a.mcap', GOOD, chunk(BOMB, size), message(1, 9))
    read(mcap(tmp_path / 'b.mcap', GOOD, message(1, 9)))  # what is imported once is not counted
    tracemalloc.start()
    values, problems = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values == [7, 7]
    assert any('a.mcap' in p and 'chunk at byte' in p for p in problems), problems
    assert peak < 6 << 20


@pytest.mark.parametrize('kind', ['zstd', 'lz4'])
def test_unpacking_ends_at_the_announced_size(kind):
    import lz4.frame

    pack = {'zstd': zstd.compress, 'lz4': lz4.frame.compress}[kind]
    plain = bytes(range(256)) * 20_000
    assert unpacked_part(pack(plain), kind, len(plain)) == (plain, '')
    assert unpacked_part(pack(b''), kind, 0) == (b'', '')
    part, problem = unpacked_part(pack(plain), kind, 1000)
    assert part == plain[:1000]
    assert 'more than the 1000 bytes' in problem
    part, problem = unpacked_part(pack(plain)[:-20], kind, len(plain))
    assert part == plain[: len(part)]
    part, problem = unpacked_part(b'nonsense' * 9, kind, 10)
    assert 'damaged' in problem


def test_packed_files_and_messages_are_bounded(tmp_path, small_limits):
    path = tmp_path / 'a.mcap.zstd'
    path.write_bytes(BOMB)
    problem = unpack_file(path, tmp_path / 'plain')
    assert 'far larger' in problem
    assert (tmp_path / 'plain').stat().st_size <= 2 << 20
    with pytest.raises(BagError, match=r'a\.mcap\.zstd.*far larger'):
        BagReader(path)
    with pytest.raises(unpacking.TooLargeError, match='would become more'):
        unpack_message(BOMB)
    assert unpack_message(zstd.compress(b'abc')) == b'abc'
    with pytest.raises(unpacking.ERRORS):
        unpack_message(zstd.compress(b'abc' * 9)[:-1])
    path.write_bytes(zstd.compress(bytes(3 << 19)) + b'more')
    unpacking._SPARE_BYTES = 64 << 20
    assert 'after the end' in unpack_file(path, tmp_path / 'plain')
    assert (tmp_path / 'plain').stat().st_size == 3 << 19


def test_the_reader_of_rosbags_is_bounded_too(small_limits):
    from rosbags.rosbag2 import storage_mcap

    with pytest.raises(unpacking.TooLargeError):
        storage_mcap.decompress(BOMB, 'zstd', 100, 0)
    assert storage_mcap.decompress(zstd.compress(b'abc'), 'zstd', 3, 0) == b'abc'


@pytest.mark.parametrize('length', [1 << 32, 1 << 40, (1 << 63) - 1, (1 << 64) - 1])
@pytest.mark.parametrize('code', [5, 6])
def test_a_record_of_a_terabyte_is_cut_off(tmp_path, code, length):
    path = mcap(tmp_path / 'a.mcap', GOOD, record(code, b'\0' * 60, length))
    values, problems = read(path)
    assert values == [7]
    assert any('a.mcap: cut off at byte' in p for p in problems), problems


BAD_DEFINITIONS = {
    'nonsense': 'int32 x=__import__("os").system("true")\nint32[<=99999] y\n',
    'endless by itself': 'a/A x\n',
    'too many values': 'int32[99999999] z\n',
    'doubled often': 'B0 x\n'
    + ''.join(f'===\nMSG: a/B{i}\nB{i + 1} x\nB{i + 1} y\n' for i in range(40))
    + '===\nMSG: a/B40\nint32 x\n',
    'arrays of nothing': 'B[] x\n===\nMSG: a/B\nint32 C=3\n',
    'not defined': 'Missing x\n',
    'too long': '# ' + 'x' * 300_000,
}


@pytest.mark.parametrize('definition', BAD_DEFINITIONS.values(), ids=BAD_DEFINITIONS)
def test_a_bad_definition_costs_its_topic_alone(tmp_path, definition):
    bad = schema(2, 'a/msg/A', definition) + channel(2, '/bad') + message(2, 6)
    path = mcap(tmp_path / 'a.mcap', bad, GOOD)
    values, problems = read(path)
    assert values == [7]
    assert any('a.mcap: /bad: type a/msg/A has a bad definition' in p for p in problems), problems
    assert all(len(p) < 400 for p in problems)


@pytest.mark.parametrize('name', ['a/msg/A):\n import os\n#', 'a/msg/A B', 'A', '', 'x' * 9999])
def test_a_bad_name_of_a_type_costs_its_topic_alone(tmp_path, name):
    bad = schema(2, name, 'int32 x\n') + channel(2, '/bad') + message(2, 6)
    values, problems = read(mcap(tmp_path / 'a.mcap', bad, GOOD))
    assert values == [7]
    assert any('/bad' in p for p in problems), problems
    assert all(len(p) < 400 for p in problems)


# --- sqlite3 ----------------------------------------------------------------------------------

TABLES = {
    'schema': 'schema_version INTEGER, ros_distro TEXT',
    'topics': 'id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, '
    'offered_qos_profiles TEXT, type_description_hash TEXT',
    'message_definitions': 'id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT, '
    'encoded_message_definition TEXT, type_description_hash TEXT',
    'messages': 'id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB',
}
ENDLESS = 'WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT'


def database(path, **replaced):
    connection = sqlite3.connect(path)
    for name, columns in TABLES.items():
        connection.execute(replaced.get(name, f'CREATE TABLE {name}({columns})'))
    if 'topics' not in replaced:
        connection.execute(
            "INSERT INTO topics VALUES (1, '/good', 'std_msgs/msg/Int32', 'cdr', '[]', '')"
        )
    if 'schema' not in replaced:
        connection.execute("INSERT INTO schema VALUES (4, 'jazzy')")
    if 'messages' not in replaced:
        data = b'\0\1\0\0' + struct.pack('<i', 7)
        connection.execute('INSERT INTO messages VALUES (1, 1, 5, ?)', (data,))
    connection.commit()
    connection.close()
    return path


def test_a_plain_database_is_read(tmp_path):
    assert read(database(tmp_path / 'a.db3')) == ([7], [])


@pytest.mark.parametrize(
    'replaced',
    [
        {
            'messages': f'CREATE VIEW messages AS {ENDLESS} x id, 1 topic_id, x timestamp, '
            '0 data FROM c'
        },
        {'topics': f"CREATE VIEW topics AS {ENDLESS} x id, 'n' name, 't' type FROM c"},
        {'message_definitions': f'CREATE VIEW message_definitions AS {ENDLESS} x id FROM c'},
        {'schema': f'CREATE VIEW schema AS {ENDLESS} x schema_version FROM c'},
        {
            'messages': 'CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp '
            'INTEGER, data BLOB AS (zeroblob(999999999)))'
        },
        {'messages': 'CREATE VIRTUAL TABLE messages USING fts4(topic_id, timestamp, data)'},
    ],
)
def test_computed_rows_are_refused_at_once(tmp_path, replaced):
    path = database(tmp_path / 'a.db3', **replaced)
    with pytest.raises(BagError, match=r'a\.db3.*comput'):
        BagReader(path)


def test_values_of_other_types_are_left_out(tmp_path):
    path = database(tmp_path / 'a.db3')
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO messages VALUES (2, 1, 'abc', 'text')")
    connection.execute("INSERT INTO topics VALUES (2, '/odd', 42, 'cdr', '[]', '')")
    connection.execute("INSERT INTO topics VALUES (3, CAST(x'ff' AS TEXT), 't', 'cdr', '[]', '')")
    connection.commit()
    connection.close()
    with BagReader(path) as bag:
        assert bag.topics == {'/good': 'std_msgs/msg/Int32'}
        values = [m.message.data for m in bag.messages()]
        assert values[:1] == [7]
        assert all('a.db3' in p for p in bag.problems), bag.problems


# --- metadata.yaml ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    'content',
    [
        b'[' * 50_000,
        b'\xff\xfe\xfa',
        b'a: &a [x]\nb: *a',
        b'rosbag2_bagfile_information: {relative_file_paths: 5}',
        b'rosbag2_bagfile_information: {relative_file_paths: [5]}',
        b'rosbag2_bagfile_information: 3',
        b'',
    ],
)
def test_bad_metadata_cost_nothing_but_a_word(tmp_path, content):
    mcap(tmp_path / 'a_0.mcap', GOOD)
    (tmp_path / 'metadata.yaml').write_bytes(content)
    values, problems = read(tmp_path)
    assert values == [7]
    assert 'metadata.yaml cannot be used' in problems[0]
    assert str(tmp_path) in problems[0]


def interior_page(size, child, cells):
    """Return a page of a table's tree whose every pointer is the same child."""
    content = b''.join(struct.pack('>IB', child, k + 1) for k in range(cells))
    start = size - len(content)
    head = struct.pack('>BHHHBI', 5, 0, cells, start, 0, child)
    pointers = b''.join(struct.pack('>H', start + 5 * k) for k in range(cells))
    return (head + pointers).ljust(start, b'\0') + content


def with_circles(path, levels, cells, table='messages'):
    """Have the tree of a table reach its one leaf by ``cells`` ** ``levels`` ways."""
    connection = sqlite3.connect(path)
    query = 'SELECT rootpage FROM sqlite_master WHERE name = ?'
    ((root,),) = connection.execute(query, (table,)).fetchall()
    connection.close()
    data = bytearray(path.read_bytes())
    size = struct.unpack_from('>H', data, 16)[0]
    pages = len(data) // size
    data += data[(root - 1) * size : root * size]  # the leaf, in a new place
    for level in range(1, levels):
        data += interior_page(size, pages + level, cells)
    data[(root - 1) * size : root * size] = interior_page(size, pages + levels, cells)
    struct.pack_into('>I', data, 28, len(data) // size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(('levels', 'cells'), [(1, 1), (1, 60), (3, 60), (12, 60)])
def test_pages_that_lead_in_circles_end_and_are_named(tmp_path, levels, cells):
    path = with_circles(database(tmp_path / 'a.db3'), levels, cells)
    begin = time.process_time()
    values, problems = read(path)
    assert time.process_time() - begin < 1.0
    assert values == [7]
    assert any('a.db3' in p and 'lead in circles' in p for p in problems), problems


@pytest.mark.parametrize('table', ['topics', 'messages'])
def test_counting_rows_without_end_is_interrupted(tmp_path, table):
    path = with_circles(database(tmp_path / 'a.db3'), 12, 60, table)
    begin = time.process_time()
    if table == 'topics':
        with pytest.raises(BagError, match=r'a\.db3.*lead in circles'):
            BagReader(path)
    else:
        with BagReader(path) as bag:
            assert 'lead in circles' in bag.problems[0]
            assert bag.counts['/good'] == 0
    assert time.process_time() - begin < 1.0

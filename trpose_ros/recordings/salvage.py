"""Reads what is left of a damaged recording.

An MCAP file (https://mcap.dev/spec) is a sequence of records, each with its length, mostly inside
chunks, followed by a summary. A recorder that was killed leaves no summary and a last record that
is cut off; a bad disk damages single chunks. The scan here needs no summary: it walks through the
records from the start, takes every whole message, even those of a chunk that is cut off, steps
over chunks that cannot be unpacked, and names each loss. A sqlite3 file is read row by row until
the database refuses.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from trpose_ros.recordings.unpacking import unpacked_part

_MCAP_MAGIC = b'\x89MCAP0\r\n'
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F
_LEAST_ROW = 4  # bytes of a row in the file, besides its data


class SalvageError(Exception):
    """Nothing in a file can be read."""


@dataclass(frozen=True)
class Topic:
    """A topic of a recording and the definition of its messages as far as it is stored."""

    name: str
    msgtype: str
    definition: str = ''  # empty: not stored
    encoding: str = 'msg'  # 'msg' or 'idl'


@dataclass(frozen=True)
class RawMessage:
    """One serialised message."""

    topic: Topic
    log_ns: int
    data: bytes | memoryview


def scan_topics(path: Path) -> list[Topic]:
    """Return the topics that can be found without an index.

    Raises:
        SalvageError: if the file is not a recording at all.

    """
    if path.suffix == '.db3':
        return list(_sqlite_topics(path).values())
    return list({raw.topic.name: raw.topic for raw in _McapScan(path, path.name, [])}.values())


def scan_messages(path: Path, name: str, problems: list[str]) -> Iterator[RawMessage]:
    """Yield every whole message; add to ``problems`` what is lost, calling the file ``name``."""
    if path.suffix == '.db3':
        yield from _sqlite_messages(path, name, problems)
    else:
        yield from _McapScan(path, name, problems)


class _CutOffError(Exception):
    """A record ends after the end of the data."""


class _McapScan:
    """Iterates over the messages of an MCAP file from front to back."""

    def __init__(self, path: Path, name: str, problems: list[str]) -> None:
        self._path = path
        self._name = name
        self._problems = problems
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._channels: dict[int, Topic] = {}

    def __iter__(self) -> Iterator[RawMessage]:
        with self._path.open('rb') as file:
            if file.read(8) != _MCAP_MAGIC:
                raise SalvageError(f'{self._name} is not an MCAP file')
            size = self._path.stat().st_size
            while file.tell() < size:
                start = file.tell()
                try:
                    opcode, length = struct.unpack('<BQ', _exactly(file, 9))
                    if opcode == _DATA_END:
                        return
                    if length > size - file.tell() and opcode != _CHUNK:
                        raise _CutOffError
                    if opcode == _CHUNK:
                        yield from self._chunk(file, length, start, size - file.tell())
                    else:
                        yield from self._record(opcode, _exactly(file, length))
                except _CutOffError:
                    self._problems.append(f'{self._name}: cut off at byte {start} of {size}')
                    return
                except (struct.error, UnicodeDecodeError, OverflowError) as error:
                    self._problems.append(
                        f'{self._name}: record at byte {start} cannot be read ({error}); '
                        'the rest is left out'
                    )
                    return

    def _chunk(self, file: BinaryIO, length: int, start: int, left: int) -> Iterator[RawMessage]:
        """Messages of a chunk; of one that is cut off, those that are whole."""
        body = file.read(min(length, left))
        whole = len(body) == length
        if len(body) < 32:
            raise _CutOffError
        _, _, size, crc, name_length = struct.unpack_from('<QQQII', body)
        at = 32 + name_length
        if len(body) < at + 8:
            raise _CutOffError
        compression = body[32:at].decode()
        data, problem = unpacked_part(body[at + 8 :], compression, size)
        if not problem and whole and crc and crc32(data) != crc:
            problem = 'checksum does not match'
            data = b''
        if problem or (whole and len(data) != size):
            problem = problem or 'size does not match'
            self._problems.append(f'{self._name}: chunk at byte {start}: {problem}')
        yield from self._chunk_records(data)
        if not whole:
            raise _CutOffError

    def _chunk_records(self, data: bytes) -> Iterator[RawMessage]:
        """Whole records inside a chunk, messages in the order of their times."""
        found: list[RawMessage] = []
        at = 0
        while at + 9 <= len(data):
            opcode, length = struct.unpack_from('<BQ', data, at)
            at += 9
            if at + length > len(data):
                break
            found.extend(self._record(opcode, data[at : at + length]))
            at += length
        yield from sorted(found, key=lambda raw: raw.log_ns)

    def _record(self, opcode: int, body: bytes) -> Iterator[RawMessage]:
        if opcode == _SCHEMA:
            (number,) = struct.unpack_from('<H', body)
            name, at = _text(body, 2)
            encoding, at = _text(body, at)
            definition, _ = _text(body, at)
            self._schemas[number] = (name, encoding, definition)
        elif opcode == _CHANNEL:
            number, schema = struct.unpack_from('<HH', body)
            topic, _ = _text(body, 4)
            name, encoding, definition = self._schemas.get(schema, ('', '', ''))
            kind = 'idl' if encoding.endswith('idl') else 'msg'
            self._channels[number] = Topic(topic, name, definition, kind)
        elif opcode == _MESSAGE:
            number, _, log_ns, _ = struct.unpack_from('<HIQQ', body)
            if number in self._channels:
                yield RawMessage(self._channels[number], log_ns, body[22:])


def _exactly(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _CutOffError
    return data


def _text(body: bytes, at: int) -> tuple[str, int]:
    """Length-prefixed string at an offset, and the offset behind it."""
    (length,) = struct.unpack_from('<I', body, at)
    if at + 4 + length > len(body):
        raise struct.error('string longer than its record')
    return body[at + 4 : at + 4 + length].decode(), at + 4 + length


def _sqlite_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro&immutable=1', uri=True)
    connection.text_factory = lambda data: data.decode(errors='replace')
    # without this sqlite refuses a file that is shorter than its header says
    connection.execute('PRAGMA writable_schema = ON')
    return connection


def _sqlite_topics(path: Path) -> dict[int, Topic]:
    connection = _sqlite_connection(path)
    try:
        rows = connection.execute('SELECT id, name, type FROM topics').fetchall()
        definitions: dict[str, tuple[str, str]] = {}
        try:
            for msgtype, encoding, text in connection.execute(
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
            ):
                kind = 'idl' if str(encoding).endswith('idl') else 'msg'
                definitions[msgtype] = (str(text), kind)
        except sqlite3.DatabaseError:
            definitions = {}  # older recordings have no such table; ours are known anyway
        return {
            number: Topic(name, msgtype, *definitions.get(msgtype, ('', 'msg')))
            for number, name, msgtype in rows
            if isinstance(name, str) and isinstance(msgtype, str)
        }
    except sqlite3.DatabaseError as error:
        raise SalvageError(f'{path.name} is not a readable sqlite3 recording ({error})') from error
    finally:
        connection.close()


def check_tables(path: Path) -> None:
    """Raise SalvageError for a database that computes its rows instead of holding them.

    A view, a virtual table or a computed column can give rows, or bytes, without end.
    """
    connection = _sqlite_connection(path)
    try:
        for kind, name, text in connection.execute(
            'SELECT type, name, sql FROM sqlite_master WHERE lower(name) IN '
            "('topics', 'messages', 'message_definitions', 'schema', 'metadata')"
        ).fetchmany(100):
            if kind != 'table' or not str(text).upper().startswith('CREATE TABLE'):
                raise SalvageError(f'{name} is a {kind} that computes its rows, no table')
            columns = connection.execute('SELECT hidden FROM pragma_table_xinfo(?)', (name,))
            if any(hidden for (hidden,) in columns.fetchmany(1000)):
                raise SalvageError(f'the table {name} computes its columns')
    except sqlite3.Error as error:
        raise SalvageError(f'{path.name} is not a readable sqlite3 recording ({error})') from error
    finally:
        connection.close()


def _sqlite_messages(path: Path, name: str, problems: list[str]) -> Iterator[RawMessage]:
    """Rows in the order of writing, up to the first one that cannot be read."""
    topics = _sqlite_topics(path)
    connection = _sqlite_connection(path)
    count = 0
    left = path.stat().st_size  # damaged pages can lead in circles
    try:
        for number, stamp_ns, data in connection.execute(
            'SELECT topic_id, timestamp, data FROM messages ORDER BY id'
        ):
            count += 1
            if not isinstance(data, bytes) or not isinstance(stamp_ns, int):
                continue
            left -= len(data) + _LEAST_ROW
            if left < 0:
                problems.append(f'{name}: more rows than the file can hold, after {count} messages')
                return
            if number in topics:
                yield RawMessage(topics[number], stamp_ns, data)
    except sqlite3.Error as error:
        problems.append(f'{name}: unreadable after {count} messages ({error})')
    finally:
        connection.close()

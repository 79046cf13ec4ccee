"""Reads what is left of a damaged recording.

An MCAP file (https://mcap.dev/spec) is a sequence of records, each with its length, mostly inside
chunks, followed by a summary. A recorder that was killed leaves no summary and a last record that
is cut off; a bad disk damages single chunks. The scan here needs no summary: it walks through the
records from the start, takes every whole message, even those of a chunk that is cut off, steps
over chunks that cannot be unpacked, and names each loss. A sqlite3 file is read by tables.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from trpose_ros.recordings import tables
from trpose_ros.recordings.tables import RawMessage, SalvageError, Topic
from trpose_ros.recordings.unpacking import unpacked_part

_MCAP_MAGIC = b'\x89MCAP0\r\n'
_SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 0x03, 0x04, 0x05, 0x06, 0x0F


__all__ = ['RawMessage', 'SalvageError', 'Topic', 'scan_messages', 'scan_topics']


def scan_topics(path: Path) -> list[Topic]:
    """Return the topics that can be found without an index.

    Raises:
        SalvageError: if the file is not a recording at all.

    """
    if path.suffix == '.db3':
        return list(tables.topics_by_id(path).values())
    return list({raw.topic.name: raw.topic for raw in _McapScan(path, path.name, [])}.values())


def scan_messages(path: Path, name: str, problems: list[str]) -> Iterator[RawMessage]:
    """Yield every whole message; add to ``problems`` what is lost, calling the file ``name``."""
    if path.suffix == '.db3':
        yield from tables.rows_as_written(path, name, problems)
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

"""The tables of a sqlite3 recording, read in bounded time and memory.

A damaged or hostile database can lead in circles: a page that is its own child gives rows without
end, and a view computes them. So rows must be held by real tables, the steps of each query and the
length of a value are limited by the file's size, and no more bytes are given than the file has.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ROWS = 'SELECT id, topic_id, timestamp, data FROM messages'
_LEAST_ROW = 4  # bytes of a row in the file, besides its data
_STEPS = 10_000  # of sqlite's machine, between two looks at how many there were
_LIMIT_LENGTH = 0  # SQLITE_LIMIT_LENGTH, which Python names from 3.11 on
_MOST_STEPS, _STEPS_PER_BYTE = 500_000, 8  # a row of a recording takes some 50, and 25 bytes


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


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to read; raises sqlite3.Error, also for one that leads in circles."""
    size = path.stat().st_size
    connection = sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro&immutable=1', uri=True)
    looks = iter(range((_MOST_STEPS + _STEPS_PER_BYTE * size) // _STEPS))
    connection.set_progress_handler(lambda: next(looks, None) is None, _STEPS)
    if hasattr(connection, 'setlimit'):  # of Python 3.11
        connection.setlimit(_LIMIT_LENGTH, max(size, 1 << 16))
    connection.text_factory = lambda data: data.decode(errors='replace')
    try:
        # without this sqlite refuses a file that is shorter than its header says
        connection.execute('PRAGMA writable_schema = ON')
        yield connection
    except sqlite3.OperationalError as error:
        if 'interrupted' not in str(error):
            raise
        raise sqlite3.DatabaseError(
            f'damaged pages lead in circles: more rows than {size} bytes can hold'
        ) from error
    finally:
        connection.close()


def topics_by_id(path: Path) -> dict[int, Topic]:
    """Return the topics that the messages name by number; raises SalvageError."""
    try:
        with _opened(path) as connection:
            rows = connection.execute('SELECT id, name, type FROM topics').fetchall()
            definitions = _definitions(connection)
    except sqlite3.Error as error:
        raise SalvageError(f'{path.name} is not a readable sqlite3 recording ({error})') from error
    return {
        number: Topic(name, msgtype, *definitions.get(msgtype, ('', 'msg')))
        for number, name, msgtype in rows
        if isinstance(name, str) and isinstance(msgtype, str)
    }


def _definitions(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    definitions: dict[str, tuple[str, str]] = {}
    try:
        for msgtype, encoding, text in connection.execute(
            'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
        ):
            kind = 'idl' if str(encoding).endswith('idl') else 'msg'
            definitions[msgtype] = (str(text), kind)
    except sqlite3.DatabaseError:
        return {}  # older recordings have no such table; ours are known anyway
    return definitions


def check_tables(path: Path) -> None:
    """Raise SalvageError for a database that computes its rows instead of holding them.

    A view, a virtual table or a computed column can give rows, or bytes, without end.
    """
    try:
        with _opened(path) as connection:
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


def message_counts(path: Path, topics: dict[int, Topic]) -> Counter[str]:
    """Return the number of messages by topic; raises sqlite3.Error for damaged tables."""
    counts: Counter[str] = Counter()
    with _opened(path) as connection:
        # each row is looked at: a plain count(*) cannot be interrupted
        for number, count in connection.execute(
            'SELECT topic_id, sum(timestamp IS NOT NULL) FROM messages GROUP BY topic_id'
        ):
            if number in topics:
                counts[topics[number].name] += count
    return counts


def rows_by_time(path: Path, topics: dict[int, Topic], wanted: set[str]) -> Iterator[RawMessage]:
    """Yield the messages of the topics named, by time; raises sqlite3.Error for damaged tables."""
    numbers = [number for number, topic in topics.items() if topic.name in wanted]
    marks = ','.join('?' * len(numbers))
    query = f'{_ROWS} WHERE topic_id IN ({marks}) ORDER BY timestamp, id'
    with _opened(path) as connection:
        for _, number, stamp_ns, data in _checked(connection.execute(query, numbers), path, 'time'):
            if number in topics and isinstance(stamp_ns, int) and isinstance(data, bytes):
                yield RawMessage(topics[number], stamp_ns, data)


def rows_as_written(path: Path, name: str, problems: list[str]) -> Iterator[RawMessage]:
    """Yield messages in the order of writing, up to the first row that cannot be read."""
    topics = topics_by_id(path)
    count = 0
    try:
        with _opened(path) as connection:
            rows = connection.execute(f'{_ROWS} ORDER BY id')
            for _, number, stamp_ns, data in _checked(rows, path, 'number'):
                count += 1
                if number in topics and isinstance(stamp_ns, int) and isinstance(data, bytes):
                    yield RawMessage(topics[number], stamp_ns, data)
    except sqlite3.Error as error:
        problems.append(f'{name}: unreadable after {count} messages ({error})')


def _checked(rows: sqlite3.Cursor, path: Path, order: str) -> Iterator[tuple]:
    """Yield (id, topic, time, data); raises sqlite3.DatabaseError where the file has no such row.

    Rows come by number, or by time and number: one that is not behind the last one has been given
    before.
    """
    size = left = path.stat().st_size
    last: tuple | None = None
    for row in rows:
        number, _, stamp_ns, data = row
        key = (stamp_ns, number) if order == 'time' else (number,)
        left -= _LEAST_ROW + (len(data) if isinstance(data, (bytes, str)) else 0)
        whole = all(isinstance(part, int) for part in key)
        if left < 0 or (whole and last is not None and key <= last):
            raise sqlite3.DatabaseError(
                f'damaged pages lead in circles: more rows than {size} bytes can hold'
            )
        last = key if whole else last
        yield row

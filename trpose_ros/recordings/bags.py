"""Reading and writing recordings (rosbag2) without ROS installed.

MCAP and sqlite3 files, single files and bag folders, plain or zstd-compressed by file, by message
or inside MCAP, through the rosbags library. Message definitions stored in a recording are
preferred; the seven messages of this package come from its own ``msg/`` files otherwise.

A recording that was cut off (power lost, disk full) is read as far as it can be: ``BagReader``
yields what is there and names the rest in ``problems`` (see ``bag_salvage``). Messages come in
the order in which they were recorded, one at a time: a long recording needs no more memory than
a short one. The message objects have the attribute names of rclpy's messages.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader

from trpose_ros.recordings import salvage as bag_salvage
from trpose_ros.recordings import tables
from trpose_ros.recordings.bag_writer import COMPRESSIONS, BagError, BagWriter, storage_of
from trpose_ros.recordings.definitions import make_typestore, typestore_of
from trpose_ros.recordings.salvage import RawMessage, Topic
from trpose_ros.recordings.unpacking import TooLargeError, most_bytes, unpack_file, unpack_message
from trpose_ros.yaml_files import load_yaml

__all__ = ['COMPRESSIONS', 'BagError', 'BagMessage', 'BagReader', 'BagWriter', 'make_typestore']
_MOST_FILES = 10_000  # of one recording
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


@dataclass(frozen=True)
class BagMessage:
    """One message of a recording."""

    topic: str
    msgtype: str  # for example sensor_msgs/msg/Image
    log_ns: int  # when it was recorded
    message: Any  # attributes named as in the .msg file; numeric arrays are numpy arrays


class BagReader:
    """Reads a recording; a context manager.

    Attributes:
        topics: name to message type of everything in the recording.
        counts: name to number of messages, where the recording tells.
        problems: what could not be read, in words; complete when iteration has ended.

    """

    def __init__(self, path: str | Path) -> None:
        """Open a .mcap or .db3 file (also .zstd) or a bag folder.

        Raises:
            BagError: when nothing in there can be read.

        """
        self.path = Path(path)
        self.topics: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._stack = ExitStack()
        self._parts: list[_Part] = []
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def messages(
        self, topics: Collection[str] | None = None, *, types: Collection[str] | None = None
    ) -> Iterator[BagMessage]:
        """Yield messages in the order of recording.

        Args:
            topics: names to read, None for all.
            types: message types to read, None for all.

        """
        wanted = {
            name
            for name, msgtype in self.topics.items()
            if (topics is None or name in topics) and (types is None or msgtype in types)
        }
        broken: Counter[str] = Counter()
        for part in self._parts:
            for raw in part.messages(wanted, self.problems):
                try:
                    data = _decompressed(raw.data)
                    message = self._store.deserialize_cdr(data, raw.topic.msgtype)
                except Exception as error:  # whatever a damaged message makes the decoder do
                    if not broken[raw.topic.name]:
                        self.problems.append(
                            f'{part.name}: {raw.topic.name} at {raw.log_ns} ns: message cannot be '
                            f'decoded ({type(error).__name__}: {error!s:.200})'
                        )
                    broken[raw.topic.name] += 1
                    continue
                yield BagMessage(raw.topic.name, raw.topic.msgtype, raw.log_ns, message)
        for name, count in broken.items():
            if count > 1:
                self.problems.append(
                    f'{self.path.name}: {name}: {count} messages in all cannot be decoded'
                )

    def _open(self) -> None:
        files = self._files()
        for file in files:
            try:
                part = _Part(self._plain(file), file.name, self.problems)
            except (bag_salvage.SalvageError, OSError) as error:
                self.problems.append(f'{file.name}: {error}')
                continue
            self._stack.callback(part.close)
            self._parts.append(part)
        if not self._parts:
            raise BagError(f'{self.path} cannot be read: {"; ".join(self.problems)}')
        topics = [topic for part in self._parts for topic in part.topics]
        self._store, refused = typestore_of(topics)
        for part in self._parts:
            self.counts.update(part.counts)
            for topic in part.topics:
                if topic.msgtype in self._store.fielddefs:
                    self.topics[topic.name] = topic.msgtype
                elif part is self._parts[0]:
                    why = refused.get(topic.msgtype)
                    self.problems.append(
                        f'{part.name}: {topic.name}: type {topic.msgtype[:80]} has '
                        + (
                            f'a bad definition ({why}), left out'
                            if why
                            else 'no definition, left out'
                        )
                    )

    def _files(self) -> list[Path]:
        """Storage files in order: by metadata.yaml, or by name where that is missing."""
        if self.path.is_file():
            return [self.path]
        if not self.path.is_dir():
            raise BagError(f'{self.path} does not exist; give a .mcap or .db3 file or a bag folder')
        present = [
            p for p in sorted(self.path.iterdir(), key=_natural) if storage_of(p) is not None
        ]
        listed = self._listed()
        files = [self.path / name for name in listed if (self.path / name).is_file()]
        self.problems += [f'{n}: file is missing' for n in listed if not (self.path / n).is_file()]
        files += [p for p in present if p not in files]
        if not files:
            raise BagError(f'{self.path} holds no .mcap or .db3 file')
        return files

    def _listed(self) -> list[str]:
        """Names of the storage files that metadata.yaml lists."""
        path = self.path / 'metadata.yaml'
        try:
            content = load_yaml(path)
            paths = content['rosbag2_bagfile_information']['relative_file_paths']
            names = [Path(entry).name for entry in paths]
            if isinstance(paths, str) or not all(0 < len(name) <= 255 for name in names):
                raise TypeError('relative_file_paths is no list of names')
            if len(names) > _MOST_FILES:
                raise TypeError(f'it lists more than {_MOST_FILES} files')
            return names
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = str(error) if isinstance(error, ValueError) else f'{path}: {error!r:.120}'
            self.problems.append(
                f'metadata.yaml cannot be used ({why}); reading the files in the order of their '
                'names'
            )
            return []

    def _plain(self, file: Path) -> Path:
        """Return the file itself, or its decompressed copy."""
        if file.suffix == '.bag':
            raise BagError(
                f'{file} is a recording of ROS 1; convert it: rosbags-convert --src {file} --dst '
                f'{file.stem}_ros2'
            )
        if storage_of(file) is None:
            raise BagError(f'{file} is not a recording; give a .mcap or .db3 file or a bag folder')
        if file.suffix != '.zstd':
            return file
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix='trpose_bag_'))
        plain = Path(folder) / file.stem
        problem = unpack_file(file, plain)
        if problem:
            self.problems.append(f'{file.name}: {problem}')
        return plain


class _Part:
    """One storage file: MCAP by rosbags, sqlite3 by tables.py, salvage where it is not whole."""

    def __init__(self, path: Path, name: str, problems: list[str]) -> None:
        self._path = path
        self.name = name
        self._reader: Reader | None = None
        self._rows = path.suffix == '.db3'  # whether rows can be read in their order
        self.counts: Counter[str] = Counter()
        if self._rows:
            self._open_tables(problems)
            return
        self._reader = Reader(path)
        try:
            self._reader.open()
        except Exception as error:  # rosbags and apsw raise many types for damaged files
            self._reader = None
            problems.append(f'{name}: {_short(error)}; reading what is there')
            self.topics = bag_salvage.scan_topics(path)
            return
        connections = list(self._reader.connections)
        self.topics = [
            Topic(
                c.topic,
                c.msgtype,
                c.msgdef.data if c.msgdef.format != MessageDefinitionFormat.NONE else '',
                'idl' if c.msgdef.format == MessageDefinitionFormat.IDL else 'msg',
            )
            for c in connections
        ]
        for connection in connections:
            self.counts[connection.topic] += connection.msgcount

    def _open_tables(self, problems: list[str]) -> None:
        """Look at a sqlite3 file: rosbags' queries go round in circles where its pages do."""
        tables.check_tables(self._path)
        self._by_id = tables.topics_by_id(self._path)
        self.topics = list(self._by_id.values())
        try:
            self.counts = tables.message_counts(self._path, self._by_id)
        except sqlite3.Error as error:
            self._rows = False
            problems.append(f'{self.name}: {_short(error)}; reading what is there')

    def _in_order(self, wanted: set[str]) -> Iterator[RawMessage]:
        """Yield messages of the wanted topics by time; raises many types for damaged files."""
        if self._rows:
            yield from tables.rows_by_time(self._path, self._by_id, wanted)
            return
        assert self._reader is not None
        topics = {topic.name: topic for topic in self.topics}
        left = most_bytes(self._path.stat().st_size)  # an index can name a chunk again and again
        connections = [c for c in self._reader.connections if c.topic in wanted]
        if not connections:
            return
        for connection, log_ns, data in self._reader.messages(connections):
            left -= len(data)
            if left < 0:
                raise TooLargeError('it gives far more than recordings hold')
            yield RawMessage(topics[connection.topic], log_ns, data)

    def close(self) -> None:
        if self._reader is not None and self._reader.is_open:
            self._reader.close()

    def messages(self, wanted: set[str], problems: list[str]) -> Iterator[RawMessage]:
        """Yield messages of the wanted topics; name what is unreadable."""
        last_ns = -1
        at_last: set[tuple[str, int]] = set()
        if self._reader is not None or self._rows:
            try:
                for raw in self._in_order(wanted):
                    if raw.log_ns != last_ns:
                        last_ns, at_last = raw.log_ns, set()
                    at_last.add((raw.topic.name, len(raw.data)))
                    yield raw
                return
            except Exception as error:  # as above; GeneratorExit passes
                problems.append(f'{self.name}: {_short(error)}; reading what is left')
        for raw in bag_salvage.scan_messages(self._path, self.name, problems):
            if raw.topic.name not in wanted or raw.log_ns < last_ns:
                continue
            if raw.log_ns > last_ns or (raw.topic.name, len(raw.data)) not in at_last:
                yield raw


def _decompressed(data: bytes | memoryview) -> bytes | memoryview:
    """Undo message-level compression, recognised by zstd's magic (CDR starts with 0)."""
    return unpack_message(data) if bytes(data[:4]) == _ZSTD_MAGIC else data


def _short(error: BaseException) -> str:
    return f'{error!s:.200}' or type(error).__name__


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key in which part_10 comes after part_9."""
    import re

    parts = re.split(r'(\d+)', path.name)
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]

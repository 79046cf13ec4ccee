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

import shutil
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from trpose_ros.recordings import salvage as bag_salvage
from trpose_ros.recordings.salvage import RawMessage, Topic
from trpose_ros.resources import resource

_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'
COMPRESSIONS = ('none', 'file', 'message', 'storage')


class BagError(Exception):
    """A recording cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True)
class BagMessage:
    """One message of a recording."""

    topic: str
    msgtype: str  # for example sensor_msgs/msg/Image
    log_ns: int  # when it was recorded
    message: Any  # attributes named as in the .msg file; numeric arrays are numpy arrays


def make_typestore() -> Typestore:
    """Return a store with the standard messages and this package's seven."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(resource('msg').glob('*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'trpose_ros/msg/{path.stem}'))
    store.register(types)
    return store


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
                            f'{raw.topic.name} at {raw.log_ns} ns: message cannot be decoded '
                            f'({type(error).__name__}: {error})'
                        )
                    broken[raw.topic.name] += 1
                    continue
                yield BagMessage(raw.topic.name, raw.topic.msgtype, raw.log_ns, message)
        for name, count in broken.items():
            if count > 1:
                self.problems.append(f'{name}: {count} messages in all cannot be decoded')

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
        self._store = _typestore_of([t for part in self._parts for t in part.topics])
        for part in self._parts:
            self.counts.update(part.counts)
            for topic in part.topics:
                if topic.msgtype in self._store.fielddefs:
                    self.topics[topic.name] = topic.msgtype
                elif part is self._parts[0]:
                    self.problems.append(
                        f'{topic.name}: type {topic.msgtype} has no definition, left out'
                    )

    def _files(self) -> list[Path]:
        """Storage files in order: by metadata.yaml, or by name where that is missing."""
        if self.path.is_file():
            return [self.path]
        if not self.path.is_dir():
            raise BagError(f'{self.path} does not exist; give a .mcap or .db3 file or a bag folder')
        present = [p for p in sorted(self.path.iterdir(), key=_natural) if _storage(p) is not None]
        listed = self._listed()
        files = [self.path / name for name in listed if (self.path / name).is_file()]
        self.problems += [f'{n}: file is missing' for n in listed if not (self.path / n).is_file()]
        files += [p for p in present if p not in files]
        if not files:
            raise BagError(f'{self.path} holds no .mcap or .db3 file')
        return files

    def _listed(self) -> list[str]:
        """Names of the storage files that metadata.yaml lists."""
        import yaml

        try:
            content = yaml.safe_load((self.path / 'metadata.yaml').read_text())
            paths = content['rosbag2_bagfile_information']['relative_file_paths']
            return [Path(str(entry)).name for entry in paths]
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            self.problems.append(
                f'metadata.yaml cannot be used ({type(error).__name__}); '
                'reading the files in the order of their names'
            )
            return []

    def _plain(self, file: Path) -> Path:
        """Return the file itself, or its decompressed copy."""
        if file.suffix == '.bag':
            raise BagError(
                f'{file} is a recording of ROS 1; convert it: rosbags-convert --src {file} --dst '
                f'{file.stem}_ros2'
            )
        if _storage(file) is None:
            raise BagError(f'{file} is not a recording; give a .mcap or .db3 file or a bag folder')
        if file.suffix != '.zstd':
            return file
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix='trpose_bag_'))
        plain = Path(folder) / file.stem
        problem = bag_salvage.decompress_file(file, plain)
        if problem:
            self.problems.append(f'{file.name}: {problem}')
        return plain


class _Part:
    """One storage file: rosbags where the file is whole, salvage where it is not."""

    def __init__(self, path: Path, name: str, problems: list[str]) -> None:
        self._path = path
        self._name = name
        self._reader: Reader | None = Reader(path)
        self.counts: Counter[str] = Counter()
        try:
            self._reader.open()
        except Exception as error:  # rosbags and apsw raise many types for damaged files
            self._reader = None
            problems.append(f'{name}: {error}; reading what is there')
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

    def close(self) -> None:
        if self._reader is not None and self._reader.is_open:
            self._reader.close()

    def messages(self, wanted: set[str], problems: list[str]) -> Iterator[RawMessage]:
        """Yield messages of the wanted topics; name what is unreadable."""
        last_ns = -1
        at_last: set[tuple[str, int]] = set()
        if self._reader is not None:
            topics = {t.name: t for t in self.topics}
            connections = [c for c in self._reader.connections if c.topic in wanted]
            if not connections:
                return
            try:
                for connection, stamp_ns, data in self._reader.messages(connections):
                    if stamp_ns != last_ns:
                        last_ns, at_last = stamp_ns, set()
                    at_last.add((connection.topic, len(data)))
                    yield RawMessage(topics[connection.topic], stamp_ns, data)
                return
            except Exception as error:  # as above; GeneratorExit passes
                problems.append(f'{self._name}: {error}; reading what is left')
        for raw in bag_salvage.scan_messages(self._path, self._name, problems):
            if raw.topic.name not in wanted or raw.log_ns < last_ns:
                continue
            if raw.log_ns > last_ns or (raw.topic.name, len(raw.data)) not in at_last:
                yield raw


class BagWriter:
    """Writes a recording; a context manager. The target appears only when it is complete.

    A path ending in ``.mcap`` or ``.db3`` becomes one file, any other a bag folder with
    ``metadata.yaml``. Existing targets are replaced. After an exception nothing is left behind.
    """

    def __init__(
        self, path: str | Path, *, storage: str = 'mcap', compression: str = 'none'
    ) -> None:
        """Open for writing.

        Args:
            path: file or folder to write.
            storage: 'mcap' or 'sqlite3' for a folder; a file says it by its ending.
            compression: 'none', 'file', 'message' (zstd, folders only) or 'storage' (zstd inside
                an MCAP file).

        Raises:
            BagError: if the combination is not possible.

        """
        self.path = Path(path)
        self._single = self.path.suffix in ('.mcap', '.db3')
        if self._single:
            storage = 'mcap' if self.path.suffix == '.mcap' else 'sqlite3'
        if storage not in ('mcap', 'sqlite3'):
            raise BagError(f"storage must be 'mcap' or 'sqlite3', got {storage!r}")
        if compression not in COMPRESSIONS:
            raise BagError(f'compression must be one of {COMPRESSIONS}, got {compression!r}')
        if self._single and compression in ('file', 'message'):
            raise BagError(
                f'{compression} compression needs a bag folder (metadata.yaml says it); '
                f'give a path without {self.path.suffix}'
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f'.{self.path.name}.', dir=self.path.parent))
        self.typestore = make_typestore()
        plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
        self._writer = Writer(self._folder / self.path.stem, version=9, storage_plugin=plugin)
        if compression != 'none':
            self._writer.set_compression(
                CompressionMode[compression.upper()], CompressionFormat.ZSTD
            )
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, topic: str, message: Any, log_ns: int) -> None:
        """Append one message; its type name is ``message.__msgtype__``."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(
                topic, message.__msgtype__, typestore=self.typestore
            )
            self._connections[topic] = connection
        data = self.typestore.serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, log_ns, data)

    def write_serialized(self, topic: str, msgtype: str, data: bytes, log_ns: int) -> None:
        """Append one message that is already serialised (CDR)."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, msgtype, typestore=self.typestore)
            self._connections[topic] = connection
        self._writer.write(connection, log_ns, data)

    def close(self) -> None:
        """Finish the recording and move it to its place."""
        try:
            self._writer.close()
        except BaseException:
            self.abort()
            raise
        written = self._folder / self.path.stem
        if self._single:
            written = written / f'{self.path.stem}{self.path.suffix}'
        if self.path.is_dir():
            shutil.rmtree(self.path)
        written.replace(self.path)
        shutil.rmtree(self._folder)

    def abort(self) -> None:
        """Give up: leave nothing behind."""
        self._writer.abort()
        shutil.rmtree(self._folder, ignore_errors=True)


def _typestore_of(topics: list[Topic]) -> Typestore:
    """Return a store with the standard messages, those of the recording, and ours."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for topic in topics:
        if topic.msgtype in store.fielddefs or not topic.definition:
            continue
        if topic.encoding == 'idl':
            types = get_types_from_idl(topic.definition)
        else:
            types = get_types_from_msg(topic.definition, topic.msgtype)
        store.register({k: v for k, v in types.items() if k not in store.fielddefs})
    ours = make_typestore().fielddefs
    store.register({k: v for k, v in ours.items() if k not in store.fielddefs})
    return store


def _decompressed(data: bytes | memoryview) -> bytes | memoryview:
    """Undo message-level compression, recognised by zstd's magic (CDR starts with 0)."""
    if bytes(data[:4]) == _ZSTD_MAGIC:
        return bag_salvage.zstd.decompress(data)
    return data


def _storage(path: Path) -> str | None:
    """Return the kind of storage by the name of a file, None for other files."""
    name = path.name.removesuffix('.zstd')
    return {'.mcap': 'mcap', '.db3': 'sqlite3'}.get(Path(name).suffix)


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key in which part_10 comes after part_9."""
    import re

    parts = re.split(r'(\d+)', path.name)
    return [(p.isdigit(), int(p) if p.isdigit() else 0, p) for p in parts]

"""Writing recordings (rosbag2) without ROS installed: complete or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import apsw
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from trpose_ros.recordings.definitions import make_typestore
from trpose_ros.writing import write_error

COMPRESSIONS = ('none', 'file', 'message', 'storage')


class BagError(Exception):
    """A recording cannot be read or written; the message says why and what to do."""


class BagWriter:
    """Writes a recording; a context manager. The target appears only when it is complete.

    A path ending in ``.mcap`` or ``.db3`` becomes one file, any other a bag folder with
    ``metadata.yaml``. An existing recording is replaced, anything else is refused. After an
    exception nothing is left behind.
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
            BagError: if the combination is not possible, or what is there is no recording.

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
        self._refuse_others()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix='.', dir=self.path.parent))
        except OSError as error:
            raise write_error(self.path, error) from error
        self.typestore = make_typestore()
        plugin = StoragePlugin.MCAP if storage == 'mcap' else StoragePlugin.SQLITE3
        self._writer = Writer(self._folder / self.path.stem, version=9, storage_plugin=plugin)
        if compression != 'none':
            self._writer.set_compression(
                CompressionMode[compression.upper()], CompressionFormat.ZSTD
            )
        self._connections: dict[str, Any] = {}
        with self._naming():
            self._writer.open()

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
        with self._naming():
            self._writer.write(connection, log_ns, data)

    def write_serialized(self, topic: str, msgtype: str, data: bytes, log_ns: int) -> None:
        """Append one message that is already serialised (CDR)."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, msgtype, typestore=self.typestore)
            self._connections[topic] = connection
        with self._naming():
            self._writer.write(connection, log_ns, data)

    def close(self) -> None:
        """Finish the recording and move it to its place."""
        with self._naming():
            self._writer.close()
            written = self._folder / self.path.stem
            if self._single:
                written = written / f'{self.path.stem}{self.path.suffix}'
            _to_disk(written)
            self._refuse_others()  # somebody may have come since
            old = self._folder / 'old'
            if self.path.is_dir():
                self.path.rename(old)
            try:
                written.replace(self.path)
            except OSError:
                if old.exists():
                    old.rename(self.path)
                raise
        shutil.rmtree(self._folder, ignore_errors=True)

    def abort(self) -> None:
        """Give up: leave nothing behind."""
        with suppress(Exception):  # of a writer whose disk is full
            self._writer.abort()
        shutil.rmtree(self._folder, ignore_errors=True)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Give up after an error, and raise one that names the recording and the remedy."""
        try:
            yield
        except OSError as error:
            self.abort()
            raise write_error(self.path, error) from error
        except apsw.Error as error:
            self.abort()
            full = (
                'the disk is full: free some space' if isinstance(error, apsw.FullError) else error
            )
            raise write_error(self.path, f'{full}') from error
        except BaseException:
            self.abort()
            raise

    def _refuse_others(self) -> None:
        """Raise BagError where something stands that must not be replaced."""
        path = self.path
        if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
            raise BagError(f'{path} is no recording but a link or device: name another place')
        if path.is_dir():
            others = sorted(p.name for p in path.iterdir() if not _of_a_recording(p))
            if self._single or others:
                what = f'it holds {", ".join(others[:3])}' if others else 'it is a folder'
                raise BagError(f'{path} is no recording ({what}): name another place')
        elif path.is_file() and not self._single:
            raise BagError(f'{path} is a file, the recording becomes a folder: name another place')


def storage_of(path: Path) -> str | None:
    """Return the kind of storage by the name of a file, None for other files."""
    name = path.name.removesuffix('.zstd')
    return {'.mcap': 'mcap', '.db3': 'sqlite3'}.get(Path(name).suffix)


def _of_a_recording(path: Path) -> bool:
    return path.is_file() and (path.name == 'metadata.yaml' or storage_of(path) is not None)


def _to_disk(path: Path) -> None:
    """Wait until a file, or all files of a folder, are on the disk."""
    for file in path.iterdir() if path.is_dir() else [path]:
        with file.open('rb+') as stream:
            os.fsync(stream.fileno())

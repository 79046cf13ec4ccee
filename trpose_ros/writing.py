"""Writing files: complete or not at all, and in words when it cannot be.

Whatever is written goes to a temporary file in the folder of its target, whose name nobody can
guess and which no link can stand for, onto the disk, and only then to its place. An error removes
the temporary file, leaves what was there before, and says which file and what to do.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_REMEDIES = {
    errno.ENOSPC: 'the disk is full: free some space and give the same command again',
    errno.EDQUOT: 'your share of the disk is used up: free some space, then try again',
    errno.EFBIG: 'the disk takes no file of that size: choose another one',
    errno.EACCES: 'there is no permission to write there: choose another place',
    errno.EPERM: 'there is no permission to write there: choose another place',
    errno.EROFS: 'that disk is read-only: choose another place',
    errno.ENAMETOOLONG: 'the name is too long: choose a shorter one',
    errno.EIO: 'the disk has an error: choose another one',
}


class WriteError(OSError):
    """A file cannot be written; the message names it and the remedy."""


def write_error(path: str | Path, error: OSError | str) -> WriteError:
    """Return the error to raise for a path that cannot be written."""
    if isinstance(error, WriteError):
        return error
    if isinstance(error, str):
        return WriteError(f'{path} cannot be written: {error}')
    words = _REMEDIES.get(error.errno or 0) or error.strerror or str(error)
    result = WriteError(f'{path} cannot be written: {words}')
    result.errno = error.errno
    return result


class Draft:
    """A file that is being written beside its place; ``finish`` puts it there, once.

    For writers that need a path of their own and longer than a block; others take ``whole_file``.
    """

    def __init__(self, path: str | Path, suffix: str = '.part') -> None:
        """Make the folder and the temporary file, which ends in ``suffix``; raises WriteError."""
        self.path = Path(path)
        try:
            if not _replaceable(self.path):
                raise write_error(self.path, 'something that is no file has that name')
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix='.', suffix=suffix)
        except OSError as error:
            raise write_error(self.path, error) from error
        os.close(handle)
        self.temporary = Path(name)

    def finish(self) -> None:
        """Put the file in its place, on the disk; raises WriteError and removes it."""
        try:
            with self.temporary.open('rb+') as stream:
                os.fsync(stream.fileno())
            self.temporary.chmod(0o666 & ~_UMASK)  # mkstemp's files are for their owner alone
            os.replace(self.temporary, self.path)
        except OSError as error:
            raise write_error(self.path, error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was written so far; nothing happens when that has been finished."""
        with suppress(OSError):
            self.temporary.unlink()


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give the path of an empty temporary file, which becomes ``path`` at the end of the block.

    Raises WriteError for every OSError within the block; after any error nothing is left.
    """
    draft = Draft(path)
    try:
        yield draft.temporary
    except OSError as error:
        draft.discard()
        raise write_error(path, error) from error
    except BaseException:
        draft.discard()
        raise
    draft.finish()


@contextmanager
def whole_stream(path: str | Path, mode: str = 'wb', **options: Any) -> Iterator[IO[Any]]:
    """Give a stream that becomes the file ``path`` at the end of the block; see ``whole_file``."""
    with whole_file(path) as temporary, temporary.open(mode, **options) as stream:
        yield stream


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file, complete or not at all; raises WriteError."""
    with whole_stream(path) as stream:
        stream.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, complete or not at all; raises WriteError."""
    write_bytes(path, text.encode('utf-8'))


def _replaceable(path: Path) -> bool:
    """Say whether a file may stand there: nothing does, or a file, or a link, does."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return True
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


_UMASK = _umask()  # there is no other way to ask, and threads must not meet the moment between

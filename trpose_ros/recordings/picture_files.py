"""Which pictures are meant: files, folders and patterns of the command line, in natural order.

Folders are searched with everything below them; links to folders are followed, each folder is
read once. Hidden names (with a dot before them) and files of other kinds are left out, the latter
counted. Every picture gets a name that is its own in the run: results are written under it.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trpose_ros.recordings.pictures import is_picture

PICTURE_SUFFIXES = (
    *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.bmp', '.dib', '.tif', '.tiff'),
    *('.ppm', '.pgm', '.pbm', '.pnm'),
)
_OTHER_PICTURES = ('.heic', '.heif', '.avif', '.gif', '.jp2', '.psd', '.svg', '.dng', '.cr2')
_RECORDINGS = ('.mcap', '.db3', '.zstd')


class NoPictureError(Exception):
    """The command line names no picture; the message says what was found instead."""


@dataclass(frozen=True)
class PictureFile:
    """A file, and its name in this run: a relative path with forward slashes."""

    path: Path
    name: str


@dataclass
class _Search:
    """What has been found so far."""

    leave_out: Path | None
    files: list[PictureFile] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    others: Counter[str] = field(default_factory=Counter)  # files of other kinds, by suffix
    unreadable: list[str] = field(default_factory=list)

    def add(self, path: Path, name: str) -> None:
        # Links to folders may lead in circles; two links to one file are two pictures.
        key = os.path.join(os.path.realpath(path.parent), path.name)
        if key not in self.paths:
            self.paths.add(key)
            self.files.append(PictureFile(path, name))


def natural_key(name: str) -> list[str | int]:
    """Return a sort key by which 'img10' comes after 'img9', whatever the case of letters."""
    parts = re.split(r'(\d+)', name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def are_pictures(arguments: Sequence[str | Path]) -> bool:
    """Say whether these are pictures to be found, and not one video, recording or camera.

    One name is a picture by its suffix, by its first bytes where the suffix says nothing, or as
    a folder without a recording; a pattern and several names are pictures in any case.
    """
    if len(arguments) != 1:
        return True
    if '://' in str(arguments[0]):
        return False  # a camera or video somewhere else
    path = Path(arguments[0])
    if path.is_dir():
        return not _holds_recording(path)
    if path.suffix.lower() in (*PICTURE_SUFFIXES, *_OTHER_PICTURES):
        return True
    if not path.exists():
        return glob.has_magic(str(path))
    return not path.suffix and is_picture(path)


def find_pictures(
    arguments: Sequence[str | Path], leave_out: Path | None = None
) -> tuple[list[PictureFile], list[str]]:
    """Return the pictures that the arguments name, and notes for the user.

    Args:
        arguments: files, folders, patterns such as 'photos/*.png'.
        leave_out: folder of results, which are no pictures to read.

    Raises:
        NoPictureError: when there is none, or a name does not exist.

    """
    search = _Search(None if leave_out is None else leave_out.resolve())
    for argument in arguments:
        path = Path(argument)
        if os.path.lexists(path):
            _add(search, path, len(arguments))
        elif '**' in str(argument):  # links in circles would make it endless
            raise NoPictureError(
                f'{argument}: ** is not known; name the folder, all that is below it is read'
            )
        elif glob.has_magic(str(argument)):
            matches = sorted(glob.glob(str(argument)), key=natural_key)
            if not matches:
                raise NoPictureError(f'{argument} matches nothing')
            for match in matches:
                _add(search, Path(match), len(matches))
        else:
            raise NoPictureError(f'{argument} does not exist')
    notes = [*search.unreadable, *_ignored(search.others)]
    if not search.files:
        where = ', '.join(str(a) for a in arguments) or 'nothing'
        raise NoPictureError(
            f'{where}: no picture there (known are {" ".join(PICTURE_SUFFIXES)})'
            + ''.join(f'; {note}' for note in notes)
            + ('; videos and recordings are run one at a time' if search.others else '')
        )
    return _with_own_names(search.files), notes


def _add(search: _Search, path: Path, count: int) -> None:
    """Add a file, or what a folder holds; ``count`` names were given or matched in all."""
    suffix = path.suffix.lower()
    if path.is_dir() and _holds_recording(path):
        search.others['a recording'] += 1
    elif path.is_dir():
        if search.leave_out and path.resolve() == search.leave_out:
            raise NoPictureError(f'{path} is to hold the results: name another folder by --out')
        for file in _walk(search, path):
            search.add(file, file.relative_to(path).as_posix())
    elif suffix in PICTURE_SUFFIXES or (not suffix and is_picture(path)):
        search.add(path, path.name)
    elif suffix in _OTHER_PICTURES and count == 1:
        raise NoPictureError(f'{path}: {suffix} is not read; save it as JPEG or PNG')
    else:
        search.others[suffix or 'without suffix'] += 1


def _walk(search: _Search, top: Path) -> Iterator[Path]:
    """Yield the pictures below a folder in natural order: its own first, then folder by folder."""
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(folder)
        if real in search.folders or (search.leave_out and Path(real) == search.leave_out):
            continue
        search.folders.add(real)
        try:
            entries = [e for e in folder.iterdir() if not e.name.startswith('.')]
        except OSError as error:
            search.unreadable.append(f'{folder} cannot be read: {error.strerror}')
            continue
        entries.sort(key=lambda entry: (natural_key(entry.name), entry.name))
        below = [entry for entry in entries if entry.is_dir()]
        folders = set(below)
        for entry in entries:
            if entry in folders:
                continue
            if entry.suffix.lower() in PICTURE_SUFFIXES:
                yield entry
            else:
                search.others[entry.suffix.lower() or 'without suffix'] += 1
        waiting += reversed(below)


def _holds_recording(folder: Path) -> bool:
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return 'metadata.yaml' in names or any(n.lower().endswith(_RECORDINGS) for n in names)


def _with_own_names(files: list[PictureFile]) -> list[PictureFile]:
    """Return the files under their own names, or, where two share one, with their folders."""
    if len({file.name for file in files}) == len(files):
        return files
    full = [Path(os.path.abspath(file.path)) for file in files]
    above = os.path.commonpath([path.parent for path in full])
    return [
        PictureFile(file.path, path.relative_to(above).as_posix())
        for file, path in zip(files, full, strict=True)
    ]


def _ignored(others: Counter[str]) -> list[str]:
    if not others:
        return []
    kinds = ', '.join(sorted(others))
    count = sum(others.values())
    return [f'{count} other file{"s" if count > 1 else ""} ignored ({kinds})']

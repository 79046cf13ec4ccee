"""The data sets that can be read: what each is, how to obtain it, where its files go.

A loader is a function from a folder to an iterator of ``Sample`` (samples.py), registered by
decorator together with the facts a user needs before there is anything to load.
Nothing is ever downloaded: most of these sets ask for a signature. Every data set has a folder of
its own below the data folder, ``$TRPOSE_DATA`` or ``~/.local/share/trpose_ros/data``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trpose_ros.data.samples import MissingDataError, Sample
from trpose_ros.registry import Registry

Loader = Callable[..., Iterator[Sample]]


@dataclass(frozen=True)
class DatasetInfo:
    """Everything that is known about a data set before it is there."""

    name: str
    title: str
    obtain: str  # what to obtain, and from where (name of the data set and its publisher)
    licence: str
    layout: tuple[tuple[str, str], ...]  # (glob below the folder, what lies there)
    load: Loader
    needs: tuple[str, ...] = ()  # globs of which at least one must match for the set to be there

    def present(self, folder: Path) -> bool:
        """Say whether ``folder`` holds files of this data set."""
        return any(next(folder.glob(pattern), None) is not None for pattern in self.needs)

    def missing(self, folder: Path, what: str) -> MissingDataError:
        """Return the error that says what to obtain, from where, and where to put it."""
        places = '\n'.join(f'  {folder / pattern}: {text}' for pattern, text in self.layout)
        return MissingDataError(
            f'{self.title}: {what}.\nObtain: {self.obtain}\nLicence: {self.licence}\n'
            f'Put the files here:\n{places}'
        )


DATASETS: Registry[DatasetInfo] = Registry(
    'data set',
    {
        'human36m': 'trpose_ros.data.datasets.human36m',
        'mpi_inf_3dhp': 'trpose_ros.data.datasets.mpi_inf_3dhp',
        'threedpw': 'trpose_ros.data.datasets.threedpw',
        'mupots': 'trpose_ros.data.datasets.mupots',
        'humaneva': 'trpose_ros.data.datasets.humaneva',
        'custom_2d': 'trpose_ros.data.datasets.custom_2d',
        'motion': 'trpose_ros.data.datasets.motion_clips',
        'photographs': 'trpose_ros.data.datasets.photographs',
        'recordings': 'trpose_ros.data.datasets.recordings',
    },
)


def register_dataset(name: str, **facts: Any) -> Callable[[Loader], Loader]:
    """Register the decorated loader with the facts of :class:`DatasetInfo`."""

    def register(load: Loader) -> Loader:
        DATASETS.register(name)(DatasetInfo(name=name, load=load, **facts))
        return load

    return register


def data_folder() -> Path:
    """Return the folder of all data sets (it need not exist)."""
    given = os.environ.get('TRPOSE_DATA')
    if given:
        return Path(given).expanduser()
    base = os.environ.get('XDG_DATA_HOME') or Path.home() / '.local' / 'share'
    return Path(base) / 'trpose_ros' / 'data'


def packs_folder() -> Path:
    """Return where ``trpose data prepare`` puts packs, and where trainers look after TRPOSE_SHARED.

    Inside it lie ``data/mocap`` and ``data/body``.
    """
    return data_folder() / 'packs'


def load_dataset(
    name: str, folder: str | Path | None = None, **options: object
) -> Iterator[Sample]:
    """Iterate over the samples of a data set.

    ``folder`` defaults to ``data_folder() / name``; ``options`` are the loader's own, common to
    all is ``split`` ('train', 'val', 'test' or None for everything). Files are read while
    iterating. Raises ValueError for an unknown name, MissingDataError and DataError as the
    loader's documentation says.
    """
    info = DATASETS[name]
    folder = data_folder() / name if folder is None else Path(folder).expanduser()
    if not folder.is_dir() and not (name == 'recordings' and folder.is_file()):
        raise info.missing(folder, f'the folder {folder} does not exist')
    return info.load(folder, **options)


def recognise(folder: Path) -> list[str]:
    """Return the names of the data sets that ``folder`` holds files of."""
    return [name for name, info in DATASETS.items() if info.present(folder)]

"""MATLAB files, old (version 5, read by scipy) and new (version 7.3, which is HDF5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from trpose_ros.data.samples import DataError, MissingDataError

_HDF5 = b'\x89HDF\r\n\x1a\n'


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the named variables of a MATLAB file in MATLAB's order of axes.

    Cell arrays are object arrays and structures record arrays, as scipy gives them; from HDF5
    only numeric arrays can be read. Raises MissingDataError, DataError (damaged, a variable
    missing) and ImportError when an HDF5 file meets no h5py.
    """
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    with path.open('rb') as stream:
        head = stream.read(1024)
    if _HDF5 in head:
        content = _read_hdf5(path)
    else:
        try:
            content = scipy.io.loadmat(path, variable_names=list(names))
        except Exception as error:  # scipy raises whatever a damaged stream makes it stumble over
            raise DataError(f'{path} is not a readable MATLAB file ({error!r})') from error
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(f'{path} lacks the variables {missing}; obtain the file again')
    return {name: content[name] for name in names}


def _read_hdf5(path: Path) -> dict[str, Any]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f'{path} is a MATLAB 7.3 file, which needs h5py: pip install h5py'
        ) from error
    try:
        with h5py.File(path, 'r') as file:
            return {
                name: np.asarray(item).T  # HDF5 stores MATLAB's arrays with reversed axes
                for name, item in file.items()
                if isinstance(item, h5py.Dataset) and item.dtype.kind in 'fiub'
            }
    except OSError as error:
        raise DataError(f'{path} is not a readable MATLAB 7.3 file ({error})') from error

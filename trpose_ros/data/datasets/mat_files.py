"""MATLAB files, old (version 5, read by scipy) and new (version 7.3, which is HDF5)."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.data.datasets.pickled_numbers import unpickle
from trpose_ros.data.samples import DataError, MissingDataError

_SPARE_BYTES, _RATIO = 2 << 30, 40  # memory of the reader: for itself, and of the file's size
_BYTES_PER_S = 1 << 20  # that a reader reads at least
_CHILD = """
import json, pickle, resource, sys
task = json.loads(sys.argv[1])
sys.path[:] = task['path']
memory, seconds = task['limits']
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
import numpy as np
import scipy.io

def plain(value):
    if value.dtype.names is None and value.dtype.kind in 'biufcUS':
        return np.array(value)
    if value.dtype.names is None and value.dtype != object:
        raise TypeError(f'values of type {value.dtype}')
    out = np.empty(value.shape, object)
    for index in np.ndindex(value.shape):
        item, names = value[index], value.dtype.names
        out[index] = plain(item) if names is None else {n: plain(item[n]) for n in names}
    return out

content = scipy.io.loadmat(task['file'], variable_names=task['names'])
wanted = {name: plain(content[name]) for name in task['names'] if name in content}
sys.stdout.buffer.write(pickle.dumps(wanted, protocol=4))
"""
_HDF5 = b'\x89HDF\r\n\x1a\n'


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the named variables of a MATLAB file in MATLAB's order of axes.

    Cell arrays are object arrays, structures object arrays of dictionaries; from HDF5 only numeric
    arrays can be read. Raises MissingDataError, DataError (damaged, a variable
    missing) and ImportError when an HDF5 file meets no h5py.
    """
    if not path.is_file():
        raise MissingDataError(f'{path} does not exist')
    with path.open('rb') as stream:
        head = stream.read(1024)
    if _HDF5 in head:
        content = _read_hdf5(path)
    else:
        content = _read_apart(path, names)
    missing = [name for name in names if name not in content]
    if missing:
        raise DataError(f'{path} lacks the variables {missing}; obtain the file again')
    return {name: content[name] for name in names}


def _read_apart(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Read an old file in a process of its own: scipy's reader crashes on some damaged ones.

    What comes back is read like any pickle of a stranger.
    """
    size = path.stat().st_size
    limits = (_SPARE_BYTES + _RATIO * size, 60 + size // _BYTES_PER_S)
    task = json.dumps({'path': sys.path, 'limits': limits, 'file': str(path), 'names': names})
    answer = subprocess.run(
        [sys.executable, '-I', '-c', _CHILD, task],
        capture_output=True,
        env={**os.environ, 'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'},
        check=False,
    )
    if answer.returncode:
        words = answer.stderr.decode(errors='replace').strip().split('\n')[-1]
        if answer.returncode < 0:
            words = f'the reader ended by {signal.Signals(-answer.returncode).name}'
        raise DataError(f'{path} is not a readable MATLAB file ({words:.200}); obtain it again')
    return unpickle(io.BytesIO(answer.stdout), str(path))


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

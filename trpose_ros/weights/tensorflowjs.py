"""Read TensorFlow.js graph models (model.json and its .bin parts) with numpy alone.

The JSON file holds the graph (nearly a GraphDef) and a manifest: groups of binary parts, and for
each group names, shapes and types of its tensors, whose numbers lie one after the other in the
parts. Numbers may be quantised: 'float16' is half precision, 'uint8' and 'uint16' are
``whole * scale + min``; all come back in the tensor's own type (float32, int32 or bool). Nothing of
a model is executed. (Format: "TensorFlow.js: importing a TensorFlow GraphDef based model", 2018.)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trpose_ros.weights import WeightsError

_MOST_JSON = 16 << 20  # bytes; those of MoveNet have less than one
_MOST_NUMBERS = 1 << 29  # bytes of all parts; tensors in memory may have four times as many
_LONGEST_NAME = 255  # characters of a part, as file systems have it
_MOST_TENSORS = 20_000
_MOST_AXES = 8
_STORED = {'float32': '<f4', 'int32': '<i4', 'bool': '|u1'}
_WHOLE = {'uint8': '|u1', 'uint16': '<u2'}  # quantised: a scale and a minimum go with them
_MEMORY = {'float32': np.float32, 'int32': np.int32, 'bool': np.bool_}


@dataclass(frozen=True)
class GraphModel:
    """A graph and its numbers."""

    path: Path
    nodes: tuple[dict[str, Any], ...]  # name, op, input, attr: as in the file
    tensors: dict[str, np.ndarray]  # by the name of their Const node
    origin: str  # what the file says it was made from; may be empty
    sha256: dict[str, str]  # of each file, by name


def read_graph_model(path: str | Path) -> GraphModel:
    """Read ``path`` (.json) and the parts that it names, which lie in the same folder or below.

    Raises WeightsError for a file that is missing, no graph model, cut off, larger than its
    manifest says, or whose manifest is impossible or leads out of its folder.
    """
    path = Path(path)
    text = _read(path, _MOST_JSON)
    try:
        model = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f'{path} is not JSON ({error}); it may be cut off') from error
    nodes = _nodes(model, path)
    sha256 = {path.name: hashlib.sha256(text).hexdigest()}
    tensors: dict[str, np.ndarray] = {}
    budget = _MOST_NUMBERS
    for paths, entries in _groups(model, path):
        raw = b''
        for name in paths:
            part = _read(_part(path, name), budget - len(raw))
            sha256[name] = hashlib.sha256(part).hexdigest()
            raw += part
        budget -= len(raw)
        for name, value in _tensors(raw, entries, path, ' + '.join(paths)):
            if name in tensors:
                raise WeightsError(f'{path}: tensor {name!r:.200} is listed twice')
            tensors[name] = value
    origin = model.get('generatedBy')
    return GraphModel(path, nodes, tensors, origin if isinstance(origin, str) else '', sha256)


def _nodes(model: Any, path: Path) -> tuple[dict[str, Any], ...]:
    if not isinstance(model, dict) or 'modelTopology' not in model:
        raise WeightsError(f'{path} is no TensorFlow.js model: it has no "modelTopology"')
    form = model.get('format', 'graph-model')
    topology = model['modelTopology']
    if form == 'layers-model' or (isinstance(topology, dict) and 'model_config' in topology):
        raise WeightsError(
            f'{path} is a TensorFlow.js layers model (Keras); only graph models are read'
        )
    nodes = topology.get('node') if isinstance(topology, dict) else None
    good = isinstance(nodes, list) and all(
        isinstance(n, dict) and isinstance(n.get('name'), str) and isinstance(n.get('op'), str)
        for n in nodes
    )
    if form != 'graph-model' or not good or not isinstance(nodes, list):
        raise WeightsError(f'{path} is no TensorFlow.js graph model: it has no list of nodes')
    return tuple(nodes)


def _groups(model: Any, path: Path) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    manifest = model.get('weightsManifest')
    if not isinstance(manifest, list):
        raise WeightsError(f'{path} has no list "weightsManifest"')
    count = 0
    for group in manifest:
        paths = group.get('paths') if isinstance(group, dict) else None
        entries = group.get('weights') if isinstance(group, dict) else None
        if not _all(paths, str) or not _all(entries, dict):
            raise WeightsError(f'{path}: a group of the manifest lacks "paths" or "weights"')
        count += len(entries)  # type: ignore[arg-type]
        if count > _MOST_TENSORS:
            raise WeightsError(f'{path} lists more than {_MOST_TENSORS} tensors')
        yield paths, entries  # type: ignore[misc]


def _all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _part(path: Path, name: str) -> Path:
    """Return the file of a part; a manifest must not lead out of its folder."""
    if len(name) > _LONGEST_NAME:
        raise WeightsError(f'{path}: part {name[:80]!r}... has a name of {len(name)} characters')
    folder = path.parent.resolve()
    try:
        part = (folder / name).resolve()
    except ValueError:  # a null byte
        part = folder
    if not part.is_relative_to(folder) or part == folder:
        raise WeightsError(f'{path}: part {name!r:.200} does not lie in the folder of the model')
    return part


def _read(path: Path, most: int) -> bytes:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise WeightsError(f'{path} is not a file')
        if size > most:
            raise WeightsError(f'{path} is too large for a model: {size} bytes, {most} allowed')
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise WeightsError(
            f'{path} cannot be read ({error}); a model is a .json file and its .bin parts beside it'
        ) from error


@dataclass(frozen=True)
class _Entry:
    """A line of the manifest."""

    name: str
    shape: tuple[int, ...]
    kind: str  # a key of _MEMORY
    stored: str  # numpy's name of the stored type
    scale: float = 1.0
    offset: float = 0.0
    whole: bool = False  # stored as whole numbers that are scaled and shifted

    def numbers(self, stored: np.ndarray) -> np.ndarray:
        """Return what the stored numbers mean."""
        if not self.whole:
            return stored.astype(_MEMORY[self.kind])
        real = stored.astype(np.float64) * self.scale + self.offset
        return (np.rint(real) if self.kind == 'int32' else real).astype(_MEMORY[self.kind])


def _tensors(
    raw: bytes, entries: list[dict[str, Any]], path: Path, parts: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Cut the numbers of a group into tensors."""
    at, memory = 0, 0
    for given in entries:
        entry = _entry(given, path)
        count = math.prod(entry.shape)
        memory += count * np.dtype(_MEMORY[entry.kind]).itemsize
        end = at + count * np.dtype(entry.stored).itemsize
        if end > len(raw) or memory > 4 * _MOST_NUMBERS:
            raise WeightsError(
                f'{parts:.200} has {len(raw)} bytes, tensor {entry.name!r:.200} of {path.name} '
                f'ends at {end}: it is cut off or belongs to another model'
            )
        values = np.frombuffer(raw, entry.stored, count, at).reshape(entry.shape)
        yield entry.name, entry.numbers(values)
        at = end
    if at != len(raw):
        raise WeightsError(
            f'{parts:.200} has {len(raw)} bytes, the manifest of {path.name} describes {at}: they '
            'belong to different models'
        )


def _entry(given: dict[str, Any], path: Path) -> _Entry:
    name, shape, kind = given.get('name'), given.get('shape'), given.get('dtype')
    if not isinstance(name, str) or not name:
        raise WeightsError(f'{path}: a tensor of the manifest has no name')
    if (
        not isinstance(shape, list)
        or len(shape) > _MOST_AXES
        or not all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
    ):
        raise WeightsError(f'{path}: tensor {name!r:.200} has the impossible shape {shape!r:.200}')
    if not isinstance(kind, str) or kind not in _STORED:
        raise WeightsError(
            f'{path}: tensor {name!r:.200} has type {kind!r:.200}; only {sorted(_STORED)} are read'
        )
    quantised = given.get('quantization')
    if quantised is None:
        return _Entry(name, tuple(shape), kind, _STORED[kind])
    how = quantised.get('dtype') if isinstance(quantised, dict) else None
    if how == 'float16' and kind == 'float32':
        return _Entry(name, tuple(shape), kind, '<f2')
    if not isinstance(how, str) or how not in _WHOLE or kind == 'bool':
        raise WeightsError(
            f'{path}: tensor {name!r:.200} is quantised in an unknown way: {how!r:.200}'
        )
    scale, offset = quantised.get('scale'), quantised.get('min')
    if not all(type(n) in (int, float) and math.isfinite(n) for n in (scale, offset)):
        raise WeightsError(
            f'{path}: tensor {name!r:.200} is quantised without a scale and a minimum'
        )
    return _Entry(name, tuple(shape), kind, _WHOLE[how], scale, offset, whole=True)

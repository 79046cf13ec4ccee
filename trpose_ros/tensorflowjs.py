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

_MOST_JSON = 64 << 20  # bytes
_MOST_NUMBERS = 1 << 30  # bytes of all parts, and of all tensors in memory
_MOST_TENSORS = 20_000
_STORED = {'float32': '<f4', 'int32': '<i4', 'bool': '|u1'}
_QUANTISED = {'float16': '<f2', 'uint8': '|u1', 'uint16': '<u2'}
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
                raise WeightsError(f'{path}: tensor {name!r} is listed twice')
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
    if form != 'graph-model' or not good:
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
    folder = path.parent.resolve()
    part = (folder / name).resolve()
    if not part.is_relative_to(folder) or part == folder:
        raise WeightsError(f'{path}: part {name!r} does not lie in the folder of the model')
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


def _tensors(
    raw: bytes, entries: list[dict[str, Any]], path: Path, parts: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Cut the numbers of a group into tensors."""
    at, memory = 0, 0
    for entry in entries:
        name, shape, kind, stored, scale, offset = _entry(entry, path)
        count = math.prod(shape)
        memory += count * np.dtype(_MEMORY[kind]).itemsize
        size = count * np.dtype(stored).itemsize
        if at + size > len(raw) or memory > _MOST_NUMBERS:
            raise WeightsError(
                f'{parts} has {len(raw)} bytes, tensor {name!r} of {path.name} ends at '
                f'{at + size}: it is cut off or belongs to another model'
            )
        values = np.frombuffer(raw, stored, count, at).reshape(shape)
        at += size
        if stored not in _QUANTISED.values() or stored == '<f2' or kind == 'bool':
            yield name, values.astype(_MEMORY[kind])
            continue
        real = values.astype(np.float64) * scale + offset
        yield name, (np.rint(real) if kind == 'int32' else real).astype(_MEMORY[kind])
    if at != len(raw):
        raise WeightsError(
            f'{parts} has {len(raw)} bytes, the manifest of {path.name} describes {at}: they '
            'belong to different models'
        )


def _entry(
    entry: dict[str, Any], path: Path
) -> tuple[str, tuple[int, ...], str, str, float, float]:
    """Return name, shape, type, stored type, scale and offset of a line of the manifest."""
    name, shape, kind = entry.get('name'), entry.get('shape'), entry.get('dtype')
    if not isinstance(name, str) or not name:
        raise WeightsError(f'{path}: a tensor of the manifest has no name')
    sizes = isinstance(shape, list) and all(type(n) is int and 0 <= n < 1 << 31 for n in shape)
    if not sizes or len(shape) > 8:  # type: ignore[arg-type]
        raise WeightsError(f'{path}: tensor {name!r} has the impossible shape {shape!r}')
    if kind not in _STORED:
        raise WeightsError(
            f'{path}: tensor {name!r} has type {kind!r}; only {sorted(_STORED)} are read'
        )
    quantisation = entry.get('quantization')
    if quantisation is None:
        return name, tuple(shape), kind, _STORED[kind], 1.0, 0.0  # type: ignore[arg-type]
    how = quantisation.get('dtype') if isinstance(quantisation, dict) else None
    if how not in _QUANTISED or kind == 'bool' or (how == 'float16' and kind != 'float32'):
        raise WeightsError(f'{path}: tensor {name!r} is quantised in an unknown way: {how!r}')
    scale, offset = quantisation.get('scale', 1.0), quantisation.get('min', 0.0)
    numbers = all(
        isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n)
        for n in (scale, offset)
    )
    if how != 'float16' and (not numbers or not {'scale', 'min'} <= set(quantisation)):
        raise WeightsError(f'{path}: tensor {name!r} is quantised without a scale and a minimum')
    return name, tuple(shape), kind, _QUANTISED[how], scale, offset  # type: ignore[arg-type]
